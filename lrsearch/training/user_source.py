"""A source of trainers for what lrsearch's own loop does not train: a function under `@lrs.task`, or a program."""

from typing import Any, TypeGuard

from lrsearch.runs import Task
from lrsearch.tasks.functions import FUNCTION_TASKS
from lrsearch.training.functions import FunctionSource, function_source
from lrsearch.training.program import ProgramSource

UserSource = FunctionSource | ProgramSource


def is_user_training(task: object) -> TypeGuard[Any]:
    """Whether a task is trained by a function or a program: a user's, or that of a shipped task."""
    return callable(task) or isinstance(task, ProgramSource) or _shipped(task) is not None


def user_source(training: Any) -> UserSource:
    """The source of a function under `@lrs.task`, of a program, or of a shipped task that a function trains.

    Raises:
        UsageError: for anything else.
    """
    shipped = _shipped(training)
    if shipped is not None:
        from lrsearch.training.shipped import FUNCTIONS

        return FunctionSource(FUNCTIONS[shipped.name], shipped)
    return training if isinstance(training, ProgramSource) else function_source(training)


def _shipped(task: object) -> Task | None:
    """The shipped task of a name, or a variant of one, if a function trains it."""
    if isinstance(task, str):
        return FUNCTION_TASKS.get(task)
    shipped = FUNCTION_TASKS.get(task.name) if isinstance(task, Task) else None
    return task if isinstance(task, Task) and shipped is not None and task.facts == shipped.facts else None
