"""The contracts of training: trainers in one process, their sources, and executors that distribute runs.

An executor asks for groups of runs and passes every ended run to a callback. It depends on no kind of task and on no
study.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from lrsearch.errors import EngineError
from lrsearch.runs.run import Run, RunSpec
from lrsearch.runs.task import Task

Ended = Callable[[RunSpec, Run], None]
Progress = Callable[[RunSpec, int], None]


class NoRun(Enum):
    """Why there is no group to train now; it is false, as a group is true."""

    WAIT = "what is being trained must end first"
    DONE = "nothing is left to train"

    def __bool__(self) -> bool:
        """Always False: there is no group."""
        return False


WAIT: Final = NoRun.WAIT
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

    def train(self, ask: Ask, ended: Ended, *, folder: Path | None = None, progress: Progress | None = None) -> None:
        """Train groups until none is left, and pass each run to `ended` exactly once.

        Args:
            ask: returns the next group; WAIT while runs in progress must end first, DONE when nothing is left.
            ended: called with every run. If an interrupt breaks the call, it is called with the same run again.
            folder: for the weights of full runs and the checkpoints of runs in progress; None to write none.
            progress: called with the steps done of a run in progress, every now and then.

        Raises:
            KeyboardInterrupt: if it was interrupted, after every ended run was passed to `ended`.
            WorkError: if a worker process died or could not start, after finished runs were passed to `ended`.
            EngineError: if `ask` returns WAIT while nothing is in progress: it would wait for ever.
        """


def nothing_to_wait_for(task: Task) -> EngineError:
    """The error of an executor whose `ask` returns WAIT while nothing is in progress."""
    return EngineError(
        f"{task.name}: told to wait for runs that are being trained, and none is; say DONE where nothing"
        " is left to train"
    )
