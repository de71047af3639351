"""The executor in this process: it trains one group after the other."""

import time
from pathlib import Path

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.executor import (
    DONE,
    WAIT,
    Ask,
    Ended,
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
        open_runs: list[RunSpec] = []
        is_over = False

        def record(spec: RunSpec, run: Run) -> None:
            nonlocal is_over
            open_runs.remove(spec)
            is_over |= run.state is RunState.INTERRUPTED
            try:
                ended(spec, run)
            except KeyboardInterrupt:  # report this run again, and the runs beside it, before the interrupt is raised
                is_over = True
                if run.state.is_final:
                    ended(spec, run)

        def watch(step: int) -> None:
            if is_over:
                raise KeyboardInterrupt
            if progress:
                progress(open_runs[0], step)

        while not is_over and (group := ask()) is not DONE:
            if group is WAIT:
                raise nothing_to_wait_for(self.trainer.task)
            open_runs[:] = group.specs
            self.trainer.train_group(group, record, watch, folder)
        if is_over:
            raise KeyboardInterrupt
