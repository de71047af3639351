"""Range tests of a task: runs with a rising learning rate, recorded like any run, and the LRs that they suggest."""

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
    """Trains range tests of a task: lrsearch's own loop, or a user's function."""

    @property
    def task(self) -> Task:
        """The task."""

    def train_ramp(self, spec: RunSpec) -> tuple[Run, tuple[Evaluation, ...]]:
        """Train a run whose learning rate rises. Returns it with its evaluations, if there are any."""


@dataclass(frozen=True, slots=True)
class RangeTested:
    """The range tests of a task under one rising policy.

    Args:
        task: the task.
        policy: the rising policy.
        steps: its updates.
        ramps: the curves of each repeat.
        advice: the LRs that all repeats together suggest.
    """

    task: Task
    policy: Policy
    steps: int
    ramps: tuple[Ramp, ...]
    advice: LRAdvice

    @property
    def weight_decay(self) -> float | None:
        """The weight decay of the runs; None where only the user's training knows it."""
        return self.task.optimizer.weight_decay if isinstance(self.task, Classification) else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values with all curves; values that are not finite become None."""
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return {
            "task": self.task.name,
            **decay,
            "policy": str(self.policy),
            "steps": self.steps,
            **self.advice.to_json(),
            "curves": [_curve(ramp) for ramp in self.ramps],
        }


def make_range_tests(
    trainer: RampTrainer, store: Store, policy: Policy, steps: int, seeds: Sequence[int], ended: Ended | None = None
) -> RangeTested:
    """Make a range test with each seed. Each is trained, for its evaluations are not stored, and recorded if it is new.

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
    """Raise where a run was interrupted or failed.

    Raises:
        KeyboardInterrupt: if it was interrupted.
        WorkError: if it failed.
    """
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    if run.state is RunState.FAILED:
        raise WorkError(f"training {spec.policy} on {spec.task.name} failed:{run.why}")


def _curve(ramp: Ramp) -> dict[str, Any]:
    evaluations = [[evaluation.lr, _finite(evaluation.loss), evaluation.score] for evaluation in ramp.evaluations]
    losses = list(map(_finite, ramp.losses))
    return {"run": ramp.run, "rates": list(ramp.lrs), "losses": losses, "looks": evaluations}


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
