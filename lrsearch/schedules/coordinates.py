"""Natural coordinates: the axes on which policies of every family mean the same.

An LR function declares its coordinates by role, and each role converts both ways at a horizon N:

    peak        the upper bound of the learning rate
    ratio       floor / peak, in [0, 1]; 0 means "to zero"
    cycles      N / length of one repetition
    decay       what is left of the height at step N, in (0, 1]
    power       an exponent
    end         where the curve ends, as a fraction of N
    milestones  fractions of N
    warmup      the length of a warm-up, as a fraction of N

`read` goes from parameters to coordinates, `write` back. The curve is kept on steps 0 .. N-1
(relative 1e-9); what cannot be mapped is refused with the reason.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lrsearch.errors import PolicyError

Coordinates = dict[str, Any]
Params = dict[str, Any]


class Role(Protocol):
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
    """Two learning rates between which the curve stays, in either order."""

    low: str = "k0"
    high: str = "k1"
    names: tuple[str, ...] = ("peak", "ratio")

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        floor, peak = sorted((params[self.low], params[self.high]))
        return {"peak": _positive(peak, "a peak learning rate"), "ratio": floor / peak}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.low: at["ratio"] * at["peak"], self.high: at["peak"]}


@dataclass(frozen=True, slots=True)
class Repeat:
    """The length of `parts` equal parts of one repetition."""

    field: str
    parts: int = 1
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
    """(1 + gamma t)^-p: the exponent is the power, gamma follows from what is left at the end."""

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
class Power:
    """The exponent of the curve."""

    field: str
    names: tuple[str, ...] = ("power",)

    def read(self, params: Mapping[str, Any], horizon: float) -> Coordinates:
        return {"power": params[self.field]}

    def write(self, at: Mapping[str, Any], horizon: float) -> Params:
        return {self.field: at["power"]}


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


def snap(steps: float) -> float:
    """Round what is whole but for floating-point noise, so that a drop falls on its own step.

    >>> snap(10_000 * 0.7), snap(390.625)
    (7000.0, 390.625)
    """
    nearest = round(steps)
    return float(nearest) if abs(steps - nearest) <= 1e-9 * max(1.0, abs(steps)) else steps


def _drops(cycles: float) -> int:
    return max(0, math.ceil(cycles - 1e-9) - 1)


def _positive(value: float, what: str) -> float:
    if not value >= sys.float_info.min:
        raise PolicyError(f"no natural coordinates without {what} above 0 (got {value:g})")
    return value
