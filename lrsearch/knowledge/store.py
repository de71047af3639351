"""The knowledge store: the ledger of all runs. Finished results are append-only; recording twice is recording once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import select

from lrsearch.knowledge.database import check_exists, connect, insert_new, read_url, shown, transaction
from lrsearch.knowledge.schema import AssignmentRow, RunRow, StudyRow, TaskRow
from lrsearch.schedules import Policy, parse
from lrsearch.tasks import Task
from lrsearch.training.run import Run, RunSpec, RunState

if TYPE_CHECKING:
    from lrsearch.knowledge.recommend import Recommendation


PROBES = ("range-test", "decade")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One thing a study asks for: train this policy over this horizon with this seed.

    Args:
        number: its place in the study, from 0.
        role: `range-test`, `decade`, `default`, `candidate` or `confirm`.
        origin: where the policy comes from: `rule`, `default`, `known`, `stored`, `suggested`, `escape`.
        policy: the policy over the task's horizon; for a probe, over its own.
        horizon: steps to train; the policy is stretched to them, so that a short run is a whole one.
        seed: the run's seed.
    """

    number: int
    role: str
    origin: str
    policy: Policy
    horizon: int
    seed: int

    def is_short(self, task: Task) -> bool:
        """Tell whether it is a candidate that may earn a longer run."""
        return self.role == "candidate" and self.horizon < task.horizon

    def spec(self, task: Task) -> RunSpec:
        """Give what identifies the run."""
        probe = self.role in PROBES
        policy = self.policy if probe else self.policy.stretch(self.horizon / task.horizon)
        return RunSpec(task, policy, self.horizon, self.seed)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the store knows it.

    `task` is the task's name; `lost_steps` were trained in attempts that did not end.
    """

    key: str
    task: str
    task_key: str
    policy: Policy
    horizon: int
    seed: int
    origin: str
    run: Run
    lost_steps: int

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values for `store runs`."""
        run = self.run
        return {"key": self.key, "task": self.task, "policy": str(self.policy), "seed": self.seed,
                "horizon": self.horizon, "state": str(run.state), "score": run.score,
                "cost": {"steps": run.trained + self.lost_steps, "seconds": run.seconds}, "origin": self.origin}


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study as the store knows it.

    Args:
        key, name: what it is called; the name is the task's with the key's first 8 digits.
        task: the description of its task.
        description: the task's and the space's key, the strategy, the budget and the seed.
        frozen: what it started from: `recommended`, and `functions` where it was begun since they are kept.
    """

    key: str
    name: str
    task: Mapping[str, Any]
    description: Mapping[str, Any]
    frozen: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values for `store studies`."""
        told = {name: self.description.get(name) for name in ("strategy", "budget", "seed")}
        return {"study": self.name, "key": self.key, "task": self.task["name"], "horizon": self.task["horizon"], **told}


class Store:
    """A store in a database. Every call is one short transaction.

    Args:
        url: a file name, `sqlite:///file.db`, or `postgresql+psycopg://user@host/database`.

    Raises:
        StoreError: if it cannot be opened, or is not a store.
    """

    def __init__(self, url: str) -> None:
        self._url = read_url(url)
        self._engine = connect(self._url)
        self._known_tasks: set[str] = set()

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

    def record(self, spec: RunSpec, run: Run, origin: str = "local") -> None:
        """Record a run. A final result stays; what did not end gives way to it, its steps kept as lost."""
        kept, lost = (run.steps, 0) if run.state.is_final else (0, run.trained)
        values: dict[str, Any] = {
            "state": str(run.state), "score": run.score, "loss": run.loss, "steps": kept, "seconds": run.seconds,
            "origin": origin, "curve": run.to_json(),
        }
        task_key = self._add_task(spec.task)
        with transaction(self._engine, self._url) as session:
            identity = {"key": spec.key, "task_key": task_key, "policy": str(spec.policy), "horizon": spec.horizon,
                        "seed": spec.seed}
            if insert_new(session, RunRow, **identity, **values, lost_steps=lost):
                return
            row = session.get_one(RunRow, spec.key, with_for_update=True)
            if not RunState(row.state).is_final:
                row.lost_steps += lost
                for name, value in values.items():
                    setattr(row, name, value)

    def find(self, key: str) -> StoredRun | None:
        """Give the run of a key, if it is known."""
        return next(iter(self._runs(RunRow.key == key)), None)

    def runs(
        self, task: str | None = None, policy: Policy | None = None, state: RunState | None = None
    ) -> list[StoredRun]:
        """Give all runs that match, in the order of their keys."""
        wanted = [
            *([TaskRow.name == task] if task else []),
            *([RunRow.policy == str(policy)] if policy else []),
            *([RunRow.state == str(state)] if state else []),
        ]
        return self._runs(*wanted)

    def open_study(
        self, key: str, name: str, task: Task, description: Mapping[str, Any], frozen: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Record a study unless it is known, and give what it started from: the first record's."""
        task_key = self._add_task(task)
        with transaction(self._engine, self._url) as session:
            insert_new(session, StudyRow, key=key, name=name, task_key=task_key, description=dict(description),
                       frozen=dict(frozen))
            return dict(session.get_one(StudyRow, key).frozen)

    def studies(self) -> list[StoredStudy]:
        """Give all studies, in the order of their names."""
        with transaction(self._engine, self._url) as session:
            query = select(StudyRow, TaskRow.description).join(TaskRow).order_by(StudyRow.name, StudyRow.key)
            return [
                StoredStudy(row.key, row.name, dict(task), dict(row.description), dict(row.frozen))
                for row, task in session.execute(query)
            ]

    def note(self, study_key: str, note: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Give the note that was left on a study; leave one first, if given."""
        with transaction(self._engine, self._url) as session:
            row = session.get(StudyRow, study_key)
            if row is None:
                return None
            if note is not None:
                row.note = dict(note)
            return dict(row.note) if row.note is not None else None

    def assign(self, study_key: str, assignment: Assignment, spec: RunSpec) -> None:
        """Record what a study asks for, before it is trained. Doing so again changes nothing."""
        with transaction(self._engine, self._url) as session:
            insert_new(
                session, AssignmentRow, study_key=study_key, number=assignment.number, role=assignment.role,
                origin=assignment.origin, policy=str(assignment.policy), horizon=assignment.horizon,
                seed=assignment.seed, run_key=spec.key,
            )

    def history(self, study_key: str) -> list[tuple[Assignment, StoredRun | None]]:
        """Give what a study asked for, in order, each with its run as far as it is known."""
        with transaction(self._engine, self._url) as session:
            rows = session.scalars(
                select(AssignmentRow).where(AssignmentRow.study_key == study_key).order_by(AssignmentRow.number)
            ).all()
            asked = [
                (Assignment(r.number, r.role, r.origin, parse(r.policy), r.horizon, r.seed), r.run_key) for r in rows
            ]
        keys = {run_key for _, run_key in asked}
        known = {run.key: run for run in self._runs(RunRow.key.in_(keys))} if keys else {}
        return [(assignment, known.get(run_key)) for assignment, run_key in asked]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Give the descriptions of all tasks by key."""
        with transaction(self._engine, self._url) as session:
            return {row.key: dict(row.description) for row in session.scalars(select(TaskRow))}

    def recommend(self, task: Task, k: int = 2) -> "list[Recommendation]":
        """Give the policies that did best on similar tasks: see `lrsearch.knowledge.recommend`."""
        from lrsearch.knowledge.recommend import recommend

        return recommend(self, task, k)

    def _add_task(self, task: Task) -> str:
        key = task.key
        if key in self._known_tasks:
            return key
        with transaction(self._engine, self._url) as session:
            insert_new(session, TaskRow, key=key, name=task.name, description=task.description)
        self._known_tasks.add(key)
        return key

    def _runs(self, *wanted: Any) -> list[StoredRun]:
        with transaction(self._engine, self._url) as session:
            query = select(RunRow, TaskRow.name).join(TaskRow).where(*wanted).order_by(RunRow.key)
            return [_stored(row, name) for row, name in session.execute(query)]


def open_store(url: str, *, existing: bool = False) -> Store:
    """Open a knowledge store, made where there is none.

    Args:
        url: a file name, `sqlite:///file.db`, or `postgresql+psycopg://user@host/database`.
        existing: refuse a file that is not there: looking into a store must not make it.

    Raises:
        StoreError: if it cannot be opened, or is not a store.

    >>> with open_store("sqlite:///:memory:") as store:
    ...     store.runs()
    []
    """
    if existing:
        check_exists(url)
    return Store(url)


def _stored(row: RunRow, task: str) -> StoredRun:
    run = Run.from_json(row.curve, state=row.state, steps=row.steps, seconds=row.seconds, score=_finite(row.score),
                        loss=_finite(row.loss))
    policy = parse(row.policy)
    return StoredRun(row.key, task, row.task_key, policy, row.horizon, row.seed, row.origin, run, row.lost_steps)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
