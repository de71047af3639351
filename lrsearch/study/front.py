"""The front of several objectives: the runs that no other beats. It is shown, and decides nothing."""

import math
from collections.abc import Sequence

from lrsearch.runs import Objective
from lrsearch.runs.objective import finite_cost
from lrsearch.store import Trial


def front(history: Sequence[Trial], horizon: int, objectives: Sequence[Objective]) -> tuple[Trial, ...]:
    """Return the full runs that no other beats on all objectives, the best by the first objective first.

    One run beats another where it is as good on all objectives, and better on one. A run that lacks one of them is
    left out, and one that was asked for twice stands once.

    Args:
        history: a study's trials.
        horizon: the steps of a full run.
        objectives: the first is a run's score, the others are in its `scores`.
    """
    full = {trial.stored.key: trial for trial in history if trial.stored and trial.horizon == horizon}
    costs = {key: _costs(trial, objectives) for key, trial in full.items()}
    known = {key: some for key, some in costs.items() if all(map(math.isfinite, some))}
    best = [key for key, own in known.items() if not any(_beats(other, own) for other in known.values())]
    return tuple(full[key] for key in sorted(best, key=lambda key: known[key]))


def _costs(trial: Trial, objectives: Sequence[Objective]) -> tuple[float, ...]:
    if trial.run is None:
        return (math.inf,)
    first, *others = objectives
    return (finite_cost(first, trial.run.score), *(finite_cost(one, trial.run.scores.get(one.name)) for one in others))


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
