"""Numbers as other tools hand them over: each is checked once, by name, before a policy is made of it."""

import math
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.schedules import Policy


def number(value: Any, what: str) -> float:
    """Take a finite number; a tensor or an array of one number will do.

    >>> number(0.1, "gamma")
    0.1
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PolicyError(f"{what} must be a number, got {_shown(value)}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise PolicyError(f"{what} must be a finite number, got {_shown(value)}")
    return found


def whole(value: Any, what: str, least: int = 0) -> int:
    """Take a whole number of at least `least`.

    >>> whole(30.0, "step_size", least=1)
    30
    """
    found = number(value, what)
    if not found.is_integer() or found < least:
        raise PolicyError(f"{what} must be a whole number, {least} or more, got {_shown(value)}")
    return int(found)


def bound(policy: Any) -> Policy:
    """Take a policy whose lengths are steps."""
    if not isinstance(policy, Policy):
        raise PolicyError(f"a policy is written in another tool's words, got {type(policy).__name__}")
    policy.require_bound()
    return policy


def text(value: Any, what: str, longest: int) -> str:
    """Take a text of at most `longest` characters, without the byte-order mark that some editors put first."""
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
