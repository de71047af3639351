"""Values of parameters: a number, a duration, or a list of them; each with one canonical form and one text."""

import math
import re
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import PolicyError

DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,3}))?(ep|dur)")
LONGEST_DURATION = 1e6
"""Epochs or horizons: far beyond any training (a rule)."""


@dataclass(frozen=True, slots=True, repr=False)
class Duration:
    """A length whose steps depend on the task: epochs (`3ep`) or parts of the run (`0.1dur`).

    Args:
        amount: how many, in (0, 1e6].
        unit: "ep", passes over the training split; "dur", horizons of the run.

    >>> Duration(0.1, "dur").steps(horizon=10_000, epoch=600), str(Duration(3, "ep"))
    (1000, '3ep')
    """

    amount: int | float
    unit: str

    def __post_init__(self) -> None:
        """Bring the amount into its canonical form, and refuse a duration whose text could not be read."""
        amount = _canonical_number(self.amount) if isinstance(self.amount, int | float) else None
        if amount is None or not 0 < amount <= LONGEST_DURATION or self.unit not in ("ep", "dur"):
            raise PolicyError(
                f"a duration is above 0 and at most {LONGEST_DURATION:g}, in ep or dur,"
                f" got {str(self.amount)[:80]} {str(self.unit)[:80]}"
            )
        object.__setattr__(self, "amount", amount)

    def steps(self, horizon: float | None, epoch: float | None) -> int | float:
        """The length in steps, rounded where only floating-point noise separates it from a whole number."""
        steps_per_unit = epoch if self.unit == "ep" else horizon
        if steps_per_unit is None:
            needed, option = ("epoch", "epoch") if self.unit == "ep" else ("horizon", "steps")
            raise PolicyError(f"{self} is known in steps when the {needed} is: bind({needed}=...), or --{option}")
        value = canonical_value(snap(self.amount * steps_per_unit))
        assert isinstance(value, int | float)
        return value

    def __str__(self) -> str:
        return f"{text_of(self.amount)}{self.unit}"

    __repr__ = __str__


def snap(steps: float) -> float:
    """Remove floating-point noise from a whole number of steps, so that a drop falls on its own step.

    >>> snap(10_000 * 0.7), snap(390.625)
    (7000.0, 390.625)
    """
    nearest = round(steps)
    return float(nearest) if abs(steps - nearest) <= 1e-9 * max(1.0, abs(steps)) else steps


def canonical_value(value: Any) -> Any:
    """Whole numbers as int, others as float, "3ep" as a duration, lists as tuples; None for an invalid value.

    >>> canonical_value([2000.0, 2500.5, "3ep"])
    (2000, 2500.5, 3ep)
    """
    if value.__class__ is float or value.__class__ is int:
        return _canonical_number(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        items = tuple(map(_canonical_item, value))
        return None if any(item is None for item in items) else items
    if isinstance(value, str | bytes | int | float):
        return _canonical_item(value)
    return value


def _canonical_item(value: Any) -> Any:
    if isinstance(value, str):
        return _duration(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    return _canonical_number(value) if isinstance(value, int | float) else value


def _canonical_number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) <= 2**53 else number


def _duration(text: str) -> Duration | None:
    match = DURATION.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    digits, power, unit = match.groups()
    amount = _canonical_number(float(f"{digits}e{power or 0}"))
    return Duration(amount, unit) if amount is not None and 0 < amount <= LONGEST_DURATION else None


def is_number(value: Any) -> bool:
    """Whether a canonical value is a single number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(value: Any) -> str:
    """The shortest text that reads back equal to a canonical value.

    >>> text_of((0.00001, 2000, Duration(0.5, "dur")))
    '[1e-5, 2000, 0.5dur]'
    """
    if isinstance(value, tuple):
        return f"[{', '.join(map(text_of, value))}]"
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-").replace("e+", "e")
    return str(value)
