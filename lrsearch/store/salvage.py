"""Gets what is whole out of a damaged SQLite store, into a new one: what its digests back, and nothing else."""

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
from lrsearch.store.migrations import prepare
from lrsearch.store.pages import Value, read_rows
from lrsearch.store.record import OBJECTIVE, Record, digest, of_before, seal
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
    policy_key,
    record_of,
    record_of_before,
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

Row = Mapping[str, Any]
MOST_CHOICES = 64
"""How many ways to put a run together with old and new curves of the same place are tried."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was got out.

    Args:
        store: the new store.
        rows: written to it, by table.
        left: keys of runs that were seen, but not whole.
    """

    store: str
    rows: Mapping[str, int]
    left: int

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"store": self.store, "rows": dict(self.rows), "left": self.left}


def salvage(store: str, target: str) -> Salvaged:
    """Read the rows of a damaged SQLite store one by one, and write those that are whole to a new store.

    Args:
        store: the damaged file; it is only read, at once into memory.
        target: a file that is not there yet.

    Raises:
        StoreError: if there is no such file, the target is there already, or nothing in the file is whole.
    """
    source, new = _file(store), _file(target)
    if new.exists():
        raise StoreError(f"{new} is there already; salvage writes a new store")
    try:
        found = _found(source.read_bytes())
    except OSError as error:
        raise StoreError(f"{source} cannot be read: {error.strerror}") from None
    if not found.tasks:
        raise StoreError(f"nothing in {source} is a store's, or none of it is whole")
    records = _whole(found)
    kept = {record.key for record in records}
    studies = [row for row in found.of[StudyRow] if row["task_key"] in found.tasks]
    names = {row["key"] for row in studies}
    rest = {
        "attempts": [_attempt(row, found) for row in found.of[AttemptRow] if row["run_key"] in kept],
        "studies": studies,
        "assignments": [row for row in found.of[AssignmentRow] if row["study_key"] in names],
    }
    url = read_url(str(new))
    engine = connect(url)
    prepare(engine, url)
    with transaction(engine, url) as session:
        _write(session, found, records, rest)
    engine.dispose()
    rows = {"tasks": len(found.tasks), "runs": len(records), **{name: len(some) for name, some in rest.items()}}
    return Salvaged(str(new), rows, len(found.seen - kept))


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows that hold together, each in its own right. A row may be there twice, in an old and a new form."""

    tasks: dict[str, Row] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    curves: dict[int, dict[str, list[Any]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    seen: set[str] = field(default_factory=set)
    of: dict[type[Base], list[Row]] = field(default_factory=lambda: defaultdict(list))


SEALED: tuple[type[Base], ...] = (OriginRow, RunRow, AttemptRow, StudyRow, AssignmentRow)


def _found(data: bytes) -> _Found:
    found = _Found()
    for rowid, values in read_rows(data):
        if (row := _read(TaskRow, rowid, values)) and task_key(row["description"]) == row["key"]:
            found.tasks[row["key"]] = row["description"]
        if (row := _read(PolicyRow, rowid, values)) and policy_key(row["text"]) == row["key"]:
            found.policies[row["key"]] = row["text"]
        if row := _read(CurveRow, rowid, values):
            found.curves[row["run"]][row["series"]].append(row["points"])
        if row := _read(RunRow, rowid, values):
            found.seen.add(row["key"])
        for table in SEALED:
            if (row := _read(table, rowid, values)) and seal(row) == row["digest"]:
                found.of[table].append(row)
    return found


def _read(table: type[Base], rowid: int, values: list[Value]) -> Row | None:
    """Read a row as one of a table, a run also as schema 2 had it; None where it is not, as far as types tell."""
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


def _whole(found: _Found) -> list[Record]:
    """Give the runs that are whole, each in its last form."""
    records = [
        record
        for row in found.of[RunRow]
        if row["task_key"] in found.tasks and (record := _record(row, found)) is not None
    ]
    records.sort(key=lambda record: (record.key, not RunState(record.state).is_final, -record.lost_steps))
    return [next(same) for _, same in itertools.groupby(records, key=lambda record: record.key)]


def _record(row: Row, found: _Found) -> Record | None:
    """Put a run together with its policy and with those of its curves, old and new, that its digest knows."""
    policy, curves = found.policies.get(row["policy_key"]), found.curves.get(row["id"], {})
    if policy is None:
        return None
    series = [(None, *(points for points in choices)) for choices in curves.values()]
    for choice in itertools.islice(itertools.product(*map(reversed, series)), MOST_CHOICES):
        points = {name: chosen for name, chosen in zip(curves, choice, strict=True) if chosen is not None}
        if digest(points) == row["curves"]:
            return (
                record_of(row, policy, points)
                if "metric" in row
                else record_of_before(row, policy, points, found.tasks[row["task_key"]])
            )
    return None


def _attempt(row: Row, found: _Found) -> Row:
    """An attempt as it is written now; one of schema 2 gets its metric."""
    if "metric" in row["content"]:
        return row
    new = {"run_key": row["run_key"], "content": of_before(row["content"], found.tasks[row["content"]["task"]])}
    return new | {"digest": seal(new)}


def _write(session: Session, found: _Found, records: list[Record], rest: Mapping[str, Iterable[Row]]) -> None:
    trusted = {row["name"]: row["trusted"] for row in found.of[OriginRow]}
    for key, description in found.tasks.items():
        add_task(session, key, description)
    for name in {record.origin for record in records}:
        add_origin(session, name, trusted=trusted.get(name, name == LOCAL))
    for some in chunks(records, CHUNK):
        add_runs(session, some)
    for add, name in ((add_attempt, "attempts"), (add_study, "studies"), (add_assignment, "assignments")):
        for row in rest[name]:
            add(session, row)


def _file(store: str) -> Path:
    path = file_of(read_url(store))
    if path is None:
        raise StoreError("salvage reads and writes SQLite files; a PostgreSQL server has tools of its own")
    return path
