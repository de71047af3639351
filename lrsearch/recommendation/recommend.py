"""Recommendations for a task: the policies of similar tasks and of the papers, transferred to it and ranked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lrsearch.errors import TaskError, UsageError, given, unknown
from lrsearch.recommendation.advice import SAFETY_MARGIN, Advice, Neighbour, Recommendation
from lrsearch.recommendation.candidates import SHORTEST, Candidates, Member, gather
from lrsearch.recommendation.known import GOALS, LOCAL, KnownRun, KnownTask, check_goal
from lrsearch.recommendation.published import published_tasks
from lrsearch.recommendation.ranking import rank
from lrsearch.recommendation.rescaling import corrections
from lrsearch.recommendation.similarity import Description, Similarity, compare_many, distance, fingerprint
from lrsearch.runs import Objective, Task, objectives_of, task_key
from lrsearch.tasks import TASKS, find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.tasks.classification import METRICS

if TYPE_CHECKING:
    from lrsearch.heuristics.evidence import Ramp
    from lrsearch.store.store import Store
    from lrsearch.store.stored import StoredRun

__all__ = ["Advice", "Neighbour", "Recommendation", "advise", "distance", "ramp_of", "recall", "recommend"]

NEAR, FAR = 0.6, 0.85
"""One task nearer than the first is evidence enough; tasks farther than the second are none. The shipped tasks of one
kind of data and model lie within the first, the tasks on digits and all others beyond the second."""
EFFECTIVE = 3.0
"""Effective tasks that are evidence enough where none is near (a rule)."""
BANDWIDTH = (0.15, 0.3)
"""The least and the largest: so that few far tasks do not make each other near, and the same task counts most."""
RELIABILITY = {LOCAL: 1.0}
LESS_RELIABLE = 0.5
"""Of results that were chosen on a test set, or come from elsewhere (a rule)."""
MOST_TASKS = 12
"""Tasks of a store that are read, the nearest: a bound on the time of a recommendation (a rule)."""
TRIED = 20
"""Candidates that are ranked for a study, which tries a few of different forms (a rule)."""
PARETO = "pareto"
COURSES = ("cost", PARETO)
"""Goals that need the scores during a run, and not only at its end."""


def described(task: TaskLike, store: "Store") -> Description:
    """The description of a task, of a shipped one, or of one in the store by name, the first of its keys.

    Raises:
        TaskError: if there is none of that name.
    """
    if isinstance(task, Task) or not isinstance(task, str) or task in TASKS:
        return find_task(task).description
    by_name = {str(stored["name"]): stored for _, stored in sorted(store.tasks().items(), reverse=True)}
    if task not in by_name:
        raise TaskError(unknown("task", task, {*TASKS, *by_name}))
    return by_name[task]


def recommend(task: TaskLike, store: "Store | None" = None, k: int = 2) -> list[Recommendation]:
    """At most k policies of different forms to start a study with, best first; none without relevant evidence.

    The runs of similar tasks in the store, on the validation split, and the papers' published results are ranked
    together, each under its own origin: see `advise`.

    Args:
        task: the task that a study is about to search, or the name of a shipped task or of one in the store.
        store: the knowledge store; None for the papers' results alone, which ship with lrsearch. No file is made.
        k: the most policies to return, 0 or more.

    Raises:
        TaskError: for the name of no task.
        UsageError: if k is not a whole number, 0 or more, or the store not an open one.

    >>> print(recommend("mnist-lenet", k=1)[0].policy)
    SIN2(k0=0.01, k1=0.06, l=2000)
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise UsageError(f"k is a whole number of policies, 0 or more, got {given(k)}")
    if store is None:
        return advise(published_tasks(), find_task(task).description, most=TRIED).first(k)
    if not hasattr(store, "representative_runs"):
        raise UsageError(f"store is an open store, such as lrs.open_store('store.db'), or None, got {given(store)}")
    description = described(task, store)
    return advise(recall(store, description), description, most=TRIED).first(k)


def recall(store: "Store", description: Description, goal: str = "accuracy") -> list[KnownTask]:
    """A store's tasks that are nearest to a description, its own task included, and the published results.

    Runs of the store that were chosen on a test set, as in the papers, recommend nothing to a task that is judged by
    validation. Tasks of any metric inform each other, as far as they are similar: only regrets in units of noise are
    compared.
    """
    comparable = {key: stored for key, stored in store.tasks().items() if _protocol(stored) == _protocol(description)}
    similarities = compare_many(description, [(stored, None) for stored in comparable.values()])
    distances = [(similarity.distance, key) for similarity, key in zip(similarities, comparable, strict=True)]
    nearest = sorted((distance, key) for distance, key in distances if math.isfinite(distance))[:MOST_TASKS]
    tasks = [task for _, key in nearest for task in _of_store(store, key, comparable[key], goal in COURSES)]
    return [*tasks, *published_tasks()]


def _protocol(description: Description) -> str:
    """The split that judges a task's runs: the user's own tasks are judged by validation."""
    return str(description.get("metric", METRICS["validation"]))


def _of_store(store: "Store", key: str, description: Description, courses: bool) -> list[KnownTask]:
    """A task of the store, once for each origin of its runs and each metric of their scores."""
    ended = store.representative_runs(key, shortest=math.ceil(description.get("horizon", 1) / SHORTEST), curves=courses)
    ramps = _ramps(store.ramps(key))
    kinds = {(run.origin, run.objective) for run in ended}
    own = objectives_of(description)[0]
    return [
        KnownTask(
            _key(key, origin, objective, own),
            description,
            tuple(_known(run) for run in ended if (run.origin, run.objective) == (origin, objective)),
            ramps,
            origin,
            objective=objective,
        )
        for origin, objective in sorted(kinds, key=lambda kind: (kind[0], *_texts(kind[1])))
    ]


def _key(task: str, origin: str, objective: Objective, own: Objective) -> str:
    """A key for a task's runs of one origin and metric; the local origin and the task's own metric are not named."""
    metric = f"{objective.direction} {objective.name}"
    parts = [
        *([origin] if origin != LOCAL else []),
        *([metric] if metric != f"{own.direction} {own.name}" else []),
        *([f"in {objective.unit}"] if objective.unit != own.unit else []),
    ]
    return f"{task} ({', '.join(parts)})" if parts else task


def _texts(objective: Objective) -> tuple[str, str, str]:
    return objective.name, objective.direction, objective.unit


def ramps_of(store: "Store", description: Description) -> "tuple[Ramp, ...]":
    """The range tests of a task in a store."""
    return _ramps(store.ramps(task_key(description)))


def _ramps(stored: Iterable["StoredRun"]) -> "tuple[Ramp, ...]":
    return tuple(ramp_of(run) for run in stored if run.run.train_losses)


def _known(stored: "StoredRun") -> KnownRun:
    run = stored.run
    return KnownRun(
        stored.policy,
        stored.horizon,
        stored.seed,
        run.score,
        run.metrics.get("end", {}),
        tuple((point.step, point.score) for point in run.points),
    )


def advise(
    known: Iterable[KnownTask],
    description: Description,
    goal: str = "accuracy",
    most: int | None = None,
    ramps: "Sequence[Ramp]" = (),
) -> Advice:
    r"""Rank the policies of known tasks for a task.

    Tasks farther than 0.85 count nothing. A nearer one counts $w_t = q_t \exp(-d_t^2 / 2 h^2)$: h is the median of
    their distances, clipped to 0.15 .. 0.3, and q is 0.5 for published or imported runs, 1 for local ones. Policies
    are put in natural coordinates of the described task; neighbours within 0.15 decades of equal form are one
    candidate. Then `lrs.rank` ranks them.

    The evidence is relevant where a task lies within 0.6, so that one similar task is enough for a second study to
    gain by, or where three effective tasks, $(\sum w)^2 / \sum w^2$, lie within 0.85. Else nothing is ranked.

    Args:
        known: the tasks with their runs, each from one origin.
        description: that of the task to recommend for.
        goal: `accuracy`, `cost` (share of the horizon until a task's median score is reached), `robustness` (LD),
            `confidence` (AC - CD - CDAC), or `pareto`: the accuracy's order, those first that are on the front of all
            four.
        most: the most candidates to return; None for all.
        ramps: range tests of the described task; those of a known task of the same key where there are none.

    Raises:
        UsageError: for an unknown goal.

    >>> from lrsearch.recommendation.published import published_tasks
    >>> lenet = published_tasks()[2]
    >>> (best,) = advise(published_tasks(), lenet.description).first(1)
    >>> best.policy.form, best.origin, best.same_settings
    ('SIN2', 'published', True)
    >>> advise(published_tasks(), {"name": "mine", "data": {"classes": 2, "train": 100, "name": "x"}}).relevant
    False
    """
    check_goal(goal, (PARETO,))
    tasks = list(known)
    own = fingerprint(ramps or _own_ramps(tasks, description))
    fingerprints = [fingerprint(task.ramps) for task in tasks]
    pairs = [(task.description, response) for task, response in zip(tasks, fingerprints, strict=True)]
    similarities = compare_many(description, pairs, own)
    weights = _weights(tasks, similarities)
    order = sorted(range(len(tasks)), key=lambda place: (similarities[place].distance, tasks[place].key))
    neighbours = tuple(_neighbour(tasks[place], similarities[place], weights[place]) for place in order)
    relevant, reason = _relevance(neighbours)
    own_optimum = own.optimum if own else None
    horizons = [task.horizon for task, weight in zip(tasks, weights, strict=True) if weight > 0]
    horizon = int(description.get("horizon") or max(horizons, default=1))
    used = [place for place in order if weights[place] > 0] if relevant else []
    field = _Field(
        [tasks[place] for place in used],
        [similarities[place] for place in used],
        [weights[place] for place in used],
        [response.optimum if (response := fingerprints[place]) else None for place in used],
        description,
        own_optimum,
    )
    ranked = _front(field, most) if goal == PARETO else [advised for _, advised in _ranked(field, goal, most)]
    if relevant and not ranked:
        relevant, reason = False, f"no relevant evidence: no run of the tasks nearby tells anything of {goal}"
    return Advice(
        str(description.get("name", "")), goal, relevant, reason, neighbours, tuple(ranked), own_optimum, horizon
    )


@dataclass(frozen=True, slots=True)
class _Field:
    """The tasks that count, nearest first, and the described task that they are compared with."""

    tasks: list[KnownTask]
    similar: list[Similarity]
    weights: list[float]
    optima: list[float | None]
    description: Description
    own_optimum: float | None

    def gather(self, goal: str) -> Candidates:
        return gather(self.tasks, self.description, self.optima, self.own_optimum, goal)


def _neighbour(task: KnownTask, similarity: Similarity, weight: float) -> Neighbour:
    return Neighbour(task.name, task.origin, task.source, similarity, weight, len(task.runs))


def _own_ramps(known: Sequence[KnownTask], description: Description) -> "Sequence[Ramp]":
    return next((task.ramps for task in known if task.ramps and dict(task.description) == dict(description)), ())


def _weights(known: Sequence[KnownTask], similarities: Sequence[Similarity]) -> list[float]:
    distances = [similarity.distance for similarity in similarities]
    is_near = [distance <= FAR and bool(task.runs) for distance, task in zip(distances, known, strict=True)]
    near = [distance for distance, counts in zip(distances, is_near, strict=True) if counts]
    width = float(np.clip(np.median(near), *BANDWIDTH)) if near else BANDWIDTH[1]
    return [
        RELIABILITY.get(task.origin, LESS_RELIABLE) * math.exp(-(distance**2) / (2 * width**2)) if counts else 0.0
        for task, distance, counts in zip(known, distances, is_near, strict=True)
    ]


def _relevance(neighbours: Sequence[Neighbour]) -> tuple[bool, str]:
    """Whether there is relevant evidence, and why."""
    known = [neighbour for neighbour in neighbours if neighbour.runs]
    if not known or not math.isfinite(known[0].similarity.distance):
        return False, "no relevant evidence: nothing is known of a task that can be compared with it"
    used = [neighbour.weight for neighbour in known if neighbour.weight > 0]
    effective = round(sum(used) ** 2 / sum(weight**2 for weight in used), 1) if used else 0.0
    nearest = known[0]
    where = f"the nearest task, {nearest.name}, is at distance {nearest.similarity.distance:.2f}"
    if nearest.similarity.distance <= NEAR:
        return True, f"{where}; {len(used)} within {FAR} counted, {effective:.1f} effective"
    if effective >= EFFECTIVE:
        return True, f"{where}, but {effective:.1f} effective tasks lie within {FAR}"
    return False, (
        f"no relevant evidence: {where}, and {effective:.1f} effective tasks lie within {FAR}; one within"
        f" {NEAR} would do, or {EFFECTIVE:.0f} effective ones"
    )


def _ranked(field: _Field, goal: str, most: int | None) -> list[tuple[int, Recommendation]]:
    """Pairs (candidate's number, recommendation), the first to try first."""
    if not field.tasks:
        return []
    candidates = field.gather(goal)
    if candidates.table.empty:
        return []
    scored = set(candidates.table["task"])
    weights = {task.key: weight for task, weight in zip(field.tasks, field.weights, strict=True) if task.key in scored}
    try:
        table = rank(candidates.table, weights, k=most or len(candidates.members))
    except UsageError:  # no run ended well
        return []
    rows = [
        (int(row["candidate"]), _recommendation(field, candidates.members[int(row["candidate"])], row))
        for row in table.to_dict("records")
    ]
    return [(number, advised) for number, advised in rows if advised is not None]


def _recommendation(field: _Field, members: Sequence[Member], row: Mapping[Any, Any]) -> Recommendation | None:
    """A candidate as its best member on the nearest task; None where it diverged on all."""
    ended = [member for member in members if member.score is not None and not any(map(math.isnan, member.values))]
    if not ended:
        return None
    best = min(ended, key=lambda member: (member.task, -member.horizon, -member.value, str(member.policy)))
    task = field.tasks[best.task]
    moved = corrections(task.description, field.description, best.policy.form == "FIX")
    similar = field.similar[best.task]
    above_median = best.above_median and field.weights[best.task] >= max(field.weights) / 2
    assert best.score is not None
    return Recommendation(
        best.policy,
        task.name,
        similar.distance,
        best.score,
        len(best.values),
        max(0.0, -float(row["score"])),
        field.optima[best.task],
        task.horizon,
        task.origin,
        task.source,
        moved,
        not moved,
        tuple(similar.parts.items()),
        best.value,
        float(row["low"]),
        float(row["high"]),
        float(row["p_best"]),
        int(row["tie_group"]),
        int(row["tasks"]),
        int(row["seeds"]),
        above_median,
        share=min(1.0, best.horizon / task.horizon),
        safety_margin=SAFETY_MARGIN,
        objective=task.objective,
        policies=len(members),
    )


def _front(field: _Field, most: int | None) -> list[Recommendation]:
    """The accuracy's order, those first that no other beats for one goal without losing for another."""
    by_goal = {goal: {number: -advised.regret for number, advised in _ranked(field, goal, None)} for goal in GOALS}
    ranked = _ranked(field, "accuracy", None)
    goals = [goal for goal in GOALS if by_goal[goal]]
    points = {number: tuple(by_goal[goal].get(number, -math.inf) for goal in goals) for number, _ in ranked}

    def is_beaten(mine: tuple[float, ...]) -> bool:
        return any(all(a >= b for a, b in zip(other, mine, strict=True)) and other != mine for other in points.values())

    marked = [
        replace(
            advised,
            front=not is_beaten(points[number]),
            by_goal=tuple((goal, by_goal[goal][number]) for goal in goals if number in by_goal[goal]),
        )
        for number, advised in ranked
    ]
    return sorted(marked, key=lambda advised: not advised.front)[:most]


def ramp_of(stored: "StoredRun") -> "Ramp":
    """Read a stored range test as evidence: the learning rate in the middle of each stride, and its loss."""
    from lrsearch.heuristics.evidence import Ramp

    run = stored.run
    steps = np.minimum((np.arange(len(run.train_losses)) + 0.5) * run.stride, stored.horizon)
    losses = tuple(math.inf if loss is None else loss for loss in run.train_losses)
    return Ramp(stored.key, tuple(stored.policy(steps).tolist()), losses)
