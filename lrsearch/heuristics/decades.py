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
LEAST_SPREAD = 0.2
EDGE_SPREAD = 0.5


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
    """The best constant learning rate for the probes' horizon: log10, its spread, and the runs behind it."""

    decade: float
    spread: float
    runs: tuple[str, ...]


def optimum(evidence: Evidence) -> Optimum | None:
    """Fit a parabola through the best point and those within a decade of it; the best point if that fails.

    Only what did better than guessing is fitted, so that a run on the edge of diverging does not bend it.
    None where nothing was learned: no probe, all diverged, or none better than guessing by 3 standard errors.
    """
    tried = levels(evidence)
    seen = [level for level in tried if math.isfinite(level.loss)]
    if not seen:
        return None
    best = _best(seen)
    if best.loss + 3 * best.error >= evidence.chance_loss:
        return None
    near = [level for level in seen if abs(level.decade - best.decade) <= 1]
    runs = tuple(run for level in near for run in level.runs)
    if not tried[0].decade < best.decade < tried[-1].decade:
        return Optimum(best.decade, EDGE_SPREAD, runs)
    better = [level for level in near if level.loss < evidence.chance_loss]
    if len(better) < 3:
        return Optimum(best.decade, LEAST_SPREAD, runs)
    curvature, slope, _ = np.polyfit([level.decade for level in better], [level.loss for level in better], 2)
    vertex = -slope / (2 * curvature) if curvature > 0 else math.nan
    if not better[0].decade <= vertex <= better[-1].decade:
        vertex = best.decade
    return Optimum(float(vertex), max(LEAST_SPREAD, abs(vertex - best.decade) / 2), runs)


def _walked_past(whole: list[Level], best: Level, step: int, chance_loss: float) -> bool:
    """Tell whether the walk in one direction has gone far enough beyond the best."""
    if step > 0 and not math.isfinite(whole[-1].loss):
        return True
    outside = (level for level in whole if step * (level.decade - best.decade) > 0)
    beyond = sorted(outside, key=lambda level: step * level.decade)
    margin = max(2 * best.error, WORSE_SHARE * max(0.0, chance_loss - best.loss))
    clearly = [level.loss > best.loss + margin for level in beyond]
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
