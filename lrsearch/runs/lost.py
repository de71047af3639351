"""Attempts that were lost: their process or its machine ended before the run did."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lrsearch.runs.run import OfSpec, Run, RunSpec
from lrsearch.words import counted


class Cause(StrEnum):
    """What ended a process that trained; the value is a text for people."""

    MEMORY = "out of memory"
    KILLED = "killed"
    CRASHED = "crashed"
    EXITED = "exited"
    HUNG = "over its time limit"
    TERMINATED = "terminated"
    NODE = "node lost"

    @property
    def attempts(self) -> int:
        """The number of attempts of a run, all of which end like this, before it counts as failed."""
        return ATTEMPTS[self]


ATTEMPTS = {
    Cause.MEMORY: 3,
    Cause.KILLED: 3,
    Cause.CRASHED: 3,
    Cause.EXITED: 3,
    Cause.HUNG: 2,
    Cause.TERMINATED: 10,
    Cause.NODE: 10,
}
"""A rule: a hang costs its whole time limit. The end of a node is not the run's doing, and lent machines often go."""


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process that trained.

    Args:
        cause: in a word.
        why: the evidence, as a text: the signal, the exit code, the memory, or Ray's reason.
    """

    cause: Cause
    why: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.why}"


@dataclass(frozen=True, slots=True)
class LostAttempt(OfSpec):
    """An attempt of a run that ended with its process.

    Args:
        spec: the run.
        attempt: its number, from 1.
        death: the end of its process.
        run: the interrupted run, with its steps as far as they are known, and its seconds.
        is_last: whether the run counts as failed, as it was lost so often.
    """

    spec: RunSpec
    attempt: int
    death: Death
    run: Run
    is_last: bool

    @property
    def sentence(self) -> str:
        """The attempt in a sentence for people."""
        then = "it counts as failed" if self.is_last else "it was trained again"
        done = counted(self.run.steps, "update")
        return f"attempt {self.attempt} of {self.policy} (seed {self.seed}) was lost after {done}, {self.death}; {then}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "policy": str(self.policy),
            "horizon": self.horizon,
            "seed": self.seed,
            "attempt": self.attempt,
            "cause": str(self.death.cause),
            "why": self.death.why,
            "steps": self.run.steps,
            "seconds": self.run.seconds,
            "is_last": self.is_last,
        }
