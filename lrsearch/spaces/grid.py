"""The policies of a space at a few marks on each axis, each once: a space of whole policies."""

from dataclasses import replace
from typing import Any

from lrsearch.errors import SpaceError, given
from lrsearch.schedules import Policy
from lrsearch.spaces.axes import Choice, Interval
from lrsearch.spaces.space import Branch, Space

MOST_POLICIES = 1000
"""Policies of a grid at most: Optuna writes all of their texts into each trial (a rule)."""


def grid(space: Space, points: int) -> Space:
    """The space of the policies at `points` marks on each axis: see `Space.grid`."""
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise SpaceError(f"points is a whole number of marks on each axis, 1 or more, got {given(points)}")
    policies: dict[str, None] = {}
    path: list[list[int]] = []  # for each draw of a leaf: the place of its value, and how many values there are
    while True:
        policies[str(_leaf(space, points, path))] = None
        if len(policies) > MOST_POLICIES:
            raise SpaceError(
                f"a grid has {MOST_POLICIES} policies at most, and this one has more: take fewer points than"
                f" {points}, fewer LR functions, or narrower ranges"
            )
        while path and path[-1][0] == path[-1][1] - 1:
            path.pop()
        if not path:
            return replace(space, branches=tuple(Branch(policy, ()) for policy in policies))
        path[-1][0] += 1


def _leaf(space: Space, points: int, path: list[list[int]]) -> Policy:
    """The policy at the places of a path; draws beyond its end take their first values, and lengthen it."""
    depth = 0

    def draw(name: str, axis: Interval | Choice) -> Any:
        nonlocal depth
        marks = _marks(axis, points)
        if depth == len(path):
            path.append([0, len(marks)])
        depth += 1
        return marks[path[depth - 1][0]]

    return space.rounded(space.build(draw))


def _marks(axis: Interval | Choice, points: int) -> tuple[Any, ...]:
    if isinstance(axis, Choice):
        return axis.values
    if axis.lattice:
        return axis.lattice
    if axis.low == axis.high:
        return (axis.low,)
    places = [n / (points - 1) for n in range(points)] if points > 1 else [0.5]
    return tuple(axis.at_place(place) for place in places)
