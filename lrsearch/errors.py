"""The errors a user can meet, as one tree.

    LRSearchError
    |- UsageError            what was asked for cannot be (exit code 2)
    |  |- PolicyError        a policy, its text or its parameters
    |  |- SpaceError         a search space, or a policy that does not fit it
    |  |- TaskError          a task, or its name
    |  `- BudgetError        a budget that buys nothing
    `- WorkError             it was right to ask, but the work failed (exit code 1)
       |- DataError          a data set that is missing or broken
       |- StoreError         a store that cannot be opened, or is not a store
       |  `- StoreAwayError  a store that cannot be reached or written for now
       |- OutputError        a folder that cannot be written
       `- EngineError        Optuna or Ray could not do its part

`UsageError` is a `ValueError` as well. A message says what was given, where, and what would do.
`SchedulerWarning` is a `UserWarning`: a scheduler is used, but not as it says.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class LRSearchError(Exception):
    """Base of every error that lrsearch raises on purpose."""


class UsageError(LRSearchError, ValueError):
    """What was asked for cannot be."""


class PolicyError(UsageError):
    """A policy that cannot exist, or a text that is not one."""


class SpaceError(UsageError):
    """A space that cannot exist, or a policy that does not fit into it."""


class TaskError(UsageError):
    """A task that is not known or not whole."""


class BudgetError(UsageError):
    """A budget that buys nothing."""


class WorkError(LRSearchError):
    """It was right to ask, but the work failed."""


class DataError(WorkError):
    """A data set that is missing or broken."""


class StoreError(WorkError):
    """A store that cannot be opened, or is not a store."""


class StoreAwayError(StoreError):
    """A store that cannot be reached or written for now: its server is away, its disk full, its file locked."""


class OutputError(WorkError):
    """A folder that cannot be written."""


class EngineError(WorkError):
    """An engine that could not do its part."""


class SchedulerWarning(UserWarning):
    """A scheduler is stepped, or its optimizer changed, so that updates do not run at the policy's LR."""


def unknown(kind: str, name: Any, known: Iterable[str]) -> str:
    """A message that a name is not known, with the nearest known one, or that it is no text.

    >>> unknown("task", "mnist-lent", ["mnist-lenet", "digits-mlp"])
    "no task 'mnist-lent'; did you mean 'mnist-lenet'? Known: digits-mlp, mnist-lenet"
    """
    names = sorted(known)
    if not isinstance(name, str):
        return f"the name of a {kind} is a text, got {given(name)}. Known: {', '.join(names)}"
    folded = {candidate.lower(): candidate for candidate in names}
    near = get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else "."
    return f"no {kind} {name[:80]!r}{hint} Known: {', '.join(names)}"


def given(value: Any) -> str:
    """What was given, in few words: a plain value as it is, anything else by its type.

    >>> given("TRI"), given(None), given({}), given(given), given(Path)
    ("'TRI'", 'None', 'an object of type dict', 'the function given', 'the class Path')
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Path):
        return repr(value)[:80]
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    return f"an object of type {type(value).__name__}"
