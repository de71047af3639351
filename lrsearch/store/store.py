"""The knowledge store: the ledger of all runs. Finished results are append-only; recording twice is recording once."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from lrsearch.errors import StoreAwayError, StoreError, UsageError, given
from lrsearch.later import older_name
from lrsearch.runs import Objective, Run, RunSpec, RunState, Task, objectives_of
from lrsearch.runs.roles import Origin, Role
from lrsearch.schedules import Policy, parse
from lrsearch.store import queries
from lrsearch.store.database import BUSY_SECONDS, check_exists, connect, read_url, shown, transaction
from lrsearch.store.migrations import prepare
from lrsearch.store.queries import TRUSTED
from lrsearch.store.record import Record, seal
from lrsearch.store.rows import (
    CHUNK,
    LOCAL,
    add_assignment,
    add_attempt,
    add_origin,
    add_runs,
    add_study,
    add_task,
    chunks,
    columns,
    policy_key,
    read_rows,
    read_runs,
    read_these,
)
from lrsearch.store.schema import AssignmentRow, AttemptRow, Base, OriginRow, RunRow, StudyRow, TaskRow
from lrsearch.store.stored import ShownRun, StoredRun, StoredStudy, Trial, stored
from lrsearch.tasks.catalogue import TaskLike

PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""How long a search waits for a database that went away: two minutes in all."""
P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


def _patient(method: Callable[Concatenate["Store", P], R]) -> Callable[Concatenate["Store", P], R]:
    """Try again, after a store's pauses, what failed because its database was away."""

    @wraps(method)
    def tried(self: "Store", /, *args: P.args, **kwargs: P.kwargs) -> R:
        for pause in self._pauses:
            try:
                return method(self, *args, **kwargs)
            except StoreAwayError as error:
                self._wait(error, pause)
        return method(self, *args, **kwargs)

    return tried


class Store:
    """A store in a database. Every call is one short transaction.

    Args:
        url: a file name, `sqlite:///file.db`, or `postgresql+psycopg://user@host/database`.
        patience: seconds to wait for a lock on a file, or for a server.
        pauses: seconds to wait before each new try where the database went away after it was opened; none by default.
        sleep: waits.

    Raises:
        StoreError: if it cannot be opened, or is not a store.
    """

    def __init__(
        self,
        url: str,
        patience: float = BUSY_SECONDS,
        pauses: Sequence[float] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pauses, self._sleep, self._has_waited = tuple(pauses), sleep, False
        self._url = read_url(url)
        self._engine = connect(self._url, patience)
        prepare(self._engine, self._url)
        self._known_tasks: set[str] = set()
        self._objectives: dict[str, tuple[Objective, ...]] = {}
        self._damaged: set[str] = set()

    @property
    def url(self) -> str:
        """The URL for people, without a password."""
        return shown(self._url)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def damaged(self) -> frozenset[str]:
        """The keys of runs, and the names of tables, of which something was read and set aside: digests do not hold."""
        return frozenset(self._damaged)

    @_patient
    def record(self, spec: RunSpec, run: Run, origin: str = LOCAL) -> None:
        """Record a run. A final result stays; what did not end gives way to it, its steps kept as lost."""
        self._add_task(spec.task_key, spec.description)
        self.add([Record.of(spec, run, origin)])

    def add(
        self, records: Iterable[Record], trusted: bool = True, tasks: Mapping[str, Mapping[str, Any]] | None = None
    ) -> int:
        """Write records in one transaction, and give how many runs were new.

        Args:
            records: of runs; their tasks are known, or given.
            trusted: whether they come from this store's owner: only then do they recommend, and change what is known.
            tasks: descriptions by key.
        """
        new, origins = 0, set[str]()
        with self._writes() as session:
            for key, description in (tasks or {}).items():
                add_task(session, key, description)
            for some in chunks(records, CHUNK):
                for origin in {record.origin for record in some} - origins:
                    add_origin(session, origin, trusted)
                    origins.add(origin)
                new += add_runs(session, some, trusted)
        return new

    @_patient
    def find(self, key: str) -> StoredRun | None:
        """Give the run of a key, if it is known from a trusted origin."""
        return next(iter(self._runs(RunRow.key == key, TRUSTED)), None)

    def runs(
        self,
        task: str | None = None,
        policy: Policy | None = None,
        state: RunState | None = None,
        origin: str | None = None,
        *,
        trusted: bool = False,
        after: str = "",
        limit: int | None = None,
    ) -> list[StoredRun]:
        """Give all runs that match, in the order of their keys.

        Args:
            task: the name of a task.
            policy: the policy that was asked for.
            state: how it ended.
            origin: where it came from.
            trusted: leave out what came in a bundle that was not trusted.
            after: only runs whose keys come after this one: the next page.
            limit: runs at most.
        """
        wanted: list[ColumnElement[bool]] = [RunRow.key > after]
        if task:
            wanted.append(RunRow.task_key.in_(self._task_keys(task)))
        if policy:
            wanted.append(RunRow.policy_key == policy_key(str(policy)))
        if state:
            wanted.append(RunRow.state == str(state))
        if origin:
            wanted.append(RunRow.origin == origin)
        if trusted:
            wanted.append(TRUSTED)
        return self._runs(*wanted, limit=limit)

    def records(self, after: str = "", limit: int | None = None, task: str | None = None) -> list[Record]:
        """Give runs as they are stored, in the order of their keys, as `runs` does."""
        wanted = [RunRow.task_key.in_(self._task_keys(task))] if task else []
        return [record for _, record in self._records(RunRow.key > after, *wanted, limit=limit)]

    def origins(self) -> dict[str, bool]:
        """Give all origins, and whether each is trusted."""
        with self._reads() as session:
            return {row.name: row.trusted for row in session.scalars(select(OriginRow))}

    def show(self, key: str) -> "ShownRun":
        """Give all that is known of a run.

        Args:
            key: its key, or as much of its beginning as no other run has.

        Raises:
            StoreError: if none or several begin so, or the run is damaged.
        """
        with self._reads() as session:
            keys = session.scalars(select(RunRow.key).where(RunRow.key.startswith(key, autoescape=True)).limit(2)).all()
            asked = select(StudyRow.name).join(AssignmentRow).where(AssignmentRow.run_key.in_(keys)).distinct()
            studies = session.scalars(asked.order_by(StudyRow.name)).all()
        if len(keys) != 1:
            raise StoreError(f"{'no run' if not keys else 'more than one run'} in {self.url} begins with {key[:40]!r}")
        found = self._records(RunRow.key == keys[0])
        if not found:
            raise StoreError(f"run {keys[0]} in {self.url} is damaged: `lrsearch store check` says more")
        (run,) = self._stored(found)
        ((_, record),) = found
        task = self.tasks().get(record.task)
        if task is None:
            raise StoreError(f"the task of run {keys[0]} in {self.url} is damaged: `lrsearch store check` says more")
        return ShownRun(run, record, task, tuple(self.attempts(record.key)), tuple(studies))

    def stats(self) -> dict[str, Any]:
        """Give how much the store holds: in all, and by task, with its framework, model, classes and data set."""
        with self._reads() as session:
            return {"store": self.url, **queries.stats(session)}

    def representative_runs(
        self, task_key: str, shortest: int = 1, policies: int = 32, *, curves: bool = False
    ) -> list[StoredRun]:
        """The ended runs of a task that say most of its policies, without range tests: see `representative_ids`."""
        with self._reads() as session:
            ids = queries.representative_ids(session, task_key, shortest, policies)
            found = list(read_these(session, ids, curves))
        return self._stored(self._whole(found))

    def ramps(self, task_key: str) -> list[StoredRun]:
        """Give the last four range tests of a task."""
        with self._reads() as session:
            found = list(read_these(session, queries.ramp_runs(session, task_key)))
        return self._stored(self._whole(found))

    def attempts(self, key: str) -> list[Record]:
        """Give the final results of a run that came later, and said something else."""
        with self._reads() as session:
            found = self._sound(session, AttemptRow, AttemptRow.run_key == key)
        return [Record.from_json(row["content"]) for row in found]

    @_patient
    def open_study(
        self, key: str, name: str, task: Task, description: Mapping[str, Any], frozen: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Record a study unless it is known, and give what it started from: the first record's."""
        task_key = task.key
        self._add_task(task_key, task.description)
        with self._writes() as session:
            add_study(
                session,
                {
                    "key": key,
                    "name": name,
                    "task_key": task_key,
                    "description": dict(description),
                    "frozen": dict(frozen),
                },
            )
            return dict(session.get_one(StudyRow, key).frozen)

    def begun(self, study_key: str) -> dict[str, Any] | None:
        """Give what a study started from; None if there is none of that key."""
        with self._reads() as session:
            found = session.get(StudyRow, study_key)
            return None if found is None else dict(found.frozen)

    def studies(self) -> list[StoredStudy]:
        """Give all studies, in the order of their names."""
        tasks = self.tasks()
        with self._reads() as session:
            rows = self._sound(session, StudyRow)
        found = [
            StoredStudy(row["key"], row["name"], tasks[row["task_key"]], row["description"], row["frozen"])
            for row in rows
            if row["task_key"] in tasks
        ]
        return sorted(found, key=lambda study: (study.name, study.key))

    def merge(self, other: "Store") -> int:
        """Take over all that another store of one's own holds, and give how many runs were new.

        Runs keep their origins. Studies that are not known here come with all that they asked for.
        """
        trust, known, new = other.origins(), {study.key for study in self.studies()}, 0
        after, tasks = "", other.tasks()
        while some := other.records(after, CHUNK):
            after = some[-1].key
            for trusted in (True, False):
                new += self.add([r for r in some if trust[r.origin] is trusted], trusted, tasks)
        with other._reads() as source, self._writes() as session:
            for row in source.scalars(select(StudyRow).where(StudyRow.key.not_in(known))):
                add_study(session, columns(row))
            for asked in source.scalars(select(AssignmentRow).where(AssignmentRow.study_key.not_in(known))):
                add_assignment(session, columns(asked))
            for attempt in source.scalars(select(AttemptRow)):
                add_attempt(session, columns(attempt))
        return new

    @_patient
    def note(self, study_key: str, note: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Give the note that was left on a study; leave one first, if given."""
        with self._reads() if note is None else self._writes() as session:
            row = session.get(StudyRow, study_key)
            if row is None:
                return None
            if note is not None:
                row.note = dict(note)
                row.digest = seal(columns(row))
            return dict(row.note) if row.note is not None else None

    @_patient
    def assign(self, study_key: str, trial: Trial, spec: RunSpec) -> None:
        """Record what a study asks for, before it is trained. Doing so again changes nothing."""
        with self._writes() as session:
            add_assignment(
                session,
                {
                    "study_key": study_key,
                    "number": trial.number,
                    "role": str(trial.role),
                    "origin": str(trial.origin),
                    "policy": str(trial.policy),
                    "horizon": trial.horizon,
                    "seed": trial.seed,
                    "run_key": spec.key,
                },
            )

    @_patient
    def history(self, study_key: str) -> list[Trial]:
        """Give what a study asked for, in order, each with its run as far as it is known."""
        with self._reads() as session:
            rows = list(read_rows(session, AssignmentRow, AssignmentRow.study_key == study_key))
        asked = [
            (
                Trial(
                    row["number"],
                    Role(row["role"]),
                    Origin(row["origin"]),
                    parse(row["policy"]),
                    row["horizon"],
                    row["seed"],
                ),
                row["run_key"],
            )
            for row in rows
            if row
        ]
        if [trial.number for trial, _ in asked] != list(range(len(rows))):
            raise StoreError(
                f"what study {study_key} in {self.url} asked for is damaged; with another --seed a search"
                " begins anew, and takes over all runs that are whole"
            )
        keys = sorted({run_key for _, run_key in asked})
        known = {run.key: run for some in chunks(keys, CHUNK) for run in self._runs(RunRow.key.in_(some), TRUSTED)}
        return [replace(trial, stored=known.get(run_key), reused=True) for trial, run_key in asked]

    @_patient
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Give the descriptions of all tasks by key."""
        with self._reads() as session:
            return {row["key"]: row["description"] for row in self._sound(session, TaskRow)}

    def recommend(self, task: TaskLike, k: int = 2) -> list[Any]:
        """The older name of `lrs.recommend(task, store)`, which it calls."""
        return list(older_name("store.recommend(task)", "recommend")(task, self, k))

    def _add_task(self, key: str, description: Mapping[str, Any]) -> None:
        if key not in self._known_tasks:
            with self._writes() as session:
                add_task(session, key, description)
            self._known_tasks.add(key)

    def _task_keys(self, name: str) -> list[str]:
        with self._reads() as session:
            return list(session.scalars(select(TaskRow.key).where(TaskRow.name == name)))

    def _runs(self, *wanted: ColumnElement[bool], limit: int | None = None) -> list[StoredRun]:
        return self._stored(self._records(*wanted, limit=limit))

    def _records(self, *wanted: ColumnElement[bool], limit: int | None = None) -> list[tuple[str, Record]]:
        """Read runs with the names of their tasks."""
        with self._reads() as session:
            found = list(read_runs(session, *wanted, limit=limit))
        return self._whole(found)

    def _whole(self, found: Iterable[tuple[str, str, Record | None]]) -> list[tuple[str, Record]]:
        """Set the damaged runs aside, and say so once of each."""
        whole = []
        for key, task, record in found:
            if record is not None:
                whole.append((task, record))
            elif key not in self._damaged:
                self._damaged.add(key)
                log.warning("run %s in %s is damaged and is set aside: `lrsearch store check` says more", key, self.url)
        return whole

    def _stored(self, found: Iterable[tuple[str, Record]]) -> list[StoredRun]:
        """Give runs as values; a policy that is met again is not read again."""
        known = list(found)
        policies = {text: parse(text) for text in {record.policy for _, record in known}}
        self._learn_objectives({record.task for _, record in known})
        return [
            stored(record, task, policies[record.policy], self._objectives.get(record.task, ()))
            for task, record in known
        ]

    def _learn_objectives(self, tasks: Iterable[str]) -> None:
        """Read what tasks are judged by, once each: a task's description never changes."""
        for some in chunks(set(tasks) - self._objectives.keys(), CHUNK):
            with self._reads() as session:
                rows = self._sound(session, TaskRow, TaskRow.key.in_(some))
            self._objectives |= {row["key"]: objectives_of(row["description"]) for row in rows}

    def _wait(self, error: StoreAwayError, pause: float) -> None:
        if not self._has_waited:
            self._has_waited = True
            log.warning("%s; what is done is kept, and the store tried again for %g seconds", error, sum(self._pauses))
        self._sleep(pause)

    def _sound(self, session: Session, table: type[Base], *wanted: ColumnElement[bool]) -> list[dict[str, Any]]:
        """Read the rows whose digests hold; that there are others is said once a table."""
        rows = list(read_rows(session, table, *wanted))
        if None in rows and table.__tablename__ not in self._damaged:
            self._damaged.add(table.__tablename__)
            log.warning(
                "%d rows of %s in %s are damaged and are set aside: `lrsearch store check` says more",
                rows.count(None),
                table.__tablename__,
                self.url,
            )
        return [row for row in rows if row is not None]

    def _reads(self) -> AbstractContextManager[Session]:
        return transaction(self._engine, self._url, reads=True)

    def _writes(self) -> AbstractContextManager[Session]:
        return transaction(self._engine, self._url)


def open_store(url: str | Path, *, existing: bool = False, pauses: Sequence[float] = ()) -> Store:
    """Open a knowledge store, made where there is none.

    Args:
        url: a file name, `sqlite:///file.db`, or `postgresql+psycopg://user@host/database`.
        existing: refuse a file that is not there: looking into a store must not make it.
        pauses: as for `Store`.

    Raises:
        UsageError: for what is neither.
        StoreError: if it cannot be opened, or is not a store.

    >>> with open_store("sqlite:///:memory:") as store:
    ...     store.runs()
    []
    """
    if not isinstance(url, str | Path):
        raise UsageError(f"a store is opened by a file name or a URL, such as sqlite:///store.db, got {given(url)}")
    if existing:
        check_exists(str(url))
    return Store(str(url), pauses=pauses)
