"""Reading an LR range test: where its loss was lowest, and where it blew up (Smith 2015).

All rules speak of the fall, first - lowest, so that they hold for any loss: cross-entropy, squared errors, perplexity.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrsearch.heuristics.evidence import FIRST_RULES, RULES, Ramp

Numbers = npt.NDArray[np.float64]
LOW, HIGH = "low", "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTestRules:
    """The constants by which a range test is read."""

    window_share: float = 0.05
    """Of the points, in one mean of the smoothed curve (a rule)."""
    first_share: float = 0.1
    """Of the points, whose mean is the loss before anything is learned (a rule)."""
    blow_up: float = 4.0
    """Times the lowest loss, within the two levels below. Source: fastai's learning-rate finder stops there."""
    least_rise: float = 0.25
    """Of the fall: a loss near 0 is not blown up where it is 4 times as near to 0."""
    negative_rise: float = 0.5
    """Of the fall, for a loss that goes below 0 (a rule, tried on `studies/range-test/losses.py`)."""
    flat_drop: float = 0.05
    """Of the start: a curve that falls by no more is flat (a rule)."""
    flat_scatter: float = 5.0
    """Standard errors. Measured on 1,000 curves of noise alone: 0.6 % (normal) to 2.7 % (chi-squared) fall by more in
    300 updates, up to 5 % in 100 and 14 % in 20."""
    hidden_drop: float = 0.25
    """Of the start: a curve that falls by so much, yet not clearly out of its scatter, is worth a longer test."""
    far: float = 10.0
    """Falls from the median of its neighbours: a loss so far off says nothing of its learning rate."""
    neighbours: int = 5
    """Losses in a running median: the median of five is unmoved by two that are far off."""
    optimum_share: float = 0.1
    """Of the fall: learning rates whose loss is so near to the lowest count in the optimum. Measured in
    `studies/range-test`, 12 seeds of four tasks: sd 0.05 to 0.11 decades, against 0.09 to 0.24 for the lowest."""
    agree_decades: float = 0.5
    """Repeats that are farther apart disagree (a rule: several times the scatter that was measured)."""


RANGE_TEST_RULES = RangeTestRules()


@dataclass(frozen=True, slots=True)
class Reading:
    """The learning rates that are read from one range test.

    Args:
        run: the run's key.
        lowest: the learning rate at the lowest smoothed loss; None if the curve does not fall.
        optimum: the middle, on a log axis, of the learning rates around it at which the smoothed loss is within a tenth
            of its fall from the lowest; None if the curve does not fall.
        blown_up: the first learning rate past it at which the smoothed loss is over 4 times the lowest, or back at
            its start; None if there is none.
        smoothed: the smoothed losses, one for each point.
        edge: the end of the range beyond which the optimum may lie, "low" or "high"; None where the loss turned.
        left_out: places of losses before the lowest that were not finite or far off, counted from 0.
    """

    run: str
    lowest: float | None
    optimum: float | None
    blown_up: float | None
    smoothed: tuple[float, ...]
    edge: str | None = None
    left_out: tuple[int, ...] = ()


def read_ramp(ramp: Ramp, rules: int = RULES) -> Reading:
    """Read a range test: smooth its losses over windows of 5 % of the points, then read optimum and blow-up.

    The optimum is the reading that is most stable over seeds: sd 0.05 to 0.11 decades over 12 seeds of each of four
    tasks, 300 updates each (`studies/range-test`). The minimum itself has 0.09 to 0.24. 125 updates of LeNet are too
    few for either (0.3).

    A curve is flat, and has no optimum, where it falls by 5 % of its start or less, or not clearly out of its scatter.
    It is blown up at the lower of two levels: its start, and 4 times the lowest (or a quarter of the fall above the
    lowest, where that is more). Where it goes below 0 that is half of the fall above the lowest, and a few spikes are
    no blow-up. A loss before the lowest that is not finite, or over 10 falls away from the median of its neighbours, is
    left out.

    Args:
        ramp: the range test.
        rules: the version in a study's record. By the first version no loss is left out, only 5 % of the start is
            flat, only 4 times the lowest is blown up, and no range has an edge.
    """
    if not ramp.losses:
        return Reading(ramp.run, None, None, None, ())
    is_first = rules == FIRST_RULES
    left_out = () if is_first else implausible(ramp.losses)
    smoothed = smooth(ramp.losses, left_out, ramp.steps)
    best = int(np.argmin(smoothed))
    first = _first(smoothed, ramp.steps)
    if not math.isfinite(smoothed[best]):
        return Reading(ramp.run, None, None, None, tuple(smoothed), None, left_out)
    clear = _clear(ramp.losses, left_out, best, first, ramp.steps)
    first_limit = (1 - RANGE_TEST_RULES.flat_drop) * first
    is_flat = smoothed[best] > first_limit if is_first else not first - smoothed[best] > clear
    if is_flat:
        edge = LOW if not is_first and _rises_at_once(smoothed, first, clear) else None
        return Reading(ramp.run, None, None, None, tuple(smoothed), edge, left_out)
    least = float(smoothed[best])
    level = RANGE_TEST_RULES.blow_up * least if is_first else _blow_up(first, least)
    over = np.flatnonzero((smoothed[best:] > level) & (is_first | _is_no_spike(ramp, least, level)[best:]))
    low, high = _around_lowest(smoothed, first)
    edge = HIGH if not is_first and high == len(smoothed) - 1 else None
    optimum = float(10 ** np.log10(ramp.lrs[low : high + 1]).mean())
    blown_up = ramp.lrs[best + int(over[0])] if len(over) else None
    return Reading(ramp.run, ramp.lrs[best], optimum, blown_up, tuple(smoothed), edge, left_out)


def range_test_optimum(readings: Sequence[Reading]) -> float | None:
    """The median of the repeats' optima, on a log axis; None if all curves are flat.

    Curves that had not turned when their range ended count only where no curve turned.
    """
    turned = [reading.optimum for reading in readings if reading.optimum and not reading.edge]
    return _median(turned or [reading.optimum for reading in readings if reading.optimum])


def lowest(readings: Sequence[Reading]) -> float | None:
    """The median, on a log axis, of the learning rates at the lowest loss; None if all curves are flat."""
    return _median([reading.lowest for reading in readings if reading.lowest])


def _median(lrs: Sequence[float]) -> float | None:
    return 10 ** statistics.median(map(math.log10, lrs)) if lrs else None


def ceiling(readings: Sequence[Reading]) -> float | None:
    """The lowest learning rate that blew up in any range test; None if none did."""
    return min((reading.blown_up for reading in readings if reading.blown_up), default=None)


def disagree(readings: Sequence[Reading]) -> bool:
    """Whether repeats of the range test are more than half a decade apart."""
    optima = [math.log10(reading.optimum) for reading in readings if reading.optimum]
    return len(optima) > 1 and max(optima) - min(optima) > RANGE_TEST_RULES.agree_decades


def implausible(losses: Sequence[float]) -> tuple[int, ...]:
    """Places of losses before the lowest that say nothing of their learning rate, counted from 0.

    They are not finite, or over 10 falls away from the median of the five losses around them. The fall and the lowest
    are those of the medians, so that one or two such losses in a row move neither. Such losses past the lowest are
    left in: there they are the blow-up.

    >>> implausible([math.inf, 2.3, 2.3, 2.2, 1.9, 1.2, 0.8, 0.7, 0.9, 2.0, math.inf])
    (0,)
    """
    values, medians = _finite_or_inf(losses), np.array(running_median(losses))
    if not len(medians):
        return ()
    best = int(np.argmin(medians))
    if not math.isfinite(medians[best]):
        return ()
    before = medians[:best][np.isfinite(medians[:best])]
    fall = float(before.max() - medians[best]) if len(before) else 0.0
    with np.errstate(invalid="ignore"):
        far = np.abs(values - medians)[:best] > RANGE_TEST_RULES.far * fall
    return tuple(np.flatnonzero(far | ~np.isfinite(values[:best])).tolist())


def running_median(losses: Sequence[float]) -> tuple[float, ...]:
    """The median of the five losses around each; at the ends, of the first or last five. Empty below five losses.

    >>> running_median([2.3, math.nan, 2.2, 2.1, 1.9, 99.0, 1.5])
    (2.2, 2.2, 2.2, 2.2, 2.1, 2.1, 2.1)
    """
    if len(losses) < RANGE_TEST_RULES.neighbours:
        return ()
    windows = np.lib.stride_tricks.sliding_window_view(_finite_or_inf(losses), RANGE_TEST_RULES.neighbours)
    middle = np.partition(windows, RANGE_TEST_RULES.neighbours // 2, axis=1)[:, RANGE_TEST_RULES.neighbours // 2]
    return tuple(np.pad(middle, RANGE_TEST_RULES.neighbours // 2, mode="edge").tolist())


def smooth(losses: Sequence[float], left_out: Sequence[int] = (), steps: int | None = None) -> Numbers:
    """The mean of each point's window of 5 % of the points, centred on it; at the ends the window is cut off.

    Args:
        losses: one for each point.
        left_out: places that no mean counts; a window of such places only is interpolated from the next means.
        steps: points of the whole test, where it ended sooner.
    """
    half = _half_window(len(losses), steps)
    window, values = np.ones(2 * half + 1), _finite_or_inf(losses)
    counted = np.ones(len(values))
    counted[list(left_out)] = 0
    sums = np.convolve(np.where(counted > 0, values, 0), window, "same")
    counts = np.convolve(counted, window, "same")
    known = np.flatnonzero(counts)
    means = sums[known] / counts[known]
    return np.asarray(means if len(known) == len(values) else np.interp(np.arange(len(values)), known, means))


def hidden_fall(ramp: Ramp, reading: Reading) -> float | None:
    """By how much a curve falls that is flat because of its scatter alone; None where it falls too little.

    A loss over one or two samples scatters by as much as it is: 300 updates of it can be too few to see it fall.
    """
    smoothed = np.asarray(reading.smoothed)
    first, least = _first(smoothed, ramp.steps), float(smoothed.min(initial=math.inf))
    fall = first - least
    return fall if math.isfinite(fall) and fall > RANGE_TEST_RULES.hidden_drop * abs(first) else None


def _first(smoothed: Numbers, steps: int | None) -> float:
    """The mean of the first tenth: the loss before anything is learned."""
    begun = max(1, int((steps or len(smoothed)) * RANGE_TEST_RULES.first_share))
    return float(smoothed[:begun].mean()) if len(smoothed) else math.inf


def _half_window(points: int, steps: int | None) -> int:
    return min(max(1, round((steps or points) * RANGE_TEST_RULES.window_share / 2)), max(0, points - 1) // 2)


def _finite_or_inf(losses: Sequence[float]) -> Numbers:
    read = np.asarray(losses, dtype=np.float64)
    return np.where(np.isfinite(read), read, math.inf)


def _clear(losses: Sequence[float], left_out: Sequence[int], best: int, first: float, steps: int | None) -> float:
    """By how much a smoothed loss must differ from the first to count: 5 % of it, or 5 of its standard errors.

    The scatter of one loss is read from the jumps between neighbours, up to the lowest: those of the blow-up are none.
    """
    read = np.delete(_finite_or_inf(losses), left_out)[: max(best + 1, len(losses) // 4)]
    jumps = np.diff(read[np.isfinite(read)])
    scatter = math.sqrt(float(np.mean(jumps**2)) / 2) if len(jumps) else 0.0
    error = scatter / math.sqrt(2 * _half_window(len(losses), steps) + 1)
    return max(RANGE_TEST_RULES.flat_drop * abs(first), RANGE_TEST_RULES.flat_scatter * error)


def _rises_at_once(smoothed: Numbers, first: float, clear: float) -> bool:
    """Whether a curve that does not fall is above its start before half of its range: it begins too high."""
    above = np.flatnonzero(smoothed > first + clear)
    return len(above) > 0 and above[0] < len(smoothed) / 2


def _is_no_spike(ramp: Ramp, lowest: float, level: float) -> npt.NDArray[np.bool_]:
    """The points, as booleans, at which a loss that goes below 0 is above a level by more than a few spikes.

    Such a loss is a log-likelihood: once variances have become small, a single sample can be any number.
    """
    medians = running_median(ramp.losses) if lowest < 0 else ()
    return smooth(medians, (), ramp.steps) > level if medians else np.ones(len(ramp.losses), dtype=bool)


def _blow_up(first: float, lowest: float) -> float:
    """The smoothed loss above which a curve is blown up; a multiple of a lowest loss below 0 would lie under it."""
    if lowest < 0:
        return lowest + RANGE_TEST_RULES.negative_rise * (first - lowest)
    return min(first, max(RANGE_TEST_RULES.blow_up * lowest, lowest + RANGE_TEST_RULES.least_rise * (first - lowest)))


def _around_lowest(smoothed: Numbers, first: float) -> tuple[int, int]:
    """The first and last point around the lowest loss up to which the loss is within a tenth of its fall."""
    best = int(np.argmin(smoothed))
    above = np.flatnonzero(smoothed > smoothed[best] + RANGE_TEST_RULES.optimum_share * (first - smoothed[best]))
    low = int(max(above[above < best], default=-1)) + 1
    high = int(min(above[above > best], default=len(smoothed))) - 1
    return low, high
