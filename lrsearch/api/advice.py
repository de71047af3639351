"""What the store knows for a task, and how alike two tasks are."""

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
"""The goals that begin with the score, which searches decide by."""


def advise(
    task: TaskLike, goal: str = "accuracy", *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER
) -> Advice:
    """Rank what the store and the papers know for a task: what `lrsearch rank` and `lrsearch recommend` print.

    Args:
        task: a shipped task's name, the name of a task in the store, or a task.
        goal: `accuracy`, `cost`, `robustness`, `confidence` or `pareto`.
        store: the knowledge store or its URL, which must be there; `store.db` in `out` where none is given, and where
            there is none either, nothing but the published results.
        out: the folder of that store.

    Raises:
        UsageError: for an unknown task or goal.
        StoreError: if the store is not there, or is none.

    >>> found = advise("mnist-lenet", store="sqlite:///:memory:")
    >>> print(found.first(1)[0].policy, found.first(1)[0].origin)
    SIN2(k0=0.01, k1=0.06, l=2000) published
    """
    with readable_store(store, Path(out)) as ledger:
        asked = described(task, ledger)
        answers = stored_answers(ledger, asked) if goal in DECIDED else ()
        return replace(rank_known(recall(ledger, asked, goal), asked, goal), answers=answers)


def similarity(task_a: TaskLike, task_b: TaskLike, *, store: str | Store | None = None) -> Similarity:
    """Tell how far two tasks are from each other, by group: see `lrsearch.recommendation.similarity`.

    Args:
        task_a, task_b: names of shipped tasks or of tasks in the store, or tasks.
        store: a store with range tests of both, which then count as much as all that is described.

    Returns:
        `.distance`, 0 for the same and inf where they cannot be compared; `.parts` by group; `.gate`, the reason.

    Raises:
        UsageError: for an unknown task.
        StoreError: if the store is not there, or is none.

    >>> found = similarity("mnist-lenet", "fashion-lenet")
    >>> round(found.distance, 2), {group: round(part, 2) for group, part in found.parts.items()}
    (0.29, {'data': 0.5, 'model': 0.0, 'training': 0.0})
    """
    with readable_store(store or "sqlite:///:memory:", DEFAULT_FOLDER) as ledger:
        a, b = (described(task, ledger) for task in (task_a, task_b))
        return compare_tasks(a, b, fingerprint(ramps_of(ledger, a)), fingerprint(ramps_of(ledger, b)))
