"""Is a store whole? Every row is read and held against its digest, and the file against what SQLite says of it."""

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
from lrsearch.store.record import canonical, digest, seal
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

Values = Mapping[str, Any]
CURVES = "curves of the run"


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong with a store.

    Args:
        table: where: a table's name, or "file".
        key: which row; empty where that cannot be said.
        what: what is wrong.
    """

    table: str
    key: str
    what: str

    def to_json(self) -> dict[str, str]:
        """Give it as plain JSON values."""
        return {"table": self.table, "key": self.key, "what": self.what}


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found: rows read by table, and all damage."""

    store: str
    rows: Mapping[str, int]
    damage: tuple[Damage, ...]

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.damage

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "store": self.store,
            "whole": self.is_whole,
            "rows": dict(self.rows),
            "damage": [found.to_json() for found in self.damage],
        }


def check(store: str) -> Check:
    """Read all of a store, change nothing, and give what is wrong with it.

    A digest of 16 hex digits lies beside every row, so that one flipped bit in what a row says is found; SQLite's own
    check looks at how the file is put together.

    Args:
        store: a file name or URL, as for `open_store`.

    Raises:
        StoreError: if it is no store, one of another schema, or so damaged that it cannot be opened.
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
        seen = _Known({}, set())
        for table, wrong in CHECKS.items():
            name = table.__tablename__.removeprefix("lrsearch_")
            rows[name] = 0
            try:
                for row in _runs(connection) if table is RunRow else _rows(connection, table):
                    rows[name] += 1
                    if said := _said(wrong, row, seen):
                        damage.append(Damage(name, _key(row), said))
            except (SQLAlchemyError, *BROKEN) as error:
                damage.append(Damage(name, "", f"cannot be read to its end: {reason(error)}"))
    engine.dispose()
    return Check(shown(url), rows, tuple(damage))


@dataclass(frozen=True, slots=True)
class _Known:
    """What later tables are held against."""

    tasks: dict[str, Values]
    names: set[tuple[str, str]]


def _said(wrong: Callable[[Values, _Known], str | None], row: Values, seen: _Known) -> str | None:
    try:
        return wrong({name: _plain(value) for name, value in row.items()}, seen)
    except BROKEN as error:
        return f"cannot be read: {type(error).__name__}"


@dataclass(frozen=True, slots=True)
class _Json:
    text: str


def _plain(value: Any) -> Any:
    """Read a JSON text, which must be the one that was written."""
    if not isinstance(value, _Json):
        return value
    values = json.loads(value.text)
    if canonical(values) != value.text:
        raise ValueError("not as it was written")
    return values


def _rows(connection: Connection, table: type[Base], *wanted: ColumnElement[bool]) -> Iterator[Values]:
    """Give the rows of a table, JSON as texts: one that cannot be read must not hide the others.

    SQLite has them as texts; what it has as bytes is damaged, and a cast would hide that.
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
    """Give the rows of runs, each with its curves by series."""
    for some in chunks(_rows(connection, RunRow), CHUNK):
        curves: dict[int, dict[str, Any]] = {row["id"]: {} for row in some}
        for curve in _rows(connection, CurveRow, CurveRow.run.in_(list(curves))):
            curves[curve["run"]][curve["series"]] = curve["points"]
        for row in some:
            yield {**row, CURVES: curves[row["id"]]}


def _key(row: Values) -> str:
    for name in ("key", "name", "run_key", "study_key", "run"):
        if name in row:
            return f"{row[name]}" + (f" {row['number']}" if "number" in row else "")
    return ""


def _sealed(row: Values, seen: _Known) -> str | None:
    return None if seal(row) == row["digest"] else "its digest does not hold"


def _task(row: Values, seen: _Known) -> str | None:
    description = row["description"]
    seen.tasks[row["key"]] = description
    if task_key(description) != row["key"]:
        return "its key is not the digest of its description"
    if task_row(row["key"], description) != row:
        return "its columns are not what its description says"
    return None


def _part_of_tasks(make: Callable[[Values], Values | None]) -> Callable[[Values, _Known], str | None]:
    def wrong(row: Values, seen: _Known) -> str | None:
        expected = [part for description in seen.tasks.values() if (part := make(description))]
        return None if row in expected else "no task describes it so"

    return wrong


def _policy(row: Values, seen: _Known) -> str | None:
    seen.names.add(("policy", row["key"]))
    if policy_key(row["text"]) != row["key"]:
        return "its key is not the digest of its text"
    return None if parse(row["text"]).form == row["form"] else "its form is another one"


def _origin(row: Values, seen: _Known) -> str | None:
    seen.names.add(("origin", row["name"]))
    return _sealed(row, seen)


def _run(row: Values, seen: _Known) -> str | None:
    curves = {series: _plain(points) for series, points in row[CURVES].items()}
    own = {name: value for name, value in row.items() if name != CURVES}
    if seal(own) != row["digest"]:
        return "its digest does not hold"
    if digest(curves) != row["curves"]:
        return "the digest of its curves does not hold"
    missing = [
        what
        for what, there in (
            ("task", row["task_key"] in seen.tasks),
            ("policy", ("policy", row["policy_key"]) in seen.names),
            ("origin", ("origin", row["origin"]) in seen.names),
        )
        if not there
    ]
    return f"its {missing[0]} is missing" if missing else None


CHECKS: Mapping[type[Base], Callable[[Values, _Known], str | None]] = {
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
"""In this order: what is referred to comes first."""


def _of_file(connection: Connection) -> Iterator[Damage]:
    """What SQLite says of the file, and whether its tables are the ones that were made."""
    if connection.dialect.name != "sqlite":
        return
    try:
        for (said,) in connection.execute(text("PRAGMA integrity_check")):
            if said != "ok":
                yield Damage("file", "", str(said))
        made = {tuple(row) for row in connection.execute(text(TABLES)) if str(row[1]).startswith("lrsearch_")}
        if made != _as_made():
            yield Damage("file", "", "its tables or indexes are not the ones that were made")
    except SQLAlchemyError as error:
        yield Damage("file", "", reason(error))


TABLES = "SELECT type, tbl_name, name, sql FROM sqlite_master"


def _as_made() -> set[tuple[Any, ...]]:
    empty = create_engine("sqlite://")
    with empty.begin() as connection:
        Base.metadata.create_all(connection)
        return {tuple(row) for row in connection.execute(text(TABLES))}
