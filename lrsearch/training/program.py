"""Programs as tasks: a command and the description of its training."""

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
        task: the task that it trains.

    Raises:
        UsageError: for a command that cannot be run.
    """

    def __init__(self, command: Command | str | Sequence[str], task: Task) -> None:
        self.command = command if isinstance(command, Command) else Command.of(command)
        self.task = task

    def require_whole(self) -> None:
        """Check that the task has all settings of the command, before anything runs.

        Raises:
            UsageError: for a setting that the task does not have; it names the setting.
        """
        task = self.task
        settings = [name for name in self.command.places if name.startswith(SETTINGS)]
        odd = next((name for name in settings if name.removeprefix(SETTINGS) not in task.settings), None)
        if odd is not None:
            have = ", ".join(sorted(task.settings)) or "none"
            raise UsageError(f"the command has {{{odd}}}, and the settings of task {task.name!r} are: {have}")

    def shared(self) -> AbstractContextManager[Self]:
        """The source for the workers of this machine: this one, which holds only the command."""
        self.require_whole()
        return nullcontext(self)

    def portable(self) -> Self:
        """The source for other machines: this one, so each of them needs the files that the command names."""
        return self

    def open(
        self, *, is_own_process: bool = False, threads: int | None = None, device: str | None = None
    ) -> "ProgramTrainer":
        """A trainer that runs the program."""
        from lrsearch.training.program_trainer import ProgramTrainer

        if os.name != "posix":
            raise TaskError(
                f"task {self.task.name!r}: programs are run on Linux and macOS; a function under @lrs.task"
                " trains everywhere"
            )
        self.require_whole()
        return ProgramTrainer(self.command, self.task, device, threads)

    def default_workers(self) -> int:
        """1, because the memory and the cores of a run are not known."""
        return 1

    def with_task(self, task: Task) -> "ProgramSource":
        """The same program for another horizon or other settings."""
        return ProgramSource(self.command, task)

    @property
    def digest(self) -> str:
        """The digest of the command, and of the files that it names."""
        return self.command.digest

    @property
    def sent(self) -> str:
        """How another process gets the program, as a text for people."""
        return f"as the command {self.command}"


def program(command: str | Sequence[str], name: str, **description: Any) -> ProgramSource:
    """Make a program a task: it can be searched, pruned, verified and recorded as a function is.

    Each run starts the program with LRSEARCH_JOB in its environment, the path of the job's file. A Python program reads
    it by `job = lrs.job()`. Any other program reads the file, or has placeholders such as `{policy_file}` and `{lrs}`
    in its command. It appends lines such as `{"step": 20, "val_loss": 2.5}` to the report that the file names.

    Args:
        command: the program and its arguments, as a text or a list; see `Command`.
        name: the task's name.
        description: horizon, metric, facts and settings, as `lrs.task` takes them.

    Raises:
        UsageError: for a command that cannot be run.
        TaskError: for an impossible description.

    >>> made = program(["echo", "{policy}"], "mine", horizon=100, minimize="val_loss")
    >>> made.task.name, made.task.epoch, str(made.command)
    ('mine', 5.0, "echo '{policy}'")
    """
    parsed, task = Command.of(command), describe(name, **description)
    if task.version == AUTO:
        task = replace(task, version=f"{AUTO} {parsed.digest}")
    return ProgramSource(parsed, task)
