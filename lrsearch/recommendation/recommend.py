"""What the store knows for a task: the policies of similar tasks and of the papers, ranked, and carried over to it."""

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
"""One task nearer than the first is evidence enough; what is farther than the second is none. The shipped tasks of one
kind of data and model lie within the first, the tasks on digits and all others beyond the second."""
EFFECTIVE = 3.0
BANDWIDTH = (0.15, 0.3)
"""The least and the largest: so that few far tasks do not make each other near, and the same task counts most."""
RELIABILITY = {LOCAL: 1.0}
LESS_RELIABLE = 0.5
"""Of what was chosen on a test set, or comes from elsewhere."""
MOST_TASKS = 12
TRIED = 20
PARETO = "pareto"
COURSES = ("cost", PARETO)
"""Goals that ask how a run went, and not only how it ended."""


def described(task: TaskLike, store: "Store") -> Description:
    """Find a task's description: of a task, of a shipped one, or of one in the store by name, the first of its keys.

    Raises:
        TaskError: if there is none of that name.
    """
    if isinstance(task, Task) or not isinstance(task, str) or task in TASKS:
        return find_task(task).description
    held = {str(one["name"]): one for _, one in sorted(store.tasks().items(), reverse=True)}
    if task not in held:
        raise TaskError(unknown("task", task, {*TASKS, *held}))
    return held[task]


def recommend(task: TaskLike, store: "Store", k: int = 2) -> list[Recommendation]:
    """Give at most k policies of different forms to start a study with, best first; none without relevant evidence.

    The runs of similar tasks in the store, on the validation split, and the papers' published results are ranked
    together, each under its own origin: see `advise`.

    Args:
        task: the task that a study is about to search, or the name of a shipped task or of one in the store.
        store: the knowledge store.
        k: policies to give at most, 0 or more.

    Raises:
        TaskError: for the name of no task.
        UsageError: if k is not a whole number, 0 or more.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise UsageError(f"k is a whole number of policies, 0 or more, got {given(k)}")
    asked = described(task, store)
    return advise(recall(store, asked), asked, most=TRIED).first(k)


def recall(store: "Store", asked: Description, goal: str = "accuracy") -> list[KnownTask]:
    """Give what a store holds of the tasks nearest to one, itself included, and the published results.

    What was chosen on a test set here, as the papers do, recommends nothing to a task that is judged by validation.
    Tasks of any metric inform each other, as far as they are similar: only regrets in units of noise are compared.
    """
    described = store.tasks()
    able = {key: one for key, one in described.items() if _protocol(one) == _protocol(asked)}
    apart = [one.distance for one in compare_many(asked, [(one, None) for one in able.values()])]
    nearest = sorted((far, key) for far, key in zip(apart, able, strict=True) if math.isfinite(far))[:MOST_TASKS]
    found = [one for _, key in nearest for one in _of_store(store, key, described[key], goal in COURSES)]
    return [*found, *published_tasks()]


def _protocol(description: Description) -> str:
    """How a task's runs are judged: a user's are by validation."""
    return str(description.get("metric", METRICS["validation"]))


def _of_store(store: "Store", key: str, description: Description, courses: bool) -> list[KnownTask]:
    """Give a task of the store, once for each origin of its runs and each metric of their scores."""
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
    """A key for what is known of a task from an origin by a metric: that of the task itself is not named."""
    metric = f"{objective.direction} {objective.name}"
    told = [
        *([origin] if origin != LOCAL else []),
        *([metric] if metric != f"{own.direction} {own.name}" else []),
        *([f"in {objective.unit}"] if objective.unit != own.unit else []),
    ]
    return f"{task} ({', '.join(told)})" if told else task


def _texts(objective: Objective) -> tuple[str, str, str]:
    return objective.name, objective.direction, objective.unit


def ramps_of(store: "Store", description: Description) -> "tuple[Ramp, ...]":
    """Give the range tests of a task in a store."""
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
    asked: Description,
    goal: str = "accuracy",
    most: int | None = None,
    ramps: "Sequence[Ramp]" = (),
) -> Advice:
    r"""Rank the policies of what is known for a task.

    Tasks farther than 0.85 count nothing; a nearer one counts $w_t = q_t \exp(-d_t^2 / 2 h^2)$, with h the median of
    their distances, held between 0.15 and 0.3, and q = 0.5 for what was published or imported, 1 for runs of one's
    own. Policies are put in natural coordinates of the task asked for; neighbours within 0.15 decades of equal form
    are one candidate. Then `lrs.rank` ranks them.

    It is relevant evidence where a task lies within 0.6, so that one similar task is enough for a second study to
    gain by, or where three effective tasks, $(\sum w)^2 / \sum w^2$, lie within 0.85. Else nothing is ranked.

    Args:
        known: the tasks with their runs, each from one origin.
        asked: the description of the task asked for.
        goal: `accuracy`, `cost` (share of the horizon until a task's median score is reached), `robustness` (LD),
            `confidence` (AC - CD - CDAC), or `pareto`: the accuracy's order, those first that are on the front of all
            four.
        most: candidates to give at most; None for all.
        ramps: range tests of the task asked for; those of a known task of the same key where there are none.

    Raises:
        UsageError: for an unknown goal.

    >>> from lrsearch.recommendation.published import published_tasks
    >>> lenet = published_tasks()[2]
    >>> found = advise(published_tasks(), lenet.description)
    >>> found.first(1)[0].policy.form, found.first(1)[0].origin, found.first(1)[0].same_settings
    ('SIN2', 'published', True)
    >>> advise(published_tasks(), {"name": "mine", "data": {"classes": 2, "train": 100, "name": "x"}}).relevant
    False
    """
    check_goal(goal, (PARETO,))
    held = list(known)
    own = fingerprint(ramps or _own_ramps(held, asked))
    prints = [fingerprint(task.ramps) for task in held]
    found = compare_many(asked, list(zip([task.description for task in held], prints, strict=True)), own)
    weights = _weights(held, found)
    order = sorted(range(len(held)), key=lambda at: (found[at].distance, held[at].key))
    neighbours = tuple(
        Neighbour(held[at].name, held[at].origin, held[at].source, found[at], weights[at], len(held[at].runs))
        for at in order
    )
    relevant, reason = _relevance(neighbours)
    own_optimum = own.optimum if own else None
    counted = [task.horizon for task, weight in zip(held, weights, strict=True) if weight > 0]
    horizon = int(asked.get("horizon") or max(counted, default=1))
    used = [at for at in order if weights[at] > 0] if relevant else []
    field = _Field(
        [held[at] for at in used],
        [found[at] for at in used],
        [weights[at] for at in used],
        [one.optimum if (one := prints[at]) else None for at in used],
        asked,
        own_optimum,
    )
    ranked = _front(field, most) if goal == PARETO else [one for _, one in _ranked(field, goal, most)]
    if relevant and not ranked:
        relevant, reason = False, f"no relevant evidence: no run of the tasks nearby tells anything of {goal}"
    return Advice(str(asked.get("name", "")), goal, relevant, reason, neighbours, tuple(ranked), own_optimum, horizon)


@dataclass(frozen=True, slots=True)
class _Field:
    """The tasks that count, nearest first, and what they are compared with."""

    tasks: list[KnownTask]
    similar: list[Similarity]
    weights: list[float]
    optima: list[float | None]
    asked: Description
    own_optimum: float | None

    def gather(self, goal: str) -> Candidates:
        return gather(self.tasks, self.asked, self.optima, self.own_optimum, goal)


def _own_ramps(known: Sequence[KnownTask], asked: Description) -> "Sequence[Ramp]":
    return next((task.ramps for task in known if task.ramps and dict(task.description) == dict(asked)), ())


def _weights(known: Sequence[KnownTask], found: Sequence[Similarity]) -> list[float]:
    near = [one.distance for one, task in zip(found, known, strict=True) if one.distance <= FAR and task.runs]
    width = float(np.clip(np.median(near), *BANDWIDTH)) if near else BANDWIDTH[1]
    return [
        RELIABILITY.get(task.origin, LESS_RELIABLE) * math.exp(-(one.distance**2) / (2 * width**2))
        if one.distance <= FAR and task.runs
        else 0.0
        for one, task in zip(found, known, strict=True)
    ]


def _relevance(neighbours: Sequence[Neighbour]) -> tuple[bool, str]:
    """Tell whether there is relevant evidence, and why."""
    known = [one for one in neighbours if one.runs]
    if not known or not math.isfinite(known[0].similarity.distance):
        return False, "no relevant evidence: nothing is known of a task that can be compared with it"
    used = [one.weight for one in known if one.weight > 0]
    effective = round(sum(used) ** 2 / sum(weight**2 for weight in used), 1) if used else 0.0
    nearest = known[0]
    told = f"the nearest task, {nearest.name}, is at distance {nearest.similarity.distance:.2f}"
    if nearest.similarity.distance <= NEAR:
        return True, f"{told}; {len(used)} within {FAR} counted, {effective:.1f} effective"
    if effective >= EFFECTIVE:
        return True, f"{told}, but {effective:.1f} effective tasks lie within {FAR}"
    return False, (
        f"no relevant evidence: {told}, and {effective:.1f} effective tasks lie within {FAR}; one within"
        f" {NEAR} would do, or {EFFECTIVE:.0f} effective ones"
    )


def _ranked(field: _Field, goal: str, most: int | None) -> list[tuple[int, Recommendation]]:
    """Give (candidate, recommendation), the first to try first."""
    if not field.tasks:
        return []
    found = field.gather(goal)
    if found.table.empty:
        return []
    told = set(found.table["task"])
    weights = {task.key: weight for task, weight in zip(field.tasks, field.weights, strict=True) if task.key in told}
    try:
        table = rank(found.table, weights, k=most or len(found.members))
    except UsageError:  # no run ended well
        return []
    rows = [
        (int(row["candidate"]), _recommendation(field, found.members[int(row["candidate"])], row))
        for row in table.to_dict("records")
    ]
    return [(number, one) for number, one in rows if one is not None]


def _recommendation(field: _Field, members: Sequence[Member], row: Mapping[Any, Any]) -> Recommendation | None:
    """Give a candidate as its best member on the nearest task; None where it diverged on all."""
    ended = [one for one in members if one.score is not None and not any(map(math.isnan, one.values))]
    if not ended:
        return None
    best = min(ended, key=lambda one: (one.task, -one.horizon, -one.value, str(one.policy)))
    task = field.tasks[best.task]
    moved = corrections(task.description, field.asked, best.policy.form == "FIX")
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
    """Give the accuracy's order, those first that no other beats for one goal without losing for another."""
    by_goal = {goal: {number: -one.regret for number, one in _ranked(field, goal, None)} for goal in GOALS}
    ranked = _ranked(field, "accuracy", None)
    told = [goal for goal in GOALS if by_goal[goal]]
    points = {number: tuple(by_goal[goal].get(number, -math.inf) for goal in told) for number, _ in ranked}

    def is_beaten(mine: tuple[float, ...]) -> bool:
        return any(all(a >= b for a, b in zip(other, mine, strict=True)) and other != mine for other in points.values())

    marked = [
        replace(
            one,
            front=not is_beaten(points[number]),
            by_goal=tuple((goal, by_goal[goal][number]) for goal in told if number in by_goal[goal]),
        )
        for number, one in ranked
    ]
    return sorted(marked, key=lambda one: not one.front)[:most]


def ramp_of(stored: "StoredRun") -> "Ramp":
    """Read a stored range test as evidence: the learning rate in the middle of each stride, and its loss."""
    from lrsearch.heuristics.evidence import Ramp

    run = stored.run
    steps = np.minimum((np.arange(len(run.train_losses)) + 0.5) * run.stride, stored.horizon)
    losses = tuple(math.inf if loss is None else loss for loss in run.train_losses)
    return Ramp(stored.key, tuple(stored.policy(steps).tolist()), losses)
