"""Copy one store of an owner into another one."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import select

from lrsearch.store.rows import add_assignment, add_attempt, add_study
from lrsearch.store.schema import AssignmentRow, AttemptRow, RunRow, StudyRow

if TYPE_CHECKING:
    from lrsearch.store.store import Store


def merge(target: "Store", source: "Store") -> int:
    """Copy all undamaged rows of a store into another one, and return how many runs were new: see `Store.merge`."""
    trust, new = source.origins(), 0
    target.add([], tasks=source.tasks())
    tasks = target.tasks().keys()
    for page in source.pages():
        entries = [entry for entry in page if entry["task"] in tasks]
        for trusted in (True, False):
            new += target.add([each for each in entries if trust.get(each["origin"], False) is trusted], trusted)
    _merge_studies(target, source, tasks)
    _merge_attempts(target, source)
    return new


def _merge_studies(target: "Store", source: "Store", tasks: Collection[str]) -> None:
    """Copy the undamaged studies of these tasks that the target lacks, with their undamaged trials."""
    with target.reads() as session:
        known = set(session.scalars(select(StudyRow.key)))
    with source.reads() as session:
        studies = [row for row in source.sound(session, StudyRow) if row["task_key"] in tasks]
        new = {row["key"]: row for row in studies if row["key"] not in known}
        trials = [row for row in source.sound(session, AssignmentRow) if row["study_key"] in new]
    with target.writes() as session:
        for study in new.values():
            add_study(session, study)
        for trial in trials:
            add_assignment(session, trial)


def _merge_attempts(target: "Store", source: "Store") -> None:
    """Copy the undamaged attempts of runs that the target has."""
    with source.reads() as session:
        attempts = source.sound(session, AttemptRow)
    with target.writes() as session:
        for attempt in attempts:
            if session.scalar(select(RunRow.id).where(RunRow.key == attempt["run_key"])) is not None:
                add_attempt(session, attempt)
