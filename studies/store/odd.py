"""Odd values in every field: equal after a round trip, or refused before anything is written."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from made import DIGITS, Databases, add_tasks, entry, rows

from lrsearch.errors import LRSearchError
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX
from lrsearch.store import open_store
from lrsearch.store.fields import Entry, checked
from lrsearch.store.rows import read_runs
from lrsearch.store.schema import RunRow
from lrsearch.store.store import Store
from lrsearch.store.values import canonical, digest

NUMBERS = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-0.0": -0.0,
    "denormal": 5e-324,
    "2**63": 2.0**63,
    "largest": 1.7976931348623157e308,
    "none": None,
}
WHOLE = {"0": 0, "-1": -1, "2**63 - 1": 2**63 - 1, "2**63": 2**63, "-2**63": -(2**63), "10**30": 10**30}
TEXTS = {
    "empty": "",
    "blank": " ",
    "1 MB": "x" * 2**20,
    "NUL": "a\0b",
    "half a character": "a\ud800b",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd",
    "emoji": "\U0001f469\u200d\U0001f52c",
    "quotes": "'\"\\;--",
    "new lines": "a\r\nb\u2028c",
    "not a character": "\uffff",
    "999 bytes": "".join(map(chr, range(0x4E00, 0x4E00 + 333))),
    "3,000 bytes": "".join(map(chr, random.Random(1).sample(range(0x4E00, 0x9FFF), 1000))),
}
BASE = entry(DIGITS.key, 0)


def _with(name: str, value: Any) -> Entry:
    return {**BASE, name: value}


def _with_detail(name: str, value: Any) -> Entry:
    return {**BASE, "details": {**BASE["details"], name: value}}


FIELDS: Mapping[str, tuple[Mapping[str, Any], Callable[[Any], Entry]]] = {
    "score": (NUMBERS, partial(_with, "score")),
    "loss": (NUMBERS, partial(_with, "loss")),
    "seconds": (NUMBERS, partial(_with, "seconds")),
    "curve's values": (NUMBERS, lambda value: _with("curves", {"val_loss": ((1, 0.5), (2, value))})),
    "metrics": (NUMBERS, lambda value: _with_detail("metrics", {"end": {"ac": value}})),
    "horizon": (WHOLE, partial(_with, "horizon")),
    "seed": (WHOLE, partial(_with, "seed")),
    "steps": (WHOLE, partial(_with, "steps")),
    "lost steps": (WHOLE, partial(_with, "lost_steps")),
    "curve's steps": (WHOLE, lambda value: _with("curves", {"val_loss": ((value, 0.5),)})),
    "key": (TEXTS, partial(_with, "key")),
    "task": (TEXTS, partial(_with, "task")),
    "policy": (TEXTS, partial(_with, "policy")),
    "origin": (TEXTS, partial(_with, "origin")),
    "state": (TEXTS, partial(_with, "state")),
    "series": (TEXTS, lambda value: _with("curves", {value: ((1, 0.5),)})),
    "error": (TEXTS, partial(_with_detail, "error")),
    "name of a detail": (TEXTS, lambda value: _with_detail(value, 1)),
}
TABLES = ("runs", "curves", "tasks", "origins", "policies", "studies", "attempts")


def odd_values(databases: Databases) -> dict[str, str]:
    """The fate of each odd value in each field: "kept", "refused", or what went wrong."""
    url = databases.new()
    trips: dict[str, Callable[[Store], bool]] = {
        f"{field}: {name}": partial(_round, make, value)
        for field, (odd, make) in FIELDS.items()
        for name, value in odd.items()
    }
    for name, value in TEXTS.items():
        trips[f"name of a task: {name}"] = partial(_round_task, value)
        trips[f"name of a study: {name}"] = partial(_round_study, value, "x")
        trips[f"note: {name}"] = partial(_round_study, "study", value)
    with open_store(url) as store:
        add_tasks(store, [DIGITS])
        return {name: _fate(store, url, trip) for name, trip in trips.items()}


def _fate(store: Store, url: str, trip: Callable[[Store], bool]) -> str:
    """The fate of a value. lrsearch has to refuse it itself, before anything is written, not the database."""
    before = _counts(url)
    try:
        return "kept" if trip(store) else "came back as another"
    except LRSearchError as error:
        written = "" if _counts(url) == before else ", but something was written"
        return ("the database refused it" if store.url in str(error) else "refused") + written
    except Exception as error:
        return f"crashed: {type(error).__name__}"


def _counts(url: str) -> list[Any]:
    return rows(url, "SELECT " + ", ".join(f"(SELECT count(*) FROM lrsearch_{table})" for table in TABLES))  # noqa: S608


def _round(make: Callable[[Any], Entry], value: Any, store: Store) -> bool:
    """Write a run, with a new key unless the key is the odd value, and read it back."""
    made = make(value)
    made = {**made, "key": digest(repr(made)) + "0" * 8} if made["key"] == BASE["key"] else made
    store.add([made])
    with store.reads() as session:
        ((_, _, stored),) = read_runs(session, RunRow.key == made["key"])
    return stored is not None and canonical(stored) == canonical(checked(made))


def _round_task(name: str, store: Store) -> bool:
    task = replace(DIGITS, name=name)
    store.record(RunSpec(task, FIX(k0=0.5), 10, 0), Run(state=RunState.FAILED, steps=0, seconds=0.0, error="no"))
    return store.tasks()[task.key] == task.description and len(store.runs(task=name)) == 1


def _round_study(name: str, note: str, store: Store) -> bool:
    key = digest([name, note])
    store.open_study(key, name, DIGITS, {"said": note}, {note: note})
    store.note(key, {"said": note})
    study = next(study for study in store.studies() if study.key == key)
    said = {"said": note}
    return (study.name, study.frozen, study.description, store.note(key)) == (name, {note: note}, said, said)
