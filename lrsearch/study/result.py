"""The result of a search: the answer, the default beside it, the cost, and the pruned space with its reasons."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lrsearch.errors import WorkError
from lrsearch.heuristics import Pruned
from lrsearch.runs import RunState
from lrsearch.runs.roles import Role
from lrsearch.store import Trial
from lrsearch.study.decision import Answer, Decision, decide
from lrsearch.study.driven import Driven, OfDriven
from lrsearch.study.front import front
from lrsearch.study.funnel import Funnel
from lrsearch.study.strategy import Setup, with_role
from lrsearch.study.study import Study
from lrsearch.study.warnings import handed_out, out_of_time, unchecked, unconfirmed, untried

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
class SearchResult(OfDriven):
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
    driven: Driven = field(default_factory=Driven)

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
        """All runs of the study in order, a row each; `cost` is cumulative, in FRE, `why` the error of a failed run."""
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
                    "why": run.why.strip() if run and run.state is RunState.FAILED else None,
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
            **self.driven.to_json(),
        }


def conclude(
    study: Study, warnings: Sequence[str] = (), driven: Driven | None = None, hours: float | None = None
) -> SearchResult:
    """The result of a funnel study, with earlier warnings first.

    Args:
        study: the study.
        warnings: earlier ones.
        driven: what happened while it was trained; None where this call trained nothing.
        hours: the time limit of the training; None for no limit.

    Raises:
        WorkError: if the default was not trained: without it there is no answer.
    """
    setup, history, driven = study.setup, study.history, driven or Driven()
    funnel = study.strategy
    assert isinstance(funnel, Funnel)
    is_whole = study.is_done and not study.open_trials
    ended_by = out_of_time(hours) if driven.is_out_of_time and not is_whole else None
    decision = decide(history, setup.task.horizon, setup.task.objective)
    if decision is None:
        raise WorkError(f"{study.name}: the default was not trained: {_why_not_trained(study, ended_by)}")
    spent = cost(study)
    stopped = f"{ended_by} after {spent.fre:.2f} of {setup.budget:g} FRE; the same call goes on" if ended_by else None
    return SearchResult(
        study.name,
        study.key,
        study.store.url,
        setup,
        tuple(history),
        funnel.pruned(setup, history),
        decision,
        spent,
        (
            *warnings,
            *([stopped] if stopped else []),
            *untried(setup, history, ended_by),
            *unconfirmed(setup, history, decision, ended_by),
            *unchecked(decision, history),
            *handed_out(study.handed_out),
        ),
        driven,
    )


def _why_not_trained(study: Study, ended_by: str | None) -> str | None:
    """Why there is no run of the default."""
    if ended_by:
        return f"{ended_by} before it; the same call goes on"
    first = next(iter(with_role(study.history, Role.DEFAULT)), None)
    if first and first.run:
        return first.run.error
    if study.handed_out:
        return "; ".join(handed_out(study.handed_out))
    return "it was interrupted, and the budget does not pay for it again"


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
