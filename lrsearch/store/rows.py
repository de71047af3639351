"""Entries to table rows and back. Each row is checked against its digests when it is read; damaged ones are None."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import JSON, ColumnElement, RowMapping, Select, Text, cast, delete, insert, select, update
from sqlalchemy.orm import Session

from lrsearch.errors import LRSearchError, PolicyError, StoreError
from lrsearch.runs import RunState, task_key
from lrsearch.schedules import Policy, parse
from lrsearch.store.database import insert_all_new
from lrsearch.store.entries import with_metric
from lrsearch.store.fields import OBJECTIVE, Entry, checked, ordered
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
from lrsearch.store.values import LARGEST, check_name, digest, finite, float_from_json, kind_of, seal

T = TypeVar("T")
LOCAL = "local"
"""The origin of runs that were trained here."""
FRAMEWORK = "torch"
"""The framework of the models of shipped tasks."""
CHUNK = 500
"""Rows in one statement: below the 999 parameters that older SQLite allows."""
RUNS_CHUNK = CHUNK // 20
"""Runs in one statement: a run has 20 columns."""
SAME = ("key", "origin", "horizon", "seed", "state", *OBJECTIVE, "steps", "seconds", "lost_steps", "details")
"""Columns of a run's row that are fields of its entry too."""
STUDY = ("key", "name", "task_key", "description", "frozen", "note")
ASSIGNMENT = ("study_key", "number", "role", "origin", "policy", "horizon", "seed", "run_key")
BROKEN = (TypeError, ValueError, KeyError, AttributeError, LRSearchError)
"""Errors that reading a damaged row can raise."""


def add_task(session: Session, key: str, description: Mapping[str, Any]) -> None:
    """Insert a task with its data set and its model, unless it is there. A task of a name alone has neither."""
    check_name("a task's name", description.get("name"))
    dataset, model = dataset_row(description), model_row(description)
    if dataset:
        insert_all_new(session, DatasetRow, [dataset])
    if model:
        insert_all_new(session, ModelRow, [model])
    insert_all_new(session, TaskRow, [task_row(key, description)])


def task_row(key: str, description: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a task."""
    dataset, model = dataset_row(description), model_row(description)
    return {
        "key": key,
        "name": description["name"],
        "dataset_key": dataset and dataset["key"],
        "model_key": model and model["key"],
        "description": dict(description),
    }


def dataset_row(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of a task's data set; None where the task names none."""
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
    """The row of a task's model; None where the task names none. A user's task does not name its framework."""
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
    """Whether a part of a description has a name that databases can hold: facts may be any JSON values."""
    try:
        return bool(check_name("a name", part.get("name")))
    except StoreError:
        return False


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return value if is_count else None


def add_origin(session: Session, name: str, trusted: bool) -> None:
    """Insert an origin unless it is there; the trust of one that is there does not change."""
    row = {"name": name, "trusted": trusted}
    insert_all_new(session, OriginRow, [row | {"digest": seal(row)}])


def add_study(session: Session, values: Mapping[str, Any]) -> None:
    """Insert a study, unless it is there."""
    check_name("the name of a study", values["name"])
    row = {"note": None, **{name: values[name] for name in STUDY if name in values}}
    insert_all_new(session, StudyRow, [row | {"digest": seal(row)}])


def add_assignment(session: Session, values: Mapping[str, Any]) -> bool:
    """Insert a trial of a study, unless one of its number is there. Returns whether the one that is there is equal."""
    row = {name: values[name] for name in ASSIGNMENT}
    insert_all_new(session, AssignmentRow, [row | {"digest": seal(row)}])
    of_number = (AssignmentRow.study_key == row["study_key"], AssignmentRow.number == row["number"])
    return session.scalar(select(AssignmentRow.digest).where(*of_number)) == seal(row)


def add_attempt(session: Session, row: Mapping[str, Any]) -> None:
    """Insert another result of a run, unless it is there."""
    known = session.scalars(select(AttemptRow.digest).where(AttemptRow.run_key == row["run_key"])).all()
    if row["digest"] not in known:
        values = {name: row[name] for name in ("run_key", "content", "digest")}
        session.execute(insert(AttemptRow).values(**values))


def add_runs(session: Session, entries: Sequence[Entry], trusted: bool = True) -> int:
    """Insert checked runs whose tasks and origins are there, and return how many were new.

    A stored run that did not end is replaced. Of two that ended the first stays, unless it was stopped and the other
    finished; the loser is kept as an attempt if it differs. Untrusted runs never replace trusted ones; trusted runs
    replace untrusted ones.

    Raises:
        StoreError: if an entry's policy cannot be read.
    """
    policies = {text: _policy(text) for text in {entry["policy"] for entry in entries}}
    insert_all_new(
        session,
        PolicyRow,
        [{"key": policy.key, "text": text, "form": policy.form} for text, policy in policies.items()],
    )
    inserted: dict[str, int] = {}
    for chunk in chunks(entries, RUNS_CHUNK):
        rows = [_row(entry, policies[entry["policy"]]) for entry in chunk]
        inserted |= insert_all_new(session, RunRow, rows, RunRow.key, RunRow.id)
    new, known = {}, []
    for entry in entries:
        if entry["key"] in inserted and entry["key"] not in new:
            new[entry["key"]] = entry
        else:
            known.append(entry)
    _add_curves(session, ((inserted[key], entry) for key, entry in new.items()))
    for entry in known:
        _merge(session, entry, policies[entry["policy"]], trusted)
    return len(new)


def read_runs(
    session: Session, *wanted: ColumnElement[bool], limit: int | None = None
) -> Iterator[tuple[str, str, Entry | None]]:
    """Key, task name and entry of the runs that match, in the order of their keys; a damaged entry is None."""
    query = _select().where(*wanted).order_by(RunRow.key).limit(limit)
    for rows in chunks(session.execute(query).mappings().all(), CHUNK):
        yield from _entries(session, rows)


def read_ids(session: Session, ids: Sequence[int], curves: bool = True) -> Iterator[tuple[str, str, Entry | None]]:
    """The runs of these ids as `read_runs` reads them, in no order; with or without their curves.

    No `ORDER BY`: with one, SQLite scans the whole table.
    """
    for chunk in chunks(ids, CHUNK):
        rows = session.execute(_select().where(RunRow.id.in_(chunk))).mappings().all()
        yield from _entries(session, rows, curves)


def _entries(
    session: Session, rows: Sequence[RowMapping], with_curves: bool = True
) -> Iterator[tuple[str, str, Entry | None]]:
    curves = _read_curves(session, [row["id"] for row in rows]) if with_curves else None
    for row in rows:
        yield row["key"], row["task_name"], _entry(row, None if curves is None else curves[row["id"]])


def read_rows(session: Session, table: type[Base], *wanted: ColumnElement[bool]) -> Iterator[dict[str, Any] | None]:
    """The rows of a table in the order of their keys; None for a row whose digest does not hold."""
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
    """The values of a row by column."""
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of a size; the last list may be shorter."""
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _select() -> Select[Any]:
    """All columns of a run. JSON comes as text: a value that cannot be read must not hide the rows after it."""
    columns = [cast(c, Text).label("details") if c.name == "details" else c for c in RunRow.__table__.columns]
    return (
        select(*columns, PolicyRow.text.label("policy"), TaskRow.name.label("task_name"))
        .outerjoin(PolicyRow, PolicyRow.key == RunRow.policy_key)
        .outerjoin(TaskRow, TaskRow.key == RunRow.task_key)
    )


def _policy(text: str) -> Policy:
    try:
        return parse(text)
    except PolicyError as error:
        raise StoreError(f"the policy of an entry cannot be read: {error}") from None


def _row(entry: Entry, policy: Policy) -> dict[str, Any]:
    """The sealed row of an entry, without its curves."""
    score, loss = float_from_json(entry["score"]), float_from_json(entry["loss"])
    row = {name: entry[name] for name in SAME} | {
        "task_key": entry["task"],
        "policy_key": policy.key,
        "score": finite(score),
        "score_kind": kind_of(score),
        "loss": finite(loss),
        "loss_kind": kind_of(loss),
        "curves": digest(entry["curves"]),
    }
    return row | {"digest": seal(row)}


def _entry(row: RowMapping, curves: Mapping[str, str] | None) -> Entry | None:
    """The entry of a row; None if the row, its policy or a curve is damaged. Without `curves` it has none."""
    try:
        values = {column.name: row[column.name] for column in RunRow.__table__.columns}
        values["details"] = json.loads(values["details"])
        points = {series: json.loads(text) for series, text in (curves or {}).items()}
        sound = (
            seal(values) == values["digest"]
            and (curves is None or digest(points) == values["curves"])
            and policy_key(row["policy"]) == values["policy_key"]
            and row["task_name"] is not None
        )
        return entry_of_row(values, row["policy"], points) if sound else None
    except BROKEN:
        return None


def entry_of_row(row: Mapping[str, Any], policy: str, curves: Mapping[str, Any]) -> Entry:
    """The entry of a row, its policy's text and its curves' points, as they were stored."""
    return ordered(_values(row, policy, curves))


def entry_of_row_2(
    row: Mapping[str, Any], policy: str, curves: Mapping[str, Any], description: Mapping[str, Any]
) -> Entry:
    """The entry of a row of schema 2, as a store takes it; the metric is that of its task's description."""
    return checked(with_metric(_values(row, policy, curves), description))


def _values(row: Mapping[str, Any], policy: str, curves: Mapping[str, Any]) -> dict[str, Any]:
    scores = {name: _value(row[name], row[f"{name}_kind"]) for name in ("score", "loss")}
    same = {name: row[name] for name in SAME if name in row}
    return same | scores | {"task": row["task_key"], "policy": policy, "curves": dict(sorted(curves.items()))}


def _value(value: float | None, kind: str) -> float | str | None:
    return value if kind == "finite" else None if kind == "none" else kind


def _read_curves(session: Session, ids: list[int]) -> dict[int, dict[str, str]]:
    """The curves of runs by id and series, as JSON texts."""
    query = select(CurveRow.run, CurveRow.series, cast(CurveRow.points, Text)).where(CurveRow.run.in_(ids))
    curves: dict[int, dict[str, str]] = defaultdict(dict)
    for run, series, points in session.execute(query):
        curves[run][series] = points
    return curves


def _add_curves(session: Session, runs: Iterable[tuple[int, Entry]]) -> None:
    curves = [
        {"run": run, "series": series, "points": points}
        for run, entry in runs
        for series, points in entry["curves"].items()
    ]
    if curves:
        session.connection().execute(insert(CurveRow), curves)


def _merge(session: Session, new: Entry, policy: Policy, trusted: bool) -> None:
    """Merge a new result into the stored run of the same key."""
    run_id = session.execute(select(RunRow.id).where(RunRow.key == new["key"]).with_for_update()).scalar_one()
    ((_, _, old),) = read_runs(session, RunRow.key == new["key"])
    if old is None:
        _replace(session, run_id, new, policy)
        return
    was_trusted = session.scalar(select(OriginRow.trusted).where(OriginRow.name == old["origin"]))
    if trusted and (not was_trusted or _went_further(new, old)):
        _add_attempt_if_other(session, old, new)
        _replace(session, run_id, new, policy)
    elif RunState(old["state"]).is_final or not trusted:
        _add_attempt_if_other(session, new, old)
    else:
        lost_steps = new["lost_steps"] + old["lost_steps"] + _abandoned_steps(old, new)
        _replace(session, run_id, ordered({**new, "lost_steps": lost_steps}), policy)


def _replace(session: Session, run_id: int, entry: Entry, policy: Policy) -> None:
    session.execute(delete(CurveRow).where(CurveRow.run == run_id))
    session.execute(update(RunRow).where(RunRow.id == run_id).values(**_row(entry, policy)))
    _add_curves(session, [(run_id, entry)])


def _abandoned_steps(old: Entry, new: Entry) -> int:
    """The steps of an attempt that is still marked as running when another attempt ends."""
    is_other = old["details"].get("attempt") != new["details"].get("attempt")
    return int(old["steps"]) if is_other and old["state"] == RunState.RUNNING else 0


def _went_further(new: Entry, old: Entry) -> bool:
    """Whether a run finished that was stopped before: in a user's own loop a pruner may stop either attempt."""
    return (old["state"], new["state"]) == (RunState.STOPPED, RunState.FINISHED) and bool(new["steps"] > old["steps"])


def _result_digest(entry: Entry) -> str:
    """The digest of the fields in which two trainings of one run must agree; seconds may differ."""
    return digest([entry[name] for name in ("state", *OBJECTIVE, "score", "loss", "steps", "curves")])


def _add_attempt_if_other(session: Session, entry: Entry, stored: Entry) -> None:
    """Insert a result as an attempt beside the stored one, if it ended and differs."""
    if RunState(entry["state"]).is_final and _result_digest(entry) != _result_digest(stored):
        row = {"run_key": entry["key"], "content": entry}
        add_attempt(session, row | {"digest": seal(row)})


def policy_key(text: str) -> str:
    """The key of a policy's text, equal to `Policy.key`."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
