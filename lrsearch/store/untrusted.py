"""Checks of tasks and runs from untrusted bundles: every field, before any value is made of it."""

import math
from collections.abc import Mapping
from typing import Any

from lrsearch.errors import StoreError
from lrsearch.runs import TRAINERS, Objective, RunState, run_key
from lrsearch.runs.environment import texts_of
from lrsearch.schedules import parse
from lrsearch.store.entries import OF_METRIC, run_of, with_metric
from lrsearch.store.fields import FIELDS, OBJECTIVE, OWN_SERIES, Entry, ordered
from lrsearch.store.values import check_name

MOST_POINTS, MOST_NUMBERS = 200_000, 8
"""Points of a curve, and sizes in a shape: a rule, far above those of any real run."""
LARGEST = 2**53
"""Larger integers are not exact in every reader of JSON."""
DETAILS = {
    "evaluations",
    "metrics",
    "stride",
    "error",
    "split",
    "shared",
    "memory",
    "attempt",
    "unit",
    "cause",
    "applied",
    "scores",
    "startup_seconds",
    "points",
    "source",
    "environment",
}
MOST_OBJECTIVES, MOST_TEXTS = 100, 30
"""Objectives of a task, and texts of an environment: a rule."""


def check_description(values: Any) -> None:
    """Check a task's description: of a name alone, of a classification, or of a user's task.

    Raises:
        StoreError: if it is none of these; the message says what is wrong.
    """
    _mapping("a task", values)
    check_name("a task's name", values.get("name"))
    if "objectives" in values:
        _check_own(values)
    elif set(values) != {"name"}:
        _check_classification(values)


def _check_own(values: Mapping[str, Any]) -> None:
    """Check a user's task. Its facts may be any JSON values: readers of a fact check its type."""
    objectives = values["objectives"]
    if not isinstance(objectives, list) or not 0 < len(objectives) <= MOST_OBJECTIVES:
        raise StoreError(f"a task's objectives are a list of 1 to {MOST_OBJECTIVES}")
    for objective in objectives:
        Objective.from_json(_mapping("an objective", objective))
    _whole("horizon", values.get("horizon"), 1)
    if not _is_number(values.get("epoch")) or values["epoch"] <= 0:
        raise StoreError("a task's epoch must be a number above 0")
    for name in ("data", "model", "optimizer", "facts", "settings"):
        _mapping(f"a task's {name}", values.get(name, {}))
    if "metric" in values:
        raise StoreError("a task has objectives or a metric, not both")


def _check_classification(values: Mapping[str, Any]) -> None:
    data, model, optimizer = (_mapping(f"a task's {part}", values.get(part)) for part in ("data", "model", "optimizer"))
    check_name("a data set's name", data.get("name"))
    check_name("a model's name", model.get("name"))
    for part, lowest in (
        (data, {"classes": 2, "train": 1, "validation": 1}),
        (model, {"parameters": 0}),
        (values, {"batch_size": 1, "horizon": 1}),
    ):
        for name, low in lowest.items():
            _whole(name, part.get(name), low)
    shape = data.get("shape")
    if not isinstance(shape, list) or len(shape) > MOST_NUMBERS:
        raise StoreError("a data set's shape must be a short list of whole numbers")
    for size in shape:
        _whole("a size in a shape", size, 1)
    _check_optimizer(optimizer)
    for name in ("precision", "metric"):
        check_name(f"a task's {name}", values.get(name))


def _check_optimizer(optimizer: Mapping[str, Any]) -> None:
    check_name("an optimizer's family", optimizer.get("family"))
    for name, high in (("momentum", 1.0), ("weight_decay", math.inf)):
        if not _is_number(optimizer.get(name, 0)) or not 0 <= optimizer.get(name, 0) < high:
            raise StoreError(f"an optimizer's {name} must be a number, 0 or more{', below 1' if high == 1 else ''}")
    for value in optimizer.values():
        for number in value if isinstance(value, list) else [value]:
            if not isinstance(number, str | bool | None) and not _is_number(number):
                raise StoreError("an optimizer's settings must be numbers, texts, or yes or no")


def check_entry(values: Any, tasks: Mapping[str, Mapping[str, Any]]) -> Entry:
    """The entry of a run that another store wrote, of one of these tasks by key.

    Raises:
        StoreError: if a field has a wrong value; the message says which.
    """
    _mapping("a run", values)
    if set(values) not in (set(FIELDS), set(FIELDS) - set(OBJECTIVE)):
        raise StoreError(f"a run must say {', '.join(FIELDS)}, and nothing else")
    check_name("an origin", values["origin"])
    for name, low in (("horizon", 1), ("steps", 0), ("lost_steps", 0), ("seed", -LARGEST)):
        _whole(name, values[name], low)
    if values["state"] not in list(RunState) or values["state"] == RunState.RUNNING:
        raise StoreError(f"no run ends as {str(values['state'])[:40]!r}")
    if not _is_number(values["seconds"]) or values["seconds"] < 0:
        raise StoreError("seconds must be a number, 0 or more")
    for name in ("score", "loss"):
        _value(name, values[name])
    _check_details(values["details"])
    _check_curves(values["curves"])
    policy = values["policy"]
    if not isinstance(policy, str) or str(parse(policy)) != policy:
        raise StoreError("its policy is not written as policies are")
    if not isinstance(values["task"], str):
        raise StoreError("its task must be a key")
    if values["task"] not in tasks:
        raise StoreError("its task is in no line before")
    identity = values["task"], policy, values["horizon"], values["seed"]
    if values["key"] not in [run_key(*identity, trainer) for trainer in TRAINERS]:
        raise StoreError("its key is not the digest of task, policy, horizon and seed")
    entry = ordered(values if "metric" in values else with_metric(values, tasks[values["task"]]))
    run_of(entry)  # raises if the details do not make a run
    return entry


def _check_details(details: Any) -> None:
    _mapping("details", details)
    if unknown := set(details) - DETAILS:
        raise StoreError(f"a run has no detail {sorted(unknown)[0][:40]!r}")
    for name, low in (("stride", 1), ("evaluations", 0), ("shared", 0), ("memory", 0)):
        if details.get(name) is not None:
            _whole(name, details[name], low)
    for name in ("error", "split", "attempt", "unit", "cause", "applied", "source"):
        if not isinstance(details.get(name), str | None):
            raise StoreError(f"{name} must be a text")
    for which, metrics in _mapping("metrics", details.get("metrics", {})).items():
        check_name("an evaluation's name", which)
        for name, value in _mapping("the metrics of an evaluation", metrics).items():
            check_name("a metric's name", name)
            _value(name, value)
    _check_own_details(details)


def _check_own_details(details: Mapping[str, Any]) -> None:
    """Check the details of a user's training."""
    for name, value in _mapping("scores", details.get("scores", {})).items():
        check_name("a metric's name", name)
        _present("a score", value)
    environment = _mapping("environment", details.get("environment", {}))
    if len(environment) > MOST_TEXTS or texts_of(environment) != environment:
        raise StoreError(f"environment must be at most {MOST_TEXTS} short texts by name")
    if not _is_number(details.get("startup_seconds", 0)):
        raise StoreError("startup_seconds must be a number")
    if details.get("points", OF_METRIC) != OF_METRIC:
        _check_curve(details["points"])


def _check_curves(curves: Any) -> None:
    for series, points in _mapping("curves", curves).items():
        check_name("a curve's name", series.removeprefix(OWN_SERIES))
        _check_curve(points)


def _check_curve(points: Any) -> None:
    if not isinstance(points, list) or len(points) > MOST_POINTS:
        raise StoreError(f"a curve is a list of at most {MOST_POINTS:,} points")
    before = -1
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise StoreError("a point is a step and a value")
        _whole("a step", point[0], before + 1)
        before = point[0]
        _present("a point", point[1])


def _mapping(what: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise StoreError(f"{what} must be a JSON object")
    return values


def _whole(what: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= LARGEST:
        raise StoreError(f"{what} must be a whole number from {low} to 2**53, got {str(value)[:40]}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _present(what: str, value: Any) -> None:
    if value is None:
        raise StoreError(f"{what} has a value")
    _value(what, value)


def _value(what: str, value: Any) -> None:
    if not (value is None or value in ("nan", "inf", "-inf") or _is_number(value)):
        raise StoreError(f'{what} must be a number, or "nan", "inf" or "-inf", got {str(value)[:40]!r}')
