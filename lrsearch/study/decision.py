"""Which policy a search advises: decided here, and nowhere else. Every report says what this says."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.runs import Metrics, Objective, Run
from lrsearch.runs.objective import NEVER_CHOSEN_BY, TOP1, finite_cost
from lrsearch.runs.roles import Role
from lrsearch.schedules import Policy
from lrsearch.store import Trial
from lrsearch.study.noise import noise_of_repeats, noise_of_shares, tie_factor
from lrsearch.study.strategy import searched_in_full, with_role
from lrsearch.training.metrics import mean_metrics, means
from lrsearch.words import counted


@dataclass(frozen=True, slots=True)
class Answer:
    """A policy and how well it did on the validation split.

    Args:
        policy: the policy over the task's horizon.
        score: the objective's value, in its own unit and sign: the mean over fresh seeds; over the search's seed where
            there are none. In the mean of a share a run that diverged counts as 0; a mean of anything else is not
            known then, and None.
        spread: standard deviation over fresh seeds; None with one seed, and where the score is not known.
        seeds: runs behind the score.
        confirmed: whether the seeds are fresh, so that the score is not the luck of being chosen.
        metrics: means over the same runs at their last evaluation; see `Run.metrics`, and `Run.scores`.
        best_step: the mean step of their best evaluations, in steps.
        diverged: how many of the runs have no score.
    """

    policy: Policy
    score: float | None
    spread: float | None
    seeds: int
    confirmed: bool
    metrics: Metrics
    best_step: float | None
    diverged: int = 0

    @property
    def on(self) -> str:
        """Say which seeds the score is of."""
        return counted(self.seeds, "fresh seed") if self.confirmed else "the search's own seed"

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "policy": str(self.policy),
            "score": self.score,
            "spread": self.spread,
            "seeds": self.seeds,
            "confirmed": self.confirmed,
            "metrics": dict(self.metrics),
            "best_step": self.best_step,
            "diverged": self.diverged,
            "numbers": self.policy.numbers,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of a search, and what it was judged against: all over the same seeds.

    Args:
        default: the strong default.
        best_found: the best of the other policies; None where no other ran at full length.
        noise: the standard error of their difference; None where one seed leaves it unknown, 0 without `best_found`.
        objective: the metric that decides.
        freedom: degrees of freedom behind the noise; None where it is that of a share's samples.
    """

    default: Answer
    best_found: Answer | None
    noise: float | None
    objective: Objective
    freedom: int | None = None

    @property
    def best(self) -> Answer:
        """The answer: the default, unless the best found beats it by more than noise."""
        return self.best_found if self.best_found is not None and self._is_beaten(self.best_found) else self.default

    @property
    def is_default(self) -> bool:
        """Whether the default is the answer."""
        return self.best is self.default

    @property
    def is_usable(self) -> bool:
        """Whether the answer is of use: a share is better than that of a run that diverged, another metric is known."""
        return self.best.score is not None and self.best.score != worst_share(self.objective)

    @property
    def margin(self) -> float | None:
        """The best found's score less the default's; 0 without a best found, None where one has no score."""
        if self.best_found is None:
            return 0.0
        if self.best_found.score is None or self.default.score is None:
            return None
        return self.best_found.score - self.default.score

    @property
    def tie(self) -> float | None:
        """The largest difference that is a tie; None where the noise is not known."""
        return None if self.noise is None else tie_factor(self.freedom) * self.noise

    @property
    def verdict(self) -> str:
        """The answer as a sentence of advice, with its seeds and how sure it is."""
        default = f"the default, {self.default.policy}"
        sure = "" if self.best.confirmed else ", not confirmed on fresh seeds"
        if not self.is_usable:
            return f"Use no policy of this search: {default}, {self._lost}."
        if self.best_found is None:
            return f"Use {default}{sure}: no other policy ran to its end at full length within the budget."
        if self.is_default:
            beats = "is known to beat" if self._is_unknown else "beats"
            return f"Use {default}{sure}: no policy that was found {beats} it on {self.best.on} ({self._compared})."
        return f"Use {self.best.policy}{sure}: it beats the default on {self.best.on} ({self._compared})."

    @property
    def _is_unknown(self) -> bool:
        return self.noise is None and self.margin is not None

    def _is_beaten(self, found: Answer) -> bool:
        """Whether the best found is better than the default; a run that diverged is worse than any that did not."""
        if found.score is None or self.default.score is None:
            return found.diverged < self.default.diverged
        gain = self.objective.cost(self.default.score) - self.objective.cost(found.score)
        return self.tie is not None and gain > self.tie

    @property
    def _compared(self) -> str:
        """The two answers beside each other, in words."""
        assert self.best_found is not None
        if self.margin is None:
            runs = [f"{one.diverged} of {counted(one.seeds, 'run')}" for one in (self.default, self.best_found)]
            return f"{runs[0]} of the default diverged, {runs[1]} of the best found"
        difference = self.objective.difference(self.margin)
        if self.noise is None or self.tie is None:
            return f"{difference}; the noise is unknown with one seed"
        told = f"{difference}, noise {self.objective.spread(self.noise)}"
        return f"{told}: a tie" if abs(self.margin) <= self.tie else told

    @property
    def _lost(self) -> str:
        """Why not even the default can be used."""
        on = self.best.on
        if (worst := worst_share(self.objective)) is not None:
            other = "less" if self.objective.is_minimized else "more"
            return f"has {100 * worst:g} % on {on}, as a run that diverged, and none that was found has {other}"
        alone = f"{self.default.diverged} of {counted(self.default.seeds, 'run')} diverged"
        return f"has no score on {on}: {self._compared if self.best_found else alone}"


def decide(history: Sequence[Trial], horizon: int, objective: Objective) -> Decision | None:
    """Decide which policy a study's runs speak for; None where the default has not ended.

    Fresh seeds decide, in pairs of the default and one other policy; the search's own seed only where there are none.
    On a tie, and where the noise is not known, the default is the answer. A pair with a run that failed is left out.

    Args:
        history: the study's trials, in order.
        horizon: the steps of a full run.
        objective: the metric that decides.
    """
    first = next(filter(is_result, with_role(history, Role.DEFAULT)), None)
    if first is None:
        return None
    pairs = _pairs(history) or _own_pair(history, first, horizon, objective)
    confirmed = bool(pairs) and pairs[0][0] is not first
    default = _answer([one for one, _ in pairs] or [first], confirmed, objective)
    if not pairs:
        return Decision(default, None, 0.0, objective)
    found = _answer([other for _, other in pairs], confirmed, objective)
    noise, freedom = _noise(default, found, pairs, first, objective)
    return Decision(default, found, noise, objective, freedom)


def worst_share(objective: Objective) -> float | None:
    """What a run that diverged counts as in a mean of shares; None where the metric is none: nothing is its worst."""
    return (1.0 if objective.is_minimized else 0.0) if objective.is_share else None


def is_result(trial: Trial) -> bool:
    """Tell whether a trial has ended for good, well or not."""
    return trial.run is not None and trial.run.state.is_final


def full_run(history: Sequence[Trial], policy: Policy, horizon: int) -> Trial | None:
    """Give the trial of a policy at full length with the search's own seed; None where it has not ended."""
    own = [*with_role(history, Role.DEFAULT), *with_role(history, Role.CANDIDATE)]
    return next(
        (trial for trial in own if trial.policy == policy and trial.horizon == horizon and is_result(trial)), None
    )


def _pairs(history: Sequence[Trial]) -> list[tuple[Trial, Trial]]:
    """Give (default, other) on each fresh seed, of the other policy that has most of them."""
    confirming = with_role(history, Role.CONFIRM)
    by_policy: dict[Policy, list[tuple[Trial, Trial]]] = {}
    for one, other in zip(confirming[::2], confirming[1::2], strict=False):
        if is_result(one) and is_result(other):
            by_policy.setdefault(other.policy, []).append((one, other))
    return max(by_policy.values(), key=len, default=[])


def _own_pair(
    history: Sequence[Trial], default: Trial, horizon: int, objective: Objective
) -> list[tuple[Trial, Trial]]:
    """Give the default and the best of the other policies on the search's own seed."""
    others = [trial for trial in searched_in_full(history, horizon) if trial.policy != default.policy]
    return [(default, min(others, key=lambda trial: trial.rank(objective)))] if others else []


def _answer(behind: Sequence[Trial], confirmed: bool, objective: Objective) -> Answer:
    """Give a policy with its mean over the runs behind it."""
    runs, scores = [one.run for one in behind if one.run], _scores(behind, objective)
    is_known, steps = len(scores) == len(behind), _best_steps(runs, objective)
    return Answer(
        behind[0].policy,
        statistics.fmean(scores) if is_known else None,
        statistics.stdev(scores) if is_known and len(scores) > 1 else None,
        len(behind),
        confirmed,
        _metrics(runs, objective),
        statistics.fmean(steps) if steps else None,
        sum(_score(one) is None for one in behind),
    )


def _noise(
    default: Answer, found: Answer, pairs: Sequence[tuple[Trial, Trial]], first: Trial, objective: Objective
) -> tuple[float | None, int | None]:
    """The standard error of the difference of two answers, with its degrees of freedom; None where not known.

    The default's run with the search's own seed is one more repeat: nobody chose the default by it. The best found was
    chosen by its own, so that one would look like noise where it is luck.
    """
    if default.score is None or found.score is None:
        return None, None
    one, other = (_scores(side, objective) for side in zip(*pairs, strict=True))
    differences = [theirs - ours for ours, theirs in zip(one, other, strict=True)]
    if objective.samples is not None:
        return noise_of_shares(default.score, found.score, objective.samples, differences), None
    own = [] if any(trial is first for trial, _ in pairs) else _scores([first], objective)
    return noise_of_repeats([[*one, *own], other], differences) or (None, None)


def _score(trial: Trial) -> float | None:
    """A trial's score; None where it has none, or one that is not finite."""
    score = trial.run.score if trial.run else None
    return score if score is not None and math.isfinite(score) else None


def _scores(trials: Sequence[Trial], objective: Objective) -> list[float]:
    """The scores of some trials; in a mean of shares one that diverged has the worst, in any other it has none."""
    known = ((worst_share(objective) if (score := _score(one)) is None else score) for one in trials)
    return [score for score in known if score is not None]


def _metrics(runs: Sequence[Run], objective: Objective) -> Metrics:
    """The means of the other metrics at the runs' ends; those of a test set are shown by nobody unasked."""
    scores = [run.scores for run in runs]
    own = means(scores, dict.fromkeys(name for some in scores for name in some if not name.startswith(NEVER_CHOSEN_BY)))
    return {**mean_metrics(runs), **own} if objective.name == TOP1 else own


def _best_steps(runs: Sequence[Run], objective: Objective) -> list[float]:
    """The steps of the runs' best evaluations."""
    if objective.name == TOP1:
        step = mean_metrics(runs, "best")["step"]
        return [] if step is None else [step]
    return [min(run.points, key=lambda point: finite_cost(objective, point.score)).step for run in runs if run.points]
