"""Programs as tasks: a command with a description of what it trains."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from lrsearch.errors import TaskError, UsageError
from lrsearch.runs import Task
from lrsearch.training.command import SETTINGS, Command
from lrsearch.training.description import AUTO, describe

if TYPE_CHECKING:
    from lrsearch.training.program_trainer import ProgramTrainer


class ProgramSource:
    """A program with its task.

    Args:
        command: the program and its arguments, as a text or a list.
        task: what it trains.

    Raises:
        UsageError: for a command that cannot be run.
    """

    def __init__(self, command: Command | str | Sequence[str], task: Task) -> None:
        self.command = command if isinstance(command, Command) else Command.of(command)
        self.task = task

    def require_whole(self) -> None:
        """Refuse a command with a setting that the task has none of, before anything runs.

        Raises:
            UsageError: it names the setting.
        """
        task = self.task
        odd = next(
            (
                name
                for name in self.command.places
                if name.startswith(SETTINGS) and name.removeprefix(SETTINGS) not in task.settings
            ),
            None,
        )
        if odd is not None:
            have = ", ".join(sorted(task.settings)) or "none"
            raise UsageError(f"the command has {{{odd}}}, and the settings of task {task.name!r} are: {have}")

    def shared(self) -> AbstractContextManager[Self]:
        """What the workers of this machine get: the command."""
        self.require_whole()
        return nullcontext(self)

    def open(
        self, *, is_own_process: bool = False, threads: int | None = None, device: str | None = None
    ) -> "ProgramTrainer":
        """What runs it."""
        from lrsearch.training.program_trainer import ProgramTrainer

        if os.name != "posix":
            raise TaskError(
                f"task {self.task.name!r}: programs are run on Linux and macOS; a function under @lrs.task"
                " trains everywhere"
            )
        self.require_whole()
        return ProgramTrainer(self.command, self.task, device, threads)

    def default_workers(self) -> int:
        """One: whoever wants more knows what a run takes."""
        return 1

    def with_task(self, task: Task) -> "ProgramSource":
        """The same program for another horizon or other settings."""
        return ProgramSource(self.command, task)

    @property
    def digest(self) -> str:
        """The digest of what trains."""
        return self.command.digest

    @property
    def sent(self) -> str:
        """How another process gets it, for people."""
        return f"as the command {self.command}"


def program(command: str | Sequence[str], name: str, **description: Any) -> ProgramSource:
    """Make a program a task: it can be searched, pruned, verified and recorded as a function is.

    Each run starts the program with LRSEARCH_JOB in its environment, the job's file. A Python program takes it up with
    `job = lrs.job()`; any other reads the file, or has places such as `{policy_file}` and `{lrs}` in its command, and
    appends lines such as `{"step": 20, "val_loss": 2.5}` to the report that the file names.

    Args:
        command: the program and its arguments, as a text or a list; see `Command`.
        name: how people call the task.
        description: horizon, metric, facts and settings, as `lrs.task` takes them.

    Raises:
        UsageError: for a command that cannot be run, or a description that cannot be.

    >>> made = program(["echo", "{policy}"], "mine", horizon=100, minimize="val_loss")
    >>> made.task.name, made.task.epoch, str(made.command)
    ('mine', 5.0, "echo '{policy}'")
    """
    found, task = Command.of(command), describe(name, **description)
    return ProgramSource(found, replace(task, version=f"{AUTO} {found.digest}") if task.version == AUTO else task)
