"""What a study found: the best policy, whether it beat the default, what it cost, and what was cut and why."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrsearch.errors import WorkError
from lrsearch.heuristics import Pruned
from lrsearch.schedules import Policy
from lrsearch.study.funnel import Funnel, best_candidate
from lrsearch.study.strategy import Setup, Trial, with_role
from lrsearch.study.study import Study
from lrsearch.training.metrics import mean_metrics
from lrsearch.training.run import Metrics

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Answer:
    """A policy and how well it did on the validation split.

    Args:
        policy: the policy over the task's horizon.
        score: top-1 in [0, 1]: the mean over fresh seeds; over the search's seed where there are none.
        spread: standard deviation over fresh seeds; None with one seed.
        seeds: runs behind the score.
        confirmed: whether the seeds are fresh, so that the score is not the luck of being chosen.
        metrics: means over the same runs at their last look; see `Run.metrics`.
        best_step: the mean step of their best looks, in steps.
    """

    policy: Policy
    score: float
    spread: float | None
    seeds: int
    confirmed: bool
    metrics: Metrics
    best_step: float | None

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"policy": str(self.policy), "score": self.score, "spread": self.spread, "seeds": self.seeds,
                "confirmed": self.confirmed, "metrics": dict(self.metrics), "best_step": self.best_step,
                "numbers": self.policy.numbers}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a study cost in total, and what this start of it did.

    Args:
        fre: full-run equivalents: all steps, probes and lost attempts included, over the horizon.
        steps: the same in steps.
        seconds: wall time of all its runs.
        runs: number of runs.
        trained_steps, trained_runs: trained by this start.
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
        """Give it as plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What `lrsearch.search` returns: `.best.policy`, `.cost` in FRE, `.table()`; README runs an example."""

    study: str
    key: str
    store: str
    setup: Setup
    history: tuple[Trial, ...]
    pruned: Pruned
    best: Answer
    default: Answer
    verdict: str
    spent: Cost

    @property
    def cost(self) -> float:
        """What it cost in full-run equivalents (FRE)."""
        return self.spent.fre

    def table(self) -> "pd.DataFrame":
        """Give all runs of the study in order, one row each; `cost` is cumulative, in FRE."""
        import pandas as pd

        rows, steps = [], 0
        for trial in self.history:
            steps += trial.spent
            run = trial.run
            rows.append({
                "role": trial.assignment.role, "origin": trial.assignment.origin,
                "policy": str(trial.assignment.policy), "horizon": trial.assignment.horizon,
                "seed": trial.assignment.seed,
                "state": str(run.state) if run else "running", "score": run.score if run else None,
                "loss": run.loss if run else None, "cost": steps / self.setup.task.horizon,
            })
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Give the whole result as plain JSON values."""
        return {
            "best": self.best.to_json(),
            "default": self.default.to_json(),
            "verdict": self.verdict,
            "cost": self.spent.to_json(),
            "pruned": self.pruned.to_json(),
            "recommended": [recommendation.to_json() for recommendation in self.setup.recommended],
            "task": self.setup.task.name,
            "budget": float(self.setup.budget),
            "seed": self.setup.seed,
            "study": self.study,
            "store": self.store,
        }


def conclude(study: Study) -> SearchResult:
    """Give the result of a funnel study that is done.

    Raises:
        WorkError: if the default was not trained: there is nothing to answer then.
    """
    setup, history = study.setup, study.history
    funnel = study.strategy
    assert isinstance(funnel, Funnel)
    first = next(iter(with_role(history, "default")), None)
    if first is None or not _is_result(first):
        why = first.run.error if first and first.run else "it was interrupted, and the budget does not pay for it again"
        raise WorkError(f"{study.name}: the default was not trained: {why}")
    candidate, pairs = best_candidate(setup, history), _pairs(history)
    default = _answer(first, [a for a, _ in pairs])
    best, verdict = default, "No candidate ran at full length within the budget: the default is the answer."
    if candidate:
        found = _answer(candidate, [b for _, b in pairs])
        differences = [_score(b) - _score(a) for a, b in pairs]
        best, verdict = _judge(found, default, differences, setup.task.validation_size)
    return SearchResult(
        study.name, study.key, study.store.url, setup, tuple(history), funnel.pruned(setup, history), best, default,
        verdict, cost(study),
    )


def cost(study: Study) -> Cost:
    """Give what a study has cost so far."""
    return cost_of(study.history, study.setup.task.horizon)


def cost_of(trials: Sequence[Trial], horizon: int) -> Cost:
    """Give what some trials have cost; a run that was asked for twice was trained once."""
    ended = list({trial.stored.key: trial for trial in reversed(trials) if trial.stored}.values())
    steps = sum(trial.spent for trial in ended)
    own = [trial for trial in ended if not trial.reused]
    return Cost(
        fre=steps / horizon, steps=steps,
        seconds=sum(trial.stored.run.seconds for trial in ended if trial.stored), runs=len(ended),
        trained_steps=sum(trial.spent for trial in own), trained_runs=len(own), reused_runs=len(ended) - len(own),
    )


def _answer(trial: Trial, fresh: Sequence[Trial]) -> Answer:
    """Give a policy with its mean over fresh seeds; by the search's own seed where there are none."""
    behind = fresh or [trial]
    scores, runs = [_score(one) for one in behind], [one.run for one in behind if one.run]
    return Answer(
        trial.assignment.policy, statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None,
        len(scores), confirmed=bool(fresh), metrics=mean_metrics(runs), best_step=mean_metrics(runs, "best")["step"],
    )


def _pairs(history: Sequence[Trial]) -> list[tuple[Trial, Trial]]:
    """Give (default, candidate) on each fresh seed. A run that diverged scores 0; a pair that failed is left out."""
    confirming = with_role(history, "confirm")
    both = zip(confirming[::2], confirming[1::2], strict=False)
    return [(a, b) for a, b in both if _is_result(a) and _is_result(b)]


def _is_result(trial: Trial) -> bool:
    return trial.run is not None and trial.run.state.is_final


def _score(trial: Trial) -> float:
    return trial.run.score or 0.0 if trial.run else 0.0


def _judge(found: Answer, default: Answer, differences: Sequence[float], validation_size: int) -> tuple[Answer, str]:
    """Say which of the two is the answer, and how sure that is."""
    if not differences:
        better = found.score > default.score
        verdict = (
            f"{'The search found a better policy than the default' if better else 'Nothing beat the default'} on the"
            " search's own seed; the budget left nothing to confirm that on fresh seeds."
        )
        return (found if better else default), verdict
    mean = statistics.fmean(differences)
    binomial = math.sqrt((_variance(found.score) + _variance(default.score)) / validation_size / len(differences))
    paired = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 2 else 0.0
    error = max(binomial, paired)
    on = f"on {len(differences)} fresh seed{'s' if len(differences) > 1 else ''}"
    margin = f"{100 * mean:+.2f} points, noise {100 * error:.2f}"
    if mean <= 0:
        return default, f"The best candidate did not beat the default {on} ({margin}): the default is the answer."
    if mean <= 2 * error:
        return found, f"A tie with the default within noise {on} ({margin})."
    return found, f"Beats the default {on} ({margin})."


def _variance(score: float) -> float:
    return score * (1 - score)
