"""Verdicts: does a policy reach a target within a budget of steps?"""

from dataclasses import dataclass
from typing import Any

from lrsearch.runs import Objective, RunSpec, Stop, Task
from lrsearch.schedules import Policy
from lrsearch.words import counted

CONFIDENCE = 0.95
"""Of the interval of a share: a convention."""
LOCAL = "local"
"""The origin of the store's own runs."""


@dataclass(frozen=True, slots=True)
class Question:
    """Does this policy reach the target within the budget?

    Args:
        task: the task to train.
        policy: the policy, bound.
        target: a value of the task's objective, in its unit: a top-1 above 0 and at most 1 for a classification.
        budget: updates.
        seeds: the seeds of the runs.
    """

    task: Task
    policy: Policy
    target: float
    budget: int
    seeds: tuple[int, ...]

    @property
    def objective(self) -> Objective:
        """The metric of the target."""
        return self.task.objective

    def spec(self, seed: int) -> RunSpec:
        """The spec of a run over the whole budget, with the key that any search uses."""
        return RunSpec(self.task, self.policy, self.budget, seed)

    def stopping(self, seed: int) -> RunSpec:
        """The spec of a run that ends at the target. Its own key keeps searches from taking it for a full run."""
        stop = Stop(self.task.stop.patience if self.task.stop else None, self.target)
        return RunSpec(self.task, self.policy, self.budget, seed, stop)


@dataclass(frozen=True, slots=True)
class SeedAnswer:
    """The answer of one seed.

    Args:
        seed: the run's seed.
        reached: whether it reached the target within the budget.
        step: the updates before the first evaluation that reached it, else before the best one; None without any.
        score: the objective's value at that evaluation; None without one.
        diverged: the update by which it diverged, if it did so within the budget and did not reach the target.
        by: `store` or `trained`.
        run: the run's key.
        origin: where the run comes from: `local`, or the name of a bundle.
        trained: updates trained for this answer.
    """

    seed: int
    reached: bool
    step: int | None
    score: float | None
    diverged: int | None
    by: str
    run: str
    origin: str
    trained: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answers of all seeds.

    Args:
        question: the question.
        answers: one for each seed, in order.
    """

    question: Question
    answers: tuple[SeedAnswer, ...]

    @property
    def reached(self) -> bool | None:
        """True if every seed reached the target, False if none did, None if it depends on the seed."""
        outcomes = {answer.reached for answer in self.answers}
        return outcomes.pop() if len(outcomes) == 1 else None

    @property
    def step(self) -> int | None:
        """The updates by which every seed had reached the target; None unless all did."""
        return max(answer.step or 0 for answer in self.answers) if self.reached else None

    @property
    def score(self) -> float | None:
        """The worst of the seeds' values, each at the evaluation of its answer; None if a seed has no evaluation."""
        scores = [answer.score for answer in self.answers if answer.score is not None]
        return max(scores, key=self.question.objective.cost) if len(scores) == len(self.answers) else None

    @property
    def by(self) -> str:
        """`store` if nothing was trained, else `trained`."""
        return "trained" if any(answer.by == "trained" for answer in self.answers) else "store"

    @property
    def runs(self) -> tuple[str, ...]:
        """The keys of the runs behind the answers."""
        return tuple(answer.run for answer in self.answers)

    @property
    def trained(self) -> int:
        """Updates trained for the verdict."""
        return sum(answer.trained for answer in self.answers)

    @property
    def saved(self) -> int:
        """Updates saved: those of full runs over the budget, less the trained ones."""
        return len(self.answers) * self.question.budget - self.trained

    @property
    def share(self) -> float:
        """The share of the seeds that reached the target."""
        return sum(answer.reached for answer in self.answers) / len(self.answers)

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval.

        Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
        """
        from scipy import stats  # slow to import

        hits = sum(answer.reached for answer in self.answers)
        interval = stats.binomtest(hits, len(self.answers)).proportion_ci(CONFIDENCE, method="wilson")
        return float(interval.low), float(interval.high)

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        question = self.question
        goal = f"{_goal(question)} on {question.task.name} within {counted(question.budget, 'update')}"
        begins = {True: "Yes", False: "No", None: "It depends on the seed"}[self.reached]
        verb = "does not reach" if self.reached is False else "reaches"
        if len(self.answers) == 1:
            shown = _showed(self.answers[0], question.objective)
            return f"{begins}: {question.policy} {verb} {goal}; {shown}."
        low, high = self.interval
        hits = {True: "each", False: "any", None: str(sum(answer.reached for answer in self.answers))}[self.reached]
        return (
            f"{begins}: {question.policy} {verb} {goal} with {hits} of {counted(len(self.answers), 'seed')}, a share"
            f" of {100 * self.share:.0f} % (95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
        )

    @property
    def cost(self) -> str:
        """The cost in a sentence."""
        origins = sorted({answer.origin for answer in self.answers} - {LOCAL})
        external = f" Not trained here: runs from {', '.join(origins)}." if origins else ""
        if self.by == "store":
            return f"The store knew it: nothing was trained.{external}"
        return f"Trained {self.trained} of {counted(self.trained + self.saved, 'update')}.{external}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        question, (low, high) = self.question, self.interval
        return {
            "task": question.task.name,
            "policy": str(question.policy),
            "target": question.target,
            "budget": question.budget,
            "reached": self.reached,
            "step": self.step,
            "score": self.score,
            "by": self.by,
            "runs": list(self.runs),
            "trained": self.trained,
            "saved": self.saved,
            "share": self.share,
            "interval": [low, high],
            "objective": question.objective.to_json(),
            "seeds": [answer.to_json() for answer in self.answers],
            "sentence": self.sentence,
        }


def _showed(answer: SeedAnswer, objective: Objective) -> str:
    """The run of a seed, in words."""
    evaluation = f"{objective.text(answer.score)} at update {answer.step}" if answer.score is not None else ""
    if answer.reached:
        return f"it has {evaluation}"
    if answer.diverged is not None:
        return f"it diverged by update {answer.diverged}" + (f", after {evaluation} at best" if evaluation else "")
    return f"its best evaluation has {evaluation}"


def _goal(question: Question) -> str:
    """The target for people: a share in percent, any other metric with its name."""
    objective = question.objective
    if objective.is_share:
        return f"{100 * question.target:.6g} %"
    return f"{objective.name} {objective.text(question.target, 6)}"
