"""Policies from parameters, from natural coordinates, and from other policies."""

from collections.abc import Callable, Mapping
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.schedules.fields import REQUIRED, Field
from lrsearch.schedules.function import LRFunction
from lrsearch.schedules.policy import Policy
from lrsearch.schedules.values import Duration

DEEPEST = 4
LONGEST_TEXT = 4096
"""Limits on texts from elsewhere (a rule)."""
LONGEST_LEAF = 40
"""No name or value of a policy, with its marks and spaces, has more characters: a float has at most 24."""


def make(function: LRFunction, params: Mapping[str, Any]) -> Policy:
    """Make the policy of a function; a PolicyError names parameters that are missing, unknown or out of range."""
    fields = function.fields
    missing = [f.name for f in fields if f.default is REQUIRED and f.name not in params]
    if missing or len(params) > sum(f.name in params for f in fields):
        unknown = sorted(set(params) - {f.name for f in fields})
        takes = ", ".join(f.name for f in function.fields)
        problems = {"missing": missing, "unknown": unknown}
        named = [f"{problem} {', '.join(names)}" for problem, names in problems.items() if names]
        raise PolicyError(f"{function.name} takes {takes}; {'; '.join(named)}"[:500])
    values = tuple([f.check(params.get(f.name, f.default), function.name) for f in fields])
    policy = Policy(function, values, all(map(_is_bound, values)))
    if policy.parts:
        _check_size(policy)
    contradiction = function.rule(**policy.params) if function.rule else None
    if contradiction:
        raise PolicyError(f"{function.name}: {contradiction}")
    return policy


def _check_size(policy: Policy) -> None:
    """Refuse a policy that could be made, but whose text could not be read."""
    if policy.depth > DEEPEST:
        raise PolicyError(f"{policy.name}: policies nest at most {DEEPEST} deep")
    length = len(str(policy)) if _leaves(policy) * LONGEST_LEAF > LONGEST_TEXT else 0
    if length > LONGEST_TEXT:
        raise PolicyError(f"{policy.name}: a policy's text has at most {LONGEST_TEXT} characters, got {length}")


def _leaves(value: Any) -> int:
    """How many names and values a value has inside."""
    if isinstance(value, Policy):
        return 1 + sum(map(_leaves, value.values))
    return sum(map(_leaves, value)) if isinstance(value, tuple) else 1


def _is_bound(value: Any) -> bool:
    if isinstance(value, int | float):
        return True
    if isinstance(value, tuple):
        return all(map(_is_bound, value))
    return value.is_bound if isinstance(value, Policy) else not isinstance(value, Duration)


def part(name: str) -> Field:
    """Another policy that is a function of the step."""
    return Field(
        name,
        "a policy that needs no feedback",
        _is_part,
        stretched=Policy.stretch,
        scaled=Policy.scale,
        rounded=Policy.rounded,
        is_column=False,
    )


def parts(name: str, most: int = 16) -> Field:
    """A list of policies that are functions of the step."""

    def each(change: Callable[..., Policy]) -> Callable[..., tuple[Policy, ...]]:
        return lambda v, *by: tuple(change(item, *by) for item in v)

    return Field(
        name,
        f"a list of 2 to {most} policies that need no feedback",
        lambda v: isinstance(v, tuple) and 2 <= len(v) <= most and all(map(_is_part, v)),
        stretched=each(Policy.stretch),
        scaled=each(Policy.scale),
        rounded=each(Policy.rounded),
        is_column=False,
    )


def _is_part(v: Any) -> bool:
    return isinstance(v, Policy) and not v.is_controller


def from_coordinates(form: str, at: Mapping[str, Any], horizon: float, table: Mapping[str, LRFunction]) -> Policy:
    """The policy of a form with these natural coordinates at a horizon.

    >>> from lrsearch.schedules import FUNCTIONS
    >>> from_coordinates("WARMUP(HALFCOS)", {"warmup": 0.1, "peak": 0.1, "ratio": 0.0, "end": 1.0}, 1000, FUNCTIONS)
    WARMUP(policy=HALFCOS(k0=0.1, l=900), l=100)
    """
    name, _, inside = form.partition("(")
    function = table[name]
    params: dict[str, Any] = {}
    for role in function.roles:
        params |= role.write(at, horizon)
    if inside:
        params["policy"] = from_coordinates(inside[:-1], at, horizon * (1 - at["warmup"]), table)
    return function(**params)
