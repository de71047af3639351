"""What a program's own job says of itself, beside the values that were logged: one form for both ends of a report."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from lrsearch.errors import UsageError
from lrsearch.runs.environment import texts_of

LARGEST = 2**53
"""Of a step: beyond, JSON's numbers are no whole ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """The state of a job in a Python program.

    Args:
        step: updates done, by the scheduler's clock.
        began_at: the update from which this attempt goes on.
        has_scheduler: whether the training asked for its scheduler.
        changed: from which update on the learning rates were not the policy's; None where they were.
        skipped: updates that a gradient scaler skipped.
        lrs: learning rates of a controller since the state before.
        first_update_at: seconds since 1970; None before it.
        stop_at: the update at which all ranks end; None where they do not end early.
        has_ended: whether the program waits for its next job.
        environment: what it trains with; empty before the end.
    """

    step: int
    began_at: int
    has_scheduler: bool
    changed: str | None
    skipped: int
    lrs: tuple[float, ...]
    first_update_at: float | None
    stop_at: int | None
    has_ended: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave.

        Raises:
            UsageError: for what no job writes.
        """
        try:
            lrs, environment = tuple(map(float, values["lrs"])), texts_of(values["environment"])
            made = cls(**{**values, "lrs": lrs, "environment": environment})
        except (TypeError, ValueError, KeyError):
            made = None
        if made is None or not made._is_sound:
            raise UsageError("its report has a state that no job of this lrsearch writes: log no value of that name")
        return made

    @property
    def _is_sound(self) -> bool:
        stop, first = self.stop_at, self.first_update_at
        return (
            all(map(is_step, (self.step, self.began_at, self.skipped, 0 if stop is None else stop)))
            and isinstance(self.changed, str | None)
            and (first is None or (isinstance(first, int | float) and math.isfinite(first)))
        )


def is_step(value: Any) -> bool:
    """Whether a value is a number of updates.

    >>> is_step(3), is_step(3.0), is_step(1.5), is_step(-1), is_step(float("inf")), is_step(True), is_step("3")
    (True, True, False, False, False, False, False)
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= LARGEST and value == int(value)
