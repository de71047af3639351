"""Making a store, and bringing an older one to the present schema: forward, in one transaction, after a copy.

A reader for each older schema gives what it holds as records; they are written as new ones are. Nothing else has to
know how stores used to look.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, RowMapping, text
from sqlalchemy.orm import Session

from lrsearch.errors import StoreError
from lrsearch.knowledge.database import file_of, schema_version, shown, transaction
from lrsearch.knowledge.record import Record, heard, outcome
from lrsearch.knowledge.rows import (
    BROKEN,
    CHUNK,
    LOCAL,
    add_assignment,
    add_origin,
    add_runs,
    add_study,
    add_task,
    chunks,
)
from lrsearch.knowledge.schema import SCHEMA_VERSION, Base, SchemaRow
from lrsearch.runs import Run
from lrsearch.schedules import parse

PREPARATION_LOCK = 7_105_117_101
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contents:
    """What an older store holds; records are read one by one, None for one that cannot be read."""

    tasks: Mapping[str, Mapping[str, Any]]
    records: Iterable[Record | None]
    studies: Iterable[Mapping[str, Any]]
    assignments: Iterable[Mapping[str, Any]]


def prepare(engine: Engine, url: URL) -> None:
    """Make the tables where there are none, and bring older ones up to date. Whoever comes second waits.

    Raises:
        StoreError: if the database does not allow it; it is left as it was.
    """
    with transaction(engine, url, reads=True) as session:
        if schema_version(session.connection()) == SCHEMA_VERSION:
            return
    with transaction(engine, url, "cannot be made into a store: ") as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": PREPARATION_LOCK})
        version = schema_version(connection)
        if version is None:
            Base.metadata.create_all(connection)
            connection.execute(SchemaRow.__table__.insert().values(version=SCHEMA_VERSION))  # type: ignore[attr-defined]
        elif version < SCHEMA_VERSION:
            _migrate(session, url, version)


def _migrate(session: Session, url: URL, version: int) -> None:
    if version not in READERS:
        raise StoreError(f"{shown(url)} has schema {version}, which no version of lrsearch wrote")
    copied = _copy(url, version)
    connection, tables = session.connection(), TABLES[version]
    for table in tables:
        connection.execute(text(f"CREATE TABLE {table}_old AS SELECT * FROM {table}"))  # noqa: S608
    for table in reversed(tables):
        connection.execute(text(f"DROP TABLE {table}"))
    Base.metadata.create_all(connection)
    left_out = _write(session, READERS[version](connection))
    for table in tables if not left_out or copied else ():
        connection.execute(text(f"DROP TABLE {table}_old"))
    connection.execute(SchemaRow.__table__.update().values(version=SCHEMA_VERSION))  # type: ignore[attr-defined]
    kept = f"; the copy {copied} holds it as it was" if copied else ""
    log.warning("%s was brought from schema %d to %d%s", shown(url), version, SCHEMA_VERSION, kept)
    if left_out:
        log.warning("%d runs could not be read and were left out%s", left_out, kept)


def _write(session: Session, contents: Contents) -> int:
    """Write what an older store holds, and give how many runs could not be read."""
    for key, description in contents.tasks.items():
        add_task(session, key, description)
    left_out, origins = 0, set[str]()
    for some in chunks(contents.records, CHUNK):
        records = [record for record in some if record is not None]
        left_out += len(some) - len(records)
        for origin in {record.origin for record in records} - origins:
            add_origin(session, origin, trusted=origin == LOCAL)
            origins.add(origin)
        add_runs(session, records)
    for study in contents.studies:
        add_study(session, study)
    for assignment in contents.assignments:
        add_assignment(session, assignment)
    return left_out


def _copy(url: URL, version: int) -> Path | None:
    """Copy an SQLite file beside itself, whole or not at all; give where to, or None for another database."""
    path = file_of(url)
    if path is None:
        return None
    copy, part = path.with_name(f"{path.name}.schema-{version}"), path.with_name(f"{path.name}.schema-{version}.part")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    part.replace(copy)
    return copy


def _read_1(connection: Connection) -> Contents:
    """Read schema 1: a run's curve was one JSON value, a task's description stood alone."""

    def rows(table: str, order: str) -> Iterator[RowMapping]:
        query = f"SELECT * FROM lrsearch_{table}_old ORDER BY {order}"  # noqa: S608
        return iter(connection.execute(text(query)).mappings())


    def record(row: RowMapping) -> Record | None:
        try:
            numbers = {name: row[name] for name in ("state", "steps", "seconds")}
            run = Run.from_json(_json(row["curve"]), **numbers, score=heard(row["score"]), loss=heard(row["loss"]))
            parse(row["policy"])
            return Record(key=row["key"], task=row["task_key"], policy=row["policy"], horizon=row["horizon"],
                          seed=row["seed"], origin=row["origin"], lost_steps=row["lost_steps"], **outcome(run))
        except BROKEN:
            return None

    def study(row: RowMapping) -> dict[str, Any]:
        return {**row, **{name: _json(row[name]) for name in ("description", "frozen", "note")}}

    return Contents({row["key"]: _json(row["description"]) for row in rows("tasks", "key")},
                    map(record, rows("runs", "key")), map(study, rows("studies", "key")),
                    map(dict[str, Any], rows("assignments", "study_key, number")))


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


TABLES = {1: ("lrsearch_tasks", "lrsearch_runs", "lrsearch_studies", "lrsearch_assignments")}
READERS: Mapping[int, Callable[[Connection], Contents]] = {1: _read_1}
