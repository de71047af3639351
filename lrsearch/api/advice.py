"""What the store knows for a task, how alike two tasks are, and the warm start of an Optuna study of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.api.opening import DEFAULT_FOLDER, readable_store
from lrsearch.errors import TaskError, UsageError, unknown
from lrsearch.knowledge import Advice, Recommendation, Similarity, Store
from lrsearch.knowledge.known import PUBLISHED
from lrsearch.knowledge.recommend import PARETO, ramps_of, recall
from lrsearch.knowledge.recommend import advise as rank_known
from lrsearch.knowledge.similarity import compare as compare_tasks
from lrsearch.knowledge.similarity import fingerprint
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.study.answers import stored_answers
from lrsearch.tasks import TASKS, Task, find_task

if TYPE_CHECKING:
    import optuna

MOST_STORED = 2
MOST_RESULTS = 1000
DECIDED = ("accuracy", PARETO)
"""The goals that begin with the score, which searches decide by."""


def warm_start(
    study: "optuna.Study", space: Space, policies: Sequence[Policy | Recommendation], seed: int = 0,
    centre: float | None = None,
) -> int:
    """Enqueue policies in an Optuna study of one's own: at most the first three, and one random point last.

    Each trial says where its policy is from, in the user attribute `lrsearch:origin`: `stored`, `published` or
    `random`.

    Args:
        study: the Optuna study; its objective calls `space.suggest(trial)`.
        space: the space of the study.
        policies: the default first, then stored ones, or what `store.recommend` gave, which is carried over to the
            space's horizon; those whose LR function is not in the space are left out.
        seed: for the random point.
        centre: the middle of the bottom of your range test (`test.advice.default.rate`), by which learning rates of
            tasks that have one in the store are moved; None without one.

    Returns:
        How many were enqueued.

    >>> import optuna
    >>> from lrsearch import FIX, open_store
    >>> study = optuna.create_study(direction="maximize")
    >>> space = Space.standard(horizon=10_000, epoch=540)
    >>> with open_store("sqlite:///:memory:") as store:
    ...     warm_start(study, space, [FIX(k0=0.1), *store.recommend(find_task("mnist-lenet"))])
    4
    """
    import numpy as np

    from lrsearch.spaces.optuna import enqueue

    offered = [_offered(one, space.horizon, centre) for one in policies]
    fitting = [(origin, policy) for origin, policy in offered if policy.form in space.forms][: 1 + MOST_STORED]
    for origin, policy in fitting:
        enqueue(study, space, policy, origin)
    enqueue(study, space, space.sample(np.random.default_rng(seed)), "random")
    return len(fitting) + 1


def _offered(one: Policy | Recommendation, horizon: int, centre: float | None) -> tuple[str, Policy]:
    if isinstance(one, Policy):
        return "stored", one
    return PUBLISHED if one.origin == PUBLISHED else "stored", one.carried(horizon, centre).rounded()


def add_results(study: "optuna.Study", space: Space, store: Store, task: str | Task) -> int:
    """Add what a store knows of this very task to an Optuna study of one's own, as finished trials.

    A policy that ran over the whole horizon is one trial, its value the mean score over seeds, its user attribute
    `lrsearch:origin` `same task`. Results of other tasks never are, however similar: see `warm_start`.

    Args:
        study: the Optuna study, which maximizes the task's score.
        space: the space of the study; policies outside of it are left out.
        store: the knowledge store.
        task: a shipped task's name, or a task: the same in all of its description.

    Returns:
        How many were added.

    Raises:
        UsageError: if the study minimizes.
        TaskError: for the name of no shipped task.

    >>> import optuna
    >>> from lrsearch import FIX, open_store, record
    >>> task, study = find_task("digits-mlp"), optuna.create_study(direction="maximize")
    >>> space = Space.standard(horizon=task.horizon, epoch=task.epoch)
    >>> with open_store("sqlite:///:memory:") as store:
    ...     with record(store, task=task, policy=FIX(k0=0.1)) as run:
    ...         _ = run.finish(score=0.95)
    ...     add_results(study, space, store, task), study.best_value
    (1, 0.95)
    """
    from optuna.study import StudyDirection

    from lrsearch.spaces.optuna import add

    if study.directions != [StudyDirection.MAXIMIZE]:
        raise UsageError("scores are the better the higher: make the study with direction='maximize'")
    asked = find_task(task)
    scores: dict[Policy, list[float]] = {}
    for stored in store.telling(asked.key, shortest=asked.horizon, policies=MOST_RESULTS):
        if stored.horizon == asked.horizon and stored.run.score is not None and stored.policy in space:
            scores.setdefault(stored.policy, []).append(stored.run.score)
    for policy, of_seeds in scores.items():
        add(study, space, policy, sum(of_seeds) / len(of_seeds), "same task")
    return len(scores)



def advise(
    task: str | Task, goal: str = "accuracy", *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER
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
        asked = _described(task, ledger)
        answers = stored_answers(ledger, asked) if goal in DECIDED else ()
        return replace(rank_known(recall(ledger, asked, goal), asked, goal), answers=answers)


def similarity(task_a: str | Task, task_b: str | Task, *, store: str | Store | None = None) -> Similarity:
    """Tell how far two tasks are from each other, by group: see `lrsearch.knowledge.similarity`.

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
        a, b = (_described(task, ledger) for task in (task_a, task_b))
        return compare_tasks(a, b, fingerprint(ramps_of(ledger, a)), fingerprint(ramps_of(ledger, b)))


def _described(task: str | Task, store: Store) -> Mapping[str, Any]:
    """Give a task's description: of a task, of a shipped one, or of one in the store, the first of its keys."""
    if isinstance(task, Task) or task in TASKS:
        return find_task(task).description
    held = {str(one["name"]): one for _, one in sorted(store.tasks().items(), reverse=True)}
    if task not in held:
        raise TaskError(unknown("task", task, {*TASKS, *held}))
    return held[task]
