"""The parameters of LR functions: the values that each accepts, and how stretching and scaling change them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.schedules.values import Duration, canonical_value, is_number

REQUIRED = object()
"""The default of a field that has none."""
SHORTEST, LONGEST = 1e-9, 1e12
"""Of a length in steps: far beyond any training, and its square is a finite float (a rule)."""
LARGEST = 1e6
"""Of a learning rate: far beyond any that trains (a rule)."""
STEEPEST = 1e100
"""Of a slope per step: times the longest length it is a finite float (a rule)."""
MOST_ITEMS = 64
"""Of a list: a limit on texts from elsewhere (a rule)."""


def _same(value: Any, by: float) -> Any:
    return value


def _short(value: Any) -> Any:
    """Four significant digits; whole steps from 100 on."""
    if isinstance(value, tuple):
        return tuple(map(_short, value))
    if isinstance(value, Duration):
        return Duration(canonical_value(float(f"{value.amount:.4g}")), value.unit)
    return round(value) if value >= 100 else float(f"{value:.4g}")


def _short_factor(value: float) -> float:
    """Four significant digits of 1 - value, or of the value if that is less: 0.99994 stays different from 1."""
    return 1 - float(f"{1 - value:.4g}") if value > 0.5 else float(f"{value:.4g}")


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter of an LR function.

    Args:
        name: the parameter's name, as in the LRBench paper.
        rule: the values that it accepts, in words for a refusal.
        accepts: whether a canonical value satisfies the rule.
        stretched: its value in the same curve over r times the steps.
        scaled: its value in c times the same curve.
        rounded: its value in few digits, for people.
        default: its value where none is given; REQUIRED if there is none.
        is_column: whether a formula takes a column of values in its place, so that many curves are one call.
        is_late: whether it was added after policies were stored: JSON, like the text, has it only where it differs
            from the default.
    """

    name: str
    rule: str
    accepts: Callable[[Any], bool]
    stretched: Callable[[Any, float], Any] = _same
    scaled: Callable[[Any, float], Any] = _same
    rounded: Callable[[Any], Any] = _short
    default: Any = REQUIRED
    is_column: bool = True
    is_late: bool = False

    def check(self, value: Any, function: str) -> Any:
        """The value in its canonical form.

        Raises:
            PolicyError: for a value that the field does not accept.
        """
        canonical = canonical_value(value)
        if canonical is None or not self.accepts(canonical):
            raise PolicyError(f"{function}: {self.name} must be {self.rule}, got {_shown(value)}")
        return canonical


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:
        return f"{type(value).__name__} of too many digits to show"


def lr(name: str, default: Any = REQUIRED) -> Field:
    """A learning rate, 0 or more."""
    return Field(
        name,
        f"a learning rate in [0, {LARGEST:g}]",
        lambda v: is_number(v) and 0 <= v <= LARGEST,
        scaled=lambda v, c: v * c,
        default=default,
    )


def factor(name: str) -> Field:
    """A factor by which something shrinks each time, in (0, 1]."""
    return Field(name, "a factor in (0, 1]", lambda v: is_number(v) and 0 < v <= 1, rounded=_short_factor)


def factor_per_step(name: str) -> Field:
    """A factor by which something shrinks at every step, in (0, 1]."""
    return Field(
        name,
        "a factor per step in (0, 1]",
        lambda v: is_number(v) and 0 < v <= 1,
        stretched=lambda v, r: v ** (1 / r),
        rounded=_short_factor,
    )


def slope_per_step(name: str) -> Field:
    """A growth per step, 0 or more."""
    return Field(
        name,
        f"a number in [0, {STEEPEST:g}]",
        lambda v: is_number(v) and 0 <= v <= STEEPEST,
        stretched=lambda v, r: v / r,
    )


def exponent(name: str, default: Any = REQUIRED) -> Field:
    """An exponent above 0."""
    rule = "an exponent in (0, 100]"
    # no column: numpy takes the root for a number 0.5 and a power for a column of them, which differ in the last bit
    return Field(name, rule, lambda v: is_number(v) and 0 < v <= 100, default=default, is_column=False)


def growth(name: str, default: Any = REQUIRED) -> Field:
    """A factor from one length to the next, above or below 1."""
    return Field(
        name, "a growth in [0.01, 100]", lambda v: is_number(v) and 0.01 <= v <= 100, default=default, is_column=False
    )


def fraction(name: str, default: Any = REQUIRED) -> Field:
    """A part of 1: 0 or more, below 1."""
    return Field(name, "a fraction in [0, 1)", lambda v: is_number(v) and 0 <= v < 1, default=default)


def height(name: str) -> Field:
    """A height between the floor and the peak, from 0 to 1."""
    return Field(name, "a height in [0, 1]", lambda v: is_number(v) and 0 <= v <= 1)


def heights(name: str) -> Field:
    """Heights between the floor and the peak, from 0 to 1; the highest is 1."""

    def accepts(v: Any) -> bool:
        return isinstance(v, tuple) and 2 <= len(v) <= MOST_ITEMS and all(map(height(name).accepts, v)) and max(v) == 1

    return Field(
        name, f"a list of 2 to {MOST_ITEMS} heights in [0, 1], the highest of them 1", accepts, is_column=False
    )


def whole(name: str, low: int, high: int, default: Any = REQUIRED) -> Field:
    """A whole number that neither stretching nor scaling changes."""
    return Field(
        name,
        f"a whole number from {low} to {high}",
        lambda v: isinstance(v, int) and low <= v <= high,
        rounded=lambda v: v,
        default=default,
        is_column=False,
    )


def flag(name: str) -> Field:
    """A choice of two, 0 or 1, that was added later; policies without it behave as 0."""
    return replace(whole(name, 0, 1, 0), is_late=True)


def threshold(name: str, default: Any) -> Field:
    """How much better a metric must be, 0 or more."""
    return Field(
        name, f"a threshold in [0, {LARGEST:g}]", lambda v: is_number(v) and 0 <= v <= LARGEST, default=default
    )


def reports(name: str, low: float, default: Any) -> Field:
    """A number of metric reports: stretched with the run, in which reports come as often as before."""
    return Field(
        name,
        f"a number of reports in [{low:g}, {LONGEST:g}]",
        lambda v: is_number(v) and low <= v <= LONGEST,
        stretched=lambda v, r: max(v * r, low),
        default=default,
    )


def steps(name: str) -> Field:
    """A length in steps, whole or not; or a duration."""
    return Field(
        name,
        f"a number of steps in [{SHORTEST:g}, {LONGEST:g}] or a duration such as 3ep",
        _is_length,
        stretched=lambda v, r: v * r,
    )


def milestones(name: str, count: int | None = None) -> Field:
    """Steps or durations at which something happens, rising; `count` of them, or at least one."""

    def accepts(v: Any) -> bool:
        most = count or MOST_ITEMS
        return isinstance(v, tuple) and (count or 1) <= len(v) <= most and all(map(_is_length, v)) and _rises(v)

    many = str(count) if count else f"1 to {MOST_ITEMS}"
    return Field(
        name,
        f"a list of {many} rising step numbers in [{SHORTEST:g}, {LONGEST:g}] or durations",
        accepts,
        stretched=lambda v, r: tuple(x * r for x in v),
        is_column=False,
    )


def steps_or_milestones(name: str) -> Field:
    """A length in steps, or a list of steps."""
    length, places = steps(name), milestones(name)
    return Field(
        name,
        f"{length.rule}, or {places.rule}",
        lambda v: length.accepts(v) or places.accepts(v),
        stretched=lambda v, r: places.stretched(v, r) if isinstance(v, tuple) else v * r,
        is_column=False,
    )


def _is_length(v: Any) -> bool:
    return isinstance(v, Duration) or (is_number(v) and SHORTEST <= v <= LONGEST)


def _rises(v: tuple[Any, ...]) -> bool:
    """Whether neighbours rise, as far as is known before durations are bound."""

    def below(a: Any, b: Any) -> bool:
        if isinstance(a, Duration) and isinstance(b, Duration):
            return a.unit != b.unit or a.amount < b.amount
        return isinstance(a, Duration) or isinstance(b, Duration) or a < b

    return all(below(a, b) for a, b in pairwise(v))
