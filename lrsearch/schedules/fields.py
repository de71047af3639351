"""What a parameter of an LR function may be: a checker, and what stretching and scaling do to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lrsearch.errors import PolicyError

REQUIRED = object()
LONGEST = 1e12
LARGEST = 1e6
STEEPEST = 1e100


def _same(value: Any, by: float) -> Any:
    return value


def _short(value: Any) -> Any:
    """Four significant digits; whole steps from 100 on."""
    if isinstance(value, tuple):
        return tuple(map(_short, value))
    return round(value) if value >= 100 else float(f"{value:.4g}")


def _short_factor(value: float) -> float:
    """Four significant digits of what is lost, or of what is left if that is less: 0.99994 keeps its meaning."""
    return 1 - float(f"{1 - value:.4g}") if value > 0.5 else float(f"{value:.4g}")


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter of an LR function.

    Args:
        name: the parameter's name, as in the LRBench paper.
        rule: what it must be, in words for a refusal.
        accepts: tells whether a canonical value satisfies the rule.
        stretched: its value in the same curve over r times the steps.
        scaled: its value in c times the same curve.
        rounded: its value in as many digits as a person wants to read.
        default: its value where none is given; REQUIRED if there is none.
    """

    name: str
    rule: str
    accepts: Callable[[Any], bool]
    stretched: Callable[[Any, float], Any] = _same
    scaled: Callable[[Any, float], Any] = _same
    rounded: Callable[[Any], Any] = _short
    default: Any = REQUIRED

    def check(self, value: Any, function: str) -> Any:
        """Return the value in its one canonical form, or refuse it by name."""
        canonical = canonical_value(value)
        if canonical is None or not self.accepts(canonical):
            raise PolicyError(f"{function}: {self.name} must be {self.rule}, got {_shown(value)}")
        return canonical


def canonical_value(value: Any) -> Any:
    """Give whole numbers as int, others as float, lists as tuples; None for what is none of these.

    >>> canonical_value([2000.0, 2500.5])
    (2000, 2500.5)
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        items = tuple(map(_canonical_number, value))
        return None if None in items else items
    if isinstance(value, str | bytes | int | float):
        return _canonical_number(value)
    return value


def _canonical_number(value: Any) -> int | float | None:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) <= 2**53 else number


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:
        return f"{type(value).__name__} of too many digits to show"


def is_number(value: Any) -> bool:
    """Tell whether a canonical value is a single number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def rate(name: str, default: Any = REQUIRED) -> Field:
    """A learning rate, 0 or more."""
    return Field(name, f"a learning rate in [0, {LARGEST:g}]", lambda v: is_number(v) and 0 <= v <= LARGEST,
                 scaled=lambda v, c: v * c, default=default)


def factor(name: str) -> Field:
    """A factor by which something shrinks each time, in (0, 1]."""
    return Field(name, "a factor in (0, 1]", lambda v: is_number(v) and 0 < v <= 1, rounded=_short_factor)


def factor_per_step(name: str) -> Field:
    """A factor by which something shrinks at every step, in (0, 1]."""
    return Field(name, "a factor per step in (0, 1]", lambda v: is_number(v) and 0 < v <= 1,
                 stretched=lambda v, r: v ** (1 / r), rounded=_short_factor)


def slope_per_step(name: str) -> Field:
    """A growth per step, 0 or more."""
    return Field(name, f"a number in [0, {STEEPEST:g}]", lambda v: is_number(v) and 0 <= v <= STEEPEST,
                 stretched=lambda v, r: v / r)


def exponent(name: str) -> Field:
    """An exponent above 0."""
    return Field(name, "an exponent in (0, 100]", lambda v: is_number(v) and 0 < v <= 100)


def steps(name: str) -> Field:
    """A length in steps, above 0, whole or not."""
    return Field(name, f"a number of steps in (0, {LONGEST:g}]", lambda v: is_number(v) and 0 < v <= LONGEST,
                 stretched=lambda v, r: v * r)


def milestones(name: str) -> Field:
    """Steps at which something happens: at least one, above 0, rising."""

    def accepts(v: Any) -> bool:
        rising = isinstance(v, tuple) and all(a < b for a, b in pairwise(v))
        return rising and 0 < len(v) <= 64 and v[0] > 0 and v[-1] <= LONGEST

    return Field(name, f"a list of 1 to 64 rising step numbers in (0, {LONGEST:g}]", accepts,
                 stretched=lambda v, r: tuple(x * r for x in v))

