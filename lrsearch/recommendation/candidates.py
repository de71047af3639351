"""Candidates for a task: policies of other tasks in its coordinates, neighbours pooled, as a table for `rank`."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrsearch.errors import PolicyError
from lrsearch.recommendation.known import KnownRun, KnownTask, target_of, value_of
from lrsearch.recommendation.rescaling import Correction, applying, corrections
from lrsearch.recommendation.similarity import Description
from lrsearch.runs import Objective
from lrsearch.runs.objective import finite_cost
from lrsearch.schedules import Policy

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 0.15
"""Policies of one form are one candidate up to this distance, in decades or on a linear axis: under a step of a grid
with five learning rates a decade (a rule)."""
SHORTEST = 17
"""Runs shorter than this part of the horizon are probes: they rank learning rates too high. The funnel's shortest runs,
of 1/16, are longer."""
BEST, OTHERS = 16, 16
"""Policies of a task that are read: its best, and as many evenly from the rest, to keep the median about as it is."""
DIGITS = 12
"""Decimals to which means are rounded, so that the mean of a printed number is that number."""
LOG = ("peak", "ratio", "cycles", "decay")
"""Coordinates that are compared in decades."""


@dataclass(frozen=True, slots=True)
class Member:
    """A policy of a candidate, on the task where it was seen.

    Args:
        task: the place of its task among those that are known.
        policy: the policy over that task's horizon.
        values: those of its longest runs there for the goal, one for each seed; nan where one diverged.
        score: their mean score, in its own unit and sign; None where all diverged.
        horizon: steps of those runs.
        above_median: whether it is as good as the median of that task's candidates over the same horizon.
    """

    task: int
    policy: Policy
    values: tuple[float, ...]
    score: float | None
    horizon: int
    above_median: bool = True

    @property
    def value(self) -> float:
        """The mean of its values."""
        return round(sum(self.values) / len(self.values), DIGITS)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates, their scores and their policies.

    Args:
        table: for `rank`: one row for each run.
        members: the policies behind each candidate, by its number.
    """

    table: "pd.DataFrame"
    members: Mapping[int, Sequence[Member]]


@dataclass(frozen=True, slots=True)
class _Transferred:
    """A policy of a known task: its runs, and its coordinates on the described task.

    Args:
        task: the place of the known task.
        policy: the policy over that task's horizon.
        form: the values that neighbours share: the form, and coordinates that are no numbers.
        point: the numbers in which neighbours are near.
        runs: its runs, over any horizon.
    """

    task: int
    policy: Policy
    form: tuple[Any, ...]
    point: tuple[float, ...]
    runs: tuple[KnownRun, ...]


def shift(moves: Sequence[Correction], optimum: float | None, own_optimum: float | None) -> float:
    """How far a learning rate moves, in decades, by corrections and by the two range tests where there are both.

    >>> shift((Correction("momentum", -1.0, 0.4),), None, 0.1), round(shift((Correction("x", 0, 0.3),), 0.01, 0.1), 9)
    (-1.0, 1.0)
    """
    if not moves:
        return 0.0
    probed = bool(optimum and own_optimum)
    by_probe = math.log10(own_optimum / optimum) if optimum and own_optimum else 0.0
    return by_probe + sum(correction.decades for correction in applying(moves, probed))


def gather(
    known: Sequence[KnownTask],
    description: Description,
    optima: Sequence[float | None],
    own_optimum: float | None,
    goal: str,
) -> Candidates:
    """The candidates among the policies of known tasks.

    Args:
        known: the tasks.
        description: that of the task to recommend for.
        optima: the range-test optimum of each known task, if it has any.
        own_optimum: the range-test optimum of the described task, if it has any.
        goal: the goal that they are ranked for.
    """
    policies = [
        policy
        for place, task in enumerate(known)
        for policy in _transferred(place, task, description, optima[place], own_optimum)
    ]
    numbers = _pooled(policies)
    targets = [target_of(task) for task in known]
    cells: dict[tuple[int, int, int, int], list[float]] = defaultdict(list)
    for number, policy in zip(numbers, policies, strict=True):
        for run in policy.runs:
            for seed, value in _values(run, goal, targets[policy.task], known[policy.task].objective):
                cells[policy.task, number, run.horizon, seed].append(value)
    return Candidates(_table(known, cells), _members(known, policies, numbers, goal, targets, _medians(cells)))


def _transferred(
    place: int, task: KnownTask, description: Description, optimum: float | None, own_optimum: float | None
) -> list[_Transferred]:
    """The policies of a known task that have coordinates, each with those on the described task."""
    factors = {
        constant: 10 ** shift(corrections(task.description, description, constant), optimum, own_optimum)
        for constant in (False, True)
    }
    transferred = []
    for policy, runs in _chosen(task):
        try:
            coordinates = policy.coordinates(task.horizon)  # the same as those of the stretched policy
        except PolicyError:
            continue
        coordinates = {**coordinates, "peak": coordinates["peak"] * factors[policy.form == "FIX"]}
        form, point = _form_and_point(policy.form, coordinates)
        transferred.append(_Transferred(place, policy, form, point, tuple(runs)))
    return transferred


def _chosen(task: KnownTask) -> list[tuple[Policy, list[KnownRun]]]:
    """A task's policies over its horizon with their runs, at most 32: the 16 best, and 16 evenly from the rest."""
    by_policy: dict[Policy, list[KnownRun]] = defaultdict(list)
    for run in task.runs:
        if run.horizon * SHORTEST >= task.horizon and run.policy.name != "RAMP":
            is_short = run.horizon != task.horizon
            policy = run.policy.stretch(task.horizon / run.horizon).rounded() if is_short else run.policy
            by_policy[policy].append(run)
    ranked = sorted(by_policy.items(), key=lambda item: (*_merit(item[1], task.objective), str(item[0])))
    if len(ranked) <= BEST + OTHERS:
        return ranked
    rest = ranked[BEST:]
    return ranked[:BEST] + [rest[place * len(rest) // OTHERS] for place in range(OTHERS)]


def _merit(runs: Sequence[KnownRun], objective: Objective) -> tuple[float, float]:
    """A sort key, the best policy lowest: by the longest horizon, then by the mean cost of its runs over that."""
    longest = max(run.horizon for run in runs)
    costs = [finite_cost(objective, run.score) for run in runs if run.horizon == longest]
    return -longest, sum(costs) / len(costs)


def _form_and_point(form: str, coordinates: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """The values that two neighbours share, and the numbers in which they are near."""
    kind: list[Any] = [form]
    numbers: list[float] = []
    for name, value in sorted(coordinates.items()):
        if isinstance(value, tuple | list):
            kind.append((name, len(value)))
            numbers += map(float, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            kind.append((name, name in LOG and value <= 0))
            numbers.append((math.log10(value) if value > 0 else 0.0) if name in LOG else float(value))
        else:
            kind.append((name, value))
    return tuple(kind), tuple(numbers)


def _pooled(policies: Sequence[_Transferred]) -> list[int]:
    """A candidate's number for each policy: all policies of a number are within 0.15 of each other."""
    from sklearn.cluster import AgglomerativeClustering

    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, policy in enumerate(policies):
        groups[policy.form].append(place)
    numbers, used = [0] * len(policies), 0
    for places in groups.values():
        points = np.array([policies[place].point for place in places])
        labels = [0] * len(places)
        if len(places) > 1 and points.shape[1]:
            clusters = AgglomerativeClustering(
                n_clusters=None, metric="chebyshev", linkage="complete", distance_threshold=NEIGHBOURS
            )
            labels = clusters.fit_predict(points).tolist()
        for place, label in zip(places, labels, strict=True):
            numbers[place] = used + label
        used += max(labels) + 1
    return numbers


def _values(run: KnownRun, goal: str, target: float | None, objective: Objective) -> list[tuple[int, float]]:
    """Pairs (seed, value) of a run; of printed repeats, values that have their mean, number and spread."""
    value = value_of(run, goal, target, objective)
    if value is None:
        return []
    if run.repeats == 1 or goal != "accuracy" or not run.spread:
        return [(run.seed + n, value) for n in range(run.repeats)]
    at = np.linspace(-1, 1, run.repeats)
    values = (value + run.spread * at / at.std(ddof=1)).tolist()
    return list(zip(range(run.seed, run.seed + run.repeats), values, strict=True))


def _medians(cells: Mapping[tuple[int, int, int, int], list[float]]) -> dict[tuple[int, int], float]:
    """The median candidate's value by (task, horizon); candidates that diverged are behind all."""
    by_candidate: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for (task, number, horizon, _), values in cells.items():
        by_candidate[task, horizon, number] += values
    by_place: dict[tuple[int, int], list[float]] = defaultdict(list)
    for (task, horizon, _), values in by_candidate.items():
        by_place[task, horizon].append(_mean(values))
    return {place: sorted(means)[len(means) // 2] for place, means in by_place.items()}


def _mean(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return -math.inf if math.isnan(mean) else mean


def _table(known: Sequence[KnownTask], cells: Mapping[tuple[int, int, int, int], list[float]]) -> "pd.DataFrame":
    """One row for each run; where neighbours ran with one seed, their mean, or nan where one of them diverged."""
    import pandas as pd

    rows = [
        (known[task].key, number, seed, sum(values) / len(values), horizon)
        for (task, number, horizon, seed), values in cells.items()
    ]
    return pd.DataFrame(rows, columns=["task", "candidate", "seed", "score", "horizon"])


def _members(
    known: Sequence[KnownTask],
    policies: Sequence[_Transferred],
    numbers: Sequence[int],
    goal: str,
    targets: Sequence[float | None],
    medians: Mapping[tuple[int, int], float],
) -> dict[int, list[Member]]:
    members: dict[int, list[Member]] = defaultdict(list)
    for number, policy in zip(numbers, policies, strict=True):
        longest = max(run.horizon for run in policy.runs)
        runs = [run for run in policy.runs if run.horizon == longest]
        objective, target = known[policy.task].objective, targets[policy.task]
        values = tuple(value for run in runs for _, value in _values(run, goal, target, objective))
        if values:
            above_median = _mean(values) >= medians[policy.task, longest]
            members[number].append(Member(policy.task, policy.policy, values, _score(runs), longest, above_median))
    return members


def _score(runs: Sequence[KnownRun]) -> float | None:
    scores = [(run.score, run.repeats) for run in runs if run.score is not None]
    return round(sum(score * n for score, n in scores) / sum(n for _, n in scores), DIGITS) if scores else None
