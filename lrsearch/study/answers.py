"""The answers of stored searches of a task. They are read from the store alone, and nothing is trained."""

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
    """The usable answers of the searches of a task, the one confirmed on most fresh seeds first.

    Args:
        store: the store.
        description: the task's description; only searches of exactly this task are read.
    """
    key = task_key(description)
    searches = [study for study in store.studies() if study.description["task"] == key]
    decided = [(study.name, decision) for study in searches if (decision := decided_by(study, _read(store, study)))]
    objective = objectives_of(description)[0]
    answers = []
    for name, decision in decided:
        best = decision.best
        if decision.is_usable and best.score is not None:
            verdict = decision.verdict
            answers.append(Searched(name, best.policy, best.score, best.seeds, best.confirmed, verdict, objective))
    return tuple(sorted(answers, key=lambda answer: (not answer.confirmed, -answer.seeds, answer.study)))


def decided_by(study: StoredStudy, history: Sequence[Trial]) -> Decision | None:
    """The decision of a stored study. None while some of its trials are open, and for a study that is no search."""
    if study.description["strategy"] != Funnel().name or is_open(history):
        return None
    return decide(history, study.task["horizon"], objectives_of(study.task)[0])


def _read(store: Store, study: StoredStudy) -> list[Trial]:
    """The trials of a study; none where they are damaged, or of a later lrsearch."""
    try:
        return store.history(study.key)
    except StoreError:
        return []
