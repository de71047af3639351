"""Range tests of a task: repeats of one rising learning rate, recorded like any run, and what they advise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lrsearch.errors import WorkError
from lrsearch.heuristics.advice import LRAdvice, advise
from lrsearch.heuristics.evidence import Evaluation, Ramp
from lrsearch.recommendation.recommend import ramp_of
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.tasks.classification import Classification

Ended = Callable[[RunSpec, Ramp], None]


class RampTrainer(Protocol):
    """What trains range tests of a task: lrsearch's own loop, or a user's function."""

    @property
    def task(self) -> Task:
        """What is trained."""

    def train_ramp(self, spec: RunSpec) -> tuple[Run, tuple[Evaluation, ...]]:
        """Train a run whose learning rate rises; with what evaluations on the way showed, if there were any."""


@dataclass(frozen=True, slots=True)
class RangeTested:
    """The range tests of a task under one rising policy.

    Args:
        task: the task.
        policy: the rising policy.
        steps: its updates.
        ramps: what each repeat showed.
        advice: what they advise together.
    """

    task: Task
    policy: Policy
    steps: int
    ramps: tuple[Ramp, ...]
    advice: LRAdvice

    @property
    def weight_decay(self) -> float | None:
        """The weight decay that they were made with; None where only the training itself knows."""
        return self.task.optimizer.weight_decay if isinstance(self.task, Classification) else None

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values, with all curves; what is not finite is None."""
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return {
            "task": self.task.name,
            **decay,
            "policy": str(self.policy),
            "steps": self.steps,
            **self.advice.to_json(),
            "curves": [
                {
                    "run": ramp.run,
                    "rates": list(ramp.lrs),
                    "losses": list(map(_finite, ramp.losses)),
                    "looks": [
                        [evaluation.lr, _finite(evaluation.loss), evaluation.score] for evaluation in ramp.evaluations
                    ],
                }
                for ramp in self.ramps
            ],
        }


def make_range_tests(
    trainer: RampTrainer, store: Store, policy: Policy, steps: int, seeds: Sequence[int], ended: Ended | None = None
) -> RangeTested:
    """Make a range test with each seed. Each is trained, for its looks are not stored, and recorded if it is new.

    Raises:
        KeyboardInterrupt: when interrupted; what ended is recorded.
        WorkError: if training fails.
    """
    ramps = []
    for seed in seeds:
        spec = RunSpec(trainer.task, policy, steps, seed)
        run, evaluations = trainer.train_ramp(spec)
        store.record(spec, run)
        require_ended(spec, run)
        stored = store.find(spec.key)
        assert stored is not None
        ramps.append(replace(ramp_of(replace(stored, run=run)), evaluations=evaluations))
        if ended:
            ended(spec, ramps[-1])
    return RangeTested(trainer.task, policy, steps, tuple(ramps), advise(ramps))


def require_ended(spec: RunSpec, run: Run) -> None:
    """Go on only with a run that has ended by itself.

    Raises:
        KeyboardInterrupt: if it was interrupted.
        WorkError: if it failed.
    """
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    if run.state is RunState.FAILED:
        raise WorkError(f"training {spec.policy} on {spec.task.name} failed:{run.why}")


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
