"""Decade scaling: short runs of constant learning rates 10^-k, around what the range test found (Wu et al., V.A)."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from lrsearch.heuristics.evidence import Evidence, Probe, decade

CONSTANT_BELOW_LOWEST = 5.0
WORSE_SHARE = 0.01
SEEDS_AT_BEST = 3
MOST_DECADES = 10
LEAST_LEVELS = 3
LEAST_SPREAD = 0.2
EDGE_SPREAD = 0.5
SEEDS_AGREE = 0.5


@dataclass(frozen=True, slots=True)
class Level:
    """One learning rate that was probed: its log10, mean validation loss, standard error, and the runs behind it."""

    decade: float
    loss: float
    error: float
    seeds: tuple[int, ...]
    runs: tuple[str, ...]


def levels(evidence: Evidence) -> list[Level]:
    """Give the probed learning rates in rising order, repeats with other seeds averaged.

    The order in which the probes were made does not matter, not even for the last bit of a mean.
    """
    at: dict[float, list[Probe]] = defaultdict(list)
    for probe in sorted(evidence.probes, key=lambda probe: (probe.rate, probe.seed, probe.run)):
        at[decade(probe.rate)].append(probe)
    noise = _seed_noise([[probe.loss for probe in found] for found in at.values()])
    return [
        Level(where, _mean([probe.loss for probe in found]), noise / math.sqrt(len(found)),
              tuple(probe.seed for probe in found), tuple(probe.run for probe in found))
        for where, found in sorted(at.items())
    ]


def next_probe(evidence: Evidence, start: float | None, domain: tuple[float, float]) -> tuple[float, int] | None:
    """Say which learning rate to probe next, with which seed; None when the walk has seen enough.

    Start at the decade nearest to a fifth of the range test's centre (0.01 if that is unknown); walk up, then
    down, until two decades in a row are clearly worse than the best or the upper one diverges; then the half
    decades beside the best, then up to 3 seeds at the best and beside it.

    Args:
        evidence: what is known so far.
        start: the range test's centre, a learning rate.
        domain: the lowest and highest learning rate that may be probed.
    """
    seen = levels(evidence)
    whole = [level for level in seen if level.decade == round(level.decade)]
    if not whole:
        first = math.log10((start or CONSTANT_BELOW_LOWEST / 100) / CONSTANT_BELOW_LOWEST)
        low, high = (math.ceil(math.log10(domain[0])), math.floor(math.log10(domain[1])))
        return 10.0 ** min(max(round(first), low), high), 0
    best = _best(seen)
    for step in (1, -1):
        edge = max(whole, key=lambda level: step * level.decade)
        to = edge.decade + step
        inside = domain[0] <= 10**to * (1 + 1e-9) and 10**to <= domain[1] * (1 + 1e-9)
        if inside and len(whole) < MOST_DECADES and not _walked_past(whole, best, step, evidence.chance_loss):
            return float(10.0**to), 0
    if not math.isfinite(best.loss) or best.loss >= evidence.chance_loss:
        return None
    tried = {level.decade for level in seen}
    for near in (best.decade - 0.5, best.decade + 0.5):
        if near % 1 == 0.5 and near not in tried and domain[0] <= 10**near <= domain[1]:
            return float(10.0**near), 0
    beside = [level for level in seen if abs(level.decade - best.decade) <= 0.5 and math.isfinite(level.loss)]
    for level in sorted(beside, key=lambda level: (len(level.seeds), level.loss)):
        if len(level.seeds) < SEEDS_AT_BEST:
            return float(10.0**level.decade), len(level.seeds)
    return None


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best constant learning rate for the probes' horizon.

    Args:
        decade: its log10.
        spread: the standard deviation of that, in decades.
        runs: keys of the runs behind it.
        low, high: where else it may lie, in log10; both are `decade` where the probes agree.
        doubt: why low and high are apart, in words, or that nothing was tried beyond the best; None else.
    """

    decade: float
    spread: float
    runs: tuple[str, ...]
    low: float
    high: float
    doubt: str | None = None


def optimum(evidence: Evidence) -> Optimum | None:
    """Fit a parabola through the best point and its neighbours, weighted by 1/SE^2; the best point if that fails.

    Only what did better than guessing is fitted, so that a run on the edge of diverging does not bend it. Seeds
    that prefer rates over half a decade apart, and a second basin that is as good, widen the answer.
    None where nothing was learned: no probe, all diverged, or none better than guessing by 3 standard errors.
    """
    tried = levels(evidence)
    seen = [level for level in tried if math.isfinite(level.loss)]
    if not seen:
        return None
    best = _best(seen)
    if best.loss + 3 * best.error >= evidence.chance_loss:
        return None
    runs = tuple(run for level in seen if abs(level.decade - best.decade) <= 1 for run in level.runs)
    vertex, spread = _refined(tried, best, evidence.chance_loss)
    by_seed, basins = _best_of_seeds(evidence), _basins(tried, best, evidence.chance_loss)
    if max(by_seed, default=0.0) - min(by_seed, default=0.0) > SEEDS_AGREE:
        told = f"seeds disagree: the best is at {_rates(by_seed)}"
        return _doubted(vertex, max(spread, EDGE_SPREAD), runs, [*by_seed, *basins], told)
    if basins:
        return _doubted(vertex, spread, runs, basins, f"beyond a gap, {_rates(basins)} is as good")
    return Optimum(vertex, spread, runs, vertex, vertex, _outermost(tried, best))


def is_at_edge(evidence: Evidence) -> bool:
    """Tell whether nothing was tried beyond the best on one of its sides."""
    tried = levels(evidence)
    best = _best(tried)
    return not tried[0].decade < best.decade < tried[-1].decade


def is_flat(evidence: Evidence) -> bool:
    """Tell whether no learning rate that ended, of three or more, is clearly better than another."""
    seen = [level for level in levels(evidence) if math.isfinite(level.loss)]
    if len(seen) < LEAST_LEVELS:
        return False
    best = _best(seen)
    return max(level.loss for level in seen) <= best.loss + _margin(best, evidence.chance_loss)


def _outermost(tried: list[Level], best: Level) -> str | None:
    """Say that the best of several rates is the last on one side; None where it has neighbours on both."""
    if len(tried) < LEAST_LEVELS or best not in (tried[0], tried[-1]):
        return None
    return f"it is the {'lowest' if best is tried[0] else 'highest'} that was tried, so the best may lie beyond"


def _refined(tried: list[Level], best: Level, chance_loss: float) -> tuple[float, float]:
    """Give log10 of the best rate and its spread, from the parabola through the points beside the best.

    Those within half a decade, or the next on each side where they are farther. A parabola is a local thing: the
    loss climbs slowly below the best rate and steeply above, so that points farther off pull its vertex away.
    """
    at = tried.index(best)
    if at in (0, len(tried) - 1):
        return best.decade, EDGE_SPREAD
    below, above = tried[at - 1], tried[at + 1]
    near = [level for level in tried if abs(level.decade - best.decade) <= 0.5 or level in (below, above)]
    near = [level for level in near if level.loss < chance_loss]
    found = _vertex(near) if len(near) >= LEAST_LEVELS else None
    if found is None or not near[0].decade <= found[0] <= near[-1].decade:
        return best.decade, max(LEAST_SPREAD, (above.decade - below.decade) / 4)
    return found[0], max(LEAST_SPREAD, found[1])


def _vertex(near: list[Level]) -> tuple[float, float] | None:
    """Give the vertex of the weighted parabola and its standard error; None if it has no lowest point.

    With x = -b / 2a and C the covariance of (a, b), the error is sqrt(g' C g) for g = (b / 2a^2, -1 / 2a). The
    noise is the seeds', or what the parabola leaves unexplained if that is more.
    """
    x, y = np.array([level.decade for level in near]), np.array([level.loss for level in near])
    root_weight = np.sqrt([len(level.seeds) for level in near])  # 1/SE^2, since one noise is pooled over all levels
    fit = np.polyfit(x, y, 2, w=root_weight)
    a, b = float(fit[0]), float(fit[1])
    if a <= 0:
        return None
    design = np.vander(x, 3) * root_weight[:, None]
    spare = len(near) - 3
    left = float(np.sum((root_weight * (y - np.polyval(fit, x))) ** 2)) / spare if spare else 0.0
    noise = max(near[0].error**2 * len(near[0].seeds), left)
    slope = np.array([b / (2 * a * a), -1 / (2 * a), 0.0])
    return -b / (2 * a), math.sqrt(float(slope @ np.linalg.inv(design.T @ design) @ slope) * noise)


def _best_of_seeds(evidence: Evidence) -> list[float]:
    """Give log10 of each seed's best rate, rising, of the seeds that saw three rates or more."""
    seen: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for probe in evidence.probes:
        seen[probe.seed].append((probe.loss, decade(probe.rate)))
    return sorted(min(found)[1] for found in seen.values() if len({at for _, at in found}) >= LEAST_LEVELS)


def _basins(tried: list[Level], best: Level, chance_loss: float) -> list[float]:
    """Give log10 of the rates that are as good as the best, with a clearly worse one in between, rising."""
    enough = best.loss + _margin(best, chance_loss)
    worse = [level.decade for level in tried if level.loss > enough]
    nearest_below = max((at for at in worse if at < best.decade), default=-math.inf)
    nearest_above = min((at for at in worse if at > best.decade), default=math.inf)
    good = [level.decade for level in tried if level.loss <= enough]
    return [at for at in good if not nearest_below < at < nearest_above]


def _doubted(vertex: float, spread: float, runs: tuple[str, ...], others: list[float], doubt: str) -> Optimum:
    return Optimum(vertex, spread, runs, min(vertex, *others), max(vertex, *others), doubt)


def _rates(decades: list[float]) -> str:
    return " and ".join(f"{10**at:.2g}" for at in dict.fromkeys(decades))


def _margin(best: Level, chance_loss: float) -> float:
    """By how much a loss must be above the best to be clearly worse: 2 standard errors, or 1 % of the drop."""
    return max(2 * best.error, WORSE_SHARE * max(0.0, chance_loss - best.loss))


def _walked_past(whole: list[Level], best: Level, step: int, chance_loss: float) -> bool:
    """Tell whether the walk in one direction has gone far enough beyond the best."""
    if step > 0 and not math.isfinite(whole[-1].loss):
        return True
    outside = (level for level in whole if step * (level.decade - best.decade) > 0)
    beyond = sorted(outside, key=lambda level: step * level.decade)
    clearly = [level.loss > best.loss + _margin(best, chance_loss) for level in beyond]
    return len(clearly) >= 2 and clearly[-1] and clearly[-2]


def _best(seen: list[Level]) -> Level:
    return min(seen, key=lambda level: (level.loss, level.decade))


def _mean(losses: list[float]) -> float:
    return float(np.mean(losses)) if all(map(math.isfinite, losses)) else math.inf


def _seed_noise(groups: list[list[float]]) -> float:
    """Pool the standard deviation of one run over all learning rates with repeats; 0 while there are none."""
    repeated = [group for group in groups if len(group) > 1 and all(map(math.isfinite, group))]
    if not repeated:
        return 0.0
    squares = sum(float(np.var(group)) * len(group) for group in repeated)
    return math.sqrt(squares / sum(len(group) - 1 for group in repeated))
