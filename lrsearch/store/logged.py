"""Logged values: numbers read from numbers, tensors and arrays, and curves of bounded length."""

from itertools import pairwise
from typing import Any

from lrsearch.errors import LRSearchError
from lrsearch.store.entries import Curve

MOST_POINTS = 10_000
"""Points of a curve: a rule. A longer curve loses every second point."""
NOT_A_NUMBER = (TypeError, ValueError, OverflowError, RuntimeError, LRSearchError)
"""Errors of reading a number from a value that is none; a tensor of several raises RuntimeError."""


class ThinnedCurve:
    """A curve of bounded length: every n-th point and the last one; n doubles when there are too many."""

    def __init__(self) -> None:
        self._points: list[tuple[int, float]] = []
        self._last: tuple[int, float] | None = None
        self._seen, self._stride = 0, 1

    def add(self, step: int, value: float) -> None:
        """Add a point. A point of the same step as the last replaces it; one of an earlier step is dropped."""
        if self._last and step <= self._last[0]:
            if step == self._last[0]:
                self._last = (step, value)
                if self._points[-1][0] == step:
                    self._points[-1] = self._last
            return
        self._last = (step, value)
        if self._seen % self._stride == 0:
            self._points.append(self._last)
        self._seen += 1
        if len(self._points) > MOST_POINTS:
            del self._points[1::2]
            self._stride *= 2

    def curve(self) -> Curve:
        """The points so far."""
        missing = [self._last] if self._last and self._points[-1] != self._last else []
        return (*self._points, *missing)


def number(value: Any) -> float:
    """The float of a number, or of a tensor or array of one element; texts are not numbers.

    Raises:
        One of `NOT_A_NUMBER`: if it is not a number.
    """
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"a text is no number: {value!r}"[:80])
    detach = getattr(value, "detach", None)
    return float(detach() if callable(detach) else value)


def evenly_spaced(curve: Curve) -> tuple[int, tuple[float, ...]]:
    """Stride and values of a curve that was logged at a fixed stride; no values of another curve."""
    strides = {after - before for (before, _), (after, _) in pairwise(curve)}
    return (strides.pop(), tuple(value for _, value in curve)) if len(strides) == 1 else (1, ())
