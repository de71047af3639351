"""An objective is the metric that decides: its name, its direction, its unit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from lrsearch.errors import TaskError, given, unknown

MINIMIZE, MAXIMIZE = "minimize", "maximize"
LONGEST = 200
"""Rule: characters of a name or a unit."""
NEVER_CHOSEN_BY = "test_"
"""The prefix of test metrics: they are stored, and nothing is chosen by them."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric, and which way is better.

    Args:
        name: the metric's name, as it is logged or returned.
        direction: "minimize" or "maximize".
        unit: its unit, for people; empty where it has none.
        samples: for a share in [0, 1], the number of samples. Its noise is then binomial.

    Raises:
        TaskError: for an impossible name, direction, unit or number of samples.

    >>> Objective("val_loss", "minimize").cost(2.5), Objective("bleu", "maximize").cost(2.5)
    (2.5, -2.5)
    >>> Objective("accuracy", "maximize", samples=384).text(0.96875), Objective("val_loss", "minimize").text(2.5)
    ('96.88 %', '2.5')
    """

    name: str
    direction: str
    unit: str = ""
    samples: int | None = None

    def __post_init__(self) -> None:
        if not (
            isinstance(self.name, str) and self.name.strip() and self.name.isprintable() and len(self.name) <= LONGEST
        ):
            raise TaskError(f"an objective is named by its metric, such as 'val_loss', got {given(self.name)}")
        if self.name.startswith(NEVER_CHOSEN_BY):
            raise TaskError(f"{self.name!r} is a test metric: nothing is chosen by it; name a validation metric")
        if self.direction not in (MINIMIZE, MAXIMIZE):
            raise TaskError(unknown("direction", str(self.direction), (MINIMIZE, MAXIMIZE)))
        if not isinstance(self.unit, str) or len(self.unit) > LONGEST or not (self.unit + "x").isprintable():
            raise TaskError(f"the unit of {self.name!r} is a short text, such as 'nats', got {given(self.unit)}")
        if self.samples is not None and (
            isinstance(self.samples, bool) or not isinstance(self.samples, int) or self.samples < 1
        ):
            raise TaskError(
                f"samples of {self.name!r} is how many samples the share is of, 1 or more, got {given(self.samples)}"
            )

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share of samples."""
        return self.samples is not None

    @property
    def is_minimized(self) -> bool:
        """Whether lower is better."""
        return self.direction == MINIMIZE

    def cost(self, value: float) -> float:
        """The value with the sign for which lower is better, as strategies use it. It is its own inverse."""
        return value if self.is_minimized else -value

    def is_reached(self, value: float, target: float) -> bool:
        """Whether a value is as good as a target."""
        return self.cost(value) <= self.cost(target)

    def text(self, value: float | None, digits: int = 5) -> str:
        """The value for people: a share in percent, others with their unit."""
        if value is None:
            return "-"
        if self.is_share:
            return f"{100 * value:.2f} %"
        return f"{value:.{digits}g} {self.unit}".strip()

    def difference(self, value: float) -> str:
        """A difference of two values for people, with its sign; for shares in percentage points."""
        return f"{100 * value:+.2f} points" if self.is_share else f"{value:+.3g} {self.unit}".strip()

    def spread(self, value: float) -> str:
        """A standard deviation for people, without a unit, in the digits of `text`."""
        return f"{100 * value:.2f}" if self.is_share else f"{value:.2g}"

    def to_json(self) -> dict[str, Any]:
        """The objective as plain JSON values; an absent unit or number of samples is left out."""
        values: dict[str, Any] = {"name": self.name, "direction": self.direction}
        return values | ({"unit": self.unit} if self.unit else {}) | ({"samples": self.samples} if self.samples else {})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of `to_json`."""
        return cls(values["name"], values["direction"], values.get("unit", ""), values.get("samples"))


def minimize(name: str, *, unit: str = "", samples: int | None = None) -> Objective:
    """An objective whose lower values are better.

    >>> minimize("val_loss")
    Objective(name='val_loss', direction='minimize', unit='', samples=None)
    """
    return Objective(name, MINIMIZE, unit, samples)


def maximize(name: str, *, unit: str = "", samples: int | None = None) -> Objective:
    """An objective whose higher values are better.

    >>> maximize("accuracy", samples=10_000).is_share
    True
    """
    return Objective(name, MAXIMIZE, unit, samples)


SCORE = maximize("score")
"""The objective of a recorded run without a task: `finish(score=...)`."""
TOP1 = "top1"


def objectives_of(description: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The objectives of a task's description, the deciding one first; older stores have a `metric` instead.

    >>> objectives_of({"name": "a", "metric": "validation top-1 at the last step", "data": {"validation": 384}})
    (Objective(name='top1', direction='maximize', unit='', samples=384),)
    >>> objectives_of({"name": "known by its name only"})
    (Objective(name='score', direction='maximize', unit='', samples=None),)
    """
    if "objectives" in description:
        return tuple(map(Objective.from_json, description["objectives"]))
    if "metric" in description:
        return (maximize(TOP1, samples=description["data"]["validation"]),)
    return (SCORE,)


def finite_cost(objective: Objective, value: float | None) -> float:
    """The cost of a value; infinite for None and for a value that is not finite."""
    return objective.cost(value) if value is not None and math.isfinite(value) else math.inf
