"""An LR function: a family of curves with parameters, declared as one decorated formula."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from lrsearch.schedules.coordinates import Conversion
from lrsearch.schedules.fields import Field

if TYPE_CHECKING:
    from lrsearch.schedules.policy import Policy

Floats = npt.NDArray[np.float64]
Curve = Callable[..., Floats]


class State(Protocol):
    """The state of a controller: a frozen dataclass of JSON values and policies."""

    def after(self, metric: float, step: int) -> Self:
        """The state after a report: the metric (lower is better) after `step` updates."""

    def lr(self, step: int, u: float) -> float:
        """The learning rate of the update after `step` updates; u is an even draw from [0, 1)."""


@dataclass(frozen=True, slots=True, eq=False)
class LRFunction:
    """A family of curves with parameters. Called with parameters, it returns a `Policy`.

    Args:
        name: its name in every text: TRI, STEP ...
        family: "fixed", "decaying", "cyclic", "one-shot", "combinator" or "controller".
        source: where it was published.
        fields: its parameters in the order in which they are written.
        curve: the formula, (steps, **parameters) -> learning rates, in float64.
        doc: its description.
        sample: parameters of a typical policy over 100 steps, as the gallery shows it.
        roles: its natural coordinates, empty if it has none.
        rule: a sentence on parameters that are valid one by one but not together; None if they are.
        end: the step from which the curve is constant; None if it goes on.
        period: the steps of one cycle; None if it has none.
        bounds: the learning rates between which it swings, where these are not k0 and k1.
        height: the place between its bounds, in [0, 1], where it does not follow from the learning rate.
        momentum: the momentum, (steps, **parameters) -> momentum.
        own_momentum: whether every policy of it carries a momentum, not only a policy whose parts do.
        begin: the first state of a controller; None if the function needs no feedback.
    """

    name: str
    family: str
    source: str
    fields: tuple[Field, ...]
    curve: Curve
    doc: str
    sample: Mapping[str, Any]
    roles: tuple[Conversion, ...] = ()
    rule: Callable[..., str | None] | None = None
    end: Callable[..., int | float | None] | None = None
    period: Callable[..., int | float | None] | None = None
    bounds: Callable[..., tuple[float, float]] | None = None
    height: Curve | None = None
    momentum: Curve | None = None
    own_momentum: bool = False
    begin: Callable[..., State] | None = None

    def __call__(self, /, **params: Any) -> "Policy":
        """Make a policy; a PolicyError names the parameters that are missing, unknown or out of range."""
        from lrsearch.schedules.making import make

        return make(self, params)

    @property
    def example(self) -> "Policy":
        """A typical policy over 100 steps."""
        return self(**self.sample)

    @property
    def summary(self) -> str:
        """Its description in one line."""
        return self.doc.strip().splitlines()[0]

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        from lrsearch.schedules.functions import find

        return find, (self.name,)


def lr_function(family: str, source: str, *fields: Field, **declared: Any) -> Callable[[Curve], LRFunction]:
    """Make an LR function from a formula; its name is the formula's name.

    `sample` is needed; the other keywords are those of `LRFunction`.
    """

    def wrap(curve: Curve) -> LRFunction:
        return LRFunction(curve.__name__, family, source, fields, curve, curve.__doc__ or "", **declared)

    return wrap


def controller(
    name: str, source: str, *fields: Field, sample: Mapping[str, Any], rule: Callable[..., str | None] | None = None
) -> Callable[[type[Any]], LRFunction]:
    """Make an LR function from a class of states; its `begin` returns the first state for the parameters."""

    def none(t: Floats, **_: Any) -> Floats:
        raise AssertionError("a controller has no curve")

    def wrap(state: type[Any]) -> LRFunction:
        return LRFunction(
            name, "controller", source, fields, none, state.__doc__ or "", sample, rule=rule, begin=state.begin
        )

    return wrap
