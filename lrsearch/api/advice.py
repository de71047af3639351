"""Advice of the store for a task, and the similarity of two tasks."""

from dataclasses import replace
from pathlib import Path

from lrsearch.api.resources import DEFAULT_FOLDER, readable_store
from lrsearch.recommendation import Advice, Similarity
from lrsearch.recommendation.recommend import PARETO, described, ramps_of, recall
from lrsearch.recommendation.recommend import advise as rank_known
from lrsearch.recommendation.similarity import compare as compare_tasks
from lrsearch.recommendation.similarity import fingerprint
from lrsearch.store import Store
from lrsearch.study.answers import stored_answers
from lrsearch.tasks.catalogue import TaskLike

DECIDED = ("accuracy", PARETO)
"""The goals that rank by the score first, as searches decide."""


def advise(
    task: TaskLike, goal: str = "accuracy", *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER
) -> Advice:
    """Rank stored and published policies for a task, as `lrsearch rank` and `lrsearch recommend` print it.

    Args:
        task: a shipped task's name, the name of a task in the store, or a task.
        goal: `accuracy`, `cost`, `robustness`, `confidence` or `pareto`.
        store: the knowledge store or its URL, which must exist; None for `store.db` in `out`. Where that does not exist
            either, the published results alone are ranked.
        out: the folder of that store.

    Raises:
        UsageError: for an unknown task or goal.
        StoreError: if the store does not exist, or is no store.

    >>> advice = advise("mnist-lenet", store="sqlite:///:memory:")
    >>> print(advice.first(1)[0].policy, advice.first(1)[0].origin)
    SIN2(k0=0.01, k1=0.06, l=2000) published
    """
    with readable_store(store, Path(out)) as ledger:
        description = described(task, ledger)
        answers = stored_answers(ledger, description) if goal in DECIDED else ()
        ranked = rank_known(recall(ledger, description, goal), description, goal)
        return replace(ranked, answers=answers)


def similarity(task_a: TaskLike, task_b: TaskLike, *, store: str | Store | None = None) -> Similarity:
    """The distance of two tasks, in total and by group: see `lrsearch.recommendation.similarity`.

    Args:
        task_a, task_b: names of shipped tasks or of tasks in the store, or tasks.
        store: a store with range tests of both, which then count as much as the whole description.

    Returns:
        `.distance`, 0 for the same and inf where they cannot be compared; `.parts` by group; `.gate`, the reason.

    Raises:
        UsageError: for an unknown task.
        StoreError: if the store does not exist, or is no store.

    >>> alike = similarity("mnist-lenet", "fashion-lenet")
    >>> round(alike.distance, 2), {group: round(part, 2) for group, part in alike.parts.items()}
    (0.29, {'data': 0.5, 'model': 0.0, 'training': 0.0})
    """
    with readable_store(store or "sqlite:///:memory:", DEFAULT_FOLDER) as ledger:
        a, b = (described(task, ledger) for task in (task_a, task_b))
        return compare_tasks(a, b, fingerprint(ramps_of(ledger, a)), fingerprint(ramps_of(ledger, b)))
