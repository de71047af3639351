"""Known tasks and their runs as frozen values, stored or published: the input of ranking, and its goals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lrsearch.errors import UsageError, unknown
from lrsearch.runs import Metrics, Objective, maximize, objectives_of
from lrsearch.runs.objective import SCORE, TOP1
from lrsearch.schedules import Policy

if TYPE_CHECKING:
    from lrsearch.heuristics.evidence import Ramp

LOCAL, PUBLISHED = "local", "published"
SHARE = maximize(TOP1, samples=1)
"""The metric of printed results and of older records, which do not name their number of samples: a share, printed in
percent."""
GOALS = {
    "accuracy": "the score, in its metric's direction",
    "cost": "the share of the horizon until the task's target is reached, the less the better",
    "robustness": "LD, the loss on validation less that on training samples: the less the better",
    "confidence": "AC - CD - CDAC: sure where it is right, the same for all samples and classes",
}
"""The goals that policies are ranked for; `pareto` is all of them."""


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run that ranking reads.

    Args:
        policy: the policy over the run's own horizon.
        horizon: steps of the run, 1 or more.
        seed: its seed.
        score: the metric's value in its own unit and sign; None where it diverged.
        metrics: the metrics at its last step, as far as they are known: `ld`, `ac`, `cd`, `cdac`.
        course: (step, score) at each evaluation.
        repeats: runs behind the score, where only their mean is known.
        spread: their standard deviation (ddof 1); None where it is not known.
    """

    policy: Policy
    horizon: int
    seed: int
    score: float | None
    metrics: Metrics = field(default_factory=dict)
    course: tuple[tuple[int, float], ...] = ()
    repeats: int = 1
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A task with its runs of one origin and one metric.

    Measured and printed scores are never mixed, nor are two metrics.

    Args:
        key: unique among the known tasks.
        description: the task's description, or as much of it as is known.
        runs: runs that ended.
        ramps: its range tests.
        origin: `local`, `published`, or the name of another source.
        source: the paper, for people; empty for runs of the user's own.
        objective: the metric of the scores; the description's first where it is not given.
    """

    key: str
    description: Mapping[str, Any]
    runs: tuple[KnownRun, ...]
    ramps: "tuple[Ramp, ...]" = ()
    origin: str = LOCAL
    source: str = ""
    objective: Objective = None  # type: ignore[assignment]  # there once it is made

    def __post_init__(self) -> None:
        given: Any = self.objective
        if given is None:
            object.__setattr__(self, "objective", objectives_of(self.description)[0])

    @property
    def name(self) -> str:
        """The task's name, or else its key."""
        return str(self.description.get("name", self.key))

    @property
    def horizon(self) -> int:
        """Steps of its full run; where the description has none, of its longest."""
        return int(self.description.get("horizon") or max((run.horizon for run in self.runs), default=1))


def check_goal(goal: str, more: tuple[str, ...] = ()) -> str:
    """Return the goal if there is one of that name.

    Raises:
        UsageError: for an unknown goal; the message names the nearest.
    """
    if goal not in (*GOALS, *more):
        raise UsageError(unknown("goal", goal, (*GOALS, *more)))
    return goal


def target_of(task: KnownTask) -> float | None:
    """The score that counts as reaching the goal on a task: the median of its full runs; None without any."""
    scores = [run.score for run in task.runs if run.score is not None and run.horizon >= task.horizon]
    return sorted(scores, key=task.objective.cost)[len(scores) // 2] if scores else None


def value_of(run: KnownRun, goal: str, target: float | None = None, objective: Objective = SCORE) -> float | None:
    """A run's value for a goal, the higher the better; nan if it missed the goal, None if its metrics are missing.

    Args:
        run: the run.
        goal: one of `GOALS`.
        target: the score to reach, for `cost`.
        objective: the metric of the score.

    >>> run = KnownRun(Policy("FIX", {"k0": 0.1}), 100, 0, 0.9, {"ld": 0.2, "ac": None}, ((50, 0.8), (100, 0.9)))
    >>> [value_of(run, goal, target=0.75) for goal in GOALS]
    [0.9, -0.5, -0.2, None]
    """
    if run.score is None:
        return math.nan
    if goal == "accuracy":
        return -objective.cost(run.score)
    if goal == "cost":
        return _cost(run, target, objective)
    if goal == "robustness":
        ld = run.metrics.get("ld")
        return None if ld is None else -ld
    ac, cd, cdac = (run.metrics.get(name) for name in ("ac", "cd", "cdac"))
    return None if ac is None or cd is None or cdac is None else ac - cd - cdac


def _cost(run: KnownRun, target: float | None, objective: Objective) -> float | None:
    """Minus the share of the horizon until the target is reached; nan if it never is."""
    if target is None or not run.course:
        return None
    return next((-step / run.horizon for step, score in run.course if objective.is_reached(score, target)), math.nan)
