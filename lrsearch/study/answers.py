"""What searches of a task have answered, read from the store alone: no task is needed, and nothing is trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from lrsearch.errors import StoreError
from lrsearch.recommendation.advice import Searched
from lrsearch.runs import objectives_of, task_key
from lrsearch.store import Store, StoredStudy, Trial
from lrsearch.study.decision import Decision, decide
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import is_open


def stored_answers(store: Store, description: Mapping[str, Any]) -> tuple[Searched, ...]:
    """Return the answers of the searches of a task, the one on most fresh seeds first; a usable one of each.

    Args:
        store: the store.
        description: the task's description, the same in all of it.
    """
    key = task_key(description)
    searches = [study for study in store.studies() if study.description["task"] == key]
    decided = [(study.name, decision) for study in searches if (decision := decided_by(study, _read(store, study)))]
    found = [
        Searched(
            name,
            one.best.policy,
            one.best.score,
            one.best.seeds,
            one.best.confirmed,
            one.verdict,
            objectives_of(description)[0],
        )
        for name, one in decided
        if one.is_usable and one.best.score is not None
    ]
    return tuple(sorted(found, key=lambda one: (not one.confirmed, -one.seeds, one.study)))


def decided_by(study: StoredStudy, history: Sequence[Trial]) -> Decision | None:
    """Return what a stored study decided; None where some of its trials have not ended, or it is no search."""
    if study.description["strategy"] != Funnel().name or is_open(history):
        return None
    return decide(history, study.task["horizon"], objectives_of(study.task)[0])


def _read(store: Store, study: StoredStudy) -> list[Trial]:
    """Return a study's trials; none where they are damaged, which `lrsearch store check` tells."""
    try:
        return store.history(study.key)
    except StoreError:
        return []
