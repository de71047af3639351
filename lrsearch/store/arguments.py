"""The arguments of `record` and `finish`: each is checked, and read as a description, a metric, a unit or a number."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lrsearch.errors import UsageError, given
from lrsearch.runs import Objective, Task, objectives_of
from lrsearch.runs.objective import MAXIMIZE, MINIMIZE
from lrsearch.store.logged import NOT_A_NUMBER, number
from lrsearch.store.values import check_name
from lrsearch.tasks import TASKS, find_task


def description_of(task: Any) -> dict[str, Any]:
    """The description of a task, or of a name alone."""
    task_or_name = getattr(task, "task", task)
    if not isinstance(task_or_name, str | Task):
        raise UsageError(f"task is a Task, or the name of one, got {given(task)}")
    if isinstance(task_or_name, Task) or task_or_name in TASKS:
        return find_task(task_or_name).description
    return {"name": check_name("a task's name", task_or_name)}


def metric_of(
    description: Mapping[str, Any], minimize: str | None, maximize: str | None, unit: str | None
) -> Objective | None:
    """The metric that a run is judged by: the named one, or the first of a user's task; else None.

    Raises:
        UsageError: for two metrics, and for one that the task has in the other direction.
        TaskError: for a name that no metric can have.
    """
    if minimize is not None and maximize is not None:
        raise UsageError("a run is judged by one metric: name it by minimize= or by maximize=, not by both")
    has_objectives = set(description) != {"name"}
    objectives = {each.name: each for each in objectives_of(description)} if has_objectives else {}
    name, direction = (minimize, MINIMIZE) if minimize is not None else (maximize, MAXIMIZE)
    if name is None:
        if unit is not None:
            raise UsageError("unit= is that of a metric: name it by minimize= or maximize=, or give its unit to finish")
        return next(iter(objectives.values())) if "objectives" in description else None
    named = Objective(name, direction)
    objective = objectives.get(name, named)
    if objective.direction != direction:
        own = objective.direction
        raise UsageError(f"{name} of task {description['name']!r} is {own}d: record it by {own}={name!r}")
    return objective if unit is None else replace(objective, unit=unit_of(unit), samples=None)


def unit_of(unit: Any) -> str:
    """The unit of a metric.

    Raises:
        UsageError: if it is not a text of 1 to 40 printable characters.
    """
    if not (isinstance(unit, str) and unit.strip() and unit.isprintable() and len(unit) <= 40):
        raise UsageError(f"unit is a text of 1 to 40 characters, such as '%', got {given(unit)}")
    return unit


def final_number(name: str, value: Any) -> float:
    """The number that a run ends with.

    Raises:
        UsageError: if it is not a number, or a truth value.
    """
    is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
    try:
        if not is_bool:
            return number(value)
    except NOT_A_NUMBER:
        pass
    raise UsageError(f"{name} is a number, or a tensor or array of one, got {given(value)}")
