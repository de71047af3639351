"""The fields of an entry, and their checks: on the way into a store, and without changing a value on the way out.

key               digest of task, policy, horizon, seed and trainer version: 24 hex digits
task              key of the task: 16 hex digits
policy            the policy's text
horizon, seed     of the run
origin            where the run comes from
state             how it ended
metric, direction, unit       of the score; the unit is empty where there is none
score, loss       a number, None, or a text where it was not finite; -0.0 is 0.0, because SQLite keeps no other zero
steps, seconds    trained
lost_steps        trained in attempts that did not end
details           all other values of a run, as JSON
curves            [step, value] by series, in order of steps: `val_loss`, `val_score`, `train_loss` and `rate` of
                  lrsearch's own loop, and by name the curves that a user logged
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lrsearch.errors import StoreError, TaskError, given
from lrsearch.runs import Objective, RunState
from lrsearch.store.values import LARGEST, canonical, check_name, float_from_json, float_to_json

OWN_SERIES = "own:"
"""Prefix of a user's curve whose name is that of a series of the loop."""
OBJECTIVE = ("metric", "direction", "unit")
"""Fields that runs before schema 3 did not have."""
FIELDS = (
    *("key", "task", "policy", "horizon", "seed", "origin", "state", *OBJECTIVE),
    *("score", "loss", "steps", "seconds", "lost_steps", "details", "curves"),
)
WHOLE = ("horizon", "seed", "steps", "lost_steps")
RUN_KEY, TASK_KEY = re.compile("[0-9a-f]{24}"), re.compile("[0-9a-f]{16}")
UNREADABLE = (TypeError, ValueError, AttributeError, OverflowError, RuntimeError)
"""Errors of reading a number or a curve from a value that is none; a tensor of several elements raises RuntimeError."""
Entry = Mapping[str, Any]


def checked(values: Entry) -> dict[str, Any]:
    """An entry as it goes into a store: its numbers as JSON has them, its curves in order of names.

    Raises:
        StoreError: for an entry that is not one, and for texts and numbers that not every database can hold.
    """
    entry = ordered(values)
    try:
        numbers = {name: _number(entry[name]) for name in ("score", "loss", "seconds")}
        curves = {name: _points(curve) for name, curve in sorted(entry["curves"].items())}
    except UNREADABLE as error:
        raise StoreError(f"run {entry['key']}: a number or a curve cannot be read: {error}") from None
    if not isinstance(numbers["seconds"], float):
        raise StoreError(f"run {entry['key']}: its seconds are a finite number, got {given(entry['seconds'])}")
    return entry | numbers | {"details": dict(entry["details"]), "curves": curves}


def ordered(values: Entry) -> dict[str, Any]:
    """An entry with its fields in order, none of them changed. It reads no point of a curve.

    Raises:
        StoreError: for other fields than those of an entry, and for a field of the wrong kind.
    """
    _check_presence(values)
    _check_identity(values)
    _check_objective(values)
    _check_details(values)
    _check_curves(values)
    return {name: values[name] for name in FIELDS}


def objective_of(entry: Entry) -> Objective:
    """The metric of an entry's score."""
    return Objective(entry["metric"], entry["direction"], entry["unit"])


def _check_presence(values: Entry) -> None:
    if not isinstance(values, Mapping):
        raise StoreError(f"an entry of a run is a mapping of its fields, got {given(values)}")
    for names, what in ((set(FIELDS) - values.keys(), "needs"), (values.keys() - set(FIELDS), "has no")):
        if names:
            named = ", ".join(sorted(map(str, names)))
            raise StoreError(f"an entry of a run {what} {named[:80]}; its fields are {', '.join(FIELDS)}")


def _check_identity(values: Entry) -> None:
    key = values["key"]
    for what, form, text in (("run", RUN_KEY, key), ("task", TASK_KEY, values["task"])):
        if not isinstance(text, str) or not form.fullmatch(text):
            raise StoreError(f"the key of a {what} is a digest in hex digits, got {str(text)[:40]!r}")
    if values["state"] not in list(RunState):
        raise StoreError(f"run {key}: {str(values['state'])[:40]!r} is no state; there are {', '.join(RunState)}")
    if not isinstance(values["policy"], str):
        raise StoreError(f"run {key}: its policy is a text, got {given(values['policy'])}")
    check_name("an origin", values["origin"])
    for name in WHOLE:
        number = values[name]
        if not isinstance(number, int) or isinstance(number, bool):
            raise StoreError(f"run {key}: {name} must be a whole number, got {given(number)}")
        if abs(number) > LARGEST:
            raise StoreError(f"run {key}: {number} is too large a number for a store; 63 bits are kept")


def _check_objective(values: Entry) -> None:
    try:
        objective_of(values)
    except TaskError as error:
        raise StoreError(f"run {values['key']}: {error}") from None


def _check_details(values: Entry) -> None:
    try:
        canonical(dict(values["details"]))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"run {values['key']}: its details are no JSON: {error}") from None


def _check_curves(values: Entry) -> None:
    if not isinstance(values["curves"], Mapping):
        raise StoreError(f"run {values['key']}: its curves are a mapping by name, got {given(values['curves'])}")
    for name in values["curves"]:
        check_name("a curve's name", name.removeprefix(OWN_SERIES) if isinstance(name, str) else name)


def _number(value: float | str | None) -> float | str | None:
    """A number as JSON has it; -0.0 becomes 0.0."""
    number = float_from_json(value)
    return None if number is None else float_to_json(number + 0.0)


def _points(curve: Iterable[tuple[int, float | str | None]]) -> list[list[Any]]:
    """The points of a curve as JSON has them."""
    points = [[step, float_to_json(float_from_json(value))] for step, value in curve]
    if not all(isinstance(step, int) for step, _ in points):
        raise TypeError("its steps are whole numbers")
    return points
