"""A user's training as a source of trainers: a function under `@lrs.task`, or a program."""

from typing import Any, TypeGuard

from lrsearch.training.functions import FunctionSource, function_source
from lrsearch.training.program import ProgramSource

UserSource = FunctionSource | ProgramSource


def is_user_training(task: object) -> TypeGuard[Any]:
    """Whether a task is trained by a user's function or program."""
    return callable(task) or isinstance(task, ProgramSource)


def user_source(training: Any) -> UserSource:
    """The source of a function under `@lrs.task`, or of a program.

    Raises:
        UsageError: for anything else.
    """
    return training if isinstance(training, ProgramSource) else function_source(training)
