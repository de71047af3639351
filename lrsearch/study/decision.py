"""Which policy a search advises: decided here, and nowhere else. Every report says what this says."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.runs import Metrics
from lrsearch.schedules import Policy
from lrsearch.study.strategy import Trial, searched_in_full, with_role
from lrsearch.training.metrics import mean_metrics
from lrsearch.words import counted

TIE = 2
"""A difference of at most so many standard errors is a tie: about 95 %."""


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

    @property
    def on(self) -> str:
        """Say which seeds the score is of."""
        return counted(self.seeds, "fresh seed") if self.confirmed else "the search's own seed"

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"policy": str(self.policy), "score": self.score, "spread": self.spread, "seeds": self.seeds,
                "confirmed": self.confirmed, "metrics": dict(self.metrics), "best_step": self.best_step,
                "numbers": self.policy.numbers}


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of a search, and what it was judged against: all over the same seeds.

    Args:
        default: the strong default.
        best_found: the best of the other policies; None where no other ran at full length.
        noise: the standard error of their difference, in [0, 1]; 0 without `best_found`.
    """

    default: Answer
    best_found: Answer | None
    noise: float

    @property
    def best(self) -> Answer:
        """The answer: the default, unless the best found beats it by more than noise."""
        return self.default if self.best_found is None or self.margin <= TIE * self.noise else self.best_found

    @property
    def is_default(self) -> bool:
        """Whether the default is the answer."""
        return self.best is self.default

    @property
    def is_usable(self) -> bool:
        """Whether the answer ever ended with a score above 0; what diverged scores 0."""
        return self.best.score > 0

    @property
    def margin(self) -> float:
        """The best found's score less the default's, in [-1, 1]; 0 without a best found."""
        return self.best_found.score - self.default.score if self.best_found else 0.0

    @property
    def verdict(self) -> str:
        """The answer as a sentence of advice, with its seeds and how sure it is."""
        default, on = f"the default, {self.default.policy}", self.best.on
        sure = "" if self.best.confirmed else ", not confirmed on fresh seeds"
        if not self.is_usable:
            return (f"Use no policy of this search: {default}, has 0 % on {on}, as a run that diverged, and none that"
                    " was found has more.")
        if self.best_found is None:
            return f"Use {default}{sure}: no other policy ran to its end at full length within the budget."
        is_tie = abs(self.margin) <= TIE * self.noise
        told = f"{100 * self.margin:+.2f} points, noise {100 * self.noise:.2f}{': a tie' if is_tie else ''}"
        if self.is_default:
            return f"Use {default}{sure}: no policy that was found beats it on {on} ({told})."
        return f"Use {self.best.policy}{sure}: it beats the default on {on} ({told})."


def decide(history: Sequence[Trial], horizon: int, validation_size: int) -> Decision | None:
    """Decide which policy a study's runs speak for; None where the default has not ended.

    Fresh seeds decide, in pairs of the default and one other policy; the search's own seed only where there are none.
    On a tie the default is the answer. A run that diverged scores 0; a pair with a run that failed is left out.

    Args:
        history: the study's trials, in order.
        horizon: the steps of a full run.
        validation_size: samples of the validation split, for the noise of a score.
    """
    first = next(filter(is_result, with_role(history, "default")), None)
    if first is None:
        return None
    pairs = _pairs(history) or _own_pair(history, first, horizon)
    confirmed = bool(pairs) and pairs[0][0] is not first
    default = _answer([one for one, _ in pairs] or [first], confirmed)
    if not pairs:
        return Decision(default, None, 0.0)
    found = _answer([other for _, other in pairs], confirmed)
    differences = [score_of(other) - score_of(one) for one, other in pairs]
    return Decision(default, found, _noise(differences, default.score, found.score, validation_size))


def is_result(trial: Trial) -> bool:
    """Tell whether a trial has ended for good, well or not."""
    return trial.run is not None and trial.run.state.is_final


def score_of(trial: Trial) -> float:
    """Give a trial's score; 0 where it has none."""
    return trial.run.score or 0.0 if trial.run else 0.0


def full_run(history: Sequence[Trial], policy: Policy, horizon: int) -> Trial | None:
    """Give the trial of a policy at full length with the search's own seed; None where it has not ended."""
    own = [*with_role(history, "default"), *with_role(history, "candidate")]
    return next((trial for trial in own if trial.assignment.policy == policy and trial.assignment.horizon == horizon
                 and is_result(trial)), None)


def _pairs(history: Sequence[Trial]) -> list[tuple[Trial, Trial]]:
    """Give (default, other) on each fresh seed, of the other policy that has most of them."""
    confirming = with_role(history, "confirm")
    by_policy: dict[Policy, list[tuple[Trial, Trial]]] = {}
    for one, other in zip(confirming[::2], confirming[1::2], strict=False):
        if is_result(one) and is_result(other):
            by_policy.setdefault(other.assignment.policy, []).append((one, other))
    return max(by_policy.values(), key=len, default=[])


def _own_pair(history: Sequence[Trial], default: Trial, horizon: int) -> list[tuple[Trial, Trial]]:
    """Give the default and the best of the other policies on the search's own seed."""
    others = [trial for trial in searched_in_full(history, horizon)
              if trial.assignment.policy != default.assignment.policy]
    return [(default, min(others, key=lambda trial: trial.rank))] if others else []


def _answer(behind: Sequence[Trial], confirmed: bool) -> Answer:
    """Give a policy with its mean over the runs behind it."""
    scores, runs = [score_of(one) for one in behind], [one.run for one in behind if one.run]
    return Answer(
        behind[0].assignment.policy, statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None,
        len(scores), confirmed, mean_metrics(runs), mean_metrics(runs, "best")["step"],
    )


def _noise(differences: Sequence[float], default: float, found: float, validation_size: int) -> float:
    """Give the standard error of a mean difference: of the samples that score it, or over seeds if that is larger."""
    binomial = math.sqrt((_variance(found) + _variance(default)) / validation_size / len(differences))
    paired = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 2 else 0.0
    return max(binomial, paired)


def _variance(score: float) -> float:
    return score * (1 - score)
