"""The Pareto front of several objectives: the runs that no other beats. It is shown, and decides nothing."""

import math
from collections.abc import Sequence

from lrsearch.runs import Objective
from lrsearch.runs.objective import finite_cost
from lrsearch.store import Trial


def front(history: Sequence[Trial], horizon: int, objectives: Sequence[Objective]) -> tuple[Trial, ...]:
    """The full runs that no other run beats, the best by the first objective first.

    One run beats another where it is at least as good on all objectives, and better on one. A run without a value of
    some objective is left out. A run that stands in two trials is listed once.

    Args:
        history: a study's trials.
        horizon: the steps of a full run.
        objectives: the first is a run's score, the others are in its `scores`.
    """
    full = {trial.stored.key: trial for trial in history if trial.stored and trial.horizon == horizon}
    costs = {key: _costs(trial, objectives) for key, trial in full.items()}
    known = {key: of_run for key, of_run in costs.items() if all(map(math.isfinite, of_run))}
    best = [key for key, own in known.items() if not any(_beats(other, own) for other in known.values())]
    return tuple(full[key] for key in sorted(best, key=lambda key: known[key]))


def _costs(trial: Trial, objectives: Sequence[Objective]) -> tuple[float, ...]:
    if trial.run is None:
        return (math.inf,)
    first, *others = objectives
    scores = trial.run.scores
    more = (finite_cost(objective, scores.get(objective.name)) for objective in others)
    return (finite_cost(first, trial.run.score), *more)


def _beats(costs: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return costs != other and all(a <= b for a, b in zip(costs, other, strict=True))
