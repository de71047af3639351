"""Baselines of the funnel: full-length runs from the raw space, suggested by Optuna or drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch.errors import BudgetError
from lrsearch.runs.roles import Origin, Role
from lrsearch.spaces import Space
from lrsearch.store import Trial
from lrsearch.study.strategy import Proposal, Setup, committed, is_open


@dataclass(frozen=True, slots=True)
class FullRuns:
    """Full-length runs, one after the other, until the budget is used up.

    Args:
        name: "tpe" or "random", the sampler that suggests them.
    """

    name: str

    def check(self, setup: Setup) -> None:
        """Refuse a budget below one full run."""
        if setup.cap < setup.task.horizon:
            raise BudgetError(f"a budget of {setup.budget:g} FRE is too small: one full run costs 1")

    def next(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """The next suggestion, once the last run has ended and while the budget pays for one."""
        if is_open(history) or committed(history) + setup.task.horizon > setup.cap:
            return None
        return Proposal(Role.CANDIDATE, Origin.SUGGESTED, setup.task.horizon, setup.search_seed, setup.raw)

    def space(self, setup: Setup, history: Sequence[Trial]) -> Space:
        """The raw space."""
        return setup.raw
