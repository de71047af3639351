"""A job of an ask-and-tell study: a run that the user trains, and reports later."""

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
    """A run that the user trains.

    Args:
        number: identifies the job in `tell` and `release`.
        purpose: `check`, `range-test`, `decade` (a constant LR, short), `default`, `candidate` or `confirm`.
        spec: the run.
        folder: the job's own folder, for all files of the run.
    """

    number: int
    purpose: str
    spec: RunSpec
    folder: Path

    @classmethod
    def of(cls, trial: Trial, task: Task, folder: Path) -> "OpenJob":
        """The job of a trial."""
        return cls(trial.number, trial.role, trial.spec(task), folder)

    @property
    def evaluate_every(self) -> int:
        """Updates from one evaluation to the next, as in a search. The score is that of the last one."""
        return self.spec.task.evaluate_every(self.horizon, is_controller=self.policy.is_controller)

    @property
    def is_range_test(self) -> bool:
        """Whether it is a range test: its training losses are reported as curves, and no evaluation is needed."""
        return self.purpose == Role.RANGE_TEST

    @property
    def file(self) -> JobFile:
        """The job file, whose path a program reads from LRSEARCH_JOB."""
        return JobFile.of(
            self.spec, self.folder, is_range_test=self.is_range_test, number=self.number, purpose=self.purpose
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, those of its file."""
        values: dict[str, Any] = json.loads(self.file.to_text())
        return values
