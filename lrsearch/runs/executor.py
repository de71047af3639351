"""The contracts of training: trainers in one process, their sources, and executors that distribute runs.

An executor asks for groups of runs and passes every ended run to a callback. It depends on no kind of task and on no
study.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol, Self

from lrsearch.errors import EngineError, UsageError, given
from lrsearch.runs.lost import LostAttempt
from lrsearch.runs.run import Run, RunSpec
from lrsearch.runs.task import Task

Ended = Callable[[RunSpec, Run], None]
Lost = Callable[[LostAttempt], bool | None]
Progress = Callable[[RunSpec, int], None]

INTERRUPTING: Final = ("SIGTERM", "SIGUSR1")
"""Signals that interrupt training: the one that ends a process, and the one that Slurm sends before a time limit."""

LATER_SECONDS = 1.0
"""Seconds until a slot asks again where `ask` returned LATER: a rule, short beside a run."""


class NoRun(Enum):
    """Why there is no group to train now; it is false, as a group is true."""

    WAIT = "what is being trained must end first"
    LATER = "what other processes train must end first"
    DONE = "nothing is left to train"

    def __bool__(self) -> bool:
        """Always False: there is no group."""
        return False


WAIT: Final = NoRun.WAIT
LATER: Final = NoRun.LATER
DONE: Final = NoRun.DONE


@dataclass(frozen=True, slots=True)
class Lockstep:
    """Whether short runs of a task train in lockstep.

    Args:
        rows: runs at a time; 0 if they train one by one.
        reason: the reason, for people.
    """

    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """Runs for one process.

    Args:
        specs: the runs; in lockstep they have one horizon.
        in_lockstep: whether they train in lockstep; otherwise they share a prefix, or there is one run.
    """

    specs: tuple[RunSpec, ...]
    in_lockstep: bool = False


Ask = Callable[[], Group | NoRun]


@dataclass(frozen=True, slots=True)
class Limits:
    """The time that training may take.

    Args:
        seconds_per_run: for an attempt of a run, which is ended where it takes longer; None for no limit.
        deadline: for all of it, by `time.monotonic`; runs that are open then are interrupted. None for no limit.

    Raises:
        UsageError: if a number of seconds is not above 0.
    """

    seconds_per_run: float | None = None
    deadline: float | None = None

    def __post_init__(self) -> None:
        _require_above_0("max_seconds_per_run", self.seconds_per_run)

    @classmethod
    def of(cls, seconds_per_run: float | None, hours: float | None, now: float) -> Self:
        """The limits of a call that begins now.

        Args:
            seconds_per_run: as above.
            hours: for all of it; None for no limit.
            now: the time, by `time.monotonic`.

        Raises:
            UsageError: if a number is not above 0.

        >>> Limits.of(None, 2, now=100.0)
        Limits(seconds_per_run=None, deadline=7300.0)
        """
        _require_above_0("max_hours", hours)
        return cls(seconds_per_run, None if hours is None else now + 3600 * hours)

    def __bool__(self) -> bool:
        """Whether there is a limit."""
        return self.seconds_per_run is not None or self.deadline is not None


class OutOfTime(KeyboardInterrupt):
    """The deadline has passed: the open runs were interrupted, and what finished is kept."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of their time the slots of an executor have trained.

    Args:
        slots: groups at a time.
        seconds: the sum over the slots of the time from the first moment at which they could train.
        busy: the part in which they had a group.
    """

    slots: int = 1
    seconds: float = 0.0
    busy: float = 0.0

    @property
    def idle(self) -> float:
        """The seconds in which slots waited, for runs in progress or for a new worker."""
        return self.seconds - self.busy

    @property
    def share(self) -> float:
        """The share of the time in which a slot trained."""
        return self.busy / self.seconds if self.seconds else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `seconds` and `idle_seconds` are sums over the workers."""
        return {"workers": self.slots, "seconds": self.seconds, "share": self.share, "idle_seconds": self.idle}


class GroupTrainer(Protocol):
    """Trains groups of runs of one task in this process."""

    @property
    def task(self) -> Task:
        """The task."""

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of it train in lockstep."""

    def train_group(
        self, group: Group, ended: Ended, watch: Callable[[int], None] | None = None, folder: Path | None = None
    ) -> None:
        """Train a group and pass each run to `ended` once. A failed run is passed as failed and ends no other run.

        Args:
            group: the runs.
            ended: called with every run, as soon as it ends.
            watch: called with the steps done, every few steps. If it raises KeyboardInterrupt, every unfinished run
                ends as interrupted.
            folder: for the weights of full runs and the checkpoints of runs in progress; None to write none.
        """

    def close(self) -> None:
        """Release its resources; it trains no more."""


class TrainerSource(Protocol):
    """A source of trainers of a task. It is small and picklable, because it is sent to worker processes."""

    @property
    def task(self) -> Task:
        """The task."""

    def shared(self) -> AbstractContextManager["TrainerSource"]:
        """The source for the workers of this machine, such as one with its data in memory-mapped files."""

    def portable(self) -> "TrainerSource":
        """The source for other machines, which may lack the files of this one."""

    def open(
        self, *, is_own_process: bool = False, threads: int | None = None, device: str | None = None
    ) -> GroupTrainer:
        """Make a trainer in this process; only now data are loaded and modules imported.

        Args:
            is_own_process: whether this process does nothing else, so that all of it may be set up for training.
            threads: the process's share of the machine's cores; None where it has the machine to itself.
            device: the GPU to use, such as "cuda:1"; None where there is none, or no choice.
        """

    def default_workers(self) -> int:
        """The default number of processes for the task and this machine."""


class Executor(Protocol):
    """Trains groups of runs, one or several at a time."""

    @property
    def slots(self) -> int:
        """The number of groups that it trains at a time."""

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of its task train in lockstep."""

    @property
    def usage(self) -> Usage:
        """How much of their time its slots have trained."""

    def train(
        self,
        ask: Ask,
        ended: Ended,
        *,
        folder: Path | None = None,
        progress: Progress | None = None,
        lost: Lost | None = None,
    ) -> None:
        """Train groups until none is left, and pass each run to `ended` exactly once.

        A run whose process or machine ends is trained again, at most as often as its `Cause` says; then it has failed.

        Args:
            ask: returns the next group; WAIT while runs in progress must end first, LATER while runs of other
                processes must, DONE when nothing is left.
            ended: called with every run. If an interrupt breaks the call, it is called with the same run again.
            folder: for the weights of full runs and the checkpoints of runs in progress; None to write none.
            progress: called with the steps done of a run in progress, every now and then.
            lost: called with every attempt of a run that ended with its process; where it returns False, the run is not
                tried again, and has failed.

        Raises:
            KeyboardInterrupt: if it was interrupted, after every ended run was passed to `ended`.
            OutOfTime: the same, because the deadline has passed.
            WorkError: if no worker can start, or the trainer is broken, after finished runs were passed to `ended`.
            EngineError: if `ask` returns WAIT while nothing is in progress: it would wait for ever.
        """


def nothing_to_wait_for(task: Task) -> EngineError:
    """The error of an executor whose `ask` returns WAIT while nothing is in progress."""
    return EngineError(
        f"{task.name}: told to wait for runs that are being trained, and none is; say DONE where nothing"
        " is left to train"
    )


def _require_above_0(name: str, number: float | None) -> None:
    if number is None:
        return
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not 0 < number < math.inf:
        raise UsageError(f"{name} is a number above 0, got {given(number)}; leave it out for no limit")
