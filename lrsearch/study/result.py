"""The result of a search: the answer, the default beside it, the cost, and the pruned space with its reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrsearch.errors import WorkError
from lrsearch.heuristics import Pruned
from lrsearch.runs.conclusion import NOT_CHECKED
from lrsearch.runs.roles import Role
from lrsearch.store import Trial
from lrsearch.study.decision import Answer, Decision, decide
from lrsearch.study.front import front
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import Setup, with_role
from lrsearch.study.study import Study
from lrsearch.words import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a study in total, and the part of this call.

    Args:
        fre: full-run equivalents: all steps, probes and lost attempts included, over the horizon.
        steps: the same in steps.
        seconds: wall time of all its runs.
        runs: number of runs.
        trained_steps, trained_runs: trained by this call.
        reused_runs: taken from the store.
    """

    fre: float
    steps: int
    seconds: float
    runs: int
    trained_steps: int
    trained_runs: int
    reused_runs: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result that `lrsearch.search` returns: `.best.policy`, `.verdict`, `.cost` in FRE; README has an example."""

    study: str
    key: str
    store: str
    setup: Setup
    history: tuple[Trial, ...]
    pruned: Pruned
    decision: Decision
    spent: Cost
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> Answer:
        """The answer: the default on a tie, and where no other policy ran at full length."""
        return self.decision.best

    @property
    def best_found(self) -> Answer | None:
        """The best policy beside the default, over the same seeds; None where no other ran at full length."""
        return self.decision.best_found

    @property
    def default(self) -> Answer:
        """The strong default, over the same seeds."""
        return self.decision.default

    @property
    def verdict(self) -> str:
        """The answer as a sentence of advice, with its seeds and whether fresh ones confirm it."""
        return self.decision.verdict

    @property
    def cost(self) -> float:
        """The cost of the search in full-run equivalents (FRE)."""
        return self.spent.fre

    def front(self) -> tuple[Trial, ...]:
        """The full runs that no other beats on all of the task's objectives, the best by the first one first."""
        return front(self.history, self.setup.task.horizon, self.setup.task.objectives)

    def table(self) -> "pd.DataFrame":
        """All runs of the study in order, a row each; `cost` is cumulative, in FRE."""
        import pandas as pd

        rows, steps = [], 0
        for trial in self.history:
            steps += trial.spent
            run = trial.run
            rows.append(
                {
                    "role": trial.role,
                    "origin": trial.origin,
                    "policy": str(trial.policy),
                    "horizon": trial.horizon,
                    "seed": trial.seed,
                    "state": str(run.state) if run else "running",
                    "score": run.score if run else None,
                    "loss": run.loss if run else None,
                    "cost": steps / self.setup.task.horizon,
                }
            )
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values of the whole result."""
        return {
            "best": self.best.to_json(),
            "best_found": self.best_found.to_json() if self.best_found else None,
            "default": self.default.to_json(),
            "verdict": self.verdict,
            "cost": self.spent.to_json(),
            "pruned": self.pruned.to_json(),
            "recommended": [recommendation.to_json() for recommendation in self.setup.recommended],
            "task": self.setup.task.name,
            "objective": self.decision.objective.to_json(),
            "budget": float(self.setup.budget),
            "seed": self.setup.seed,
            "study": self.study,
            "store": self.store,
            "warnings": list(self.warnings),
        }


def conclude(study: Study, warnings: Sequence[str] = ()) -> SearchResult:
    """The result of a funnel study, with earlier warnings first.

    Raises:
        WorkError: if the default was not trained: without it there is no answer.
    """
    setup, history = study.setup, study.history
    funnel = study.strategy
    assert isinstance(funnel, Funnel)
    decision = decide(history, setup.task.horizon, setup.task.objective)
    if decision is None:
        first = next(iter(with_role(history, Role.DEFAULT)), None)
        why = first.run.error if first and first.run else "it was interrupted, and the budget does not pay for it again"
        raise WorkError(f"{study.name}: the default was not trained: {why}")
    return SearchResult(
        study.name,
        study.key,
        study.store.url,
        setup,
        tuple(history),
        funnel.pruned(setup, history),
        decision,
        cost(study),
        (*warnings, *_untried(setup, history), *_unchecked(decision, history)),
    )


def _untried(setup: Setup, history: Sequence[Trial]) -> list[str]:
    """Warnings that name the user's policies which the budget did not pay for."""
    candidates = {trial.policy for trial in with_role(history, Role.CANDIDATE)}
    tried = candidates | {trial.policy for trial in with_role(history, Role.DEFAULT)}
    paid = (
        f"tries {counted(len(candidates), 'policy', 'policies')} beside the default"
        if candidates
        else "pays for nothing beside the default"
    )
    return [
        f"{policy} was not tried: a budget of {setup.budget:g} FRE {paid}"
        for policy in setup.known
        if policy not in tried
    ]


def _unchecked(decision: Decision, history: Sequence[Trial]) -> list[str]:
    """A warning where it was not checked that the answer's policy was applied."""
    answers = [trial.run for trial in history if trial.run and trial.policy == decision.best.policy]
    if not any(run.applied == NOT_CHECKED for run in answers):
        return []
    return ["the training never asked for job.scheduler(optimizer): whether its policies were applied was not checked"]


def cost(study: Study) -> Cost:
    """The cost of a study so far."""
    return cost_of(study.history, study.setup.task.horizon)


def cost_of(trials: Sequence[Trial], horizon: int) -> Cost:
    """The cost of some trials; a run that stands in two trials was trained once."""
    ended = list({trial.stored.key: trial for trial in reversed(trials) if trial.stored}.values())
    steps = sum(trial.spent for trial in ended)
    own = [trial for trial in ended if not trial.reused]
    return Cost(
        fre=steps / horizon,
        steps=steps,
        seconds=sum(trial.stored.run.seconds for trial in ended if trial.stored),
        runs=len(ended),
        trained_steps=sum(trial.spent for trial in own),
        trained_runs=len(own),
        reused_runs=len(ended) - len(own),
    )
