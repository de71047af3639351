"""Training by a user's function or program, one run after the other."""

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
from lrsearch.training.charges import settle

ERROR_FILE = "error.txt"


class UserTrainer(ABC):
    """Trains runs of one task by a user's code, one after the other.

    Args:
        task: the task.
        device: a torch device, such as "cuda:0"; None for the GPU if there is one.
        source: the digest of the user's code, recorded with each run.
    """

    lockstep = Lockstep(0, "a user's function or program trains one run at a time")

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
        """Train one run and settle its updates: the caller records it.

        Args:
            spec: the run.
            watch: called with the number of steps done; it may raise `KeyboardInterrupt`.
            folder: the parent of the run's own folder, which is named by its key. The folder of a full, failed or
                interrupted run stays, others are removed. None for a temporary folder.
            is_range_test: whether it is a range test; None to decide by its policy.
        """
        run = self._train_run(spec, watch, folder, is_range_test)
        settle(folder, spec, run)
        return run

    def _train_run(
        self, spec: RunSpec, watch: OnProgress | None, folder: Path | None, is_range_test: bool | None = None
    ) -> Run:
        run_folder = folder / spec.key if folder else None
        job = self._job(spec, run_folder, watch, is_range_test)
        began = time.perf_counter()
        outcome = self._outcome(job)
        startup = None if job.first_step_at is None else job.first_step_at - began
        run = conclude(job, outcome, seconds=time.perf_counter() - began, startup_seconds=startup, source=self.source)
        run = replace(run, environment=self._environment(job))
        job.close()
        _clean_up(job, run, is_temporary=run_folder is None)
        return run

    def train_group(
        self, group: Group, ended: Ended, watch: OnProgress | None = None, folder: Path | None = None
    ) -> None:
        """Train the runs of a group and pass each to `ended`; after an interrupt the others are interrupted too."""
        is_over = False
        for spec in group.specs:
            interrupted = Run(state=RunState.INTERRUPTED, steps=0, seconds=0.0)
            run = interrupted if is_over else self._train_run(spec, watch, folder)
            is_over |= run.state is RunState.INTERRUPTED
            ended(spec, run)

    def train_ramp(self, spec: RunSpec) -> tuple[Run, tuple[()]]:
        """Train a range test. It has training losses only, so the tuple of evaluations is empty."""
        return self.train(spec, is_range_test=True), ()

    @abstractmethod
    def close(self) -> None:
        """Release its resources; it trains no more."""

    @abstractmethod
    def _job(self, spec: RunSpec, folder: Path | None, watch: OnProgress | None, is_range_test: bool | None) -> Job:
        """The job of a run."""

    @abstractmethod
    def _environment(self, job: Job) -> Mapping[str, str]:
        """The environment of the training: versions and device."""

    @abstractmethod
    def _outcome(self, job: Job) -> Any:
        """Train a job; return the result of the training, or the exception that ended it."""


def _clean_up(job: Job, run: Run, *, is_temporary: bool) -> None:
    """Write the error of a failed run to its folder; remove the temporary folder of an ended run."""
    with contextlib.suppress(OSError):
        if run.state is RunState.FAILED and job.has_folder:
            (job.folder / ERROR_FILE).write_text(run.error or "")
        elif run.state.is_final and is_temporary and job.has_folder:
            shutil.rmtree(job.folder)
