"""What somebody else wrote as a source of trainers: a function under `@lrs.task`, or a program."""

from typing import Any, TypeGuard

from lrsearch.training.functions import FunctionSource, function_source
from lrsearch.training.program import ProgramSource

OwnSource = FunctionSource | ProgramSource


def is_own(asked: object) -> TypeGuard[Any]:
    """Whether something is to be trained by what somebody else wrote."""
    return callable(asked) or isinstance(asked, ProgramSource)


def own_source(asked: Any) -> OwnSource:
    """The source of a function under `@lrs.task`, or of a program.

    Raises:
        UsageError: for what is none.
    """
    return asked if isinstance(asked, ProgramSource) else function_source(asked)
