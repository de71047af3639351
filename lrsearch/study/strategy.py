"""What a strategy is: a pure function from what a study knows to what it trains next."""

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
FIRST_FRESH = 100
MOST_FRE = 1e6


@dataclass(frozen=True, slots=True)
class Setup:
    """What a study starts from.

    Args:
        task: what is trained.
        raw: the space before anything is known.
        budget: full-run equivalents (FRE) that all of it may cost: a hard cap.
        seed: the study's seed.
        recommended: what the store knew when the study began.
        rules: how range tests were read when it began.
        known: policies of the caller's own over the task's horizon, which are tried first.
        without: roles that are never asked for, of `check` and `range-test`.
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
        """The seed of every run that policies are chosen by, so that all see the same start and batches."""
        return self.seed * SEEDS_PER_STUDY

    def probe_seed(self, repeat: int) -> int:
        """The seed of a probe's repeat."""
        return self.search_seed + repeat

    def fresh_seed(self, pair: int) -> int:
        """The seed of a pair of confirming runs: never used to choose."""
        return self.search_seed + FIRST_FRESH + pair


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to train next. Without a policy, the sampler suggests one from the space.

    Args:
        role, origin, horizon, seed: as in `Trial`.
        space: the space that the study's trials are described in.
        policy: the policy, over the task's horizon; None to have one suggested.
    """

    role: Role
    origin: Origin
    horizon: int
    seed: int
    space: Space
    policy: Policy | None = None


class Strategy(Protocol):
    """A way to search. It keeps no state: what it knows is the history."""

    @property
    def name(self) -> str:
        """What it is called in commands and tables."""

    def next(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """Say what to train next; None while open trials must end first, and when all is done."""

    def space(self, setup: Setup, history: Sequence[Trial]) -> Space:
        """Give the space that the trials after this history are drawn from."""

    def check(self, setup: Setup) -> None:
        """Refuse a budget that buys nothing.

        Raises:
            BudgetError: it says what would do.
        """


def committed(history: Sequence[Trial]) -> int:
    """Give the steps that a history has cost, open trials counted in full."""
    return sum(trial.committed for trial in history)


def with_role(history: Sequence[Trial], role: Role) -> list[Trial]:
    """Give the trials of one role, in order."""
    return [trial for trial in history if trial.role == role]


def is_open(trials: Sequence[Trial]) -> bool:
    """Tell whether any of them has not ended."""
    return any(trial.run is None for trial in trials)


def searched_in_full(history: Sequence[Trial], horizon: int) -> list[Trial]:
    """Give the trials over the whole horizon that policies were chosen by, and that finished, in order."""
    return [
        trial
        for trial in history
        if trial.role in SEARCHED and trial.horizon == horizon and trial.run and trial.run.score is not None
    ]


def best_so_far(history: Sequence[Trial], horizon: int, objective: Objective) -> list[tuple[float, float]]:
    """Give (cost in FRE, best score so far) after each full-length run that was searched, in order."""
    full = set(map(id, searched_in_full(history, horizon)))
    points: list[tuple[float, float]] = []
    steps, scores = 0, list[float]()
    for trial in history:
        steps += trial.spent
        if id(trial) in full and trial.run and trial.run.score is not None:
            scores.append(trial.run.score)
            points.append((steps / horizon, min(scores, key=objective.cost)))
    return points
