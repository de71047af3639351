"""Recommendations for a task and their reasons, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lrsearch.later import warn_older
from lrsearch.recommendation.known import LOCAL, SHARE
from lrsearch.recommendation.rescaling import Correction, applying, uncertainty_of
from lrsearch.recommendation.similarity import Similarity
from lrsearch.runs import Objective
from lrsearch.runs.objective import MAXIMIZE, SCORE, TOP1
from lrsearch.schedules import Policy, parse
from lrsearch.words import counted

SAFETY_MARGIN = 0.5
"""The share of its uncertainty by which a learning rate is lowered: too high costs more than too low (a rule)."""
KEYS = {"optimum": "centre", "same_settings": "exact", "above_median": "fair", "safety_margin": "caution"}
"""The names of these fields in stored recommendations: keys of a store never change."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A policy that did well on a similar task.

    Args:
        policy: the policy over that task's horizon.
        task: that task's name.
        distance: how far that task is from the user's task; 0 for the same.
        score: its score there, mean over seeds, in its own unit and sign; or the score that a paper printed.
        seeds: runs behind the score.
        regret: how far it is behind the best by all tasks, in standard deviations of the noise, shrunk to the usual
            regret where it ran on few tasks.
        optimum: the range-test optimum of that task; None if it had none.
        horizon: that task's horizon in steps.
        origin: the source of the score: `local`, `published`, or the name of an import.
        source: the paper, for people; empty for runs of the user's own.
        corrections: of its learning rate, from that task to the user's.
        same_settings: whether that task equals the user's in all that moves a learning rate: the policy then stays.
        parts: the distance by group.
        value: its value there for the goal, the higher the better; for accuracy the score, or minus the score where
            that is minimized.
        low, high: a 90 % interval of minus the regret.
        p_best: the probability that no other is better.
        tie_group: from 1; the order within one group is not significant.
        tasks: tasks that it, or a pooled neighbour, ran on.
        runs: runs on all of them.
        above_median: whether it is as good as the median of that task, and that task has at least half of the largest
            weight.
        by_goal: minus its regret by goal, where it was ranked for all.
        front: whether none is better for one goal and as good for the others; None where it was ranked for one goal.
        share: the part of that task's horizon that the runs behind its score went over.
        safety_margin: the part of its uncertainty by which its learning rate is lowered; 0 in records older than the
            margin, so that their studies replay equally.
        objective: the metric of the score.
        policies: how many policies were pooled into it: those nearby count as one.
    """

    policy: Policy
    task: str
    distance: float
    score: float
    seeds: int
    regret: float
    optimum: float | None
    horizon: int
    origin: str = LOCAL
    source: str = ""
    corrections: tuple[Correction, ...] = ()
    same_settings: bool = False
    parts: tuple[tuple[str, float], ...] = ()
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_best: float | None = None
    tie_group: int | None = None
    tasks: int = 1
    runs: int | None = None
    above_median: bool = True
    by_goal: tuple[tuple[str, float], ...] = ()
    front: bool | None = None
    share: float = 0.0
    safety_margin: float = 0.0
    objective: Objective = SHARE
    policies: int = 1

    @property
    def unit(self) -> str:
        """The unit of the score; empty where it has none."""
        return self.objective.unit

    @property
    def score_text(self) -> str:
        """The score for people, with its unit."""
        return self.objective.text(self.score)

    @property
    def steps(self) -> int:
        """Steps of the runs behind its score."""
        return round(self.share * self.horizon)

    def transferred(self, horizon: int, own_optimum: float | None) -> Policy:
        """The policy over another horizon, its learning rate moved by the range tests and by the corrections.

        Where both tasks have a range test it moves by the ratio of the two optima, and by the corrections that range
        tests do not replace; else by all corrections. Then it is lowered by its safety margin. The policy of a task
        with the same settings is only stretched.
        """
        policy = self.policy.stretch(horizon / self.horizon)
        if self.same_settings:
            return policy
        probed = own_optimum is not None and self.optimum is not None
        margin = self.safety_margin * self.uncertainty(own_optimum)
        moved = sum(correction.decades for correction in applying(self.corrections, probed)) - margin
        factor = own_optimum / self.optimum if own_optimum is not None and self.optimum is not None else 1.0
        return policy.scale(factor * 10**moved) if moved or factor != 1 else policy

    def uncertainty(self, own_optimum: float | None) -> float:
        """The standard deviation of the learning rate, in decades, with the task's own range test or without."""
        probed = own_optimum is not None and self.optimum is not None
        return 0.0 if self.same_settings else uncertainty_of(applying(self.corrections, probed))

    def carried(self, horizon: int, own_centre: float | None) -> Policy:
        """The older name of `transferred`."""
        warn_older("Recommendation.carried", "Recommendation.transferred")
        return self.transferred(horizon, own_centre)

    def doubt(self, own_centre: float | None) -> float:
        """The older name of `uncertainty`."""
        warn_older("Recommendation.doubt", "Recommendation.uncertainty")
        return self.uncertainty(own_centre)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, under the keys of stores."""
        names = [field.name for field in fields(self) if field.name != "objective"]
        values = {KEYS.get(name, name): getattr(self, name) for name in names}
        nested = {
            "policy": str(self.policy),
            "corrections": [correction.to_json() for correction in self.corrections],
            "parts": dict(self.parts),
            "by_goal": dict(self.by_goal),
        }
        return values | _of_metric(self.objective) | nested

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recommendation":
        """Read the values of `to_json`; missing keys of older records get defaults, unknown keys are ignored."""
        keys = {field.name: KEYS.get(field.name, field.name) for field in fields(cls)}
        present = {name: values[key] for name, key in keys.items() if key in values}
        nested = {
            "policy": parse(values["policy"]),
            "corrections": tuple(map(Correction.from_json, values.get("corrections", ()))),
            "parts": tuple(values.get("parts", {}).items()),
            "by_goal": tuple(values.get("by_goal", {}).items()),
            "objective": _metric_of(values),
        }
        return cls(**present | nested)


def _of_metric(objective: Objective) -> dict[str, Any]:
    """The metric of a score, as JSON values beside the score."""
    samples = {} if objective.samples is None else {"samples": objective.samples}
    return {"metric": objective.name, "direction": objective.direction, "unit": objective.unit} | samples


def _metric_of(values: Mapping[str, Any]) -> Objective:
    """Read the values of `_of_metric`; an older record had a unit only, and none for a share."""
    if "metric" in values:
        return Objective(values["metric"], values["direction"], values["unit"], values.get("samples"))
    return Objective(TOP1, MAXIMIZE, values["unit"]) if values.get("unit") else SHARE


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A task that was compared with the user's.

    Args:
        name: the task's name.
        origin, source: as in `KnownTask`.
        similarity: how far it is, by group.
        weight: by distance and reliability; 0 where it is too far.
        runs: how many of its runs were read.
    """

    name: str
    origin: str
    source: str
    similarity: Similarity
    weight: float
    runs: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "task": self.name,
            "origin": self.origin,
            "source": self.source,
            "weight": self.weight,
            "runs": self.runs,
            **self.similarity.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Searched:
    """The answer of a search of the same task: decided on its own pairs of runs, not by ranking.

    Args:
        study: the study's name.
        policy: the answer.
        score: its metric's mean over its seeds, in its own unit and sign.
        seeds: runs behind the score.
        confirmed: whether these runs have fresh seeds.
        verdict: the answer as a sentence of advice.
        objective: the metric.
    """

    study: str
    policy: Policy
    score: float
    seeds: int
    confirmed: bool
    verdict: str
    objective: Objective = SCORE

    @property
    def score_text(self) -> str:
        """The score for people, with its unit."""
        return self.objective.text(self.score)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "objective"}
        return values | _of_metric(self.objective) | {"policy": str(self.policy)}


@dataclass(frozen=True, slots=True)
class Advice:
    """The recommendations for a task.

    Args:
        task: the name of the user's task.
        goal: the goal that the policies are ranked for.
        relevant: whether there is relevant evidence.
        reason: why, or why not.
        neighbours: the tasks that were compared, the nearest first.
        ranked: the candidates, the first to try first; none without relevant evidence.
        own_optimum: the optimum of the task's own range tests, if it has any in the store.
        horizon: the task's steps.
        answers: of searches of the task itself, for accuracy; the answer on most fresh seeds first.
    """

    task: str
    goal: str
    relevant: bool
    reason: str
    neighbours: tuple[Neighbour, ...]
    ranked: tuple[Recommendation, ...]
    own_optimum: float | None
    horizon: int
    answers: tuple[Searched, ...] = ()

    def answered(self, recommended: Recommendation) -> tuple[str, ...]:
        """The names of this task's searches whose answer is the recommendation."""
        is_own_task = recommended.task == self.task and recommended.horizon == self.horizon
        if not (recommended.same_settings and is_own_task):
            return ()
        return tuple(answer.study for answer in self.answers if answer.policy == recommended.policy)

    def first(self, k: int = 2) -> list[Recommendation]:
        """At most k policies of different forms, best first, each as good as the median of its task."""
        chosen: dict[str, Recommendation] = {}
        for recommended in self.ranked:
            if recommended.above_median:
                chosen.setdefault(recommended.policy.form, recommended)
        return list(chosen.values())[:k]

    def by_regret(self) -> list[Recommendation]:
        """The candidates by regret, the least first; where they are ranked for all goals, those on the front first.

        `ranked` is another order, for trying one after the other: there a candidate with little evidence may come
        before a better one whose strengths the candidates before it share.
        """
        return sorted(self.ranked, key=_by_regret)

    def why(self, recommended: Recommendation) -> str:
        """The reasons for a candidate's place, in few words."""
        if recommended.source:
            where = f"published for {recommended.task}"
        elif recommended.distance == 0 and recommended.task == self.task:
            where = "measured on this task"
        else:
            where = f"carried from {recommended.task}"
        is_imported = recommended.origin != LOCAL and not recommended.source
        imported = f" (from {recommended.origin})" if is_imported else ""
        parts = [f"answer of {name}" for name in self.answered(recommended)]
        parts += [where + imported, counted(recommended.seeds, "seed")]
        if recommended.share < 1:
            parts.append("short runs")
        if recommended.policies > 1:
            parts.append(f"pooled with {counted(recommended.policies - 1, 'policy', 'policies')} nearby")
        if recommended.tasks > 1:
            parts.append(f"seen on {counted(recommended.tasks, 'task')}")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, each recommendation as in `row`."""
        return {
            "task": self.task,
            "goal": self.goal,
            "relevant": self.relevant,
            "reason": self.reason,
            "own_centre": self.own_optimum,
            "neighbours": [neighbour.to_json() for neighbour in self.neighbours],
            "answers": [answer.to_json() for answer in self.answers],
            "ranked": [self.row(recommended) for recommended in self.ranked],
        }

    def row(self, recommended: Recommendation) -> dict[str, Any]:
        """A recommendation as JSON values, with those that depend on this task.

        Beside its own there are `carried`, the policy transferred to this task; `doubt`, its uncertainty in decades;
        `place`, from 1, by regret; `steps` of the runs behind its score; and `why`.
        """
        policy = recommended.transferred(self.horizon, self.own_optimum).rounded()
        return recommended.to_json() | {
            "carried": str(policy),
            "doubt": recommended.uncertainty(self.own_optimum),
            "place": 1 + self.by_regret().index(recommended),
            "steps": recommended.steps,
            "why": self.why(recommended),
        }


def _by_regret(recommended: Recommendation) -> tuple[bool, float, float, float, float]:
    """A sort key: on the front first, then the least regret, the longest runs, the best value, the most probable."""
    value, p_best = recommended.value or 0.0, recommended.p_best or 0.0
    return recommended.front is False, round(recommended.regret, 9), -recommended.share, -value, -p_best
