"""Training by a user's function: one run after the other, each seeded, timed and concluded in one place."""

import contextlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.conclusion import conclude
from lrsearch.runs.environment import environment
from lrsearch.runs.executor import Ended, Group, Lockstep
from lrsearch.runs.job import Job, JobStopped, OnProgress

ERROR_FILE = "error.txt"
NUMPY_SEEDS = 2**32


class FunctionTrainer:
    """Trains runs of one task by a function of somebody's own, in this process.

    Args:
        function: takes a `Job`, and returns its metric, a mapping of metrics, or None.
        task: what it trains.
        device: where, such as "cuda:0"; the GPU if there is one where none is given.
        source: the digest of the function's source, which is kept with each run.
    """

    lockstep = Lockstep(0, "a function of one's own trains one run at a time")

    def __init__(
        self, function: Callable[[Job], Any], task: Task, device: str | None = None, source: str | None = None
    ) -> None:
        self.function, self.task, self.device, self.source = function, task, device, source

    def train(
        self, spec: RunSpec, watch: OnProgress | None = None, folder: Path | None = None, *,
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
        job = Job(spec, folder=place, device=self.device, on_progress=watch, is_range_test=is_range_test)
        began = time.perf_counter()
        outcome: Any
        with seeded(spec.seed):
            try:
                outcome = self.function(job)
            except (Exception, KeyboardInterrupt, SystemExit, JobStopped) as error:
                outcome = error
        startup = None if job.first_step_at is None else job.first_step_at - began
        run = conclude(job, outcome, seconds=time.perf_counter() - began, startup_seconds=startup, source=self.source)
        run = replace(run, environment=environment(job.device))
        self._leave(job, run, keep=place is not None and spec.horizon == spec.task.horizon)
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
        """Train a range test; a function's is not evaluated, so there are no looks beside its losses."""
        return self.train(spec, is_range_test=True), ()

    def _leave(self, job: Job, run: Run, *, keep: bool) -> None:
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


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed `random`, numpy and torch, and put back what their states were."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)
    with _torch_seeded(seed):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextlib.contextmanager
def _torch_seeded(seed: int) -> Iterator[None]:
    import torch

    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if used else []):
        torch.manual_seed(seed)
        yield
