"""The decision of a search: which policy it recommends. Every report takes its answer from here."""

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
            there are none. In a mean of shares a run that diverged counts as 0. The mean of any other metric is
            unknown then: None.
        spread: standard deviation over fresh seeds; None with one seed, and where the score is not known.
        seeds: runs behind the score.
        confirmed: whether the seeds are fresh: then the score is free of the luck that the choice selects.
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
        """The seeds behind the score, in words."""
        return counted(self.seeds, "fresh seed") if self.confirmed else "the search's own seed"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
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
    """The answer of a search beside the default and the best other policy, all over the same seeds.

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
        """The answer: the default, unless the best other policy beats it by more than noise."""
        return self.best_found if self.best_found is not None and self._is_beaten(self.best_found) else self.default

    @property
    def is_default(self) -> bool:
        """Whether the default is the answer."""
        return self.best is self.default

    @property
    def is_usable(self) -> bool:
        """Whether the answer can be used: its score is known, and is not the share that a diverged run counts as."""
        return self.best.score is not None and self.best.score != worst_share(self.objective)

    @property
    def margin(self) -> float | None:
        """The score of the best other policy less the default's; 0 without one, None where a score is unknown."""
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
        """The answer as a sentence of advice, with its seeds and whether fresh ones confirm it."""
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

    def _is_beaten(self, other: Answer) -> bool:
        """Whether another policy beats the default; a run that diverged is worse than any that did not."""
        if other.score is None or self.default.score is None:
            return other.diverged < self.default.diverged
        gain = self.objective.cost(self.default.score) - self.objective.cost(other.score)
        return self.tie is not None and gain > self.tie

    @property
    def _compared(self) -> str:
        """The two answers compared, in words."""
        assert self.best_found is not None
        if self.margin is None:
            answers = self.default, self.best_found
            runs = [f"{answer.diverged} of {counted(answer.seeds, 'run')}" for answer in answers]
            return f"{runs[0]} of the default diverged, {runs[1]} of the best found"
        difference = self.objective.difference(self.margin)
        if self.noise is None or self.tie is None:
            return f"{difference}; the noise is unknown with one seed"
        text = f"{difference}, noise {self.objective.spread(self.noise)}"
        return f"{text}: a tie" if abs(self.margin) <= self.tie else text

    @property
    def _lost(self) -> str:
        """The reason why not even the default can be used."""
        on = self.best.on
        if (worst := worst_share(self.objective)) is not None:
            other = "less" if self.objective.is_minimized else "more"
            return f"has {100 * worst:g} % on {on}, as a run that diverged, and none that was found has {other}"
        alone = f"{self.default.diverged} of {counted(self.default.seeds, 'run')} diverged"
        return f"has no score on {on}: {self._compared if self.best_found else alone}"


def decide(history: Sequence[Trial], horizon: int, objective: Objective) -> Decision | None:
    """Decide between the default and the best other policy of a study; None while the default has not ended.

    Pairs of the default and one other policy on fresh seeds decide. Without such pairs, the search's own seed does.
    On a tie, and where the noise is unknown, the default is the answer. A pair with a failed run is left out.

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
    default = _answer([of_default for of_default, _ in pairs] or [first], confirmed, objective)
    if not pairs:
        return Decision(default, None, 0.0, objective)
    best_found = _answer([other for _, other in pairs], confirmed, objective)
    noise, freedom = _noise(default, best_found, pairs, first, objective)
    return Decision(default, best_found, noise, objective, freedom)


def worst_share(objective: Objective) -> float | None:
    """The share that a diverged run counts as in a mean; None for a metric that is no share: it has no worst value."""
    return (1.0 if objective.is_minimized else 0.0) if objective.is_share else None


def is_result(trial: Trial) -> bool:
    """Whether the run of a trial has a final state."""
    return trial.run is not None and trial.run.state.is_final


def full_run(history: Sequence[Trial], policy: Policy, horizon: int) -> Trial | None:
    """The full-length trial of a policy with the search's own seed; None where it has not ended."""
    own = [*with_role(history, Role.DEFAULT), *with_role(history, Role.CANDIDATE)]
    return next(
        (trial for trial in own if trial.policy == policy and trial.horizon == horizon and is_result(trial)), None
    )


def _pairs(history: Sequence[Trial]) -> list[tuple[Trial, Trial]]:
    """Pairs (default, other) on fresh seeds, for the other policy that has most of them."""
    confirming = with_role(history, Role.CONFIRM)
    by_policy: dict[Policy, list[tuple[Trial, Trial]]] = {}
    for default, other in zip(confirming[::2], confirming[1::2], strict=False):
        if is_result(default) and is_result(other):
            by_policy.setdefault(other.policy, []).append((default, other))
    return max(by_policy.values(), key=len, default=[])


def _own_pair(
    history: Sequence[Trial], default: Trial, horizon: int, objective: Objective
) -> list[tuple[Trial, Trial]]:
    """The default and the best of the other policies on the search's own seed, as one pair; none without others."""
    others = [trial for trial in searched_in_full(history, horizon) if trial.policy != default.policy]
    return [(default, min(others, key=lambda trial: trial.rank(objective)))] if others else []


def _answer(trials: Sequence[Trial], confirmed: bool, objective: Objective) -> Answer:
    """The policy of some trials, with its mean score over them."""
    runs, scores = [trial.run for trial in trials if trial.run], _scores(trials, objective)
    is_known, steps = len(scores) == len(trials), _best_steps(runs, objective)
    return Answer(
        trials[0].policy,
        statistics.fmean(scores) if is_known else None,
        statistics.stdev(scores) if is_known and len(scores) > 1 else None,
        len(trials),
        confirmed,
        _metrics(runs, objective),
        statistics.fmean(steps) if steps else None,
        sum(_score(trial) is None for trial in trials),
    )


def _noise(
    default: Answer, best_found: Answer, pairs: Sequence[tuple[Trial, Trial]], first: Trial, objective: Objective
) -> tuple[float | None, int | None]:
    """The standard error of the difference of two answers, with its degrees of freedom; None where unknown.

    The default's run with the search's own seed counts as one more repeat, for it chose nothing. The other policy was
    chosen by its run with that seed, so that run is biased and does not count.
    """
    if default.score is None or best_found.score is None:
        return None, None
    of_default, of_other = (_scores(trials, objective) for trials in zip(*pairs, strict=True))
    differences = [other - own for own, other in zip(of_default, of_other, strict=True)]
    if objective.samples is not None:
        return noise_of_shares(default.score, best_found.score, objective.samples, differences), None
    more = [] if any(trial is first for trial, _ in pairs) else _scores([first], objective)
    return noise_of_repeats([[*of_default, *more], of_other], differences) or (None, None)


def _score(trial: Trial) -> float | None:
    """The finite score of a trial; None where it has none."""
    score = trial.run.score if trial.run else None
    return score if score is not None and math.isfinite(score) else None


def _scores(trials: Sequence[Trial], objective: Objective) -> list[float]:
    """The scores of some trials. One that diverged has the worst share; in any other metric it has no score."""
    known = ((worst_share(objective) if (score := _score(trial)) is None else score) for trial in trials)
    return [score for score in known if score is not None]


def _metrics(runs: Sequence[Run], objective: Objective) -> Metrics:
    """The means of the other metrics at the runs' ends, without those of a test set: only `final_test` shows them."""
    scores = [run.scores for run in runs]
    names = dict.fromkeys(name for of_run in scores for name in of_run if not name.startswith(NEVER_CHOSEN_BY))
    metrics = means(scores, names)
    return {**mean_metrics(runs), **metrics} if objective.name == TOP1 else metrics


def _best_steps(runs: Sequence[Run], objective: Objective) -> list[float]:
    """The steps of the runs' best evaluations."""
    if objective.name == TOP1:
        step = mean_metrics(runs, "best")["step"]
        return [] if step is None else [step]
    return [min(run.points, key=lambda point: finite_cost(objective, point.score)).step for run in runs if run.points]
