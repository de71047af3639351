"""Has an executor train, and returns what happened beside the runs: lost attempts, idle time, the end of the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.counter import NAME, StepCounter
from lrsearch.runs.executor import Ask, Ended, Executor, Lost, OutOfTime, Progress, Usage
from lrsearch.runs.lost import LostAttempt
from lrsearch.study.signals import interrupting_signals


@dataclass(frozen=True, slots=True)
class Driven:
    """What happened while an executor trained, beside the runs that ended.

    Args:
        lost: the attempts that ended with their process, in order.
        usage: how much of their time the workers have trained.
        is_out_of_time: whether the deadline ended it.
    """

    lost: tuple[LostAttempt, ...] = ()
    usage: Usage = field(default_factory=Usage)
    is_out_of_time: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "lost": [attempt.to_json() for attempt in self.lost],
            "usage": self.usage.to_json(),
            "is_out_of_time": self.is_out_of_time,
        }


def train_all(
    executor: Executor,
    ask: Ask,
    ended: Ended,
    *,
    charge: Ended,
    folder: Path | None = None,
    progress: Progress | None = None,
    lost: Lost | None = None,
) -> Driven:
    """Have an executor train until nothing is left or its deadline has passed.

    Args:
        executor: trains the runs.
        ask: returns the next group, as for `Executor.train`.
        ended: called with every run.
        charge: called with the interrupted run of every lost attempt, whose steps count.
        folder: for the weights of full runs and the checkpoints of runs in progress; None to keep none.
        progress: called with the steps done of a run in progress, every now and then.
        lost: called with every lost attempt, after `charge`.

    Raises:
        KeyboardInterrupt: if it was interrupted, after every run was passed to `ended`.
        WorkError: if no worker can start, or the trainer is broken.
    """
    attempts: list[LostAttempt] = []

    def pass_run(spec: RunSpec, run: Run) -> None:
        with _counted(folder, spec, run) as counted:
            ended(spec, counted)

    def pass_lost(attempt: LostAttempt) -> None:
        with _counted(folder, attempt.spec, attempt.run) as counted:
            charge(attempt.spec, counted)
        attempts.append(replace(attempt, run=counted))
        if lost:
            lost(attempts[-1])

    is_out_of_time = False
    with interrupting_signals():
        try:
            executor.train(ask, pass_run, folder=folder, progress=progress, lost=pass_lost)
        except OutOfTime:
            is_out_of_time = True
    return Driven(tuple(attempts), executor.usage, is_out_of_time)


@contextmanager
def _counted(folder: Path | None, spec: RunSpec, run: Run) -> Iterator[Run]:
    """A run with the updates that its job counted, which are charged once it is recorded.

    A job counts in a file. What it trained before its process ended is charged when the run is trained again, unless
    it is charged here. A run that its trainer concluded was charged there: it has an environment, or says whether its
    policy was applied.
    """
    is_concluded = run.state is not RunState.INTERRUPTED or bool(run.environment) or run.applied is not None
    if is_concluded or folder is None or not (folder / spec.key / NAME).exists():
        yield run
        return
    counter = StepCounter(folder / spec.key)
    try:
        yield replace(run, steps=counter.uncharged)
        counter.charge()
    finally:
        counter.close()
