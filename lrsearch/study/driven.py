"""Has an executor train, and returns what happened beside the runs: lost attempts, idle time, the end of the time."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.counter import counted_in, lost_in
from lrsearch.runs.executor import Ask, Ended, Executor, Lost, OutOfTime, Progress, Usage
from lrsearch.runs.lost import LostAttempt
from lrsearch.study.signals import interrupting_signals
from lrsearch.training.charges import settle


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


class OfDriven:
    """A mixin: what happened while the call that returned a result trained."""

    __slots__ = ()
    driven: Driven

    @property
    def lost(self) -> tuple[LostAttempt, ...]:
        """The attempts that ended with their process in this call, in order; each was trained again or failed."""
        return self.driven.lost

    @property
    def usage(self) -> Usage:
        """How much of their time the workers have trained in this call: `.share`, and `.idle` in seconds."""
        return self.driven.usage


def train_all(
    executor: Executor,
    ask: Ask,
    ended: Ended,
    *,
    charge: Callable[[RunSpec, Run], bool | None],
    folder: Path | None = None,
    progress: Progress | None = None,
    lost: Lost | None = None,
) -> Driven:
    """Have an executor train until nothing is left or its deadline has passed.

    Args:
        executor: trains the runs.
        ask: returns the next group, as for `Executor.train`.
        ended: called with every run.
        charge: called with the interrupted run of every lost attempt, whose steps count; returns False where the
            budget does not pay for another attempt.
        folder: for the weights of full runs and the checkpoints of runs in progress; None to keep none.
        progress: called with the steps done of a run in progress, every now and then.
        lost: called with every lost attempt, after `charge`.

    Raises:
        KeyboardInterrupt: if it was interrupted, after every run was passed to `ended`.
        WorkError: if no worker can start, or the trainer is broken.
    """
    attempts: list[LostAttempt] = []

    def pass_run(spec: RunSpec, run: Run) -> None:
        ended(spec, _counted(folder, spec, run))

    def pass_lost(attempt: LostAttempt) -> bool:
        run = _counted(folder, attempt.spec, attempt.run)
        is_paid = charge(attempt.spec, run) is not False
        settle(folder, attempt.spec, run)
        attempts.append(replace(attempt, run=run, is_last=attempt.is_last or not is_paid))
        if lost:
            lost(attempts[-1])
        return is_paid

    is_out_of_time = False
    with interrupting_signals():
        try:
            executor.train(ask, pass_run, folder=folder, progress=progress, lost=pass_lost)
        except OutOfTime:
            is_out_of_time = True
    return Driven(tuple(attempts), executor.usage, is_out_of_time)


def _counted(folder: Path | None, spec: RunSpec, run: Run) -> Run:
    """A run with the updates that its attempt counted, where its process ended before it reported them all.

    A run that its trainer concluded has all its updates: it has an environment, or says whether its policy was applied.
    """
    is_concluded = run.state is not RunState.INTERRUPTED or bool(run.environment) or run.applied is not None
    if is_concluded or folder is None or not counted_in(folder / spec.key):
        return run
    return replace(run, steps=max(0, lost_in(folder / spec.key)))
