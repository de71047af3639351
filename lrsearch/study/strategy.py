"""Strategies: pure functions from the history of a study to its next trial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lrsearch.errors import BudgetError, UsageError
from lrsearch.heuristics.evidence import RULES
from lrsearch.recommendation import Recommendation
from lrsearch.runs import Objective, Task
from lrsearch.runs.roles import SEARCHED, Origin, Role
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.store import Trial

SEEDS_PER_STUDY = 1000
"""Training seeds of each study seed: a rule, so that no two studies of a task share one."""
FIRST_FRESH = 100
"""The first seed of confirming runs, above those of all probes: a rule."""
MOST_FRE = 1e6
"""The largest budget: a rule that refuses typing errors."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The setup of a study.

    Args:
        task: the task to train.
        raw: the space before pruning.
        budget: full-run equivalents (FRE) of the whole study: a hard cap.
        seed: the study's seed.
        recommended: the store's recommendations when the study began.
        rules: the version of the rules that read range tests when it began.
        known: policies of the user over the task's horizon, which are tried first.
        without: roles that the study leaves out, of `check` and `range-test`.
    """

    task: Task
    raw: Space
    budget: float
    seed: int
    recommended: tuple[Recommendation, ...] = ()
    rules: int = RULES
    known: tuple[Policy, ...] = ()
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_number = isinstance(self.budget, int | float) and not isinstance(self.budget, bool)
        if not is_number or not abs(self.budget) <= MOST_FRE:
            raise BudgetError(f"the budget must be a number of full runs, at most {MOST_FRE:g}, got {self.budget!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**31:
            raise UsageError(f"the seed must be a whole number from 0 to 2**31 - 1, got {self.seed!r}")

    @property
    def cap(self) -> int:
        """The budget in steps."""
        return math.floor(self.budget * self.task.horizon + 1e-9)

    @property
    def search_seed(self) -> int:
        """The seed of all runs that choose policies, so that all have the same initialisation and batches."""
        return self.seed * SEEDS_PER_STUDY

    def probe_seed(self, repeat: int) -> int:
        """The seed of a probe's repeat."""
        return self.search_seed + repeat

    def fresh_seed(self, pair: int) -> int:
        """The seed of a pair of confirming runs, which never chooses policies."""
        return self.search_seed + FIRST_FRESH + pair


@dataclass(frozen=True, slots=True)
class Proposal:
    """The next trial of a strategy. Without a policy, the sampler suggests one from the space.

    Args:
        role, origin, horizon, seed: as in `Trial`.
        space: the space in which the study's trials are described.
        policy: the policy, over the task's horizon; None where the sampler suggests one.
    """

    role: Role
    origin: Origin
    horizon: int
    seed: int
    space: Space
    policy: Policy | None = None


class Strategy(Protocol):
    """A way to search. It keeps no state beside the history."""

    @property
    def name(self) -> str:
        """Its name in commands and tables."""

    def next(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """The next trial; None while open trials must end first, and when the study is done."""

    def space(self, setup: Setup, history: Sequence[Trial]) -> Space:
        """The space from which the trials after this history are drawn."""

    def check(self, setup: Setup) -> None:
        """Refuse a budget that is too small.

        Raises:
            BudgetError: with the least budget.
        """


def committed(history: Sequence[Trial]) -> int:
    """The steps that a history has cost, with open trials counted in full."""
    return sum(trial.committed for trial in history)


def with_role(history: Sequence[Trial], role: Role) -> list[Trial]:
    """The trials of a role, in order."""
    return [trial for trial in history if trial.role == role]


def is_open(trials: Sequence[Trial]) -> bool:
    """Whether any of the trials has not ended."""
    return any(trial.run is None for trial in trials)


def searched_in_full(history: Sequence[Trial], horizon: int) -> list[Trial]:
    """The finished trials over the whole horizon that choose policies, in order."""
    return [
        trial
        for trial in history
        if trial.role in SEARCHED and trial.horizon == horizon and trial.run and trial.run.score is not None
    ]


def best_so_far(history: Sequence[Trial], horizon: int, objective: Objective) -> list[tuple[float, float]]:
    """Pairs (cost in FRE, best score so far) after each full-length run that chooses policies, in order."""
    full = set(map(id, searched_in_full(history, horizon)))
    points: list[tuple[float, float]] = []
    steps, scores = 0, list[float]()
    for trial in history:
        steps += trial.spent
        if id(trial) in full and trial.run and trial.run.score is not None:
            scores.append(trial.run.score)
            points.append((steps / horizon, min(scores, key=objective.cost)))
    return points
