"""The state of a program's own job, as its report carries it beside the logged values."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from lrsearch.errors import UsageError
from lrsearch.runs.environment import texts_of

LARGEST = 2**53
"""Rule: the largest step; JSON's numbers are exact integers up to 2^53."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """The state of a job in a Python program.

    Args:
        step: updates done, by the scheduler's clock.
        began_at: the update from which this attempt resumed.
        has_scheduler: whether the training uses the job's scheduler.
        changed: where the learning rates first differed from the policy's, as a text; None where they did not.
        skipped: updates that a gradient scaler skipped.
        lrs: learning rates of a controller since the previous state.
        first_update_at: seconds since 1970; None before the first update.
        stop_at: the update at which all ranks end early; None where they do not.
        has_ended: whether the program waits for its next job.
        environment: versions, device and threads; empty before the end.
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
        """The state as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of `to_json`.

        Raises:
            UsageError: for values that no job writes.
        """
        try:
            lrs, environment = tuple(map(float, values["lrs"])), texts_of(values["environment"])
            state = cls(**{**values, "lrs": lrs, "environment": environment})
        except (TypeError, ValueError, KeyError):
            state = None
        if state is None or not state._is_sound:
            raise UsageError("its report has a state that no job of this lrsearch writes: log no value of that name")
        return state

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
