"""Reading an LR range test: where its loss was lowest, and where it blew up (Smith 2015)."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrsearch.heuristics.evidence import Ramp

Numbers = npt.NDArray[np.float64]
WINDOW_SHARE = 0.05
BLOW_UP = 4.0
FLAT_DROP = 0.05
BOTTOM_SHARE = 0.1
AGREE_DECADES = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """What one range test shows.

    Args:
        run: the run's key.
        lowest: the learning rate at the lowest smoothed loss; None if the curve is flat.
        bottom: the middle, on a log axis, of the learning rates around it at which the smoothed loss is within a tenth
            of its fall from the lowest; None if the curve is flat.
        blown_up: the first learning rate past it at which the smoothed loss is over 4 times the lowest;
            None if there is none.
        smoothed: the smoothed losses, one for each point.
    """

    run: str
    lowest: float | None
    bottom: float | None
    blown_up: float | None
    smoothed: tuple[float, ...]


def read_ramp(ramp: Ramp) -> Reading:
    """Read a range test: smooth by a centred window of 5 % of the points, take the bottom, look past it.

    The middle of the bottom is the reading that is most stable over seeds: sd 0.05 to 0.11 decades over 12 seeds of
    each of four tasks, 300 updates each (`studies/range-test`), where the minimum itself has 0.09 to 0.24; 125 updates
    of LeNet are too few for either (0.3). A curve that falls by less than 5 % of its start is flat, and gives nothing.
    """
    if not ramp.losses:
        return Reading(ramp.run, None, None, None, ())
    smoothed = smooth(ramp.losses)
    best = int(np.argmin(smoothed))
    first = smoothed[: max(1, len(smoothed) // 10)].mean()
    if not math.isfinite(smoothed[best]) or smoothed[best] > (1 - FLAT_DROP) * first:
        return Reading(ramp.run, None, None, None, tuple(smoothed))
    over = [i for i in range(best, len(smoothed)) if smoothed[i] > BLOW_UP * smoothed[best]]
    blown_up, bottom = ramp.rates[over[0]] if over else None, _bottom(ramp.rates, smoothed, first)
    return Reading(ramp.run, ramp.rates[best], bottom, blown_up, tuple(smoothed))


def centre(readings: Sequence[Reading]) -> float | None:
    """Give the median, on a log axis, of the middles of the bottoms; None if all curves are flat."""
    return _median([reading.bottom for reading in readings if reading.bottom])


def lowest(readings: Sequence[Reading]) -> float | None:
    """Give the median, on a log axis, of the learning rates at the lowest loss; None if all curves are flat."""
    return _median([reading.lowest for reading in readings if reading.lowest])


def _median(rates: Sequence[float]) -> float | None:
    return 10 ** statistics.median(map(math.log10, rates)) if rates else None


def ceiling(readings: Sequence[Reading]) -> float | None:
    """Give the lowest learning rate that blew up in any range test; None if none did."""
    return min((reading.blown_up for reading in readings if reading.blown_up), default=None)


def disagree(readings: Sequence[Reading]) -> bool:
    """Tell whether repeats of the range test are more than half a decade apart."""
    found = [math.log10(reading.bottom) for reading in readings if reading.bottom]
    return len(found) > 1 and max(found) - min(found) > AGREE_DECADES


def _bottom(rates: Sequence[float], smoothed: Numbers, first: float) -> float:
    """Go from the lowest loss to both sides as long as the loss is within a tenth of its fall, and take the middle."""
    best = int(np.argmin(smoothed))
    above = np.flatnonzero(smoothed > smoothed[best] + BOTTOM_SHARE * (first - smoothed[best]))
    low = max(above[above < best], default=-1) + 1
    high = min(above[above > best], default=len(smoothed)) - 1
    return float(10 ** np.log10(rates[low : high + 1]).mean())


def smooth(losses: Sequence[float]) -> Numbers:
    """Give the mean of a centred window of 5 % of the points; at the ends, of the part of it that there is."""
    half = min(max(1, round(len(losses) * WINDOW_SHARE / 2)), max(0, len(losses) - 1) // 2)
    read = np.asarray(losses, dtype=np.float64)
    window, values = np.ones(2 * half + 1), np.where(np.isfinite(read), read, math.inf)
    return np.asarray(np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same"))
