"""The store: the ledger of all runs. Final results are append-only; recording a run twice is recording it once."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from lrsearch.store.database import BUSY_SECONDS, check_exists, connect, is_in_memory, read_url, shown, transaction
from lrsearch.store.entries import entry_of, stored_of
from lrsearch.store.fields import Entry, checked, ordered
from lrsearch.store.merging import merge
from lrsearch.store.migrations import prepare
from lrsearch.store.queries import TRUSTED
from lrsearch.store.rows import (
    CHUNK,
    LOCAL,
    add_assignment,
    add_origin,
    add_runs,
    add_study,
    add_task,
    chunks,
    columns,
    policy_key,
    read_ids,
    read_rows,
    read_runs,
)
from lrsearch.store.schema import AssignmentRow, AttemptRow, Base, OriginRow, RunRow, StudyRow, TaskRow
from lrsearch.store.stored import StoredRun, StoredStudy, Trial
from lrsearch.store.values import seal
from lrsearch.tasks.catalogue import TaskLike

PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Seconds that a search waits before each new try of a lost database: a rule, two minutes in all."""
P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


def _retrying(method: Callable[Concatenate["Store", P], R]) -> Callable[Concatenate["Store", P], R]:
    """Call the method again after each of the store's pauses while the database is away."""

    @wraps(method)
    def retried(self: "Store", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.patiently(lambda: method(self, *args, **kwargs))

    return retried


class Store:
    """A store in a database.

    Args:
        url: a file name, `sqlite:///file.db`, or `postgresql+psycopg://user@host/database`.
        patience: seconds to wait for a lock on a file, or for a server.
        pauses: seconds to wait before each new try if the database goes away after it was opened; none by default.
        sleep: waits so many seconds; tests replace it.

    Raises:
        StoreError: if the database cannot be opened, or is not a store.
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
        """The URL without its password."""
        return shown(self._url)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_in_memory(self) -> bool:
        """Whether it is in memory: then it belongs to the thread that opened it."""
        return is_in_memory(self._url)

    def reads(self) -> AbstractContextManager[Session]:
        """A short transaction that reads."""
        return transaction(self._engine, self._url, reads=True)

    def writes(self) -> AbstractContextManager[Session]:
        """A short transaction that writes."""
        return transaction(self._engine, self._url)

    def patiently(self, call: Callable[[], R]) -> R:
        """Call a function, again after each of the store's pauses while the database is away."""
        for pause in self._pauses:
            try:
                return call()
            except StoreAwayError as error:
                self._wait(error, pause)
        return call()

    @property
    def damaged(self) -> frozenset[str]:
        """Keys of runs and names of tables with damaged rows among those read so far: their digests do not hold."""
        return frozenset(self._damaged)

    @_retrying
    def record(self, spec: RunSpec, run: Run, origin: str = LOCAL) -> None:
        """Record a run. A final result stays; it replaces a result that did not end, whose steps become lost steps."""
        self._add_task(spec.task_key, spec.description)
        self.add([entry_of(StoredRun.of(spec, run, origin))])

    def add(
        self, entries: Iterable[Entry], trusted: bool = True, tasks: Mapping[str, Mapping[str, Any]] | None = None
    ) -> int:
        """Write runs in one transaction, and return how many were new.

        Args:
            entries: of runs whose tasks are in the store or in `tasks`.
            trusted: whether they come from the store's owner: untrusted runs are no evidence, and change no result.
            tasks: descriptions by key.

        Raises:
            StoreError: for an entry that is not one, or of an unknown task; then nothing is written.
        """
        new, origins = 0, set[str]()
        with self.writes() as session:
            for key, description in (tasks or {}).items():
                add_task(session, key, description)
            for chunk in chunks(map(checked, entries), CHUNK):
                for origin in {entry["origin"] for entry in chunk} - origins:
                    add_origin(session, origin, trusted)
                    origins.add(origin)
                new += add_runs(session, chunk, trusted)
        return new

    @_retrying
    def find(self, key: str) -> StoredRun | None:
        """The run of a key; None if the store has none of a trusted origin."""
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
        """All runs that match, in the order of their keys.

        Args:
            task: the name of a task.
            policy: the policy of the run.
            state: how the run ended.
            origin: where the run comes from.
            trusted: without the runs of untrusted bundles.
            after: only runs whose keys come after this one: the next page.
            limit: runs at most.
        """
        conditions: list[ColumnElement[bool]] = [RunRow.key > after]
        if task:
            conditions.append(RunRow.task_key.in_(self._task_keys(task)))
        if policy:
            conditions.append(RunRow.policy_key == policy_key(str(policy)))
        if state:
            conditions.append(RunRow.state == str(state))
        if origin:
            conditions.append(RunRow.origin == origin)
        if trusted:
            conditions.append(TRUSTED)
        return self._runs(*conditions, limit=limit)

    def entries(self, task: str | None = None) -> list[Entry]:
        """All runs in their serialised form, in the order of their keys; of a task of this name, or of all tasks."""
        return [entry for page in self.pages(task) for entry in page]

    def pages(self, task: str | None = None, size: int = CHUNK) -> Iterator[list[Entry]]:
        """The same, at most `size` at a time. A page has no damaged run, so it may be shorter, or empty."""
        conditions: list[ColumnElement[bool]] = [RunRow.task_key.in_(self._task_keys(task))] if task else []
        after = ""
        while True:
            keys = select(RunRow.key).where(RunRow.key > after, *conditions).order_by(RunRow.key).limit(size)
            with self.reads() as session:
                page = session.scalars(keys).all()
            if not page:
                return
            yield [entry for _, entry in self._entries(RunRow.key > after, RunRow.key <= page[-1], *conditions)]
            after = page[-1]

    def origins(self) -> dict[str, bool]:
        """All origins that are not damaged, and whether each is trusted."""
        with self.reads() as session:
            return {row["name"]: row["trusted"] for row in self.sound(session, OriginRow)}

    def match(self, prefix: str) -> StoredRun:
        """The run whose key begins with a prefix that no other key has; also a run of an untrusted origin.

        Raises:
            UsageError: if the prefix is not a text.
            StoreError: if no key or several begin so, or the run is damaged.
        """
        return self._stored([self._entry(self._key(prefix))])[0]

    def description(self, stored: StoredRun) -> dict[str, Any]:
        """The description of a run's task.

        Raises:
            StoreError: if it is damaged.
        """
        with self.reads() as session:
            rows = self.sound(session, TaskRow, TaskRow.key == stored.task_key)
        if not rows:
            raise StoreError(f"the task of run {stored.key} in {self.url} is damaged: `lrsearch store check` says more")
        return dict(rows[0]["description"])

    def show(self, run: str | StoredRun) -> dict[str, Any]:
        """All that the store holds of a run, as JSON values for `store show`. The run is read once.

        Args:
            run: the run, its key, or a beginning of its key that no other key has.

        Returns:
            The run's own values, with its entry as `record`, the `task_description`, later `attempts` that differ,
            and the names of the `studies` that have it among their trials.

        Raises:
            UsageError: if `run` is none of these.
            StoreError: if no key or several begin so, or the run or its task is damaged.
        """
        task, entry = self._entry(run.key if isinstance(run, StoredRun) else self._key(run))
        (stored,) = self._stored([(task, entry)])
        names = select(StudyRow.name).join(AssignmentRow).where(AssignmentRow.run_key == stored.key).distinct()
        with self.reads() as session:
            studies = list(session.scalars(names.order_by(StudyRow.name)))
        return {
            **stored.to_json(),
            "record": entry,
            "task_description": self.description(stored),
            "attempts": self.attempts(stored.key),
            "studies": studies,
        }

    def stats(self) -> dict[str, Any]:
        """How much the store holds: in all, and by task, with its framework, model, classes and data set."""
        with self.reads() as session:
            return {"store": self.url, **queries.stats(session)}

    def representative_runs(
        self, task_key: str, shortest: int = 1, policies: int = 32, *, curves: bool = False
    ) -> list[StoredRun]:
        """The ended runs that represent a task's policies, without range tests: see `representative_ids`."""
        with self.reads() as session:
            ids = queries.representative_ids(session, task_key, shortest, policies)
            rows = list(read_ids(session, ids, curves))
        return self._stored(self._whole(rows))

    def ramps(self, task_key: str) -> list[StoredRun]:
        """The last four range tests of a task."""
        with self.reads() as session:
            rows = list(read_ids(session, queries.ramp_ids(session, task_key)))
        return self._stored(self._whole(rows))

    def attempts(self, key: str) -> list[Entry]:
        """The entries of later final results of a run that differ from the stored one."""
        with self.reads() as session:
            rows = self.sound(session, AttemptRow, AttemptRow.run_key == key)
        return [ordered(row["content"]) for row in rows]

    @_retrying
    def open_study(
        self, key: str, name: str, task: Task, description: Mapping[str, Any], frozen: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Record a study unless it is there, and return its evidence at the start, as it was first recorded."""
        task_key = task.key
        self._add_task(task_key, task.description)
        row = {"key": key, "name": name, "task_key": task_key}
        with self.writes() as session:
            add_study(session, row | {"description": dict(description), "frozen": dict(frozen)})
            return dict(session.get_one(StudyRow, key).frozen)

    def begun(self, study_key: str) -> dict[str, Any] | None:
        """The evidence that a study started from; None if there is no study of that key."""
        with self.reads() as session:
            row = session.get(StudyRow, study_key)
            return None if row is None else dict(row.frozen)

    def studies(self) -> list[StoredStudy]:
        """All studies, in the order of their names."""
        tasks = self.tasks()
        with self.reads() as session:
            rows = self.sound(session, StudyRow)
        studies = [
            StoredStudy(row["key"], row["name"], tasks[row["task_key"]], row["description"], row["frozen"])
            for row in rows
            if row["task_key"] in tasks
        ]
        return sorted(studies, key=lambda study: (study.name, study.key))

    def merge(self, other: "Store") -> int:
        """Copy all undamaged rows of another store of the same owner, and return how many runs were new.

        Runs keep their origins; those of a damaged origin come as untrusted. Studies that are not in this store come
        with their trials. A row whose task, run or study is missing or damaged is left out.
        """
        return merge(self, other)

    @_retrying
    def note(self, study_key: str, note: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The note on a study; with `note`, write it first. None if there is no study or no note."""
        with self.reads() if note is None else self.writes() as session:
            row = session.get(StudyRow, study_key)
            if row is None:
                return None
            if note is not None:
                row.note = dict(note)
                row.digest = seal(columns(row))
            return dict(row.note) if row.note is not None else None

    @_retrying
    def assign(self, study_key: str, trial: Trial, spec: RunSpec, seen: queries.Progress | None = None) -> bool:
        """Record a trial of a study before it is trained. Recording it again changes nothing.

        Args:
            study_key: the study.
            trial: the trial.
            spec: its run.
            seen: how far the study was when the trial was proposed. Nothing is written if it is further by now.

        Returns:
            Whether the trial stands in the store: not where another process was first with another trial.
        """
        row = {
            "study_key": study_key,
            "number": trial.number,
            "role": str(trial.role),
            "origin": str(trial.origin),
            "policy": str(trial.policy),
            "horizon": trial.horizon,
            "seed": trial.seed,
            "run_key": spec.key,
        }
        with self.writes() as session:
            if seen is not None and queries.progress(session, study_key) != seen:
                return False
            return add_assignment(session, row)

    @_retrying
    def progress(self, study_key: str) -> queries.Progress:
        """How far a study is, over all processes that work on it."""
        with self.reads() as session:
            return queries.progress(session, study_key)

    @_retrying
    def add_lost_steps(self, run_key: str, steps: int) -> None:
        """Charge an ended run for steps that another attempt at it made in vain."""
        with self.writes() as session:
            row = session.scalar(select(RunRow).where(RunRow.key == run_key).with_for_update())
            if row is not None:
                row.lost_steps += steps
                row.digest = seal(columns(row))

    @_retrying
    def history(self, study_key: str) -> list[Trial]:
        """The trials of a study in order, each with its run where the store has one of a trusted origin.

        Raises:
            StoreError: if a trial is damaged or missing, or was written by a later lrsearch that knows more.
        """
        with self.reads() as session:
            rows = list(read_rows(session, AssignmentRow, AssignmentRow.study_key == study_key))
        trials = [(self._trial(row), row["run_key"]) for row in rows if row]
        if [trial.number for trial, _ in trials] != list(range(len(rows))):
            raise StoreError(
                f"what study {study_key} in {self.url} asked for is damaged; with another --seed a search"
                " begins anew, and takes over all runs that are whole"
            )
        keys = sorted({run_key for _, run_key in trials})
        runs = {run.key: run for chunk in chunks(keys, CHUNK) for run in self._runs(RunRow.key.in_(chunk), TRUSTED)}
        return [replace(trial, stored=runs.get(run_key), reused=True) for trial, run_key in trials]

    @_retrying
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The descriptions of all tasks by key."""
        with self.reads() as session:
            return {row["key"]: row["description"] for row in self.sound(session, TaskRow)}

    def recommend(self, task: TaskLike, k: int = 2) -> list[Any]:
        """The older name of `lrs.recommend(task, store)`, which it calls."""
        return list(older_name("store.recommend(task)", "recommend")(task, self, k))

    def _add_task(self, key: str, description: Mapping[str, Any]) -> None:
        if key not in self._known_tasks:
            with self.writes() as session:
                add_task(session, key, description)
            self._known_tasks.add(key)

    def _task_keys(self, name: str) -> list[str]:
        with self.reads() as session:
            return list(session.scalars(select(TaskRow.key).where(TaskRow.name == name)))

    def _runs(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[StoredRun]:
        return self._stored(self._entries(*conditions, limit=limit))

    def _entries(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[tuple[str, Entry]]:
        """Runs that match, each with the name of its task."""
        with self.reads() as session:
            rows = list(read_runs(session, *conditions, limit=limit))
        return self._whole(rows)

    def _key(self, prefix: str) -> str:
        """The key that begins with a prefix.

        Raises:
            UsageError: if the prefix is not a text.
            StoreError: if no key or several begin so.
        """
        if not isinstance(prefix, str):
            raise UsageError(f"a run is named by its key, or the beginning of its key, got {given(prefix)}")
        query = select(RunRow.key).where(RunRow.key.startswith(prefix, autoescape=True)).limit(2)
        with self.reads() as session:
            keys = session.scalars(query).all()
        if len(keys) != 1:
            count = "no run" if not keys else "more than one run"
            raise StoreError(f"{count} in {self.url} begins with {prefix[:40]!r}")
        return keys[0]

    def _entry(self, key: str) -> tuple[str, Entry]:
        """The name of a run's task, and its entry.

        Raises:
            StoreError: if the run is damaged.
        """
        for named_entry in self._entries(RunRow.key == key):
            return named_entry
        raise StoreError(f"run {key} in {self.url} is damaged: `lrsearch store check` says more")

    def _whole(self, rows: Iterable[tuple[str, str, Entry | None]]) -> list[tuple[str, Entry]]:
        """The runs that are not damaged; log a warning for each damaged one, once."""
        whole = []
        for key, task, entry in rows:
            if entry is not None:
                whole.append((task, entry))
            elif key not in self._damaged:
                self._damaged.add(key)
                log.warning("run %s in %s is damaged and is set aside: `lrsearch store check` says more", key, self.url)
        return whole

    def _stored(self, entries: Iterable[tuple[str, Entry]]) -> list[StoredRun]:
        """The runs of entries with the names of their tasks. Each policy is parsed once."""
        named = list(entries)
        policies = {text: parse(text) for text in {entry["policy"] for _, entry in named}}
        self._read_objectives({entry["task"] for _, entry in named})
        return [
            stored_of(entry, task, policies[entry["policy"]], self._objectives.get(entry["task"], ()))
            for task, entry in named
        ]

    def _read_objectives(self, tasks: Iterable[str]) -> None:
        """Read the objectives of tasks, once each: a task's description never changes."""
        for chunk in chunks(set(tasks) - self._objectives.keys(), CHUNK):
            with self.reads() as session:
                rows = self.sound(session, TaskRow, TaskRow.key.in_(chunk))
            self._objectives |= {row["key"]: objectives_of(row["description"]) for row in rows}

    def _trial(self, row: Mapping[str, Any]) -> Trial:
        """The trial of a row of the table of assignments.

        Raises:
            StoreError: for a role, an origin or a policy that only a later lrsearch knows.
        """
        try:
            role, origin, policy = Role(row["role"]), Origin(row["origin"]), parse(row["policy"])
        except ValueError as error:
            raise StoreError(
                f"trial {row['number']} of study {row['study_key']} in {self.url} cannot be read: {error}; if a later"
                " lrsearch wrote it, update lrsearch"
            ) from None
        return Trial(row["number"], role, origin, policy, row["horizon"], row["seed"])

    def _wait(self, error: StoreAwayError, pause: float) -> None:
        if not self._has_waited:
            self._has_waited = True
            log.warning("%s; what is done is kept, and the store tried again for %g seconds", error, sum(self._pauses))
        self._sleep(pause)

    def sound(self, session: Session, table: type[Base], *conditions: ColumnElement[bool]) -> list[dict[str, Any]]:
        """The rows whose digests hold; log a warning about damaged rows, once per table."""
        rows = list(read_rows(session, table, *conditions))
        if None in rows and table.__tablename__ not in self._damaged:
            self._damaged.add(table.__tablename__)
            log.warning(
                "%d rows of %s in %s are damaged and are set aside: `lrsearch store check` says more",
                rows.count(None),
                table.__tablename__,
                self.url,
            )
        return [row for row in rows if row is not None]


def open_store(url: str | Path, *, existing: bool = False, pauses: Sequence[float] = ()) -> Store:
    """Open a store; create it if there is none.

    Args:
        url: a file name, `sqlite:///file.db`, or `postgresql+psycopg://user@host/database`.
        existing: refuse a file that does not exist: reading a store must not create it.
        pauses: as for `Store`.

    Raises:
        UsageError: if `url` is not a text or a path.
        StoreError: if the database cannot be opened, or is not a store.

    >>> with open_store("sqlite:///:memory:") as store:
    ...     store.runs()
    []
    """
    if not isinstance(url, str | Path):
        raise UsageError(f"a store is opened by a file name or a URL, such as sqlite:///store.db, got {given(url)}")
    if existing:
        check_exists(str(url))
    return Store(str(url), pauses=pauses)
