"""Training by what somebody else wrote, a function or a program: one run after the other, concluded in one place."""

import contextlib
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.conclusion import conclude
from lrsearch.runs.executor import Ended, Group, Lockstep
from lrsearch.runs.job import Job, OnProgress

ERROR_FILE = "error.txt"


class OwnTrainer(ABC):
    """Trains runs of one task, one after the other.

    Args:
        task: what it trains.
        device: where, such as "cuda:0"; the GPU if there is one where none is given.
        source: the digest of what trains it, which is kept with each run.
    """

    lockstep = Lockstep(0, "a training of one's own trains one run at a time")

    def __init__(self, task: Task, device: str | None = None, source: str | None = None) -> None:
        self.task, self.device, self.source = task, device, source

    def train(
        self,
        spec: RunSpec,
        watch: OnProgress | None = None,
        folder: Path | None = None,
        *,
        is_range_test: bool | None = None,
    ) -> Run:
        """Train one run.

        Args:
            spec: what to train.
            watch: is told the number of steps done; it may raise `KeyboardInterrupt`.
            is_range_test: whether it is one; by its policy where it is not said.
            folder: where the run has a folder of its own, named by its key: that of a full run stays, as does one of
                a run that failed or was interrupted; without one it has a temporary folder that goes.
        """
        place = folder / spec.key if folder else None
        job = self._job(spec, place, watch, is_range_test)
        began = time.perf_counter()
        outcome = self._outcome(job)
        startup = None if job.first_step_at is None else job.first_step_at - began
        run = conclude(job, outcome, seconds=time.perf_counter() - began, startup_seconds=startup, source=self.source)
        run = replace(run, environment=self._environment(job))
        _leave(job, run, keep=place is not None and spec.horizon == spec.task.horizon)
        return run

    def train_group(
        self, group: Group, ended: Ended, watch: OnProgress | None = None, folder: Path | None = None
    ) -> None:
        """Train the runs of a group, and tell of each that ends; after an interruption the others are interrupted."""
        is_over = False
        for spec in group.specs:
            run = Run(state=RunState.INTERRUPTED, steps=0, seconds=0.0) if is_over else self.train(spec, watch, folder)
            is_over |= run.state is RunState.INTERRUPTED
            ended(spec, run)

    def train_ramp(self, spec: RunSpec) -> tuple[Run, tuple[()]]:
        """Train a range test; it is not evaluated, so there are no looks beside its losses."""
        return self.train(spec, is_range_test=True), ()

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds: it trains no more."""

    @abstractmethod
    def _job(self, spec: RunSpec, folder: Path | None, watch: OnProgress | None, is_range_test: bool | None) -> Job:
        """The job of a run."""

    @abstractmethod
    def _environment(self, job: Job) -> Mapping[str, str]:
        """What it was trained with: versions and device."""

    @abstractmethod
    def _outcome(self, job: Job) -> Any:
        """Train a job: what the training returned, or the exception that ended it."""


def _leave(job: Job, run: Run, *, keep: bool) -> None:
    """Leave in the run's folder what somebody may want of it, and nothing else."""
    with contextlib.suppress(OSError):
        if run.state in (RunState.INTERRUPTED, RunState.FAILED):
            job.told()
            if run.state is RunState.FAILED and job.has_folder:
                (job.folder / ERROR_FILE).write_text(run.error or "")
            return
        job.forget()
        if not keep and job.has_folder:
            shutil.rmtree(job.folder)
