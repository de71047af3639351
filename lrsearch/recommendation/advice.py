"""What is recommended for a task, and why, as frozen values."""

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
"""A learning rate is lowered by so much of its doubt: one that is too high costs more than one that is too low."""
KEYS = {"optimum": "centre", "same_settings": "exact", "above_median": "fair", "safety_margin": "caution"}
"""What stored recommendations call these fields: keys of a store never change."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A policy that did well on a similar task.

    Args:
        policy: the policy over that task's horizon.
        task: that task's name.
        distance: how far that task is from the one asked for; 0 for the same.
        score: its score there, mean over seeds, in its own unit and sign; or what a paper printed.
        seeds: runs behind the score.
        regret: how far it is behind the best by all tasks, in standard deviations of the noise, shrunk to what is
            usual where it was seen on few.
        optimum: the middle of the bottom of that task's range test; None if it had none.
        horizon: that task's horizon in steps.
        origin: where the score comes from: `local`, `published`, or where else the runs were imported from.
        source: the paper, for people; empty for runs of one's own.
        corrections: what moves its learning rate on the way to the task asked for.
        same_settings: whether that task trains the same in all that moves a learning rate: it is then taken as it is.
        parts: the distance by group.
        value: what it is worth there for the goal, the higher the better: where that is accuracy the score, or minus
            the score where that is minimized.
        low, high: a 90 % interval of minus the regret.
        p_best: how probable it is that no other is better.
        tie_group: from 1; candidates of one group are not told apart.
        tasks: tasks that it was seen on, itself or a neighbour.
        runs: runs on all of them.
        above_median: whether it is as good as the median of that task, and that task weighs at least half of what the
            heaviest does.
        by_goal: minus its regret by goal, where it was ranked for all.
        front: whether none is better for one goal and as good for the others; None where one goal was asked for.
        share: the part of that task's horizon that the runs behind its score went over.
        safety_margin: the part of its uncertainty by which its learning rate is lowered; 0 in records of before there
            was one, so that their studies are replayed as they were.
        objective: the metric that the score is of.
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
        """Give the policy over another horizon, its learning rate moved by the range tests and by the corrections.

        Where both tasks have a range test it moves by the ratio of the two, and by those corrections that they do not
        show; else by all of them. Then it is lowered by its caution. Of a task that trains the same it stays as
        it is.
        """
        policy = self.policy.stretch(horizon / self.horizon)
        if self.same_settings:
            return policy
        probed = own_optimum is not None and self.optimum is not None
        moved = sum(one.decades for one in applying(self.corrections, probed)) - self.safety_margin * self.uncertainty(
            own_optimum
        )
        factor = own_optimum / self.optimum if own_optimum is not None and self.optimum is not None else 1.0
        return policy.scale(factor * 10**moved) if moved or factor != 1 else policy

    def uncertainty(self, own_optimum: float | None) -> float:
        """Give how uncertain the learning rate is, in decades, with a range test of one's own or without."""
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
        """Give it as plain JSON values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "objective"}
        return (
            {KEYS.get(name, name): value for name, value in plain.items()}
            | _of_metric(self.objective)
            | {
                "policy": str(self.policy),
                "corrections": [one.to_json() for one in self.corrections],
                "parts": dict(self.parts),
                "by_goal": dict(self.by_goal),
            }
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recommendation":
        """Read it back; what an older record does not have is as its default, what it does not know is left."""
        held = {one.name: values[key] for one in fields(cls) if (key := KEYS.get(one.name, one.name)) in values}
        return cls(
            **held
            | {
                "policy": parse(values["policy"]),
                "corrections": tuple(Correction.from_json(one) for one in values.get("corrections", ())),
                "parts": tuple(values.get("parts", {}).items()),
                "by_goal": tuple(values.get("by_goal", {}).items()),
                "objective": _metric_of(values),
            }
        )


def _of_metric(objective: Objective) -> dict[str, Any]:
    """What a score is of, as plain JSON values beside the score."""
    samples = {} if objective.samples is None else {"samples": objective.samples}
    return {"metric": objective.name, "direction": objective.direction, "unit": objective.unit} | samples


def _metric_of(values: Mapping[str, Any]) -> Objective:
    """Read what `_of_metric` gave; an older record had a unit only, and none for a share."""
    if "metric" in values:
        return Objective(values["metric"], values["direction"], values["unit"], values.get("samples"))
    return Objective(TOP1, MAXIMIZE, values["unit"]) if values.get("unit") else SHARE


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A task that was looked at.

    Args:
        name: what people call it.
        origin, source: as in `KnownTask`.
        similarity: how far it is, by group.
        weight: what it counts, by distance and reliability; 0 where it is too far.
        runs: runs of it that were read.
    """

    name: str
    origin: str
    source: str
    similarity: Similarity
    weight: float
    runs: int

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
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
    """The answer of a search of the very task: decided on its own pairs of runs, not by ranking.

    Args:
        study: the study's name.
        policy: the answer.
        score: its metric's mean over its seeds, in its own unit and sign.
        seeds: runs behind the score.
        confirmed: whether they are of fresh seeds.
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
        """Return it as plain JSON values."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "objective"}
        return plain | _of_metric(self.objective) | {"policy": str(self.policy)}


@dataclass(frozen=True, slots=True)
class Advice:
    """What is known for a task.

    Args:
        task: the name of the task that was asked for.
        goal: what the policies are ranked for.
        relevant: whether anything that is known bears on it.
        reason: why, or why not.
        neighbours: the tasks that were looked at, the nearest first.
        ranked: the candidates, the first to try first; none without relevant evidence.
        own_optimum: the middle of the task's own range tests, if it has any in the store.
        horizon: the task's steps.
        answers: of searches of the task itself, for accuracy, the one on most fresh seeds first.
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

    def answered(self, one: Recommendation) -> tuple[str, ...]:
        """Return the names of the searches of this task whose answer a recommendation is."""
        is_own = one.same_settings and one.task == self.task and one.horizon == self.horizon
        return tuple(each.study for each in self.answers if is_own and each.policy == one.policy)

    def first(self, k: int = 2) -> list[Recommendation]:
        """Give at most k policies of different forms, best first, each a fair one."""
        chosen: dict[str, Recommendation] = {}
        for one in self.ranked:
            if one.above_median:
                chosen.setdefault(one.policy.form, one)
        return list(chosen.values())[:k]

    def by_regret(self) -> list[Recommendation]:
        """Sort the candidates by what is known of them: the least behind first, after the front of all goals if asked.

        `ranked` is another order, for trying one after the other: there a candidate of which little is known may come
        before a better one that those before it cover.
        """
        return sorted(
            self.ranked,
            key=lambda one: (
                one.front is False,
                round(one.regret, 9),
                -one.share,
                -(one.value or 0.0),
                -(one.p_best or 0.0),
            ),
        )

    def why(self, one: Recommendation) -> str:
        """Say in few words what a candidate's place rests on."""
        if one.source:
            where = f"published for {one.task}"
        elif one.distance == 0 and one.task == self.task:
            where = "measured on this task"
        else:
            where = f"carried from {one.task}"
        imported = f" (from {one.origin})" if one.origin != LOCAL and not one.source else ""
        parts = [f"answer of {name}" for name in self.answered(one)]
        parts += [where + imported, counted(one.seeds, "seed")]
        if one.share < 1:
            parts.append("short runs")
        if one.policies > 1:
            parts.append(f"pooled with {counted(one.policies - 1, 'policy', 'policies')} nearby")
        if one.tasks > 1:
            parts.append(f"seen on {counted(one.tasks, 'task')}")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values, each policy with what it is on the task asked for."""
        return {
            "task": self.task,
            "goal": self.goal,
            "relevant": self.relevant,
            "reason": self.reason,
            "own_centre": self.own_optimum,
            "neighbours": [one.to_json() for one in self.neighbours],
            "answers": [one.to_json() for one in self.answers],
            "ranked": [self.told(one) for one in self.ranked],
        }

    def told(self, one: Recommendation) -> dict[str, Any]:
        """Give a recommendation as plain JSON values.

        Beside its own there are `carried`, the policy transferred to this task; `doubt`, its uncertainty in decades;
        `place`, from 1, by regret; `steps` of the runs behind its score; and `why`.
        """
        here = one.transferred(self.horizon, self.own_optimum).rounded()
        return one.to_json() | {
            "carried": str(here),
            "doubt": one.uncertainty(self.own_optimum),
            "place": 1 + self.by_regret().index(one),
            "steps": one.steps,
            "why": self.why(one),
        }
