"""The executor in this process: it trains one group after the other."""

import time
from pathlib import Path

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.executor import (
    DONE,
    LATER,
    LATER_SECONDS,
    Ask,
    Ended,
    Group,
    GroupTrainer,
    Lockstep,
    Lost,
    Progress,
    Usage,
    nothing_to_wait_for,
)


class LocalExecutor:
    """Trains groups of runs in this process, one after the other.

    Args:
        trainer: trains the runs.
    """

    slots = 1

    def __init__(self, trainer: GroupTrainer) -> None:
        self.trainer = trainer
        self._seconds = 0.0

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of its task train in lockstep."""
        return self.trainer.lockstep

    @property
    def usage(self) -> Usage:
        """Its one slot trains all the time."""
        return Usage(1, self._seconds, self._seconds)

    def train(
        self,
        ask: Ask,
        ended: Ended,
        *,
        folder: Path | None = None,
        progress: Progress | None = None,
        lost: Lost | None = None,
    ) -> None:
        """Train groups: see `Executor.train`. No attempt is lost: where this process ends, so does the call."""
        began = time.monotonic()
        try:
            self._train(ask, ended, folder, progress)
        finally:
            self._seconds += time.monotonic() - began

    def _train(self, ask: Ask, ended: Ended, folder: Path | None, progress: Progress | None) -> None:
        runs = _OpenRuns(ended, progress)
        while not runs.is_over and (group := ask()) is not DONE:
            if group is LATER:
                time.sleep(LATER_SECONDS)
                continue
            if not isinstance(group, Group):
                raise nothing_to_wait_for(self.trainer.task)
            runs.begin(group)
            try:
                self.trainer.train_group(group, runs.end, runs.watch, folder)
            except KeyboardInterrupt:
                runs.interrupt()
        if runs.is_over:
            raise KeyboardInterrupt


class _OpenRuns:
    """The runs of the group in training; each is passed on once, also where an interrupt comes."""

    def __init__(self, ended: Ended, progress: Progress | None) -> None:
        self._ended, self._progress = ended, progress
        self._specs: list[RunSpec] = []
        self._in_lockstep = False
        self._steps, self._began = 0, 0.0
        self.is_over = False

    def begin(self, group: Group) -> None:
        """Begin a group."""
        self._specs, self._in_lockstep = list(group.specs), group.in_lockstep
        self._steps, self._began = 0, time.monotonic()

    def end(self, spec: RunSpec, run: Run) -> None:
        """Pass an ended run on."""
        self._specs.remove(spec)
        self._steps, self._began = 0, time.monotonic()
        self.is_over |= run.state is RunState.INTERRUPTED
        try:
            self._ended(spec, run)
        except KeyboardInterrupt:  # report this run again, and the runs beside it, before the interrupt is raised
            self.is_over = True
            if run.state.is_final:
                self._ended(spec, run)

    def watch(self, steps: int) -> None:
        """Note the steps done, and raise the interrupt that came meanwhile."""
        self._steps = steps
        if self.is_over:
            raise KeyboardInterrupt
        if self._progress:
            self._progress(self._specs[0], steps)

    def interrupt(self) -> None:
        """Pass the open runs on as interrupted: a second interrupt came while the trainer ended them."""
        self.is_over, steps, seconds = True, self._steps, time.monotonic() - self._began
        for n, spec in enumerate(list(self._specs)):
            trained = steps if self._in_lockstep or n == 0 else 0
            self.end(spec, Run(state=RunState.INTERRUPTED, steps=trained, seconds=seconds))
