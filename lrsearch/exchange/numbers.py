"""Checks of the values that other tools hand over: each is checked once, by name, before it enters a policy."""

import math
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.schedules import Policy


def number(value: Any, what: str) -> float:
    """The value as a finite float; it may be a tensor or an array with one number.

    >>> number(0.1, "gamma")
    0.1
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PolicyError(f"{what} must be a number, got {_shown(value)}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise PolicyError(f"{what} must be a finite number, got {_shown(value)}")
    return result


def whole(value: Any, what: str, least: int = 0) -> int:
    """The value as a whole number of at least `least`.

    >>> whole(30.0, "step_size", least=1)
    30
    """
    result = number(value, what)
    if not result.is_integer() or result < least:
        raise PolicyError(f"{what} must be a whole number, {least} or more, got {_shown(value)}")
    return int(result)


def bound(policy: Any) -> Policy:
    """The policy, if its lengths are steps."""
    if not isinstance(policy, Policy):
        raise PolicyError(f"a policy is written in another tool's words, got {type(policy).__name__}")
    policy.require_bound()
    return policy


def text(value: Any, what: str, longest: int) -> str:
    """The text, if it has at most `longest` characters, without the byte-order mark that some editors put first."""
    if not isinstance(value, str):
        raise PolicyError(f"{what} is a text, got {type(value).__name__}")
    if len(value) > longest:
        raise PolicyError(f"{what} has at most {longest} characters, got {len(value)}")
    return value.removeprefix("\ufeff")


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:
        return f"{type(value).__name__} of too many digits to show"
