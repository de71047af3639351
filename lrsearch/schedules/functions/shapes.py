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


def whole(x: Floats) -> Floats:
    """Round down, but not by floating-point noise: 2.9999999999 is 3."""
    return np.floor(x + 1e-9)


def halvings(height: Floats, times: Floats) -> Floats:
    """Halve that many times; thousands of times give 0, not an error."""
    return np.ldexp(height, -np.minimum(times, 2000).astype(np.int32))
