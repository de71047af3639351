"""Copy the undamaged rows of an SQLite store to a new one: those whose digests hold, and no others."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, ColumnElement, Float, Integer
from sqlalchemy.orm import Session

from lrsearch.errors import StoreError
from lrsearch.runs import RunState, task_key
from lrsearch.store.database import connect, file_of, read_url, transaction
from lrsearch.store.entries import with_metric
from lrsearch.store.fields import OBJECTIVE, Entry
from lrsearch.store.migrations import prepare
from lrsearch.store.pages import Value, read_rows
from lrsearch.store.rows import (
    BROKEN,
    CHUNK,
    LOCAL,
    add_assignment,
    add_attempt,
    add_origin,
    add_runs,
    add_study,
    add_task,
    chunks,
    entry_of_row,
    entry_of_row_2,
    policy_key,
)
from lrsearch.store.schema import (
    AssignmentRow,
    AttemptRow,
    Base,
    CurveRow,
    OriginRow,
    PolicyRow,
    RunRow,
    StudyRow,
    TaskRow,
)
from lrsearch.store.values import digest, seal

Row = Mapping[str, Any]
MOST_CHOICES = 64
"""Combinations of old and new curves that are tried for one run: a rule that bounds the time."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The result of a salvage.

    Args:
        store: the new store.
        rows: rows written to it, by table.
        left: number of runs that were seen but are damaged.
    """

    store: str
    rows: Mapping[str, int]
    left: int

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {"store": self.store, "rows": dict(self.rows), "left": self.left}


def salvage(store: str, target: str) -> Salvaged:
    """Read the rows of a damaged SQLite store one by one, and write the undamaged ones to a new store.

    Args:
        store: the damaged file; it is read into memory and not changed.
        target: a file that does not exist yet.

    Raises:
        StoreError: if the file does not exist, the target exists, or nothing in the file is undamaged.
    """
    source, new = _file(store), _file(target)
    if new.exists():
        raise StoreError(f"{new} is there already; salvage writes a new store")
    try:
        rows = _sound_rows(source.read_bytes())
    except OSError as error:
        raise StoreError(f"{source} cannot be read: {error.strerror}") from None
    if not rows.tasks:
        raise StoreError(f"nothing in {source} is a store's, or none of it is whole")
    entries = _whole_runs(rows)
    run_keys = {entry["key"] for entry in entries}
    studies = [row for row in rows.by_table[StudyRow] if row["task_key"] in rows.tasks]
    study_keys = {row["key"] for row in studies}
    rest = {
        "attempts": [_attempt(row, rows) for row in rows.by_table[AttemptRow] if row["run_key"] in run_keys],
        "studies": studies,
        "assignments": [row for row in rows.by_table[AssignmentRow] if row["study_key"] in study_keys],
    }
    url = read_url(str(new))
    engine = connect(url)
    prepare(engine, url)
    with transaction(engine, url) as session:
        _write(session, rows, entries, rest)
    engine.dispose()
    counts = {"tasks": len(rows.tasks), "runs": len(entries), **{name: len(each) for name, each in rest.items()}}
    return Salvaged(str(new), counts, len(rows.seen_runs - run_keys))


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows whose digests hold. A row may appear twice, in an old and a new form."""

    tasks: dict[str, Row] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    curves: dict[int, dict[str, list[Any]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    seen_runs: set[str] = field(default_factory=set)
    by_table: dict[type[Base], list[Row]] = field(default_factory=lambda: defaultdict(list))


SEALED: tuple[type[Base], ...] = (OriginRow, RunRow, AttemptRow, StudyRow, AssignmentRow)


def _sound_rows(data: bytes) -> _Rows:
    rows = _Rows()
    for rowid, values in read_rows(data):
        if (row := _read(TaskRow, rowid, values)) and task_key(row["description"]) == row["key"]:
            rows.tasks[row["key"]] = row["description"]
        if (row := _read(PolicyRow, rowid, values)) and policy_key(row["text"]) == row["key"]:
            rows.policies[row["key"]] = row["text"]
        if row := _read(CurveRow, rowid, values):
            rows.curves[row["run"]][row["series"]].append(row["points"])
        if row := _read(RunRow, rowid, values):
            rows.seen_runs.add(row["key"])
        for table in SEALED:
            if (row := _read(table, rowid, values)) and seal(row) == row["digest"]:
                rows.by_table[table].append(row)
    return rows


def _read(table: type[Base], rowid: int, values: list[Value]) -> Row | None:
    """The row of a table, or of runs in schema 2, that has these values; None if their number or types differ."""
    columns = list(table.__table__.columns)
    if table is RunRow and len(values) == len(columns) - len(OBJECTIVE):
        columns = [column for column in columns if column.name not in OBJECTIVE]
    if len(columns) != len(values):
        return None
    try:
        return {
            column.name: _typed(column, rowid if column.name == "id" else value)
            for column, value in zip(columns, values, strict=True)
        }
    except BROKEN:
        return None


def _typed(column: ColumnElement[Any], value: Value) -> Any:
    if value is None:
        return None
    if isinstance(column.type, Float):
        return float(value)
    if isinstance(column.type, Integer):
        if not isinstance(value, int):
            raise TypeError("no whole number")
        return value
    if not isinstance(value, bytes):
        if column.type.python_type is bool:
            return bool(value)
        raise TypeError("no text")
    text = value.decode()
    return json.loads(text) if isinstance(column.type, JSON) else text


def _whole_runs(rows: _Rows) -> list[Entry]:
    """The entries of undamaged runs, each in its last form."""
    of_known_tasks = [row for row in rows.by_table[RunRow] if row["task_key"] in rows.tasks]
    entries = [entry for row in of_known_tasks if (entry := _entry(row, rows)) is not None]
    entries.sort(key=lambda entry: (entry["key"], not RunState(entry["state"]).is_final, -entry["lost_steps"]))
    return [next(same) for _, same in itertools.groupby(entries, key=lambda entry: entry["key"])]


def _entry(row: Row, rows: _Rows) -> Entry | None:
    """The entry of a run with its policy, and with the combination of its old and new curves whose digest holds."""
    policy, curves = rows.policies.get(row["policy_key"]), rows.curves.get(row["id"], {})
    if policy is None:
        return None
    choices = [(*reversed(points), None) for points in curves.values()]  # the latest first; None: no curve of that name
    for combination in itertools.islice(itertools.product(*choices), MOST_CHOICES):
        points = {name: chosen for name, chosen in zip(curves, combination, strict=True) if chosen is not None}
        if digest(points) == row["curves"]:
            if "metric" in row:
                return entry_of_row(row, policy, points)
            return entry_of_row_2(row, policy, points, rows.tasks[row["task_key"]])
    return None


def _attempt(row: Row, rows: _Rows) -> Row:
    """The row of an attempt in the present schema: an attempt of schema 2 gets its metric."""
    if "metric" in row["content"]:
        return row
    new = {"run_key": row["run_key"], "content": with_metric(row["content"], rows.tasks[row["content"]["task"]])}
    return new | {"digest": seal(new)}


def _write(session: Session, rows: _Rows, entries: list[Entry], rest: Mapping[str, Iterable[Row]]) -> None:
    trusted = {row["name"]: row["trusted"] for row in rows.by_table[OriginRow]}
    for key, description in rows.tasks.items():
        add_task(session, key, description)
    for name in {entry["origin"] for entry in entries}:
        add_origin(session, name, trusted=trusted.get(name, name == LOCAL))
    for chunk in chunks(entries, CHUNK):
        add_runs(session, chunk)
    for add, name in ((add_attempt, "attempts"), (add_study, "studies"), (add_assignment, "assignments")):
        for row in rest[name]:
            add(session, row)


def _file(store: str) -> Path:
    path = file_of(read_url(store))
    if path is None:
        raise StoreError("salvage reads and writes SQLite files; a PostgreSQL server has tools of its own")
    return path
