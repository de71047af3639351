"""A job that is out: what somebody trains by hand, and tells of later."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrsearch.runs import RunSpec, Task
from lrsearch.runs.job_file import JobFile
from lrsearch.runs.roles import Role
from lrsearch.runs.run import OfSpec
from lrsearch.store import Trial


@dataclass(frozen=True, slots=True)
class OpenJob(OfSpec):
    """A run that somebody trains by hand.

    Args:
        number: what it is told by.
        purpose: `check`, `range-test`, `decade` (a constant LR, short), `default`, `candidate` or `confirm`.
        spec: the run.
        folder: a folder of its own, for whatever it writes.
    """

    number: int
    purpose: str
    spec: RunSpec
    folder: Path

    @classmethod
    def of(cls, trial: Trial, task: Task, folder: Path) -> "OpenJob":
        """The job of an assignment."""
        return cls(trial.number, trial.role, trial.spec(task), folder)

    @property
    def evaluate_every(self) -> int:
        """Updates from one evaluation to the next, as a search evaluates; the last counts."""
        return self.spec.task.evaluate_every(self.horizon, is_controller=self.policy.is_controller)

    @property
    def is_range_test(self) -> bool:
        """Whether it is read by its training losses, told as curves, and needs no evaluation."""
        return self.purpose == Role.RANGE_TEST

    @property
    def file(self) -> JobFile:
        """It as LRSEARCH_JOB names it to a program."""
        return JobFile.of(
            self.spec, self.folder, is_range_test=self.is_range_test, number=self.number, purpose=self.purpose
        )

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values, as they stand in its file."""
        values: dict[str, Any] = json.loads(self.file.to_text())
        return values
