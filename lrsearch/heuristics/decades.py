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
LEVELLED_SHARE = 0.1
"""Of the fall. Below some learning rate the fall is proportional to it, so that a decade takes nine tenths of what is
left of it: where the last decade took a tenth of the fall or less, about a hundredth of it is left."""


@dataclass(frozen=True, slots=True)
class Level:
    """One learning rate that was probed: its log10, mean loss (or cost), standard error, and the runs behind it."""

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
    for probe in sorted(evidence.probes, key=lambda probe: (probe.lr, probe.seed, probe.run)):
        at[decade(probe.lr)].append(probe)
    noise = _seed_noise(_stable(evidence, {where: [probe.loss for probe in found] for where, found in at.items()}))
    return [
        Level(
            where,
            _mean([probe.loss for probe in found]),
            noise / math.sqrt(len(found)),
            tuple(probe.seed for probe in found),
            tuple(probe.run for probe in found),
        )
        for where, found in sorted(at.items())
    ]


def guessing(evidence: Evidence) -> Level | None:
    """The level of guessing: what the task says it is, else that of the lowest learning rate that did not diverge.

    A range test's first training loss would be another choice. It is comparable with the probes only where the metric
    is that very loss, on the same samples, in the same mode, and no data tells so: a squared error is often trained
    for an accuracy, and a validation loss leaves out dropout, label smoothing and penalties. A probe is measured as
    all others are, so that adding to the metric, or another unit of it, changes nothing.

    None where nothing tells: no loss of guessing is given, and no probe ended without divergence.
    """
    if evidence.chance_loss is not None:
        return Level(-math.inf, evidence.chance_loss, 0.0, (), ())
    return next((level for level in levels(evidence) if math.isfinite(level.loss)), None)


def next_probe(evidence: Evidence, start: float | None, domain: tuple[float, float]) -> tuple[float, int] | None:
    """Say which learning rate to probe next, with which seed; None when the walk has seen enough.

    Start at the decade nearest to a fifth of the range test's centre (0.01 if that is unknown); walk up, then
    down, until two decades in a row are clearly worse than the best or the upper one diverges or fails; then the half
    decades beside the best, then up to 3 seeds at the best and beside it. Where the task does not say what guessing
    is worth, the walk down goes on until the curve has levelled out there: the lowest probe is a guess then.

    Args:
        evidence: what is known so far.
        start: the range test's centre, a learning rate.
        domain: the lowest and highest learning rate that may be probed.
    """
    seen = levels(evidence)
    failed = [decade(lr) for lr, _ in evidence.failed]
    asked = sorted({level.decade for level in seen} | set(failed))
    whole = [at for at in asked if at == round(at)]
    if not whole:
        first = math.log10((start or CONSTANT_BELOW_LOWEST / 100) / CONSTANT_BELOW_LOWEST)
        low, high = (math.ceil(math.log10(domain[0])), math.floor(math.log10(domain[1])))
        return 10.0 ** min(max(round(first), low), high), 0
    for step, edge in ((1, whole[-1]), (-1, whole[0])):
        to = edge + step
        inside = domain[0] <= 10**to * (1 + 1e-9) and 10**to <= domain[1] * (1 + 1e-9)
        if inside and len(whole) < MOST_DECADES and not _walked_past(evidence, seen, step, edge):
            return float(10.0**to), 0
    return None if not seen or _is_hopeless(evidence, seen) else _refining(seen, asked, failed, domain)


def _refining(
    seen: list[Level], asked: list[float], failed: list[float], domain: tuple[float, float]
) -> tuple[float, int] | None:
    """Say which half decade, or else which seed, comes next at the best and beside it."""
    best = _best(seen)
    for near in (best.decade - 0.5, best.decade + 0.5):
        if near % 1 == 0.5 and near not in asked and domain[0] <= 10**near <= domain[1]:
            return float(10.0**near), 0
    beside = [level for level in seen if abs(level.decade - best.decade) <= 0.5 and math.isfinite(level.loss)]
    tries = {level.decade: len(level.seeds) + failed.count(level.decade) for level in beside}
    for level in sorted(beside, key=lambda level: (tries[level.decade], level.loss)):
        if tries[level.decade] < SEEDS_AT_BEST:
            return float(10.0**level.decade), tries[level.decade]
    return None


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best constant learning rate for the probes' horizon.

    Args:
        decade: its log10.
        spread: the standard deviation of that, in decades.
        runs: keys of the runs behind it.
        low, high: where else it may lie, in log10; both are `decade` where the probes agree.
        ambiguity: why low and high are apart, in words, or that nothing was tried beyond the best; None else.
    """

    decade: float
    spread: float
    runs: tuple[str, ...]
    low: float
    high: float
    ambiguity: str | None = None


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
    best, guess = _best(seen), guessing(evidence)
    if guess is None or best.loss + 3 * math.hypot(best.error, guess.error) >= guess.loss:
        return None
    runs = tuple(run for level in seen if abs(level.decade - best.decade) <= 1 for run in level.runs)
    vertex, spread = _refined(tried, best, guess.loss)
    by_seed, basins = _best_of_seeds(evidence), _basins(tried, best, guess.loss)
    if max(by_seed, default=0.0) - min(by_seed, default=0.0) > SEEDS_AGREE:
        told = f"seeds disagree: the best is at {_lrs(by_seed)}"
        return _doubted(vertex, max(spread, EDGE_SPREAD), runs, [*by_seed, *basins], told)
    if basins:
        return _doubted(vertex, spread, runs, basins, f"beyond a gap, {_lrs(basins)} is as good")
    return Optimum(vertex, spread, runs, vertex, vertex, _outermost(tried, best))


def is_at_edge(evidence: Evidence) -> bool:
    """Tell whether nothing was tried beyond the best on one of its sides."""
    tried = levels(evidence)
    best = _best(tried)
    return not tried[0].decade < best.decade < tried[-1].decade


def is_flat(evidence: Evidence) -> bool:
    """Tell whether no learning rate that ended, of three or more, is clearly better than another."""
    seen, guess = [level for level in levels(evidence) if math.isfinite(level.loss)], guessing(evidence)
    if len(seen) < LEAST_LEVELS or guess is None:
        return False
    best = _best(seen)
    return max(level.loss for level in seen) <= best.loss + _margin(best, guess.loss)


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
    noise = max(near[0].error ** 2 * len(near[0].seeds), left)
    slope = np.array([b / (2 * a * a), -1 / (2 * a), 0.0])
    return -b / (2 * a), math.sqrt(float(slope @ np.linalg.inv(design.T @ design) @ slope) * noise)


def _best_of_seeds(evidence: Evidence) -> list[float]:
    """Give log10 of each seed's best rate, rising, of the seeds that saw three rates or more."""
    seen: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for probe in evidence.probes:
        seen[probe.seed].append((probe.loss, decade(probe.lr)))
    return sorted(min(found)[1] for found in seen.values() if len({at for _, at in found}) >= LEAST_LEVELS)


def _basins(tried: list[Level], best: Level, chance_loss: float) -> list[float]:
    """Give log10 of the rates that are as good as the best, with a clearly worse one in between, rising."""
    enough = best.loss + _margin(best, chance_loss)
    worse = [level.decade for level in tried if level.loss > enough]
    nearest_below = max((at for at in worse if at < best.decade), default=-math.inf)
    nearest_above = min((at for at in worse if at > best.decade), default=math.inf)
    good = [level.decade for level in tried if level.loss <= enough]
    return [at for at in good if not nearest_below < at < nearest_above]


def _doubted(vertex: float, spread: float, runs: tuple[str, ...], others: list[float], ambiguity: str) -> Optimum:
    return Optimum(vertex, spread, runs, min(vertex, *others), max(vertex, *others), ambiguity)


def _lrs(decades: list[float]) -> str:
    return " and ".join(f"{10**at:.2g}" for at in dict.fromkeys(decades))


def _margin(best: Level, chance_loss: float) -> float:
    """By how much a loss must be above the best to be clearly worse: 2 standard errors, or 1 % of the drop."""
    return max(2 * best.error, WORSE_SHARE * max(0.0, chance_loss - best.loss))


def _walked_past(evidence: Evidence, seen: list[Level], step: int, edge: float) -> bool:
    """Tell whether the walk in one direction, which has come to the decade `edge`, went far enough beyond the best."""
    guess = guessing(evidence)
    whole = [level for level in seen if level.decade == round(level.decade)]
    if step > 0 and not (whole and whole[-1].decade == edge and math.isfinite(whole[-1].loss)):
        return True
    if guess is None or not whole:
        return False
    best = _best(seen)
    outside = (level for level in whole if step * (level.decade - best.decade) > 0)
    beyond = sorted(outside, key=lambda level: step * level.decade)
    clearly = [level.loss > best.loss + _margin(best, guess.loss) for level in beyond]
    is_past = len(clearly) >= 2 and clearly[-1] and clearly[-2]
    return is_past and (step > 0 or evidence.chance_loss is not None or _has_levelled_out(whole, best))


def _has_levelled_out(whole: list[Level], best: Level) -> bool:
    """Tell whether the lowest two decades are about as bad as each other: what is below them changes little."""
    lowest, above = whole[0].loss, whole[1].loss
    return math.isfinite(lowest) and abs(above - lowest) <= LEVELLED_SHARE * (lowest - best.loss)


def _is_hopeless(evidence: Evidence, seen: list[Level]) -> bool:
    """Tell whether more seeds would teach nothing: all diverged, none did better than guessing, or all did the same."""
    best = _best(seen).loss
    if evidence.chance_loss is not None:
        return math.isinf(best) or best >= evidence.chance_loss
    return all(level.loss in (best, math.inf) for level in seen)


def _best(seen: list[Level]) -> Level:
    return min(seen, key=lambda level: (level.loss, level.decade))


def _mean(losses: list[float]) -> float:
    return float(np.mean(losses)) if all(map(math.isfinite, losses)) else math.inf


def _stable(evidence: Evidence, losses: dict[float, list[float]]) -> list[list[float]]:
    """The losses that tell the noise: of all rates, but where only probes tell what guessing is worth not of the edge.

    Beyond the best, runs that end worse than guessing are on the edge of diverging. Their scatter would hide that the
    best is better than guessing: on a small regression two seeds gave 1.55 and 1.00 at three times the best rate, where
    0.73 and 0.70 at the best stand against 1.17 of guessing.
    """
    if evidence.chance_loss is not None:
        return list(losses.values())
    means = {where: _mean(found) for where, found in losses.items()}
    best = min(means, key=lambda where: (means[where], where), default=0.0)
    guess = next((means[where] for where in sorted(means) if math.isfinite(means[where])), math.inf)
    return [found for where, found in losses.items() if where <= best or means[where] <= guess]


def _seed_noise(groups: list[list[float]]) -> float:
    """Pool the standard deviation of one run over all learning rates with repeats; 0 while there are none."""
    repeated = [group for group in groups if len(group) > 1 and all(map(math.isfinite, group))]
    if not repeated:
        return 0.0
    squares = sum(float(np.var(group)) * len(group) for group in repeated)
    return math.sqrt(squares / sum(len(group) - 1 for group in repeated))
