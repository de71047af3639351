"""Create a store's tables, and migrate older stores to the present schema: forward, in one transaction, after a copy.

A reader for each older schema returns its contents as entries and rows of today, which are written like new ones. No
other module handles older schemas.
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
from lrsearch.store.entries import outcome, with_metric
from lrsearch.store.fields import Entry, checked
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
    entry_of_row_2,
    policy_key,
)
from lrsearch.store.schema import SCHEMA_VERSION, Base, SchemaRow
from lrsearch.store.values import digest, float_from_json, seal

PREPARATION_LOCK = 7_105_117_101
"""The number of PostgreSQL's advisory lock: arbitrary, and the same in all versions."""
WITHOUT_CLAIMS = 3
"""The last schema without the tables of processes and claims; its other tables are as they are now."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of an older store, read row by row in this order; None for a row that cannot be read.

    `origins` maps each origin to whether it is trusted.
    """

    tasks: Mapping[str, Mapping[str, Any]]
    origins: Mapping[str, bool]
    runs: Iterable[Entry | None]
    attempts: Iterable[Mapping[str, Any] | None]
    studies: Iterable[Mapping[str, Any] | None]
    assignments: Iterable[Mapping[str, Any] | None]


def prepare(engine: Engine, url: URL) -> None:
    """Create the tables if there are none, and migrate older ones. A second process waits for the first.

    Raises:
        StoreError: if the database does not allow it; it stays as it was.
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
    if version not in (*READERS, WITHOUT_CLAIMS):
        raise StoreError(f"{shown(url)} has schema {version}, which no version of lrsearch wrote")
    copy, connection = _copy(url, version), session.connection()
    left_out: Mapping[str, int] = {}
    if version == WITHOUT_CLAIMS:
        Base.metadata.create_all(connection)
    else:
        left_out = _rewrite(session, version, is_copied=copy is not None)
    connection.execute(SchemaRow.__table__.update().values(version=SCHEMA_VERSION))  # type: ignore[attr-defined]
    hint = f"; the copy {copy} holds it as it was" if copy else ""
    log.warning("%s was brought from schema %d to %d%s", shown(url), version, SCHEMA_VERSION, hint)
    for rows, count in left_out.items():
        log.warning("%d %s could not be read and were left out%s", count, rows, hint)


def _rewrite(session: Session, version: int, *, is_copied: bool) -> dict[str, int]:
    """Write the contents of older tables to new ones, and return how many rows of which kind could not be read."""
    connection, tables = session.connection(), TABLES[version]
    for table in tables:
        connection.execute(text(f"CREATE TABLE {table}_old AS SELECT * FROM {table}"))  # noqa: S608
    for table in reversed(tables):
        connection.execute(text(f"DROP TABLE {table}"))
    Base.metadata.create_all(connection)
    left_out = _write(session, READERS[version](connection))
    for table in tables if not left_out or is_copied else ():
        connection.execute(text(f"DROP TABLE {table}_old"))
    return left_out


def _write(session: Session, contents: Contents) -> dict[str, int]:
    """Write the contents of an older store, and return how many rows of which kind could not be read."""
    for key, description in contents.tasks.items():
        add_task(session, key, description)
    for origin, trusted in contents.origins.items():
        add_origin(session, origin, trusted)
    left_out = {"runs": 0, "other rows": 0}
    for chunk in chunks(contents.runs, CHUNK):
        entries = [entry for entry in chunk if entry is not None]
        left_out["runs"] += len(chunk) - len(entries)
        add_runs(session, entries)
    rest = ((add_attempt, contents.attempts), (add_study, contents.studies), (add_assignment, contents.assignments))
    for add, rows in rest:
        for row in rows:
            if row is None:
                left_out["other rows"] += 1
            else:
                add(session, row)
    return {rows: count for rows, count in left_out.items() if count}


def _copy(url: URL, version: int) -> Path | None:
    """Copy an SQLite file, completely or not at all, and return the copy's path; None for another database."""
    path = file_of(url)
    if path is None:
        return None
    copy, part = path.with_name(f"{path.name}.schema-{version}"), path.with_name(f"{path.name}.schema-{version}.part")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    part.replace(copy)
    return copy


def _read_1(connection: Connection) -> Contents:
    """Read schema 1: a run was one JSON value, and tasks had no data sets and models of their own."""
    tasks = {row["key"]: _json(row["description"]) for row in _rows(connection, "tasks", "key")}
    origins = connection.execute(text("SELECT DISTINCT origin FROM lrsearch_runs_old ORDER BY origin")).scalars()

    def entry(row: RowMapping) -> Entry | None:
        try:
            objective = objectives_of(tasks[row["task_key"]])[0]
            scores = {name: float_from_json(row[name]) for name in ("score", "loss")}
            numbers = {"steps": row["steps"], "seconds": row["seconds"], **scores}
            run = Run.from_json(_json(row["curve"]), state=row["state"], **numbers)
            parse(row["policy"])
            same = {name: row[name] for name in ("key", "policy", "horizon", "seed", "origin", "lost_steps")}
            return checked({**same, "task": row["task_key"], **outcome(run, objective)})
        except BROKEN:
            return None

    return Contents(
        tasks,
        {origin: origin == LOCAL for origin in origins},
        map(entry, _rows(connection, "runs", "key")),
        (),
        map(_study, _rows(connection, "studies", "key")),
        map(dict[str, Any], _rows(connection, "assignments", "study_key, number")),
    )


def _read_2(connection: Connection) -> Contents:
    """Read schema 2: runs had no metric, and a recorded run's unit was a detail.

    Runs come in the order of their ids and keep it: a recommendation reads the first seeds of a policy.
    """
    read = {row["key"]: _sound_task(row) for row in _rows(connection, "tasks", "key")}
    tasks = {key: description for key, description in read.items() if description is not None}
    policies = {row["key"]: row["text"] for row in _rows(connection, "policies", "key")}
    origins = {
        row["name"]: bool(row["trusted"])
        for row in _rows(connection, "origins", "name")
        if seal({**row, "trusted": bool(row["trusted"])}) == row["digest"]
    }
    reader = _Schema2(tasks, policies, origins)
    return Contents(
        tasks,
        origins,
        (reader.entry(row, curves) for row, curves in _with_curves(connection)),
        map(reader.attempt, _rows(connection, "attempts", "id")),
        map(reader.study, _rows(connection, "studies", "key")),
        map(reader.assignment, _rows(connection, "assignments", "study_key, number")),
    )


@dataclass(frozen=True, slots=True)
class _Schema2:
    """Reads rows of schema 2: None for a row whose digest does not hold, and for rows that refer to one."""

    tasks: Mapping[str, Mapping[str, Any]]
    policies: Mapping[str, str]
    origins: Mapping[str, bool]
    runs: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)

    def entry(self, row: Mapping[str, Any], curves: Mapping[str, Any]) -> Entry | None:
        """The entry of a run, from its row and its curves by series."""
        try:
            own, policy = {**row, "details": _json(row["details"])}, self.policies[row["policy_key"]]
            points = {series: _json(value) for series, value in curves.items()}
            digests = row["digest"], row["curves"], row["policy_key"]
            if (seal(own), digest(points), policy_key(policy)) != digests or row["origin"] not in self.origins:
                return None
            entry = entry_of_row_2(own, policy, points, self.tasks[row["task_key"]])
            parse(policy)
        except BROKEN:
            return None
        self.runs.add(entry["key"])
        return entry

    def attempt(self, row: RowMapping) -> dict[str, Any] | None:
        """The row of another result of a run, with its metric and a new digest."""
        try:
            old = {**row, "content": _json(row["content"])}
            if seal(old) != row["digest"] or row["run_key"] not in self.runs:
                return None
            content = with_metric(old["content"], self.tasks[old["content"]["task"]])
        except BROKEN:
            return None
        new = {"run_key": row["run_key"], "content": content}
        return new | {"digest": seal(new)}

    def study(self, row: RowMapping) -> dict[str, Any] | None:
        """The row of a study."""
        try:
            study = _study(row)
            if seal(study) != row["digest"] or row["task_key"] not in self.tasks:
                return None
        except BROKEN:
            return None
        self.studies.add(row["key"])
        return study

    def assignment(self, row: RowMapping) -> dict[str, Any] | None:
        """The row of a trial of a study."""
        trial = dict(row)
        return trial if seal(trial) == row["digest"] and row["study_key"] in self.studies else None


def _with_curves(connection: Connection) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Each run's row with its curves by series: both tables are read once, in the order of the runs' ids."""
    curves_by_run = groupby(_rows(connection, "curves", "run"), key=itemgetter("run"))
    run, curves = next(curves_by_run, (None, None))
    for row in _rows(connection, "runs", "id"):
        while run is not None and run < row["id"]:
            run, curves = next(curves_by_run, (None, None))
        yield dict(row), {each["series"]: each["points"] for each in curves or ()} if run == row["id"] else {}


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


TABLES_2 = "datasets models tasks policies origins runs curves attempts studies assignments"
TABLES = {
    1: ("lrsearch_tasks", "lrsearch_runs", "lrsearch_studies", "lrsearch_assignments"),
    2: tuple(f"lrsearch_{name}" for name in TABLES_2.split()),
}
"""The tables of each older schema; a table comes after those that it refers to."""
READERS: Mapping[int, Callable[[Connection], Contents]] = {1: _read_1, 2: _read_2}
