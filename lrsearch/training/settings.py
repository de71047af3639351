"""Variants of a task: one training with different settings, each a task with its own key."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lrsearch.errors import TaskError, UsageError, given
from lrsearch.runs import Task
from lrsearch.tasks import Classification, find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.user_source import user_source


def with_settings(training: TaskLike, settings: Mapping[str, Any] | None) -> TaskLike:
    """The same training with settings that are merged over its own.

    Args:
        training: a function under `@lrs.task`, a program, or the task of a user's own training.
        settings: plain values by name; None or an empty mapping for no change.

    Returns:
        The same training under a task with its own key; `job.settings` has the values.

    Raises:
        TaskError: for a task that lrsearch trains itself, and for values that are not plain JSON values.

    >>> from lrsearch.training.functions import task
    >>> @task("toy", horizon=100, minimize="val_loss", settings={"layers": 2, "decay": 0.1})
    ... def toy(job):
    ...     return job.settings["decay"]
    >>> with_settings(toy, {"decay": 0.5}).task.settings
    {'layers': 2, 'decay': 0.5}
    """
    if settings is None:
        return training
    if not isinstance(settings, Mapping):
        raise UsageError(
            f"settings is a mapping of names to plain values, such as {{'decay': 0.1}}, got {given(settings)}"
        )
    if not settings:
        return training
    task = find_task(training)
    if isinstance(task, Classification):
        raise TaskError(
            f"task {task.name!r} takes no settings, for lrsearch trains it itself: settings are for a"
            " training of your own, which finds them in job.settings"
        )
    changed = replace(task, settings={**task.settings, **settings})
    return changed if isinstance(training, Task) else user_source(training).with_task(changed)
