"""A run as an entry of the ledger: the JSON object that the tables keep and that bundles carry.

An entry is the serialised form of a `StoredRun`, not another shape of a run. Stores and bundles copy entries as they
are, because an entry holds more than the value that is read from it: a score that was NaN or infinite, curves whose
steps do not match, details of later versions.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from lrsearch.runs import Objective, Run, objectives_of
from lrsearch.schedules import Policy
from lrsearch.store.fields import OWN_SERIES, Entry, objective_of
from lrsearch.store.stored import StoredRun
from lrsearch.store.values import finite, float_from_json, float_to_json

EVALUATION_SERIES = ("val_loss", "val_score")
"""The series of a run's evaluations on the validation split."""
LOOP_SERIES = (*EVALUATION_SERIES, "train_loss", "rate")
"""The series of lrsearch's own loop; of a user's training `train_loss` is the mean of each stride."""
OF_METRIC = "metric"
"""The detail `points` of a run whose points are the curve named as its metric."""
Curve = tuple[tuple[int, float], ...]
T = TypeVar("T")


def entry_of(stored: StoredRun) -> dict[str, Any]:
    """The entry of a run; `Store.add` checks it."""
    return {
        "key": stored.key,
        "task": stored.task_key,
        "policy": str(stored.policy),
        "horizon": stored.horizon,
        "seed": stored.seed,
        "origin": stored.origin,
        "lost_steps": stored.lost_steps,
        **outcome(stored.run, stored.objective),
    }


def stored_of(entry: Entry, task: str, policy: Policy, objectives: Iterable[Objective]) -> StoredRun:
    """The run of an entry.

    Args:
        entry: the entry.
        task: the name of its task.
        policy: its policy, parsed.
        objectives: of its task: the one that matches says of how many samples the score is a share.
    """
    objective = objective_of(entry)
    return StoredRun(
        key=entry["key"],
        task=task,
        task_key=entry["task"],
        policy=policy,
        horizon=entry["horizon"],
        seed=entry["seed"],
        origin=entry["origin"],
        run=run_of(entry),
        lost_steps=entry["lost_steps"],
        objective=next((each for each in objectives if replace(each, samples=None) == objective), objective),
    )


def run_of(entry: Entry) -> Run:
    """The run of an entry; a score or loss that is not finite is None."""
    numbers = {name: finite(float_from_json(entry[name])) for name in ("score", "loss")}
    curves: dict[str, Any] = {
        name: tuple((step, float_from_json(value)) for step, value in curve) for name, curve in entry["curves"].items()
    }
    own = {name.removeprefix(OWN_SERIES): curve for name, curve in curves.items() if name not in LOOP_SERIES}
    details = entry["details"]
    values = {
        "train_losses": [finite(loss) for _, loss in curves.get("train_loss", ())],
        "rates": [lr for _, lr in curves.get("rate", ())],
        "stride": 1,
        "error": None,
        **details,
        "points": _points_of(entry, curves, own),
        "scores": {name: float_from_json(value) for name, value in details.get("scores", {}).items()},
        "curves": {},
    }
    run = Run.from_json(values, state=entry["state"], steps=entry["steps"], seconds=entry["seconds"], **numbers)
    return replace(run, curves=own)


def _points_of(
    entry: Entry, curves: Mapping[str, Any], own: Mapping[str, Any]
) -> list[tuple[int, float | None, float]]:
    """A run's points: those with losses, or the metric's curve, or the detail `points`."""
    points: Any = entry["details"].get("points")
    if points is None:
        evaluations = zip(*(curves.get(name, ()) for name in EVALUATION_SERIES), strict=False)
        return [(step, loss, score) for (step, loss), (_, score) in evaluations]
    curve = own.get(entry["metric"], ()) if points == OF_METRIC else [(step, float(value)) for step, value in points]
    return [(step, None, value) for step, value in curve]


def outcome(run: Run, objective: Objective) -> dict[str, Any]:
    """The fields of an entry that hold the result of a run."""
    evaluations = [point for point in run.points if point.loss is not None]
    curves = {
        "val_loss": [(point.step, point.loss) for point in evaluations],
        "val_score": [(point.step, point.score) for point in evaluations],
        "train_loss": [
            (at * run.stride, math.nan if loss is None else float(loss)) for at, loss in enumerate(run.train_losses)
        ],
        "rate": [(at * run.stride, float(lr)) for at, lr in enumerate(run.lrs)],
    }
    with_columns = ("points", "train_losses", "rates", "curves", "scores")
    details = {name: value for name, value in run.to_json().items() if name not in with_columns}
    if run.scores:
        details["scores"] = {name: float_to_json(float(value)) for name, value in run.scores.items()}
    return {
        "state": str(run.state),
        "metric": objective.name,
        "direction": objective.direction,
        "unit": objective.unit,
        "score": run.score,
        "loss": run.loss,
        "steps": run.steps,
        "seconds": run.seconds,
        "details": details | _points_detail(run, objective.name),
        "curves": {name: curve for name, curve in curves.items() if curve} | series_of(run.curves),
    }


def _points_detail(run: Run, metric: str) -> dict[str, Any]:
    """The detail `points` of a run whose points have no loss; empty for other runs."""
    points = [(point.step, point.score) for point in run.points if point.loss is None]
    if not points:
        return {}
    if tuple(points) == tuple(run.curves.get(metric, ())):
        return {"points": OF_METRIC}
    return {"points": [[step, float_to_json(float(value))] for step, value in points]}


def series_of(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """A user's curves by the series that they are stored as: their own names, with a prefix for those of the loop.

    >>> sorted(series_of({"val_loss": (), "bleu": ()}))
    ['bleu', 'own:val_loss']
    """
    return {
        OWN_SERIES + name if name in LOOP_SERIES or name.startswith(OWN_SERIES) else name: tuple(
            (step, float(value)) for step, value in curve
        )
        for name, curve in curves.items()
    }


def prefixed(curves: Mapping[str, T]) -> dict[str, T]:
    """Curves that may be the loop's: a name that begins with the prefix of a user's gets the prefix once more."""
    return {OWN_SERIES + name if name.startswith(OWN_SERIES) else name: curve for name, curve in curves.items()}


def with_metric(values: Entry, description: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of before runs had a metric, as it is now: the metric is its task's first.

    Args:
        values: the entry as it was: the unit of a recorded run was a detail.
        description: of its task.
    """
    objective, details = objectives_of(description)[0], dict(values["details"])
    unit = details.pop("unit", None) or objective.unit
    return {
        **values,
        "metric": objective.name,
        "direction": objective.direction,
        "unit": unit,
        "details": details,
        "curves": prefixed(values["curves"]),
    }
