"""The axes of a space: the values of one coordinate."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrsearch.errors import SpaceError

CLOSE = 1e-9
"""The relative difference up to which numbers are equal: far above rounding, far below any grid (a rule)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Real numbers from low to high, searched on a logarithmic or linear scale, perhaps only at marked points.

    Args:
        low, high: the bounds, both included; above 0 on a logarithmic scale.
        log: whether the scale is logarithmic, else linear.
        lattice: the only values that policies take, rising; empty if they take all. A sampler draws a real number
            from the interval, and `snap` takes the nearest mark.
    """

    low: float
    high: float
    log: bool = True
    lattice: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ordered = math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high
        if not ordered or (self.log and self.low <= 0):
            scale = "0 < low <= high" if self.log else "low <= high"
            raise SpaceError(f"an interval needs finite {scale}, got low={self.low!r}, high={self.high!r}")

    def __contains__(self, value: Any) -> bool:
        if self.lattice:
            return any(math.isclose(value, mark, rel_tol=CLOSE) for mark in self.lattice)
        return bool(self.low * (1 - CLOSE) <= value <= self.high * (1 + CLOSE))

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a number, evenly on the interval's scale."""
        drawn = rng.uniform(self._at(self.low), self._at(self.high))
        return min(max(math.exp(drawn) if self.log else drawn, self.low), self.high)

    def at_place(self, place: float) -> float:
        """The number at a place on the interval's scale, from 0 at its low end to 1 at its high end."""
        low, high = self._at(self.low), self._at(self.high)
        at = low + place * (high - low)
        value = math.exp(at) if self.log else at
        return min(max(value, self.low), self.high) if 0 <= place <= 1 else value

    def place_of(self, value: float) -> float:
        """The place of a number on the interval's scale, below 0 or above 1 outside; 0 where the ends are equal."""
        low, high = self._at(self.low), self._at(self.high)
        return (self._at(value) - low) / (high - low) if low < high else 0.0

    def snap(self, value: float) -> float:
        """The nearest mark of the lattice, on the interval's scale; the value itself where there is no lattice."""
        if not self.lattice:
            return value
        near = bisect.bisect(self.lattice, value)
        return min(self.lattice[max(near - 1, 0) : near + 1], key=lambda mark: abs(self._at(mark) - self._at(value)))

    def share(self, raw: "Interval") -> float:
        """The share of a raw interval's length that this one covers, on its scale; a lattice counts as its hull."""
        whole = raw._at(raw.high) - raw._at(raw.low)
        common = self._at(min(self.high, raw.high)) - self._at(max(self.low, raw.low))
        return max(0.0, common) / whole if whole else 1.0

    def within(self, low: float, high: float) -> "Interval":
        """The part from low to high; the nearest end of this interval where they do not meet."""
        inner_low, inner_high = min(max(low, self.low), self.high), max(min(high, self.high), self.low)
        return replace(self, low=inner_low, high=max(inner_low, inner_high))

    def at(self, marks: Sequence[float]) -> "Interval":
        """The hull of the marks that lie inside, with these as the lattice."""
        inside = tuple(sorted(mark for mark in set(marks) if mark in self))
        return replace(self, low=inside[0], high=inside[-1], lattice=inside) if inside else self

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, `lattice` only where there is one."""
        marks = {"lattice": list(self.lattice)} if self.lattice else {}
        return {"low": self.low, "high": self.high, "log": self.log, **marks}

    def _at(self, value: float) -> float:
        return math.log(value) if self.log else value


@dataclass(frozen=True, slots=True)
class Choice:
    """A few values, all equally likely."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw one of the values."""
        return self.values[int(rng.integers(len(self.values)))]

    def share(self, raw: "Choice") -> float:
        """The share of the raw values that remains."""
        return len(set(self.values) & set(raw.values)) / len(raw.values)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {"values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Fractions:
    """A rising list of fractions of the horizon: how many, and the bounds of each."""

    counts: Choice
    each: Interval

    def __contains__(self, value: Any) -> bool:
        return len(value) in self.counts and all(fraction in self.each for fraction in value)

    def share(self, raw: "Fractions") -> float:
        """The share of the raw prior mass that remains."""
        share_of_each = self.each.share(raw.each)
        shares = [share_of_each**count for count in self.counts.values if count in raw.counts]
        return float(sum(shares)) / len(raw.counts.values)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {"count": self.counts.to_json(), "each": self.each.to_json()}


Axis = Interval | Choice | Fractions
