"""Small pieces from which curves are made."""

import numpy as np

from lrsearch.schedules.function import Floats


def between(k0: float, k1: float, height: Floats) -> Floats:
    """The LRBench paper's formula (2): height 0 is the lower, height 1 the higher of the two."""
    lrs: Floats = abs(k0 - k1) * height + np.minimum(k0, k1)
    return lrs


def towards(k0: float, k1: float, done: Floats) -> Floats:
    """From k0, nothing done, to k1, all done; never outside of them."""
    return k0 * (1 - done) + k1 * done


def progress(t: Floats, start: float, end: float) -> Floats:
    """How much of the way from start to end is done, in [0, 1]."""
    return np.minimum(np.maximum((t - start) / (end - start), 0), 1)


def phase(t: Floats, l: float) -> Floats:
    """The position in a cycle of 2 l steps, in [0, 2)."""
    return np.fmod(t, 2 * l) / l


def triangle(t: Floats, l: float) -> Floats:
    """A triangle wave that starts at 0, with period 2 l."""
    return 1 - np.abs(phase(t, l) - 1)


def sawtooth(t: Floats, l: float) -> Floats:
    """Falls from 1 towards 0 over l steps and jumps back to 1."""
    passed = t / l
    return 1 - np.maximum(passed - whole(passed), 0)


def fall_through(x: Floats, places: tuple[float, float], heights: tuple[float, float]) -> Floats:
    """A monotone cubic spline from height 1 at place 0 through two points down to height 0 at place 1.

    The slope at an inner point is the weighted harmonic mean of the slopes to its neighbours, so the curve never leaves
    the heights of its two neighbours. Source: Fritsch and Butland 1984, the PCHIP of scipy.

    Args:
        x: places from 0 to 1.
        places: of the two points, rising, between 0 and 1.
        heights: of the two points, from 1 to 0, not rising.
    """
    knots, values = np.array((0, *places, 1), dtype=np.float64), np.array((1, *heights, 0), dtype=np.float64)
    widths, rises = np.diff(knots), np.diff(values)
    slopes = rises / widths
    inner = [_inner_slope(*pair) for pair in ((widths[:2], slopes[:2]), (widths[1:], slopes[1:]))]
    ends = _end_slope(widths[:2], slopes[:2]), _end_slope(widths[:0:-1], slopes[:0:-1])
    tangents = np.array((ends[0], *inner, ends[1]))
    piece = np.minimum(np.searchsorted(knots, x, side="right") - 1, 2)
    u, width = (x - knots[piece]) / widths[piece], widths[piece]
    left, right = tangents[piece] * width, tangents[piece + 1] * width
    cubic = values[piece] + u * u * (3 - 2 * u) * rises[piece] + u * (1 - u) * ((1 - u) * left - u * right)
    curve: Floats = np.clip(cubic, values[piece + 1], values[piece])
    return curve


def _inner_slope(widths: Floats, slopes: Floats) -> float:
    """The slope at a point between two pieces."""
    if not slopes.all():
        return 0.0
    weights = (widths[0] + 2 * widths[1], 2 * widths[0] + widths[1])
    return float(sum(weights) / (weights[0] / slopes[0] + weights[1] / slopes[1]))


def _end_slope(widths: Floats, slopes: Floats) -> float:
    """The slope at the outer end of the first of two pieces, by three points."""
    slope = ((2 * widths[0] + widths[1]) * slopes[0] - widths[0] * slopes[1]) / (widths[0] + widths[1])
    if slope * slopes[0] <= 0:
        return 0.0
    return float(slope)


def whole(x: Floats) -> Floats:
    """Round down, but not by floating-point noise: 2.9999999999 is 3."""
    return np.floor(x + 1e-9)


def halvings(height: Floats, times: Floats) -> Floats:
    """Halve that many times; thousands of times give 0, not an error."""
    return np.ldexp(height, -np.minimum(times, 2000).astype(np.int32))
