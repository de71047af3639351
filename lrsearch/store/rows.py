"""Records to rows and back. What comes back has been checked against its digests; what is damaged is set aside."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import JSON, ColumnElement, RowMapping, Select, Text, cast, delete, insert, select, update
from sqlalchemy.orm import Session

from lrsearch.errors import LRSearchError, StoreError
from lrsearch.runs import RunState, task_key
from lrsearch.schedules import Policy, parse
from lrsearch.store.database import insert_all_new
from lrsearch.store.record import LARGEST, OBJECTIVE, Record, check_name, digest, finite, kind_of, of_before, seal
from lrsearch.store.schema import (
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

T = TypeVar("T")
LOCAL = "local"
FRAMEWORK = "torch"
CHUNK = 500
"""Rows in one statement: SQLite takes so many parameters and no more."""
SAME = ("key", "origin", "horizon", "seed", "state", *OBJECTIVE, "steps", "seconds", "lost_steps", "details")
"""What a run's row and its record call alike."""
STUDY = ("key", "name", "task_key", "description", "frozen", "note")
ASSIGNMENT = ("study_key", "number", "role", "origin", "policy", "horizon", "seed", "run_key")
BROKEN = (TypeError, ValueError, KeyError, AttributeError, LRSearchError)
"""What a damaged row can raise on its way to a value."""


def add_task(session: Session, key: str, description: Mapping[str, Any]) -> None:
    """Insert a task with its data set and its model, unless it is there. One known by name has neither."""
    check_name("a task's name", description.get("name"))
    dataset, model = dataset_row(description), model_row(description)
    if dataset:
        insert_all_new(session, DatasetRow, [dataset])
    if model:
        insert_all_new(session, ModelRow, [model])
    insert_all_new(session, TaskRow, [task_row(key, description)])


def task_row(key: str, description: Mapping[str, Any]) -> dict[str, Any]:
    """Give the row of a task."""
    dataset, model = dataset_row(description), model_row(description)
    return {
        "key": key,
        "name": description["name"],
        "dataset_key": dataset and dataset["key"],
        "model_key": model and model["key"],
        "description": dict(description),
    }


def dataset_row(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the row of a task's data set; None where it names none."""
    data = description.get("data") or {}
    if not _is_named(data):
        return None
    classes = _count(data.get("classes"))
    return {
        "key": digest(data),
        "name": data["name"],
        "learning_task": None if classes is None else "classification",
        "classes": classes,
        "train": _count(data.get("train")),
        "validation": _count(data.get("validation")),
    }


def model_row(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the row of a task's model; None where it names none. A user's task does not say its framework."""
    model = description.get("model") or {}
    if not _is_named(model):
        return None
    framework = None if "objectives" in description else FRAMEWORK
    return {
        "key": digest(model),
        "name": model["name"],
        "framework": framework,
        "parameters": _count(model.get("parameters")),
    }


def _is_named(part: Mapping[str, Any]) -> bool:
    """Whether a part of a description has a name that databases can hold: facts may be any plain values."""
    try:
        return bool(check_name("a name", part.get("name")))
    except StoreError:
        return False


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return value if is_count else None


def add_origin(session: Session, name: str, trusted: bool) -> None:
    """Insert an origin unless it is there; its trust stays what it was."""
    row = {"name": name, "trusted": trusted}
    insert_all_new(session, OriginRow, [row | {"digest": seal(row)}])


def add_study(session: Session, values: Mapping[str, Any]) -> None:
    """Write a study, unless it is there."""
    check_name("the name of a study", values["name"])
    row = {"note": None, **{name: values[name] for name in STUDY if name in values}}
    insert_all_new(session, StudyRow, [row | {"digest": seal(row)}])


def add_assignment(session: Session, values: Mapping[str, Any]) -> None:
    """Write what a study asked for, unless it is there."""
    row = {name: values[name] for name in ASSIGNMENT}
    insert_all_new(session, AssignmentRow, [row | {"digest": seal(row)}])


def add_attempt(session: Session, row: Mapping[str, Any]) -> None:
    """Write another result of a run, sealed, unless it is there."""
    known = session.scalars(select(AttemptRow.digest).where(AttemptRow.run_key == row["run_key"])).all()
    if row["digest"] not in known:
        values = {name: row[name] for name in ("run_key", "content", "digest")}
        session.execute(insert(AttemptRow).values(**values))


def add_runs(session: Session, records: Sequence[Record], trusted: bool = True) -> int:
    """Write runs whose tasks and origins are there, and give how many were new.

    What is there and did not end gives way; of two that ended, the first stays, or the one that was not stopped, and
    the other is kept as an attempt if it says something else. Only what is trusted changes what is trusted, and it
    takes the place of what is not.
    """
    policies = {text: parse(text) for text in {record.policy for record in records}}
    insert_all_new(
        session,
        PolicyRow,
        [{"key": policy.key, "text": text, "form": policy.form} for text, policy in policies.items()],
    )
    known: dict[str, int] = {}
    for some in chunks(records, CHUNK // 20):
        known |= insert_all_new(
            session, RunRow, [_row(record, policies[record.policy]) for record in some], RunRow.key, RunRow.id
        )
    new, old = {}, []
    for record in records:
        if record.key in known and record.key not in new:
            new[record.key] = record
        else:
            old.append(record)
    _add_curves(session, ((known[key], record) for key, record in new.items()))
    for record in old:
        _merge(session, record, policies[record.policy], trusted)
    return len(new)


def read_runs(
    session: Session, *wanted: ColumnElement[bool], limit: int | None = None
) -> Iterator[tuple[str, str, Record | None]]:
    """Give key, task name and record of the runs that match, in the order of their keys; None for what is damaged."""
    query = _select().where(*wanted).order_by(RunRow.key).limit(limit)
    for rows in chunks(session.execute(query).mappings().all(), CHUNK):
        yield from _records(session, rows)


def read_these(session: Session, ids: Sequence[int], curves: bool = True) -> Iterator[tuple[str, str, Record | None]]:
    """Give the runs of these numbers as `read_runs` does, in no order; without their curves if these are not asked for.

    They are sorted by nobody: asked for an order, SQLite walks through all runs.
    """
    for some in chunks(ids, CHUNK):
        yield from _records(session, session.execute(_select().where(RunRow.id.in_(some))).mappings().all(), curves)


def _records(
    session: Session, rows: Sequence[RowMapping], with_curves: bool = True
) -> Iterator[tuple[str, str, Record | None]]:
    curves = _read_curves(session, [row["id"] for row in rows]) if with_curves else None
    for row in rows:
        yield row["key"], row["task_name"], _record(row, None if curves is None else curves[row["id"]])


def read_rows(session: Session, table: type[Base], *wanted: ColumnElement[bool]) -> Iterator[dict[str, Any] | None]:
    """Give the rows of a table in the order of their keys; None for one whose digest does not hold."""
    order = list(table.__table__.primary_key)
    named = [cast(c, Text).label(c.name) if isinstance(c.type, JSON) else c for c in table.__table__.columns]
    for row in session.execute(select(*named).where(*wanted).order_by(*order)).mappings():
        try:
            values = {
                c.name: json.loads(row[c.name]) if isinstance(c.type, JSON) and row[c.name] is not None else row[c.name]
                for c in table.__table__.columns
            }
            sound = (
                task_key(values["description"]) == values["key"]
                if table is TaskRow
                else seal(values) == values["digest"]
            )
        except BROKEN:
            sound, values = False, {}
        yield values if sound else None


def columns(row: Base) -> dict[str, Any]:
    """Give a row as a mapping."""
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Give items in lists of a size."""
    some: list[T] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _select() -> Select[Any]:
    """All columns of a run. JSON comes as text: what cannot be read must not hide the rows after it."""
    columns = [cast(c, Text).label("details") if c.name == "details" else c for c in RunRow.__table__.columns]
    return (
        select(*columns, PolicyRow.text.label("policy"), TaskRow.name.label("task_name"))
        .outerjoin(PolicyRow, PolicyRow.key == RunRow.policy_key)
        .outerjoin(TaskRow, TaskRow.key == RunRow.task_key)
    )


def _row(record: Record, policy: Policy) -> dict[str, Any]:
    """Give a record's own row, sealed."""
    row = {
        "key": record.key,
        "task_key": record.task,
        "policy_key": policy.key,
        "origin": record.origin,
        "horizon": record.horizon,
        "seed": record.seed,
        "state": record.state,
        "metric": record.metric,
        "direction": record.direction,
        "unit": record.unit,
        "score": finite(record.score),
        "score_kind": kind_of(record.score),
        "loss": finite(record.loss),
        "loss_kind": kind_of(record.loss),
        "steps": record.steps,
        "seconds": record.seconds,
        "lost_steps": record.lost_steps,
        "details": dict(record.details),
        "curves": digest(record.to_json()["curves"]),
    }
    return row | {"digest": seal(row)}


def _record(row: RowMapping, curves: Mapping[str, str] | None) -> Record | None:
    """Read a run, if neither its row nor its policy nor a curve is damaged; its curves, unless they are left out."""
    try:
        own = {column.name: row[column.name] for column in RunRow.__table__.columns}
        own["details"] = json.loads(own["details"])
        points = {series: json.loads(text) for series, text in (curves or {}).items()}
        sound = (
            seal(own) == own["digest"]
            and (curves is None or digest(points) == own["curves"])
            and policy_key(row["policy"]) == own["policy_key"]
            and row["task_name"] is not None
        )
        return record_of(own, row["policy"], points) if sound else None
    except BROKEN:
        return None


def record_of(row: Mapping[str, Any], policy: str, curves: Mapping[str, Any]) -> Record:
    """Put a record together from its row, its policy's text and its curves' points."""
    return Record.from_json(_values(row, policy, curves))


def record_of_before(
    row: Mapping[str, Any], policy: str, curves: Mapping[str, Any], description: Mapping[str, Any]
) -> Record:
    """Put a record together from a row of schema 2 as `record_of` does; the metric is its task's."""
    return Record.from_json(of_before(_values(row, policy, curves), description))


def _values(row: Mapping[str, Any], policy: str, curves: Mapping[str, Any]) -> dict[str, Any]:
    scores = {name: _value(row[name], row[f"{name}_kind"]) for name in ("score", "loss")}
    same = {name: row[name] for name in SAME if name in row}
    return same | scores | {"task": row["task_key"], "policy": policy, "curves": curves}


def _value(value: float | None, kind: str) -> float | str | None:
    return value if kind == "finite" else None if kind == "none" else kind


def _read_curves(session: Session, ids: list[int]) -> dict[int, dict[str, str]]:
    """Read the curves of runs as JSON texts."""
    query = select(CurveRow.run, CurveRow.series, cast(CurveRow.points, Text)).where(CurveRow.run.in_(ids))
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for run, series, points in session.execute(query):
        found[run][series] = points
    return found


def _add_curves(session: Session, runs: Iterable[tuple[int, Record]]) -> None:
    curves = [
        {"run": run, "series": series, "points": points}
        for run, record in runs
        for series, points in record.to_json()["curves"].items()
    ]
    if curves:
        session.connection().execute(insert(CurveRow), curves)


def _merge(session: Session, new: Record, policy: Policy, trusted: bool) -> None:
    """Let a run that is there meet what came of it now."""
    place = session.execute(select(RunRow.id).where(RunRow.key == new.key).with_for_update()).scalar_one()
    ((_, _, old),) = read_runs(session, RunRow.key == new.key)
    if old is None:
        _replace(session, place, new, policy)
        return
    was_trusted = session.scalar(select(OriginRow.trusted).where(OriginRow.name == old.origin))
    if trusted and (not was_trusted or _went_further(new, old)):
        _keep_attempt(session, old, new)
        _replace(session, place, new, policy)
    elif RunState(old.state).is_final or not trusted:
        _keep_attempt(session, new, old)
    else:
        lost = old.lost_steps + _left_behind(old, new)
        _replace(session, place, replace(new, lost_steps=new.lost_steps + lost), policy)


def _replace(session: Session, place: int, record: Record, policy: Policy) -> None:
    session.execute(delete(CurveRow).where(CurveRow.run == place))
    session.execute(update(RunRow).where(RunRow.id == place).values(**_row(record, policy)))
    _add_curves(session, [(place, record)])


def _left_behind(old: Record, new: Record) -> int:
    """Give the steps of an attempt that was never heard of again, where this is another one."""
    another = old.details.get("attempt") != new.details.get("attempt")
    return old.steps if another and old.state == RunState.RUNNING else 0


def _went_further(new: Record, old: Record) -> bool:
    """Whether a run was trained to its end that was stopped before: in somebody's own loop a pruner may stop either."""
    return new.state == RunState.FINISHED and old.state == RunState.STOPPED and new.steps > old.steps


def _outcome(record: Record) -> str:
    """What two trainings of one run must agree about; their seconds may differ."""
    values = record.to_json()
    return digest([values[name] for name in ("state", *OBJECTIVE, "score", "loss", "steps", "curves")])


def _keep_attempt(session: Session, record: Record, beside: Record) -> None:
    """Keep another result beside a run, if it ended and says something else."""
    if RunState(record.state).is_final and _outcome(record) != _outcome(beside):
        row = {"run_key": record.key, "content": record.to_json()}
        add_attempt(session, row | {"digest": seal(row)})


def policy_key(text: str) -> str:
    """Give the key of a policy's text, as the policy itself does."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
