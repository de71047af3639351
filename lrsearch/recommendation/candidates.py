"""Candidates for a task: the policies of other tasks, put in its terms, neighbours pooled, as a table for `rank`."""

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
"""Policies of one form whose coordinates are no farther apart than this, in decades or on a linear axis, are one."""
SHORTEST = 17
"""Runs shorter than this part of the horizon are probes: they rank learning rates too high."""
BEST, OTHERS = 16, 16
"""Policies of a task that are read: its best, and as many evenly from the rest, to keep the median about as it is."""
DIGITS = 12
"""Decimals to which means are given, so that the mean of a printed number is that number."""
LOG = ("peak", "ratio", "cycles", "decay")
"""Coordinates that are compared in decades."""


@dataclass(frozen=True, slots=True)
class Member:
    """A policy of a candidate, on the task where it was seen.

    Args:
        task: the place of its task among those that are known.
        policy: the policy over that task's horizon.
        values: what its longest runs there are worth, one for each seed; nan where one diverged.
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
    """Candidates and what is known of them.

    Args:
        table: for `rank`: a row a run.
        members: the policies behind each candidate, by its number.
    """

    table: "pd.DataFrame"
    members: Mapping[int, Sequence[Member]]


@dataclass(frozen=True, slots=True)
class _Transferred:
    """A policy on a task: its runs by horizon, and where it lies on the task that is asked for."""

    task: int
    policy: Policy
    form: tuple[Any, ...]
    at: tuple[float, ...]
    runs: tuple[KnownRun, ...]


def shift(found: Sequence[Correction], optimum: float | None, own_optimum: float | None) -> float:
    """Give how far a learning rate moves, in decades, by corrections and by the two range tests where there are both.

    >>> shift((Correction("momentum", -1.0, 0.4),), None, 0.1), round(shift((Correction("x", 0, 0.3),), 0.01, 0.1), 9)
    (-1.0, 1.0)
    """
    if not found:
        return 0.0
    probed = bool(optimum and own_optimum)
    by_probe = math.log10(own_optimum / optimum) if optimum and own_optimum else 0.0
    return by_probe + sum(one.decades for one in applying(found, probed))


def gather(
    known: Sequence[KnownTask], asked: Description, optima: Sequence[float | None], own_optimum: float | None, goal: str
) -> Candidates:
    """Give the candidates in what is known of other tasks.

    Args:
        known: the tasks.
        asked: the description of the task that is asked for.
        optima: the middle of each known task's range tests, if it has any.
        own_optimum: the middle of the asked task's range tests, if it has any.
        goal: what they are ranked for.
    """
    seen = [one for at, task in enumerate(known) for one in _seen(at, task, asked, optima[at], own_optimum)]
    numbers = _pooled(seen)
    targets = [target_of(task) for task in known]
    cells: dict[tuple[int, int, int, int], list[float]] = defaultdict(list)
    for number, one in zip(numbers, seen, strict=True):
        for run in one.runs:
            for seed, value in _values(run, goal, targets[one.task], known[one.task].objective):
                cells[one.task, number, run.horizon, seed].append(value)
    return Candidates(_table(known, cells), _members(known, seen, numbers, goal, targets, _medians(cells)))


def _seen(
    at: int, task: KnownTask, asked: Description, optimum: float | None, own_optimum: float | None
) -> list[_Transferred]:
    """Give the policies of a task that can be carried over, where they would lie on the one that is asked for."""
    moves = {
        constant: 10 ** shift(corrections(task.description, asked, constant), optimum, own_optimum)
        for constant in (False, True)
    }
    found = []
    for policy, runs in _chosen(task):
        try:
            coordinates = policy.coordinates(task.horizon)  # the same as stretched, at the asked task's horizon
        except PolicyError:
            continue
        coordinates = {**coordinates, "peak": coordinates["peak"] * moves[policy.form == "FIX"]}
        form, place = _place(policy.form, coordinates)
        found.append(_Transferred(at, policy, form, place, tuple(runs)))
    return found


def _chosen(task: KnownTask) -> list[tuple[Policy, list[KnownRun]]]:
    """Give a task's policies over its horizon with their runs, at most 32: the best half, and evenly from the rest."""
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
    """The lowest is the best: the longest runs first, then those of the lowest mean cost."""
    longest = max(run.horizon for run in runs)
    costs = [finite_cost(objective, run.score) for run in runs if run.horizon == longest]
    return -longest, sum(costs) / len(costs)


def _place(form: str, coordinates: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """Give what must be equal for two policies to be neighbours, and the numbers that must be near."""
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


def _pooled(seen: Sequence[_Transferred]) -> list[int]:
    """Number the policies so that neighbours have one number: all of a number are within 0.15 of each other."""
    from sklearn.cluster import AgglomerativeClustering

    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, one in enumerate(seen):
        groups[one.form].append(place)
    numbers, used = [0] * len(seen), 0
    for places in groups.values():
        points = np.array([seen[place].at for place in places])
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
    """Give (seed, value) of a run; of repeats, values that have their printed mean, number and spread."""
    value = value_of(run, goal, target, objective)
    if value is None:
        return []
    if run.repeats == 1 or goal != "accuracy" or not run.spread:
        return [(run.seed + n, value) for n in range(run.repeats)]
    at = np.linspace(-1, 1, run.repeats)
    return list(
        zip(range(run.seed, run.seed + run.repeats), (value + run.spread * at / at.std(ddof=1)).tolist(), strict=True)
    )


def _medians(cells: Mapping[tuple[int, int, int, int], list[float]]) -> dict[tuple[int, int], float]:
    """Give the median candidate's value by (task, horizon); what diverged is behind all."""
    by_candidate: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for (task, number, horizon, _), values in cells.items():
        by_candidate[task, horizon, number] += values
    by_place: dict[tuple[int, int], list[float]] = defaultdict(list)
    for (task, horizon, _), values in by_candidate.items():
        by_place[task, horizon].append(_mean(values))
    return {place: sorted(means)[len(means) // 2] for place, means in by_place.items()}


def _mean(values: Sequence[float]) -> float:
    found = sum(values) / len(values)
    return -math.inf if math.isnan(found) else found


def _table(known: Sequence[KnownTask], cells: Mapping[tuple[int, int, int, int], list[float]]) -> "pd.DataFrame":
    """Give a row a run; where neighbours ran with one seed, their mean, and nan where one of them diverged."""
    import pandas as pd

    rows = [
        (known[task].key, number, seed, sum(values) / len(values), horizon)
        for (task, number, horizon, seed), values in cells.items()
    ]
    return pd.DataFrame(rows, columns=["task", "candidate", "seed", "score", "horizon"])


def _members(
    known: Sequence[KnownTask],
    seen: Sequence[_Transferred],
    numbers: Sequence[int],
    goal: str,
    targets: Sequence[float | None],
    medians: Mapping[tuple[int, int], float],
) -> dict[int, list[Member]]:
    members: dict[int, list[Member]] = defaultdict(list)
    for number, one in zip(numbers, seen, strict=True):
        longest = max(run.horizon for run in one.runs)
        runs = [run for run in one.runs if run.horizon == longest]
        objective, target = known[one.task].objective, targets[one.task]
        values = tuple(value for run in runs for _, value in _values(run, goal, target, objective))
        if values:
            above_median = _mean(values) >= medians[one.task, longest]
            members[number].append(Member(one.task, one.policy, values, _score(runs), longest, above_median))
    return members


def _score(runs: Sequence[KnownRun]) -> float | None:
    scores = [(run.score, run.repeats) for run in runs if run.score is not None]
    return round(sum(score * n for score, n in scores) / sum(n for _, n in scores), DIGITS) if scores else None
