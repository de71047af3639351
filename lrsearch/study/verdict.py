"""What was asked of a policy, and what came of it: does it reach a target within a budget of steps?"""

from dataclasses import dataclass
from typing import Any

from lrsearch.runs import Objective, RunSpec, Stop, Task
from lrsearch.schedules import Policy
from lrsearch.words import counted

CONFIDENCE = 0.95
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Question:
    """Does this policy reach the target within the budget?

    Args:
        task: what is trained.
        policy: the policy, bound.
        target: of the task's objective, in its unit: of a classification top-1, above 0 and at most 1.
        budget: updates.
        seeds: of the runs, one each.
    """

    task: Task
    policy: Policy
    target: float
    budget: int
    seeds: tuple[int, ...]

    @property
    def objective(self) -> Objective:
        """The metric that is asked about."""
        return self.task.objective

    def spec(self, seed: int) -> RunSpec:
        """Give what identifies the run over the whole budget: anybody's."""
        return RunSpec(self.task, self.policy, self.budget, seed)

    def stopping(self, seed: int) -> RunSpec:
        """Give what identifies the run that ends at the target: by its key no search takes it for a full one."""
        stop = Stop(self.task.stop.patience if self.task.stop else None, self.target)
        return RunSpec(self.task, self.policy, self.budget, seed, stop)


@dataclass(frozen=True, slots=True)
class SeedAnswer:
    """What the run of one seed says.

    Args:
        seed: the run's seed.
        reached: whether it reached the target within the budget.
        step: the updates before the first look that reached it, else before the best look; None without a look.
        score: the objective's value at that look; None without one.
        diverged: the update by which it diverged, if it did so within the budget and did not reach the target.
        by: `store` or `trained`.
        run: the run's key.
        origin: where the run comes from: `local`, or what the store says.
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
        """Give it as plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answers of all seeds.

    Args:
        question: what was asked.
        answers: one for each seed, in order.
    """

    question: Question
    answers: tuple[SeedAnswer, ...]

    @property
    def reached(self) -> bool | None:
        """True if every seed reached the target, False if none did, None if it depends on the seed."""
        found = {answer.reached for answer in self.answers}
        return found.pop() if len(found) == 1 else None

    @property
    def step(self) -> int | None:
        """The updates by which every seed had reached the target; None unless all did."""
        return max(answer.step or 0 for answer in self.answers) if self.reached else None

    @property
    def score(self) -> float | None:
        """The worst of the seeds' values, each at its answer's look; None if one has no look."""
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
        """Updates that were trained for the verdict."""
        return sum(answer.trained for answer in self.answers)

    @property
    def saved(self) -> int:
        """Updates that full runs over the budget would have taken beyond those."""
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
        found = stats.binomtest(hits, len(self.answers)).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    @property
    def sentence(self) -> str:
        """Say it in a sentence."""
        asked = self.question
        about = f"{_goal(asked)} on {asked.task.name} within {counted(asked.budget, 'update')}"
        begins = {True: "Yes", False: "No", None: "It depends on the seed"}[self.reached]
        verb = "does not reach" if self.reached is False else "reaches"
        if len(self.answers) == 1:
            return f"{begins}: {asked.policy} {verb} {about}; {_showed(self.answers[0], asked.objective)}."
        low, high = self.interval
        hits = {True: "each", False: "any", None: str(sum(answer.reached for answer in self.answers))}[self.reached]
        return (
            f"{begins}: {asked.policy} {verb} {about} with {hits} of {counted(len(self.answers), 'seed')}, a share"
            f" of {100 * self.share:.0f} % (95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
        )

    @property
    def cost(self) -> str:
        """Say in a sentence what it cost."""
        origins = sorted({answer.origin for answer in self.answers} - {LOCAL})
        told = f" Not trained here: runs from {', '.join(origins)}." if origins else ""
        if self.by == "store":
            return f"The store knew it: nothing was trained.{told}"
        return f"Trained {self.trained} of {counted(self.trained + self.saved, 'update')}.{told}"

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        asked, (low, high) = self.question, self.interval
        return {
            "task": asked.task.name,
            "policy": str(asked.policy),
            "target": asked.target,
            "budget": asked.budget,
            "reached": self.reached,
            "step": self.step,
            "score": self.score,
            "by": self.by,
            "runs": list(self.runs),
            "trained": self.trained,
            "saved": self.saved,
            "share": self.share,
            "interval": [low, high],
            "objective": asked.objective.to_json(),
            "seeds": [answer.to_json() for answer in self.answers],
            "sentence": self.sentence,
        }


def _showed(answer: SeedAnswer, objective: Objective) -> str:
    """Say what a seed's run showed."""
    look = f"{objective.text(answer.score)} at update {answer.step}" if answer.score is not None else ""
    if answer.reached:
        return f"it has {look}"
    if answer.diverged is not None:
        return f"it diverged by update {answer.diverged}" + (f", after {look} at best" if look else "")
    return f"its best look has {look}"


def _goal(asked: Question) -> str:
    """The target for people, as it was given: a share in percent, another with its metric's name."""
    if asked.objective.is_share:
        return f"{100 * asked.target:.6g} %"
    return f"{asked.objective.name} {asked.objective.text(asked.target, 6)}"
