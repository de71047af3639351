"""The job of a recorded run: the same scheduler, batches and evaluations as in a search."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lrsearch.errors import UsageError
from lrsearch.runs import Objective, RunSpec, Task
from lrsearch.runs.conclusion import NOT_CHECKED, YES, not_applied
from lrsearch.runs.job import Job
from lrsearch.runs.task import LEAST_HORIZON
from lrsearch.schedules import Policy, parse

if TYPE_CHECKING:
    import torch

EPOCHS = 20
"""Epochs of a run whose task does not say how long an epoch is: a rule; it sets when evaluations are due."""


class RecordedJob:
    """The part of a job that a recorded run offers: scheduler, batches, and whether to evaluate or stop."""

    _task: Mapping[str, Any]
    _policy: str
    _seed: int
    _horizon: int | None
    _objective: Objective
    _job: Job | None = None

    @property
    def job(self) -> Job:
        """The run as a job.

        Raises:
            UsageError: while its horizon is unknown.
        """
        if self._job is None:
            if self._horizon is None:
                raise UsageError("a job has a horizon: give the run's updates, as record(..., horizon=1000)")
            task = self._described_task(self._horizon)
            self._job = Job(RunSpec(task, parse(self._policy), self._horizon, self._seed))
        return self._job

    @property
    def policy(self) -> Policy:
        """The policy."""
        return parse(self._policy)

    @property
    def should_stop(self) -> bool:
        """Whether the run should end now, because its losses are no longer finite."""
        return self.job.should_stop

    def scheduler(self, *optimizers: "torch.optim.Optimizer", last_step: int = 0) -> Any:
        """The scheduler of the policy, as `Job.scheduler`. With it, `finish` checks that the policy was applied."""
        return self.job.scheduler(*optimizers, last_step=last_step)

    def batches(self, loader: Iterable[Any], *, accumulate: int = 1) -> Iterator[Any]:
        """The batches of the run, as `Job.batches`."""
        return self.job.batches(loader, accumulate=accumulate)

    def is_evaluation_due(self, step: int | None = None) -> bool:
        """Whether to evaluate now, as `Job.is_evaluation_due`."""
        return self.job.is_evaluation_due(step)

    @property
    def _applied(self) -> str:
        """Whether the policy was applied so far: "yes", "not checked", or from which update on it was not."""
        if self._job is None or not self._job.has_scheduler:
            return NOT_CHECKED
        return not_applied(self._job) or YES

    def _described_task(self, horizon: int) -> Task:
        description = self._task
        data, batch = description.get("data") or {}, description.get("batch_size")
        epoch = description.get("epoch") or (data["train"] / batch if batch and data.get("train") else None)
        return Task(
            name=str(description["name"]),
            horizon=max(horizon, LEAST_HORIZON),
            epoch=epoch or max(1.0, horizon / EPOCHS),
            objectives=(self._objective,),
        )
