"""Variants of a task: one training, many settings, each a task of its own key."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lrsearch.errors import TaskError, UsageError, given
from lrsearch.runs import Task
from lrsearch.tasks import Classification, find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.own_source import own_source


def with_settings(asked: TaskLike, settings: Mapping[str, Any] | None) -> TaskLike:
    """What was asked for, with settings that are merged over its own.

    Args:
        asked: a function under `@lrs.task`, a program, or a task that somebody's own training is described by.
        settings: plain values by name; None or an empty mapping for what was asked for as it is.

    Returns:
        The same training under a task of its own key; `job.settings` has the values.

    Raises:
        TaskError: for a task that lrsearch trains itself, and for values that are not plain.

    >>> from lrsearch.training.functions import task
    >>> @task("toy", horizon=100, minimize="val_loss", settings={"layers": 2, "decay": 0.1})
    ... def toy(job):
    ...     return job.settings["decay"]
    >>> with_settings(toy, {"decay": 0.5}).task.settings
    {'layers': 2, 'decay': 0.5}
    """
    if settings is None:
        return asked
    if not isinstance(settings, Mapping):
        raise UsageError(
            f"settings is a mapping of names to plain values, such as {{'decay': 0.1}}, got {given(settings)}"
        )
    if not settings:
        return asked
    task = find_task(asked)
    if isinstance(task, Classification):
        raise TaskError(
            f"task {task.name!r} takes no settings, for lrsearch trains it itself: settings are for a"
            " training of your own, which finds them in job.settings"
        )
    changed = replace(task, settings={**task.settings, **settings})
    return changed if isinstance(asked, Task) else own_source(asked).with_task(changed)
