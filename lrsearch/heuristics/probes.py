"""Constant-LR probes: short runs at learning rates 10^-k, around the range-test optimum (Wu et al. 2019, V.A)."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from lrsearch.heuristics.evidence import Evidence, Probe, log10_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRules:
    """The constants of the walk over constant learning rates, and of reading it."""

    optimum_over_constant: float = 5.0
    """Range-test optimum / best constant LR. Measured at the lowest loss, on MLPs for MNIST and CIFAR-10, 8 seeds: a
    tenth lies 0.2 to 0.4 decades low, a third 0.1 to 0.3 high."""
    unknown_start: float = 0.01
    """The first probe where no range test has an optimum (a rule)."""
    worse_share: float = 0.01
    """Of the drop from guessing to the best: a smaller difference does not count, whatever the scatter (a rule)."""
    seeds_at_best: int = 3
    """Seeds at the best learning rate and beside it (a rule)."""
    least_decades: int = 3
    """Fewer decades than this do not narrow a range: the best of two is always the outermost."""
    most_decades: int = 10
    """The walk ends after so many decades, so that it ends on any task (a rule)."""
    least_levels: int = 3
    """A parabola has three coefficients."""
    least_spread: float = 0.2
    """In decades: no vertex is trusted further (a rule; about the step of a grid with five points a decade)."""
    edge_spread: float = 0.5
    """In decades, where the best is the outermost that was tried: its other neighbour is unknown (a rule)."""
    seeds_agree: float = 0.5
    """In decades: half a decade is the finest step of the walk, so seeds that differ by more do disagree."""
    levelled_share: float = 0.1
    """Of the fall. Below some learning rate the fall is proportional to it, so that a decade takes nine tenths of what
    is left of it: where the last decade took a tenth of the fall or less, about a hundredth of it is left."""


PROBE_RULES = ProbeRules()


@dataclass(frozen=True, slots=True)
class Level:
    """One learning rate that was probed: its log10, mean loss (or cost), standard error, and the runs behind it."""

    log10_lr: float
    loss: float
    error: float
    seeds: tuple[int, ...]
    runs: tuple[str, ...]


def levels(evidence: Evidence) -> list[Level]:
    """The probed learning rates in rising order, repeats with other seeds averaged.

    The order in which the probes were made does not matter, not even for the last bit of a mean.
    """
    by_lr: dict[float, list[Probe]] = defaultdict(list)
    for probe in sorted(evidence.probes, key=lambda probe: (probe.lr, probe.seed, probe.run)):
        by_lr[log10_of(probe.lr)].append(probe)
    losses = {log10_lr: [probe.loss for probe in probes] for log10_lr, probes in by_lr.items()}
    noise = _seed_noise(_stable_losses(evidence, losses))
    return [
        Level(
            log10_lr,
            _mean(losses[log10_lr]),
            noise / math.sqrt(len(probes)),
            tuple(probe.seed for probe in probes),
            tuple(probe.run for probe in probes),
        )
        for log10_lr, probes in sorted(by_lr.items())
    ]


def guessing(evidence: Evidence) -> Level | None:
    """The level of guessing: what the task says it is, else that of the lowest learning rate that did not diverge.

    A range test's first training loss would be another choice. It compares with the probes only where the metric is
    that very loss, on the same samples, in the same mode. No data says whether it is: a squared error is often trained
    for an accuracy, and a validation loss leaves out dropout, label smoothing and penalties. A probe is measured as
    all others are, so that adding to the metric, or another unit of it, changes nothing.

    None where neither exists: no loss of guessing is given, and no probe ended without divergence.
    """
    if evidence.chance_loss is not None:
        return Level(-math.inf, evidence.chance_loss, 0.0, (), ())
    return next((level for level in levels(evidence) if math.isfinite(level.loss)), None)


def next_probe(evidence: Evidence, start: float | None, domain: tuple[float, float]) -> tuple[float, int] | None:
    """The learning rate to probe next, and the seed; None when the walk is over.

    Start at the decade nearest to a fifth of the range-test optimum (0.01 if that is unknown). Walk up, then down,
    until two decades in a row are clearly worse than the best, or the upper one diverges or fails. Then probe the half
    decades beside the best, then up to 3 seeds at the best and beside it. Where the task does not say what guessing
    is worth, the walk down goes on until the curve has levelled out: the lowest probe counts as guessing then.

    Args:
        evidence: the runs so far.
        start: the range-test optimum, a learning rate.
        domain: the lowest and highest learning rate that may be probed.
    """
    seen = levels(evidence)
    failed = [log10_of(lr) for lr, _ in evidence.failed]
    tried = sorted({level.log10_lr for level in seen} | set(failed))
    whole = [log10_lr for log10_lr in tried if log10_lr == round(log10_lr)]
    if not whole:
        first = math.log10(start / PROBE_RULES.optimum_over_constant if start else PROBE_RULES.unknown_start)
        low, high = (math.ceil(math.log10(domain[0])), math.floor(math.log10(domain[1])))
        return 10.0 ** min(max(round(first), low), high), 0
    for step, edge in ((1, whole[-1]), (-1, whole[0])):
        to = edge + step
        inside = domain[0] <= 10**to * (1 + 1e-9) and 10**to <= domain[1] * (1 + 1e-9)
        if inside and len(whole) < PROBE_RULES.most_decades and not _walked_past(evidence, seen, step, edge):
            return float(10.0**to), 0
    return None if not seen or _is_hopeless(evidence, seen) else _refining(seen, tried, failed, domain)


def _refining(
    seen: list[Level], tried: list[float], failed: list[float], domain: tuple[float, float]
) -> tuple[float, int] | None:
    """The half decade, or else the seed, that comes next at the best and beside it."""
    best = _best(seen)
    for near in (best.log10_lr - 0.5, best.log10_lr + 0.5):
        if near % 1 == 0.5 and near not in tried and domain[0] <= 10**near <= domain[1]:
            return float(10.0**near), 0
    beside = [level for level in seen if abs(level.log10_lr - best.log10_lr) <= 0.5 and math.isfinite(level.loss)]
    tries = {level.log10_lr: len(level.seeds) + failed.count(level.log10_lr) for level in beside}
    for level in sorted(beside, key=lambda level: (tries[level.log10_lr], level.loss)):
        if tries[level.log10_lr] < PROBE_RULES.seeds_at_best:
            return float(10.0**level.log10_lr), tries[level.log10_lr]
    return None


@dataclass(frozen=True, slots=True)
class BestConstantLR:
    """The best constant learning rate for the probes' horizon.

    Args:
        log10_lr: its log10.
        spread: the standard deviation of that, in decades.
        runs: keys of the runs behind it.
        low, high: where else it may lie, in log10; both are `log10_lr` where the probes agree.
        ambiguity: why low and high are apart, in words, or that nothing was tried beyond the best; None else.
    """

    log10_lr: float
    spread: float
    runs: tuple[str, ...]
    low: float
    high: float
    ambiguity: str | None = None


def best_constant_lr(evidence: Evidence) -> BestConstantLR | None:
    """Fit a parabola through the best point and its neighbours, weighted by 1/SE^2; the best point if that fails.

    Only points better than guessing are fitted, so that a run on the edge of diverging does not bend it. Seeds that
    prefer learning rates over half a decade apart, and a second basin that is as good, widen the answer.
    None where nothing was learned: no probe, all diverged, or none better than guessing by 3 standard errors.
    """
    tried = levels(evidence)
    seen = [level for level in tried if math.isfinite(level.loss)]
    if not seen:
        return None
    best, guess = _best(seen), guessing(evidence)
    if guess is None or best.loss + 3 * math.hypot(best.error, guess.error) >= guess.loss:
        return None
    runs = tuple(run for level in seen if abs(level.log10_lr - best.log10_lr) <= 1 for run in level.runs)
    vertex, spread = _refined(tried, best, guess.loss)
    by_seed, basins = _best_of_seeds(evidence), _basins(tried, best, guess.loss)
    if max(by_seed, default=0.0) - min(by_seed, default=0.0) > PROBE_RULES.seeds_agree:
        ambiguity = f"seeds disagree: the best is at {_lrs(by_seed)}"
        return _ambiguous(vertex, max(spread, PROBE_RULES.edge_spread), runs, [*by_seed, *basins], ambiguity)
    if basins:
        return _ambiguous(vertex, spread, runs, basins, f"beyond a gap, {_lrs(basins)} is as good")
    return BestConstantLR(vertex, spread, runs, vertex, vertex, _outermost(tried, best))


def is_at_edge(evidence: Evidence) -> bool:
    """Whether nothing was tried beyond the best on one of its sides."""
    tried = levels(evidence)
    best = _best(tried)
    return not tried[0].log10_lr < best.log10_lr < tried[-1].log10_lr


def is_flat(evidence: Evidence) -> bool:
    """Whether no learning rate that ended, of three or more, is clearly better than another."""
    seen, guess = [level for level in levels(evidence) if math.isfinite(level.loss)], guessing(evidence)
    if len(seen) < PROBE_RULES.least_levels or guess is None:
        return False
    best = _best(seen)
    return max(level.loss for level in seen) <= best.loss + _margin(best, guess.loss)


def _outermost(tried: list[Level], best: Level) -> str | None:
    """A sentence where the best of several is the last on one side; None where it has neighbours on both."""
    if len(tried) < PROBE_RULES.least_levels or best not in (tried[0], tried[-1]):
        return None
    return f"it is the {'lowest' if best is tried[0] else 'highest'} that was tried, so the best may lie beyond"


def _refined(tried: list[Level], best: Level, chance_loss: float) -> tuple[float, float]:
    """Log10 of the best learning rate and its spread, from the parabola through the points beside the best.

    Those within half a decade, or the next on each side where they are farther. A parabola is a local thing: the
    loss climbs slowly below the best learning rate and steeply above, so that farther points pull its vertex away.
    """
    place = tried.index(best)
    if place in (0, len(tried) - 1):
        return best.log10_lr, PROBE_RULES.edge_spread
    below, above = tried[place - 1], tried[place + 1]
    near = [level for level in tried if abs(level.log10_lr - best.log10_lr) <= 0.5 or level in (below, above)]
    near = [level for level in near if level.loss < chance_loss]
    vertex = _vertex(near) if len(near) >= PROBE_RULES.least_levels else None
    if vertex is None or not near[0].log10_lr <= vertex[0] <= near[-1].log10_lr:
        return best.log10_lr, max(PROBE_RULES.least_spread, (above.log10_lr - below.log10_lr) / 4)
    return vertex[0], max(PROBE_RULES.least_spread, vertex[1])


def _vertex(near: list[Level]) -> tuple[float, float] | None:
    """The vertex of the weighted parabola and its standard error; None if it has no lowest point.

    With x = -b / 2a and C the covariance of (a, b), the error is sqrt(g' C g) for g = (b / 2a^2, -1 / 2a). The
    noise is the seeds', or what the parabola leaves unexplained if that is more.
    """
    x, y = np.array([level.log10_lr for level in near]), np.array([level.loss for level in near])
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
    """Log10 of each seed's best learning rate, rising, of the seeds that saw three learning rates or more."""
    by_seed: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for probe in evidence.probes:
        by_seed[probe.seed].append((probe.loss, log10_of(probe.lr)))
    return sorted(
        min(points)[1]
        for points in by_seed.values()
        if len({log10_lr for _, log10_lr in points}) >= PROBE_RULES.least_levels
    )


def _basins(tried: list[Level], best: Level, chance_loss: float) -> list[float]:
    """Log10 of the learning rates as good as the best with a clearly worse one in between, rising."""
    limit = best.loss + _margin(best, chance_loss)
    worse = [level.log10_lr for level in tried if level.loss > limit]
    nearest_below = max((log10_lr for log10_lr in worse if log10_lr < best.log10_lr), default=-math.inf)
    nearest_above = min((log10_lr for log10_lr in worse if log10_lr > best.log10_lr), default=math.inf)
    good = [level.log10_lr for level in tried if level.loss <= limit]
    return [log10_lr for log10_lr in good if not nearest_below < log10_lr < nearest_above]


def _ambiguous(
    vertex: float, spread: float, runs: tuple[str, ...], others: list[float], ambiguity: str
) -> BestConstantLR:
    return BestConstantLR(vertex, spread, runs, min(vertex, *others), max(vertex, *others), ambiguity)


def _lrs(log10_lrs: list[float]) -> str:
    return " and ".join(f"{10**log10_lr:.2g}" for log10_lr in dict.fromkeys(log10_lrs))


def _margin(best: Level, chance_loss: float) -> float:
    """By how much a loss must be above the best to be clearly worse: 2 standard errors, or 1 % of the drop."""
    return max(2 * best.error, PROBE_RULES.worse_share * max(0.0, chance_loss - best.loss))


def _walked_past(evidence: Evidence, seen: list[Level], step: int, edge: float) -> bool:
    """Whether the walk in one direction, which has come to the decade `edge`, went far enough beyond the best."""
    guess = guessing(evidence)
    whole = [level for level in seen if level.log10_lr == round(level.log10_lr)]
    if step > 0 and not (whole and whole[-1].log10_lr == edge and math.isfinite(whole[-1].loss)):
        return True
    if guess is None or not whole:
        return False
    best = _best(seen)
    outside = (level for level in whole if step * (level.log10_lr - best.log10_lr) > 0)
    beyond = sorted(outside, key=lambda level: step * level.log10_lr)
    is_worse = [level.loss > best.loss + _margin(best, guess.loss) for level in beyond]
    is_past = len(is_worse) >= 2 and is_worse[-1] and is_worse[-2]
    return is_past and (step > 0 or evidence.chance_loss is not None or _has_levelled_out(whole, best))


def _has_levelled_out(whole: list[Level], best: Level) -> bool:
    """Whether the lowest two decades are about as bad as each other: below them little changes."""
    lowest, above = whole[0].loss, whole[1].loss
    return math.isfinite(lowest) and abs(above - lowest) <= PROBE_RULES.levelled_share * (lowest - best.loss)


def _is_hopeless(evidence: Evidence, seen: list[Level]) -> bool:
    """Whether more seeds would teach nothing: all diverged, none did better than guessing, or all did the same."""
    best = _best(seen).loss
    if evidence.chance_loss is not None:
        return math.isinf(best) or best >= evidence.chance_loss
    return all(level.loss in (best, math.inf) for level in seen)


def _best(seen: list[Level]) -> Level:
    return min(seen, key=lambda level: (level.loss, level.log10_lr))


def _mean(losses: list[float]) -> float:
    return float(np.mean(losses)) if all(map(math.isfinite, losses)) else math.inf


def _stable_losses(evidence: Evidence, losses: dict[float, list[float]]) -> list[list[float]]:
    """The losses, by learning rate, that measure the noise: all, or without those on the edge of diverging.

    Only a task that does not say what guessing is worth leaves some out. Beyond the best, runs that end worse than
    guessing are on the edge of diverging. Their scatter would hide that the best is better than guessing: on a small
    regression two seeds gave 1.55 and 1.00 at three times the best learning rate, where 0.73 and 0.70 at the best
    stand against 1.17 of guessing.
    """
    if evidence.chance_loss is not None:
        return list(losses.values())
    means = {log10_lr: _mean(repeats) for log10_lr, repeats in losses.items()}
    best = min(means, key=lambda log10_lr: (means[log10_lr], log10_lr), default=0.0)
    guess = next((means[log10_lr] for log10_lr in sorted(means) if math.isfinite(means[log10_lr])), math.inf)
    return [repeats for log10_lr, repeats in losses.items() if log10_lr <= best or means[log10_lr] <= guess]


def _seed_noise(groups: list[list[float]]) -> float:
    """The standard deviation of one run, pooled over all learning rates with repeats; 0 while there are none."""
    repeated = [group for group in groups if len(group) > 1 and all(map(math.isfinite, group))]
    if not repeated:
        return 0.0
    squares = sum(float(np.var(group)) * len(group) for group in repeated)
    return math.sqrt(squares / sum(len(group) - 1 for group in repeated))
