"""A space for samplers that search no conditional parameters: one set of coordinates, the same in every trial."""

import hashlib
from dataclasses import dataclass
from typing import Any

from lrsearch.schedules import Policy
from lrsearch.spaces.axes import Choice, Fractions, Interval
from lrsearch.spaces.space import Draw, Space

PLACE = Interval(0.0, 1.0, log=False)
"""The axis of a choice between ordered values: equal parts, one for each value."""


@dataclass(frozen=True, slots=True)
class FlatSpace(Space):
    """The policies of a space in unconditional coordinates: see `Space.flat`.

    The parameters are `function` and each coordinate that any of the functions has, under its own name, over the hull
    of its ranges. A function takes the coordinates that it has, each from its own range at the same place as in the
    hull, and ignores the rest. A choice between ordered values is a place from 0 to 1.
    """

    @property
    def conditional(self) -> Space:
        """The space with conditional parameters."""
        return Space(self.horizon, self.epoch, self.peak, self.ratio, self.branches)

    @property
    def key(self) -> str:
        """A digest of all ranges: 16 hex digits."""
        return hashlib.sha256(f"flat {self.conditional.key}".encode()).hexdigest()[:16]

    @property
    def hulls(self) -> dict[str, Interval]:
        """The axis of each coordinate by name."""
        hulls: dict[str, Interval] = {}
        if any(branch.axes for branch in self.branches):
            hulls["peak"] = self.peak
        for branch in self.branches:
            for name, axis in branch.axes:
                for label, each in _axes_of(name, axis, self.ratio).items():
                    hulls[label] = _hull(hulls.get(label, each), each)
        return hulls

    def build(self, draw: Draw) -> Policy:
        """Build a policy from a source of values: `draw(name, axis)` is called for all parameters, always the same."""
        form, hulls = draw("function", Choice(self.forms)), self.hulls
        drawn = {name: draw(name, hull) for name, hull in hulls.items()}

        def take(name: str, axis: Interval | Choice) -> Any:
            if name == "function":
                return form
            label = name.removeprefix(f"{form}.")
            if isinstance(axis, Choice):
                return axis.values[min(int(drawn[label] * len(axis.values)), len(axis.values) - 1)]
            return _moved(drawn[label], hulls[label], axis)

        return Space.build(self, take)

    def values(self, policy: Policy) -> dict[str, Any]:
        """The values by name from which `build` makes this policy; those that it does not need are in the middle.

        Raises:
            SpaceError: if the policy's LR function is not in the space.
            PolicyError: if the policy has no natural coordinates at this horizon.
        """
        own, hulls = self.conditional.values(policy), self.hulls
        values = {"function": own["function"]} | {name: hull.at_place(0.5) for name, hull in hulls.items()}

        def place(name: str, axis: Interval | Choice) -> Any:
            label = name.removeprefix(f"{own['function']}.")
            if isinstance(axis, Interval):
                values[label] = _moved(own[name], axis, hulls[label])
            elif name != "function":
                nearest = min(range(len(axis.values)), key=lambda place: abs(axis.values[place] - own[name]))
                values[label] = (nearest + 0.5) / len(axis.values)
            return own[name]

        Space.build(self, place)
        return values

    def __contains__(self, policy: Policy) -> bool:
        return policy in self.conditional

    def misfit(self, policy: Policy) -> str:
        """Why no values of this space make a policy's curve: see `Space.misfit`."""
        return self.conditional.misfit(policy)

    def flat(self) -> "FlatSpace":
        """The space itself."""
        return self

    def to_json(self) -> dict[str, Any]:
        """All ranges as JSON values, under the names of the parameters in Optuna."""
        axes: dict[str, Choice | Interval] = {"function": Choice(self.forms), **self.hulls}
        ranges = {name: axis.to_json() for name, axis in axes.items()}
        return {"horizon": self.horizon, "epoch": self.epoch, "ranges": ranges}


def is_conditional(space: Space) -> bool:
    """Whether a parameter of a space depends on the value of another.

    >>> space = Space.standard("FIX", "EXP", horizon=100, epoch=10)
    >>> is_conditional(space), is_conditional(space.flat())
    (True, False)
    """
    if isinstance(space, FlatSpace):
        return False
    axes = [axis for branch in space.branches for axis in branch.axes]
    if len(space.branches) > 1:
        return any(branch.whole is None for branch in space.branches)
    return any(
        (name == "to_zero" and isinstance(axis, Choice) and len(axis.values) > 1)
        or (isinstance(axis, Fractions) and len(axis.counts.values) > 1)
        for name, axis in axes
    )


def _axes_of(name: str, axis: Interval | Choice | Fractions, ratio: Interval) -> dict[str, Interval]:
    """The axes by which a coordinate is searched: of a list its length and each of its items."""
    if name == "to_zero":
        return {"to_zero": PLACE, "ratio": ratio}
    if isinstance(axis, Fractions):
        return {name: PLACE} | {f"{name}{n}": axis.each for n in range(1, 1 + max(axis.counts.values))}
    return {name: PLACE if isinstance(axis, Choice) else axis}


def _hull(one: Interval, other: Interval) -> Interval:
    return Interval(min(one.low, other.low), max(one.high, other.high), one.log)


def _moved(value: float, start: Interval, end: Interval) -> float:
    """The number at the same place of another interval; the same number where they are equal."""
    is_same = (start.low, start.high, start.log) == (end.low, end.high, end.log)
    return value if is_same else end.at_place(start.place_of(value))
