"""Natural coordinates: axes with one meaning for the policies of every LR function.

An LR function declares its coordinates by role, and each role converts both ways at a horizon N:

    peak        the upper bound of the learning rate
    ratio       floor / peak, in [0, 1]; 0 means "to zero"
    cycles      N / length of one repetition
    decay       height at step N / first height, in (0, 1]
    power       an exponent
    end         where the curve ends, as a fraction of N
    warmup      the length of a warm-up, as a fraction of N
    milestones  where stages change, as fractions of N without the warm-up
    growth      the length of a repetition over that of the one before
    beta        how long REX stays high
    levels      log2 of the number of values of a fractal schedule
    height      the height of a spline's first inner point, of the way from floor to peak
    drop        the height of its second inner point over that of the first

`read` maps parameters to coordinates, `write` maps back. The curve stays the same on steps 0 .. N-1 (relative 1e-9).
Parameters without coordinates are refused, with the reason.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lrsearch.errors import PolicyError
from lrsearch.schedules.values import snap
from lrsearch.words import counted

Coordinates = dict[str, Any]
Params = dict[str, Any]


class Conversion(Protocol):
    """One coordinate, or a pair that belongs together, and its conversion."""

    @property
    def names(self) -> tuple[str, ...]:
        """The coordinates' names."""

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        """Turn parameters into coordinates at a horizon in steps."""

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        """Turn coordinates at a horizon in steps into parameters."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The first learning rate is the highest, and there is no floor."""

    field: str = "k0"
    names: tuple[str, ...] = ("peak",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {"peak": _positive(params[self.field], "a peak learning rate")}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: at["peak"]}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Two learning rates between which the curve stays, in either order; the lower may be 0 if `to_zero`."""

    low: str = "k0"
    high: str = "k1"
    to_zero: bool = True
    names: tuple[str, ...] = ("peak", "ratio")

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        floor, peak = sorted((params[self.low], params[self.high]))
        return {"peak": _positive(peak, "a peak learning rate"), "ratio": floor / peak}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.low: at["ratio"] * at["peak"], self.high: at["peak"]}


@dataclass(frozen=True, slots=True)
class Fall:
    """A learning rate from which the curve falls, and one to which it falls."""

    low: str = "k1"
    high: str = "k0"
    names: tuple[str, ...] = ("peak", "ratio")

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        floor, peak = params[self.low], _positive(params[self.high], "a peak learning rate")
        if floor > peak:
            raise PolicyError(f"no natural coordinates for a curve that rises from {peak:g} to {floor:g}")
        return {"peak": peak, "ratio": floor / peak}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.low: at["ratio"] * at["peak"], self.high: at["peak"]}


@dataclass(frozen=True, slots=True)
class Left:
    """The learning rate of the last step, as a share of the peak."""

    field: str
    peak: str
    names: tuple[str, ...] = ("decay",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {"decay": _positive(params[self.field], "a learning rate left at the end") / params[self.peak]}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: at["decay"] * at["peak"]}


@dataclass(frozen=True, slots=True)
class Repeat:
    """The length of `parts` equal parts of one repetition.

    `floor` is the part of a repetition after which the curve is at its lowest: 0 where it starts there.
    """

    field: str
    parts: int = 1
    floor: float = 0.0
    names: tuple[str, ...] = ("cycles",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {"cycles": horizon / (self.parts * params[self.field])}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: snap(horizon / (self.parts * at["cycles"]))}


@dataclass(frozen=True, slots=True)
class DecayPerStep:
    """A factor applied at every step."""

    field: str
    names: tuple[str, ...] = ("decay",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {"decay": _positive(params[self.field] ** horizon, "a learning rate left at the end")}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: at["decay"] ** (1 / horizon)}


@dataclass(frozen=True, slots=True)
class DecayPerDrop:
    """A factor applied after every repetition that ends before the horizon."""

    field: str
    length: str
    names: tuple[str, ...] = ("decay",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        drops = _drops(horizon / params[self.length])
        return {"decay": _positive(params[self.field] ** drops, "a learning rate left at the end")}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        drops = _drops(at["cycles"])
        return {self.field: at["decay"] ** (1 / drops) if drops else 1.0}


@dataclass(frozen=True, slots=True)
class DecayPerMilestone:
    """A factor applied at every milestone."""

    field: str
    at_steps: str
    names: tuple[str, ...] = ("decay",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {"decay": _positive(params[self.field] ** len(params[self.at_steps]), "a learning rate left at the end")}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: at["decay"] ** (1 / len(at["milestones"]))}


@dataclass(frozen=True, slots=True)
class InverseDecay:
    """(1 + gamma t)^-p: the exponent is the power, gamma follows from the share that is left at the end."""

    gamma: str
    power: str
    names: tuple[str, ...] = ("decay", "power")

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        p = params[self.power]
        left = math.exp(-p * math.log1p(params[self.gamma] * horizon))
        return {"decay": _positive(left, "a learning rate left at the end"), "power": p}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        growth = math.expm1(-math.log(at["decay"]) / at["power"])
        return {self.gamma: growth / horizon, self.power: at["power"]}


@dataclass(frozen=True, slots=True)
class Shape:
    """A number that shapes the curve whatever its length and height, under the coordinate's name."""

    field: str
    coordinate: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.coordinate,)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {self.coordinate: params[self.field]}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: at[self.coordinate]}


@dataclass(frozen=True, slots=True)
class Restarts:
    """Repetitions, each `growth` times as long as the one before: l (g^cycles - 1) / (g - 1) = N."""

    field: str
    growth: str
    names: tuple[str, ...] = ("cycles", "growth")

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        g, first = params[self.growth], params[self.field]
        if g == 1:
            return {"cycles": horizon / first, "growth": 1}
        grown = horizon * (g - 1) / first
        if not grown > -1:
            raise PolicyError(
                f"no natural coordinates at {counted(horizon, 'step', form='g')}: restarts that"
                f" shorten by {g:g} end before"
            )
        return {"cycles": math.log1p(grown) / math.log(g), "growth": g}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        g = at["growth"]
        first = horizon / at["cycles"] if g == 1 else horizon * (g - 1) / math.expm1(at["cycles"] * math.log(g))
        return {self.field: snap(first), self.growth: g}


@dataclass(frozen=True, slots=True)
class Stages:
    """The steps at which `count` stages end; the last is the end of the curve, the first may be a warm-up."""

    field: str
    count: int
    warmup: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (*(("warmup",) if self.warmup else ()), "milestones", "end")

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        steps = params[self.field]
        first = steps[0] if self.warmup else 0
        if not first < horizon:
            raise PolicyError(
                f"no natural coordinates: nothing of {counted(horizon, 'step', form='g')} is left after the warm-up"
            )
        *inside, end = ((step - first) / (horizon - first) for step in steps[1 if self.warmup else 0 :])
        warmup: Coordinates = {"warmup": first / horizon} if self.warmup else {}
        return warmup | {"milestones": tuple(inside), "end": end}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        first = snap(at["warmup"] * horizon) if self.warmup else 0
        parts = (*at["milestones"], at["end"])
        steps = tuple(snap(first + part * (horizon - first)) for part in parts)
        return {self.field: (first, *steps) if self.warmup else steps}


@dataclass(frozen=True, slots=True)
class Fraction:
    """A length as a fraction of the horizon, under the coordinate's name."""

    field: str
    coordinate: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.coordinate,)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {self.coordinate: params[self.field] / horizon}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: snap(at[self.coordinate] * horizon)}


@dataclass(frozen=True, slots=True)
class Milestones:
    """A list of steps as fractions of the horizon."""

    field: str
    names: tuple[str, ...] = ("milestones",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {"milestones": tuple(step / horizon for step in params[self.field])}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: tuple(snap(fraction * horizon) for fraction in at["milestones"])}


def _drops(cycles: float) -> int:
    return max(0, math.ceil(cycles - 1e-9) - 1)


def _positive(value: float, what: str) -> float:
    if not value >= sys.float_info.min:
        raise PolicyError(f"no natural coordinates without {what} above 0 (got {value:g})")
    return value
