"""Who trains: what trains runs in one process, where that comes from, and what distributes runs over processes.

An executor asks for groups of runs and tells of every run that ends. It knows no task's kind and no study.
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
    """Why there is nothing to train by now; false where a run is true."""

    WAIT = "what is being trained must end first"
    DONE = "nothing is left to train"

    def __bool__(self) -> bool:
        """Whether there is a run."""
        return False


WAIT: Final = NoRun.WAIT
DONE: Final = NoRun.DONE


@dataclass(frozen=True, slots=True)
class Lockstep:
    """Whether short runs of a task train in lockstep.

    Args:
        rows: how many at a time; 0 if they train one by one.
        reason: why, for people.
    """

    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """Runs for one process.

    Args:
        specs: the runs: of one horizon where they are in lockstep.
        in_lockstep: whether they are, else they share a beginning, or there is one.
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
        """Train a group, and tell of each run once. A run that fails is told as failed and takes no other along.

        Args:
            group: the runs.
            ended: is told of every run that ends, as soon as it does.
            watch: is told the steps done, every few steps. If it raises KeyboardInterrupt, every run that is open is
                told as interrupted.
            folder: for the weights of full runs and the checkpoints of those in progress; None to keep none.
        """

    def close(self) -> None:
        """Give back what it holds: it trains no more."""


class TrainerSource(Protocol):
    """Where trainers of a task come from. It is small and picklable, for it is sent to worker processes."""

    @property
    def task(self) -> Task:
        """The task."""

    def shared(self) -> AbstractContextManager["TrainerSource"]:
        """The source that the workers of this machine are sent, such as one with its data in mapped files."""

    def open(
        self, *, is_own_process: bool = False, threads: int | None = None, device: str | None = None
    ) -> GroupTrainer:
        """Make a trainer in this process: data are loaded and modules imported here, and not before.

        Args:
            is_own_process: whether this process does nothing else, so that all of it may be set up for training.
            threads: the process's share of the machine's cores; None where it has the machine to itself.
            device: the GPU that it shares with few others, such as "cuda:1"; None where there is none, or no choice.
        """

    def default_workers(self) -> int:
        """How many processes suit the task and this machine."""


class Executor(Protocol):
    """Trains groups of runs, one or several at a time."""

    @property
    def slots(self) -> int:
        """How many groups it trains at a time."""

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of its task train in lockstep."""

    def train(self, ask: Ask, ended: Ended, *, folder: Path | None = None, progress: Progress | None = None) -> None:
        """Train groups until none is left, and tell of each run exactly once.

        Args:
            ask: says what to train next; WAIT while what is open must end first, DONE when nothing is left.
            ended: is told of every run that ends. If it is interrupted, it is told of a run that has ended again.
            folder: for the weights of full runs and the checkpoints of those in progress; None to keep none.
            progress: is told the steps done of a run that is open, every now and then.

        Raises:
            KeyboardInterrupt: if it was interrupted, after every run that it ended was told.
            WorkError: if a process that trains died or could not begin; what finished was told.
            EngineError: if `ask` says WAIT while nothing is open: it would wait for ever.
        """


def nothing_to_wait_for(task: Task) -> EngineError:
    """The error of an executor that is told to wait while nothing is open."""
    return EngineError(
        f"{task.name}: told to wait for runs that are being trained, and none is; say DONE where nothing"
        " is left to train"
    )
