"""Making a store, and bringing an older one to the present schema: forward, in one transaction, after a copy.

A reader for each older schema gives what it holds as records; they are written as new ones are. Nothing else has to
know how stores used to look.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, RowMapping, text
from sqlalchemy.orm import Session

from lrsearch.errors import StoreError
from lrsearch.runs import Run, objectives_of, task_key
from lrsearch.schedules import parse
from lrsearch.store.database import file_of, schema_version, shown, transaction
from lrsearch.store.record import Record, digest, heard, of_before, outcome, seal
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
    record_of_before,
)
from lrsearch.store.schema import SCHEMA_VERSION, Base, SchemaRow

PREPARATION_LOCK = 7_105_117_101
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contents:
    """What an older store holds; it is read row by row in this order, None for what cannot be read.

    `origins` says of each whether it is trusted.
    """

    tasks: Mapping[str, Mapping[str, Any]]
    origins: Mapping[str, bool]
    records: Iterable[Record | None]
    attempts: Iterable[Mapping[str, Any] | None]
    studies: Iterable[Mapping[str, Any] | None]
    assignments: Iterable[Mapping[str, Any] | None]


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
    for what, count in left_out.items():
        log.warning("%d %s could not be read and were left out%s", count, what, kept)


def _write(session: Session, contents: Contents) -> dict[str, int]:
    """Write what an older store holds, and give how much of what could not be read."""
    for key, description in contents.tasks.items():
        add_task(session, key, description)
    for origin, trusted in contents.origins.items():
        add_origin(session, origin, trusted)
    left_out = {"runs": 0, "other rows": 0}
    for some in chunks(contents.records, CHUNK):
        records = [record for record in some if record is not None]
        left_out["runs"] += len(some) - len(records)
        add_runs(session, records)
    rest = ((add_attempt, contents.attempts), (add_study, contents.studies), (add_assignment, contents.assignments))
    for add, rows in rest:
        for row in rows:
            if row is None:
                left_out["other rows"] += 1
            else:
                add(session, row)
    return {what: count for what, count in left_out.items() if count}


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
    tasks = {row["key"]: _json(row["description"]) for row in _rows(connection, "tasks", "key")}
    origins = connection.execute(text("SELECT DISTINCT origin FROM lrsearch_runs_old ORDER BY origin")).scalars()

    def record(row: RowMapping) -> Record | None:
        try:
            objective = objectives_of(tasks[row["task_key"]])[0]
            numbers = {name: row[name] for name in ("state", "steps", "seconds")}
            run = Run.from_json(_json(row["curve"]), **numbers, score=heard(row["score"]), loss=heard(row["loss"]))
            parse(row["policy"])
            return Record(
                key=row["key"],
                task=row["task_key"],
                policy=row["policy"],
                horizon=row["horizon"],
                seed=row["seed"],
                origin=row["origin"],
                lost_steps=row["lost_steps"],
                **outcome(run, objective),
            )
        except BROKEN:
            return None

    return Contents(
        tasks,
        {origin: origin == LOCAL for origin in origins},
        map(record, _rows(connection, "runs", "key")),
        (),
        map(_study, _rows(connection, "studies", "key")),
        map(dict[str, Any], _rows(connection, "assignments", "study_key, number")),
    )


def _read_2(connection: Connection) -> Contents:
    """Read schema 2: runs had no metric, and a recorded run's unit was a detail.

    Runs come in the order of their numbers, which they keep: what is recommended reads the first seeds of a policy.
    """
    tasks = {row["key"]: told for row in _rows(connection, "tasks", "key") if (told := _sound_task(row)) is not None}
    policies = {row["key"]: row["text"] for row in _rows(connection, "policies", "key")}
    origins = {
        row["name"]: bool(row["trusted"])
        for row in _rows(connection, "origins", "name")
        if seal({**row, "trusted": bool(row["trusted"])}) == row["digest"]
    }
    held = _Schema2(tasks, policies, origins)
    return Contents(
        tasks,
        origins,
        (held.record(row, curves) for row, curves in _with_curves(connection)),
        map(held.attempt, _rows(connection, "attempts", "id")),
        map(held.study, _rows(connection, "studies", "key")),
        map(held.assignment, _rows(connection, "assignments", "study_key, number")),
    )


@dataclass(frozen=True, slots=True)
class _Schema2:
    """Reads rows of schema 2: None for one that its digest does not back, or that belongs to such a one."""

    tasks: Mapping[str, Mapping[str, Any]]
    policies: Mapping[str, str]
    origins: Mapping[str, bool]
    runs: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)

    def record(self, row: Mapping[str, Any], curves: Mapping[str, Any]) -> Record | None:
        """Read a run with its curves by series."""
        try:
            own, policy = {**row, "details": _json(row["details"])}, self.policies[row["policy_key"]]
            points = {series: _json(value) for series, value in curves.items()}
            said = row["digest"], row["curves"], row["policy_key"]
            if (seal(own), digest(points), policy_key(policy)) != said or row["origin"] not in self.origins:
                return None
            found = record_of_before(own, policy, points, self.tasks[row["task_key"]])
            parse(policy)
        except BROKEN:
            return None
        self.runs.add(found.key)
        return found

    def attempt(self, row: RowMapping) -> dict[str, Any] | None:
        """Read another result of a run, which gets its metric and a new digest."""
        try:
            old = {**row, "content": _json(row["content"])}
            if seal(old) != row["digest"] or row["run_key"] not in self.runs:
                return None
            content = of_before(old["content"], self.tasks[old["content"]["task"]])
        except BROKEN:
            return None
        new = {"run_key": row["run_key"], "content": content}
        return new | {"digest": seal(new)}

    def study(self, row: RowMapping) -> dict[str, Any] | None:
        """Read a study."""
        try:
            found = _study(row)
            if seal(found) != row["digest"] or row["task_key"] not in self.tasks:
                return None
        except BROKEN:
            return None
        self.studies.add(row["key"])
        return found

    def assignment(self, row: RowMapping) -> dict[str, Any] | None:
        """Read what a study asked for."""
        found = dict(row)
        return found if seal(found) == row["digest"] and row["study_key"] in self.studies else None


def _with_curves(connection: Connection) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Each run's row with its curves by series: both tables are read once, in the order of the runs' numbers."""
    curves = groupby(_rows(connection, "curves", "run"), key=itemgetter("run"))
    number, own = next(curves, (None, None))
    for row in _rows(connection, "runs", "id"):
        while number is not None and number < row["id"]:
            number, own = next(curves, (None, None))
        held = {one["series"]: one["points"] for one in own or ()} if number == row["id"] else {}
        yield dict(row), held


def _rows(connection: Connection, table: str, order: str) -> Iterator[RowMapping]:
    query = f"SELECT * FROM lrsearch_{table}_old ORDER BY {order}"  # noqa: S608
    return iter(connection.execute(text(query)).mappings())


def _sound_task(row: RowMapping) -> dict[str, Any] | None:
    try:
        description: dict[str, Any] = _json(row["description"])
        return description if task_key(description) == row["key"] else None
    except BROKEN:
        return None


def _study(row: RowMapping) -> dict[str, Any]:
    return {**row, **{name: _json(row[name]) for name in ("description", "frozen", "note")}}


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


TABLES = {
    1: ("lrsearch_tasks", "lrsearch_runs", "lrsearch_studies", "lrsearch_assignments"),
    2: tuple(
        f"lrsearch_{name}"
        for name in (
            "datasets",
            "models",
            "tasks",
            "policies",
            "origins",
            "runs",
            "curves",
            "attempts",
            "studies",
            "assignments",
        )
    ),
}
READERS: Mapping[int, Callable[[Connection], Contents]] = {1: _read_1, 2: _read_2}
