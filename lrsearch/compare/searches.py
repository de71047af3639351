"""Searches for a constant learning rate: each is a function from the tried learning rates to the next."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from lrsearch.compare.tables import LEAST_MARGIN
from lrsearch.heuristics import Pruned
from lrsearch.heuristics.probes import PROBE_RULES
from lrsearch.spaces import Interval
from lrsearch.study.rules import FUNNEL

NARROW = 2 * PROBE_RULES.least_spread
"""A gap in decades that is not halved while wider gaps remain: the best learning rate is not known more closely."""
Tried = Sequence[tuple[float, float]]
"""The learning rates of full runs and their final accuracies, in order."""
Suggest = Callable[[Tried], float]
"""Returns the next learning rate."""


def declared(lrs: Sequence[float]) -> Suggest:
    """Search a grid from its highest learning rate to its lowest."""
    return lambda tried: lrs[-1 - len(tried) % len(lrs)]


def at_random(axis: Interval, seed: int) -> Suggest:
    """Draw learning rates evenly on the log axis; the n-th depends on the seed and on n."""
    return lambda tried: axis.draw(np.random.default_rng((seed, len(tried))))


def tpe(axis: Interval, seed: int, first: float | None = None) -> Suggest:
    """Search by Optuna's TPE with its defaults; a first learning rate is enqueued. A diverged run has accuracy 0."""
    import optuna

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    if first:
        study.enqueue_trial({"peak": first})

    def suggest(tried: Tried) -> float:
        if tried:
            study.tell(len(tried) - 1, tried[-1][1])
        return study.ask().suggest_float("peak", axis.low, axis.high, log=True)

    return suggest


def within(pruned: Pruned, seed: int, stored: Sequence[float] = ()) -> Suggest:
    """Search a pruned range: the forecast of the probes, at most two stored learning rates, then the gaps halved.

    Stored learning rates outside of the range are left out. Every eighth run comes from outside, as in the funnel.
    """
    peak, axis = pruned.space.peak, pruned.raw.peak
    given = [pruned.forecast.lr] if pruned.forecast else []
    given += [lr for lr in stored if lr in peak][: FUNNEL.most_stored]

    def suggest(tried: Tried) -> float:
        if len(tried) < len(given):
            return given[len(tried)]
        if len(tried) % FUNNEL.explore_every == FUNNEL.explore_every - 1 and peak != axis:
            return outside(tried, peak, axis, seed)
        return halved(tried, reaching(tried, peak, axis), seed)

    return suggest


def halved(tried: Tried, axis: Interval, seed: int) -> float:
    """The middle of a gap: beyond an outermost learning rate as good as the best, beside the best, or anywhere.

    The search goes beyond a best at the edge first, and half a point is no difference. Narrow gaps are halved last; of
    gaps of one width the seed decides: an even seed goes down, an odd seed up.

    >>> halved([], Interval(0.01, 1.0), seed=0)
    0.1
    >>> round(halved([(0.1, 0.8), (0.316, 0.5)], Interval(0.01, 1.0), seed=0), 4)
    0.0316
    """
    seen = sorted((math.log10(lr), score) for lr, score in tried if lr in axis)
    if not seen:
        return _middle_of_widest(_gaps([], axis), seed)
    gaps, best = _gaps([log10_lr for log10_lr, _ in seen], axis), max(seen, key=lambda point: point[1])
    wide = [gap for gap in gaps if gap[1] - gap[0] >= NARROW - 1e-9]
    ends = (gaps[0], seen[0]), (gaps[-1], seen[-1])
    beyond = [gap for gap, (_, score) in ends if gap in wide and score >= best[1] - LEAST_MARGIN]
    return _middle_of_widest(beyond or [gap for gap in wide if best[0] in gap] or gaps, seed)


def outside(tried: Tried, peak: Interval, axis: Interval, seed: int) -> float:
    """The middle of the widest gap of the axis outside of the range.

    >>> round(outside([], Interval(0.01, 1.0), Interval(1e-5, 10.0), seed=0), 6)
    0.000316
    """
    low, high = math.log10(peak.low), math.log10(peak.high)
    gaps = _gaps([low, high, *(math.log10(lr) for lr, _ in tried)], axis)
    return _middle_of_widest([gap for gap in gaps if gap[1] <= low or gap[0] >= high], seed)


def reaching(tried: Tried, peak: Interval, axis: Interval) -> Interval:
    """The range, extended beyond an end where the best learning rate so far lies near it.

    >>> peak, axis = Interval(0.001, 0.1), Interval(1e-5, 10.0)
    >>> reaching([(0.01, 0.9)], peak, axis).high, round(reaching([(0.08, 0.9)], peak, axis).high, 3)
    (0.1, 0.505)
    """
    best = max(tried, key=lambda point: point[1])[0] if tried else math.sqrt(peak.low * peak.high)
    beside, beyond = 10**NARROW, 10 ** (2 * NARROW)
    low = min(peak.low, best / beyond) if best < peak.low * beside else peak.low
    high = max(peak.high, best * beyond) if best > peak.high / beside else peak.high
    return axis.within(low, high)


def _gaps(log10_lrs: Sequence[float], axis: Interval) -> list[tuple[float, float]]:
    return list(pairwise(sorted({math.log10(axis.low), *log10_lrs, math.log10(axis.high)})))


def _middle_of_widest(gaps: Sequence[tuple[float, float]], seed: int) -> float:
    side = -1 if seed % 2 == 0 else 1
    low, high = max(gaps, key=lambda gap: (round(gap[1] - gap[0], 6), side * gap[0]))
    return float(f"{10 ** ((low + high) / 2):.12g}")
