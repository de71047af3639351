"""Check a store for damage: every row against its digest, and the file by SQLite's own check."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, Text, cast, create_engine, select, text, type_coerce
from sqlalchemy.exc import SQLAlchemyError

from lrsearch.errors import StoreError
from lrsearch.runs import task_key
from lrsearch.schedules import parse
from lrsearch.store.database import connect, read_url, reason, schema_version, shown, transaction
from lrsearch.store.rows import BROKEN, CHUNK, chunks, dataset_row, model_row, policy_key, task_row
from lrsearch.store.schema import (
    SCHEMA_VERSION,
    AssignmentRow,
    AttemptRow,
    Base,
    CurveRow,
    DatasetRow,
    ModelRow,
    OriginRow,
    PolicyRow,
    RunRow,
    StudyRow,
    TaskRow,
)
from lrsearch.store.values import canonical, digest, seal

Values = Mapping[str, Any]
CURVES = "curves of the run"
"""The name under which a run's row gets its curves by series; no column has it."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged row, or damage of the file.

    Args:
        table: a table's name, or "file".
        key: of the row; empty where it is not known.
        what: a description of the damage.
    """

    table: str
    key: str
    what: str

    def to_json(self) -> dict[str, str]:
        """The damage as JSON values."""
        return {"table": self.table, "key": self.key, "what": self.what}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check: rows read by table, and all damage."""

    store: str
    rows: Mapping[str, int]
    damage: tuple[Damage, ...]

    @property
    def is_whole(self) -> bool:
        """Whether there is no damage."""
        return not self.damage

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "store": self.store,
            "whole": self.is_whole,
            "rows": dict(self.rows),
            "damage": [damage.to_json() for damage in self.damage],
        }


def check(store: str) -> Check:
    """Read all rows of a store, change nothing, and return the damage.

    Every row has a digest of 16 hex digits, which detects one flipped bit in any value. SQLite's own check covers the
    structure of the file.

    Args:
        store: a file name or URL, as for `open_store`.

    Raises:
        StoreError: if it is not a store, has another schema, or is too damaged to be opened.
    """
    url = read_url(store)
    engine = connect(url)
    rows: dict[str, int] = {}
    damage: list[Damage] = []
    with transaction(engine, url, reads=True) as session:
        connection = session.connection()
        version = schema_version(connection)
        if version != SCHEMA_VERSION:
            raise StoreError(f"{shown(url)} has schema {version}: open it once, which brings it to {SCHEMA_VERSION}")
        damage += _of_file(connection)
        seen = _Seen({}, set())
        for table, check_row in CHECKS.items():
            name = table.__tablename__.removeprefix("lrsearch_")
            rows[name] = 0
            try:
                for row in _runs(connection) if table is RunRow else _rows(connection, table):
                    rows[name] += 1
                    if problem := _problem(check_row, row, seen):
                        damage.append(Damage(name, _key(row), problem))
            except (SQLAlchemyError, *BROKEN) as error:
                damage.append(Damage(name, "", f"cannot be read to its end: {reason(error)}"))
    engine.dispose()
    return Check(shown(url), rows, tuple(damage))


@dataclass(frozen=True, slots=True)
class _Seen:
    """Rows of earlier tables, which rows of later tables refer to."""

    tasks: dict[str, Values]
    names: set[tuple[str, str]]


RowCheck = Callable[[Values, _Seen], str | None]
"""Returns what is wrong with a row; None if nothing is."""


def _problem(check_row: RowCheck, row: Values, seen: _Seen) -> str | None:
    try:
        return check_row({name: _parsed(value) for name, value in row.items()}, seen)
    except BROKEN as error:
        return f"cannot be read: {type(error).__name__}"


@dataclass(frozen=True, slots=True)
class _Json:
    text: str


def _parsed(value: Any) -> Any:
    """The values of a JSON text, which must be canonical; any other value as it is."""
    if not isinstance(value, _Json):
        return value
    values = json.loads(value.text)
    if canonical(values) != value.text:
        raise ValueError("not as it was written")
    return values


def _rows(connection: Connection, table: type[Base], *wanted: ColumnElement[bool]) -> Iterator[Values]:
    """The rows of a table, JSON as texts: a value that cannot be read must not hide the other rows.

    In SQLite they are texts. A value that is bytes is damaged, and a cast would hide that.
    """
    as_text = type_coerce if connection.dialect.name == "sqlite" else cast
    columns = list(table.__table__.columns)
    json_columns = {column.name for column in columns if isinstance(column.type, JSON)}
    query = select(*(as_text(c, Text).label(c.name) if c.name in json_columns else c for c in columns)).where(*wanted)
    for row in connection.execute(query).mappings():
        yield {
            name: _Json(value) if name in json_columns and value is not None else value for name, value in row.items()
        }


def _runs(connection: Connection) -> Iterator[Values]:
    """The rows of runs, each with its curves by series."""
    for chunk in chunks(_rows(connection, RunRow), CHUNK):
        curves: dict[int, dict[str, Any]] = {row["id"]: {} for row in chunk}
        for curve in _rows(connection, CurveRow, CurveRow.run.in_(list(curves))):
            curves[curve["run"]][curve["series"]] = curve["points"]
        for row in chunk:
            yield {**row, CURVES: curves[row["id"]]}


def _key(row: Values) -> str:
    for name in ("key", "name", "run_key", "study_key", "run"):
        if name in row:
            return f"{row[name]}" + (f" {row['number']}" if "number" in row else "")
    return ""


def _sealed(row: Values, seen: _Seen) -> str | None:
    return None if seal(row) == row["digest"] else "its digest does not hold"


def _task(row: Values, seen: _Seen) -> str | None:
    description = row["description"]
    seen.tasks[row["key"]] = description
    if task_key(description) != row["key"]:
        return "its key is not the digest of its description"
    if task_row(row["key"], description) != row:
        return "its columns are not what its description says"
    return None


def _part_of_tasks(make: Callable[[Values], Values | None]) -> RowCheck:
    def check_row(row: Values, seen: _Seen) -> str | None:
        expected = [part for description in seen.tasks.values() if (part := make(description))]
        return None if row in expected else "no task describes it so"

    return check_row


def _policy(row: Values, seen: _Seen) -> str | None:
    seen.names.add(("policy", row["key"]))
    if policy_key(row["text"]) != row["key"]:
        return "its key is not the digest of its text"
    return None if parse(row["text"]).form == row["form"] else "its form is another one"


def _origin(row: Values, seen: _Seen) -> str | None:
    seen.names.add(("origin", row["name"]))
    return _sealed(row, seen)


def _run(row: Values, seen: _Seen) -> str | None:
    curves = {series: _parsed(points) for series, points in row[CURVES].items()}
    columns = {name: value for name, value in row.items() if name != CURVES}
    if seal(columns) != row["digest"]:
        return "its digest does not hold"
    if digest(curves) != row["curves"]:
        return "the digest of its curves does not hold"
    if row["task_key"] not in seen.tasks:
        return "its task is missing"
    if ("policy", row["policy_key"]) not in seen.names:
        return "its policy is missing"
    return None if ("origin", row["origin"]) in seen.names else "its origin is missing"


CHECKS: Mapping[type[Base], RowCheck] = {
    TaskRow: _task,
    DatasetRow: _part_of_tasks(dataset_row),
    ModelRow: _part_of_tasks(model_row),
    PolicyRow: _policy,
    OriginRow: _origin,
    RunRow: _run,
    AttemptRow: _sealed,
    StudyRow: _sealed,
    AssignmentRow: _sealed,
}
"""Checks by table. A table comes after those that it refers to."""


def _of_file(connection: Connection) -> Iterator[Damage]:
    """Damage of an SQLite file: by its own check, and tables or indexes that differ from the schema."""
    if connection.dialect.name != "sqlite":
        return
    try:
        for (message,) in connection.execute(text("PRAGMA integrity_check")):
            if message != "ok":
                yield Damage("file", "", str(message))
        tables = {tuple(row) for row in connection.execute(text(TABLES)) if str(row[1]).startswith("lrsearch_")}
        if tables != _new_tables():
            yield Damage("file", "", "its tables or indexes are not the ones that were made")
    except SQLAlchemyError as error:
        yield Damage("file", "", reason(error))


TABLES = "SELECT type, tbl_name, name, sql FROM sqlite_master"


def _new_tables() -> set[tuple[Any, ...]]:
    """The tables and indexes of a new store."""
    empty = create_engine("sqlite://")
    with empty.begin() as connection:
        Base.metadata.create_all(connection)
        return {tuple(row) for row in connection.execute(text(TABLES))}
