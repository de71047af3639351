"""The job inside a program: it reads the file that LRSEARCH_JOB names, and writes the report."""

import atexit
import json
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lrsearch.errors import WorkError
from lrsearch.runs import RunSpec, Stop, Task
from lrsearch.runs.counter import StepCounter
from lrsearch.runs.environment import environment
from lrsearch.runs.job import Job
from lrsearch.runs.job_file import JobFile
from lrsearch.runs.task import LEAST_HORIZON
from lrsearch.schedules import parse
from lrsearch.training.job_state import JobState
from lrsearch.training.report import JOB, STATE, STEP

RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Environment variables of torchrun, srun, Open MPI and MPICH."""


class ServedJob(Job):
    """A job with a report: rank 0 appends logged values to the report, and every rank reads the step of a stop.

    All ranks read the same policy from the file. Rank 0 decides on a stop at one evaluation, and it takes effect at the
    next: the collective operations in between make sure that all ranks have read it by then.

    Args:
        file: the job's file.
        rank: this process's rank; None to read it from the environment.
        size: the number of processes of the training; None to read it from the environment.
    """

    def __init__(self, file: JobFile, *, rank: int | None = None, size: int | None = None) -> None:
        self.file = file
        self.rank = _number(RANKS, 0) if rank is None else rank
        self.size = _number(SIZES, 1) if size is None else size
        task = Task(
            name=file.task,
            horizon=max(file.horizon, LEAST_HORIZON),
            epoch=file.epoch,
            objectives=file.metrics(),
            settings=file.settings,
        )
        spec = RunSpec(task, parse(file.policy), file.horizon, file.seed, Stop.of(file.stop_when))
        super().__init__(spec, folder=Path(file.folder), device=file.device, is_range_test=file.evaluate_every is None)
        if file.evaluate_every is not None:
            every = file.evaluate_every
            self._evaluations = frozenset({*range(every, file.horizon, every), file.horizon})
        # the file of a job trained by hand is not rewritten for a second attempt
        self._is_resumed = file.resumed or self._counter.before > 0
        if self.rank:
            self._counter.close()
            self._counter = StepCounter(None)
        self._last_step = 0
        self._stop_at: int | None = None
        self._written: dict[str, int] = {}
        self._lrs_written = 0
        self._first_update_at: float | None = None
        if not self.rank:
            atexit.register(self._report_last)
            self._append([self._state()])

    @property
    def key(self) -> str:
        """The run's key in the store of the process that started the program."""
        return self.file.job

    @property
    def resumed(self) -> bool:
        """Whether an attempt before this one made updates: its checkpoints may be in the folder."""
        return self._is_resumed

    @property
    def should_stop(self) -> bool:
        """Whether the run must end now: it diverged, reached its target, or the stop file says so."""
        if self.has_diverged or super().should_stop:
            return True
        if self._stop_at is None:
            self._stop_at = _read_stop(Path(self.file.stop))
        return self._stop_at is not None and max(self._last_step, self.step) >= self._stop_at

    def is_evaluation_due(self, step: int | None = None) -> bool:
        """Whether to evaluate now: ten times in a full run, an epoch apart at least, and at the last step."""
        self._last_step = max(self._last_step, self.step if step is None else step)
        return super().is_evaluation_due(step)

    def log(self, step: int | None = None, /, **values: Any) -> None:
        """Record values at a step, as `Job.log` does; rank 0 reports them."""
        super().log(step, **values)
        if self._objective.name in values:
            self._write()

    def stepped(self, updates: int | None, lr: float | None = None) -> None:
        """Count an update; the scheduler calls it."""
        if self._first_update_at is None:
            self._first_update_at = time.time()
        super().stepped(updates, lr)

    def end(self) -> None:
        """Report the end of the job, where the program goes on with another; what was printed before is its own."""
        with suppress(OSError, ValueError):  # a program may have closed its output
            sys.stdout.flush()
        if not self.rank:
            self._write(has_ended=True, environment=environment(self._device))
            atexit.unregister(self._report_last)

    def _report(self, at: int) -> None:
        super()._report(at)
        self._write()

    def _evaluated(self, at: int) -> None:
        super()._evaluated(at)
        if self.rank:  # its values only feed its controller; rank 0 decides about the run
            self.stopped_at, self.has_diverged = None, False
        elif self.size > 1 and self.stopped_at is not None:
            if self._stop_at is None:
                self._stop_at = min((step for step in self._evaluations if step > at), default=self.horizon)
                with suppress(FileExistsError):
                    write_stop(Path(self.file.stop), self._stop_at)
            self.stopped_at = None

    def _see_divergence(self) -> None:
        if not self.rank:
            super()._see_divergence()

    def _report_last(self) -> None:
        with suppress(Exception):  # the program ends: a report that cannot be written is noticed by its reader
            self._write(environment=environment(self._device))

    def _write(self, **more: Any) -> None:
        """Append the new values. The state comes first, because it carries the number of updates."""
        if self.rank:
            return
        by_step: dict[int, dict[str, Any]] = {}
        for name, points in self.values.series.items():
            for step, value in points[self._written.get(name, 0) :]:
                by_step.setdefault(step, {})[name] = value if math.isfinite(value) else str(value)
            self._written[name] = len(points)
        self._append([self._state(**more), *({STEP: step, **by_step[step]} for step in sorted(by_step))])

    def _state(self, **more: Any) -> dict[str, Any]:
        lrs, self._lrs_written = tuple(self.lrs[self._lrs_written :]), len(self.lrs)
        state = JobState(
            step=self.step,
            began_at=self._began_at,
            has_scheduler=self.has_scheduler,
            changed=self.changed,
            skipped=self.skipped,
            lrs=lrs,
            first_update_at=self._first_update_at,
            stop_at=self._stop_at,
            **more,
        )
        return {JOB: self.key, STATE: state.to_json()}

    def _append(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            with Path(self.file.report).open("a") as report:
                report.write(text)
        except OSError as error:
            raise WorkError(f"the report {self.file.report!r} cannot be written: {error.strerror}") from None


def write_stop(path: Path, at: int) -> None:
    """Write the update at which a program must end. The first writer wins.

    Raises:
        FileExistsError: if the file exists.
    """
    with path.open("x") as file:
        file.write(json.dumps({"at": at}) + "\n")


def _read_stop(path: Path) -> int | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(json.loads(text)["at"]) if text.endswith("\n") else None  # otherwise it is being written


def _number(names: tuple[str, ...], default: int) -> int:
    values = (os.environ[name] for name in names if name in os.environ)
    return int(next(values, default))
