"""A run is one training of one task under one policy with one seed, and what came of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from lrsearch.errors import PolicyError
from lrsearch.later import warn_older
from lrsearch.runs.environment import texts_of
from lrsearch.runs.stop import Stop
from lrsearch.runs.task import OWN, Task, task_key
from lrsearch.schedules import Policy

TRAINER_VERSION = 1
EXTERNAL = "recorded"
"""The trainer of runs that were trained in somebody's own loop."""
TRAINERS: tuple[int | str, ...] = (*range(1, TRAINER_VERSION + 1), EXTERNAL, OWN)
Metrics = Mapping[str, float | None]
Curve = tuple[tuple[int, float], ...]
OWN_FIELDS = ("cause", "applied", "scores", "source", "startup_seconds")
"""What only runs of a user's own training say, beside their curves."""


class RunState(StrEnum):
    """How a run ended; the value is the name, `meaning` the sentence for people."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RUNNING = "running"

    @property
    def meaning(self) -> str:
        """Say what the state means, and what would do."""
        return _MEANING[self]

    @property
    def is_final(self) -> bool:
        """Tell whether training it again would give nothing new."""
        return self in (RunState.FINISHED, RunState.DIVERGED, RunState.STOPPED)


_MEANING = {
    RunState.FINISHED: "All steps were trained.",
    RunState.DIVERGED: "The loss blew up. Try a smaller learning rate.",
    RunState.STOPPED: "It was ended early on purpose.",
    RunState.FAILED: "An error ended it. See its message.",
    RunState.INTERRUPTED: "It was interrupted. Start the same command again.",
    RunState.RUNNING: "It is being trained, or its process died.",
}


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What identifies a run: task, policy, horizon, seed and how it ends early, under the version of its trainer.

    Args:
        task: what is trained.
        policy: the policy over the run's own horizon.
        horizon: updates.
        seed: of everything that is drawn.
        stop: how it ends early; the task's own way where none is given.

    Raises:
        PolicyError: if the policy has durations that were not bound.
    """

    task: Task
    policy: Policy
    horizon: int
    seed: int
    stop: Stop | None = None

    def __post_init__(self) -> None:
        if self.stop is None:
            object.__setattr__(self, "stop", self.task.stop)
        if not self.policy.is_bound:
            raise PolicyError(
                f"{self.policy} waits for its task: bind(horizon={self.horizon}, epoch={self.task.epoch:g}) it first"
            )

    @property
    def key(self) -> str:
        """A digest of what identifies it and of the trainer: 24 hex digits."""
        return run_key(self.task_key, str(self.policy), self.horizon, self.seed, self.task.trainer)

    @property
    def description(self) -> dict[str, Any]:
        """The task's description with how the run ends: a run that stops is kept apart from the full ones."""
        return self.task.description | (self.stop.description if self.stop else {})

    @property
    def task_key(self) -> str:
        """The key under which the store keeps its task: the digest of the description."""
        return task_key(self.description)


def run_key(task: str, policy: str, horizon: int, seed: int, trainer: int | str) -> str:
    """Give the key of a run: the digest of its task's key, policy's text, horizon, seed and trainer, 24 hex digits."""
    parts = [task, policy, horizon, seed, trainer]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


class OfSpec:
    """What the spec of a run says, for whoever trains it."""

    __slots__ = ()
    spec: RunSpec

    @property
    def policy(self) -> Policy:
        """The policy over this run's own horizon."""
        return self.spec.policy

    @property
    def horizon(self) -> int:
        """Updates of this run; of a shorter run it is less than the task's."""
        return self.spec.horizon

    @property
    def epoch(self) -> float:
        """Updates of one pass over the training samples."""
        return self.spec.task.epoch

    @property
    def seed(self) -> int:
        """The seed of all that is drawn; `random`, numpy and torch are seeded with it."""
        return self.spec.seed

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain values that the task gives its training."""
        return self.spec.task.settings


@dataclass(frozen=True, slots=True)
class Point:
    """An evaluation during a run: validation loss, None where only the metric is known, and score."""

    step: int
    loss: float | None
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a run.

    Args:
        state: how it ended.
        steps: updates trained, also where it did not finish.
        seconds: wall time, with the looks at the validation split.
        score: the objective's value at the last evaluation, in its own unit and sign: of a classification validation
            top-1 in [0, 1], or what else its protocol says. None unless finished or stopped.
        loss: validation cross-entropy at the same look, of lrsearch's own loop; None unless finished or stopped.
        points: the looks at the validation split, in order.
        train_losses: mean training loss of each `stride` steps; None where it was not finite.
        lrs: the learning rate at the first of each `stride` steps, of a controller, which has no curve of its own;
            of a line search the steps that it took, 0 where it took none.
        evaluations: forward passes that a line search made beside the one of each step.
        metrics: the metrics of the LRBench paper on the validation split, "end" at the last step and "best" at the look
            with the highest top-1, the first of equals; each with its `step`, `loss`, `top1 top5 ac cd cdac` (see
            `score_predictions`; None where there is none) and `ld`, the loss less the mean training loss of the last
            epoch's updates, as training logs report it.
            Empty unless finished or stopped.
        stride: steps behind each training loss.
        error: what an exception said, if one ended it.
        split: the digest of the samples that it learned from and was judged on.
        shared: how many of the steps were trained as part of another run that began alike.
        memory: bytes at the highest: of the GPU during the run, else of the process so far. It does not tell runs
            apart.
        cause: why it failed, in a word: `stale` where the metric was not of the last evaluation, `missing` where it
            was never there, `policy` where the policy was not applied, `error` where an exception ended it.
        applied: whether the policy was applied, of a run that was not trained by lrsearch's own loop: "yes", "not
            checked", or from which update on it was not.
        scores: the other metrics at its last evaluation.
        curves: (step, value) of what a user's own training logged, by name.
        lost: updates of killed attempts, less those of earlier attempts that this one did not make again.
        source: the digest of the source of the function that trained it.
        startup_seconds: from asking for the run to its first update; None where it is not known.
        environment: what it was trained with: versions, device, threads, by name. Empty where it is not recorded.
    """

    state: RunState
    steps: int
    seconds: float
    score: float | None = None
    loss: float | None = None
    points: tuple[Point, ...] = ()
    train_losses: tuple[float | None, ...] = ()
    lrs: tuple[float, ...] = ()
    evaluations: int = 0
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    stride: int = 1
    error: str | None = None
    split: str | None = None
    shared: int = 0
    memory: int | None = field(default=None, compare=False)
    cause: str | None = None
    applied: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    lost: int = 0
    source: str | None = None
    startup_seconds: float | None = field(default=None, compare=False)
    environment: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def failed(cls, error: Exception) -> Self:
        """Give the run that an exception ended before it began."""
        return cls(state=RunState.FAILED, steps=0, seconds=0.0, error=f"{type(error).__name__}: {error}")

    @property
    def why(self) -> str:
        """What its error says, after a colon: a traceback on lines of its own."""
        said = self.error or self.state.meaning
        return f"\n{said}" if "\n" in said else f" {said}"

    @property
    def rates(self) -> tuple[float, ...]:
        """The older name of `lrs`."""
        warn_older("Run.rates", "Run.lrs")
        return self.lrs

    @property
    def trained(self) -> int:
        """The steps that were trained for this run alone."""
        return self.steps - self.shared

    def to_json(self) -> dict[str, Any]:
        """Give the curves as plain JSON values; the plain numbers are columns of the store."""
        own = {name: value for name in OWN_FIELDS if (value := getattr(self, name)) not in (None, {})}
        curves = {"curves": {name: [list(point) for point in curve] for name, curve in self.curves.items()}}
        environment = {"environment": dict(self.environment)} if self.environment else {}
        return (
            own
            | environment
            | (curves if self.curves else {})
            | {
                "points": [[p.step, p.loss, p.score] for p in self.points],
                "train_losses": list(self.train_losses),
                "rates": list(self.lrs),
                "evaluations": self.evaluations,
                "metrics": dict(self.metrics),
                "stride": self.stride,
                "error": self.error,
                "split": self.split,
                "shared": self.shared,
                "memory": self.memory,
            }
        )

    def to_text(self) -> str:
        """Give the whole run as JSON text, for another process to read."""
        numbers = {
            "state": str(self.state),
            "steps": self.steps,
            "seconds": self.seconds,
            "score": self.score,
            "loss": self.loss,
        }
        return json.dumps(numbers | self.to_json(), allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` gave.

        >>> run = Run(state=RunState.FINISHED, steps=2, seconds=0.5, score=1.0, points=(Point(2, 0.1, 1.0),))
        >>> Run.from_text(run.to_text()) == run
        True
        """
        values = json.loads(text)
        return cls.from_json(values, **{name: values[name] for name in ("state", "steps", "seconds", "score", "loss")})

    @classmethod
    def from_json(cls, curves: Mapping[str, Any], *, state: str, **numbers: Any) -> Self:
        """Read the curves that `to_json` gave, beside the plain numbers; what older versions did not write is empty."""
        return cls(
            state=RunState(state),
            points=tuple(Point(*point) for point in curves["points"]),
            train_losses=tuple(curves["train_losses"]),
            lrs=tuple(curves.get("rates", ())),
            evaluations=curves.get("evaluations", 0),
            metrics=curves.get("metrics", {}),
            stride=curves["stride"],
            error=curves["error"],
            split=curves.get("split"),
            shared=curves.get("shared", 0),
            memory=curves.get("memory"),
            environment=texts_of(curves.get("environment")),
            curves={
                name: tuple((step, value) for step, value in curve) for name, curve in curves.get("curves", {}).items()
            },
            **{name: curves[name] for name in OWN_FIELDS if name in curves},
            **numbers,
        )
