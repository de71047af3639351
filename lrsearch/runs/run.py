"""A run is one training of one task under one policy with one seed, and its result."""

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
"""Part of a run's key; raised by hand when lrsearch's own loop changes its results."""
EXTERNAL = "recorded"
"""The trainer of runs that were recorded from a user's own loop."""
TRAINERS: tuple[int | str, ...] = (*range(1, TRAINER_VERSION + 1), EXTERNAL, OWN)
Metrics = Mapping[str, float | None]
Curve = tuple[tuple[int, float], ...]
OWN_FIELDS = ("cause", "applied", "scores", "source", "startup_seconds")
"""Fields that only runs of a user's own training have, beside their curves."""


class RunState(StrEnum):
    """How a run ended; the value is the name, `meaning` a sentence for people."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RUNNING = "running"

    @property
    def meaning(self) -> str:
        """A sentence about the state, with advice."""
        return _MEANING[self]

    @property
    def is_final(self) -> bool:
        """Whether training the run again would give nothing new."""
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
    """The identity of a run: task, policy, horizon, seed and early stopping, with the version of its trainer.

    Args:
        task: the task.
        policy: the policy over the run's own horizon.
        horizon: updates.
        seed: the seed of all random numbers.
        stop: the rules of early stopping; None for the task's own.

    Raises:
        PolicyError: if the policy has durations that are not bound.
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
        """The digest of the identity and of the trainer: 24 hex digits."""
        return run_key(self.task_key, str(self.policy), self.horizon, self.seed, self.task.trainer)

    @property
    def description(self) -> dict[str, Any]:
        """The task's description with the rules of early stopping, which separate such runs from full ones."""
        return self.task.description | (self.stop.description if self.stop else {})

    @property
    def task_key(self) -> str:
        """The key of its task in the store: the digest of the description."""
        return task_key(self.description)


def run_key(task: str, policy: str, horizon: int, seed: int, trainer: int | str) -> str:
    """The key of a run: the digest of its task's key, policy's text, horizon, seed and trainer, 24 hex digits."""
    parts = [task, policy, horizon, seed, trainer]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


class OfSpec:
    """A mixin: the values of a run's spec as properties, for training functions."""

    __slots__ = ()
    spec: RunSpec

    @property
    def policy(self) -> Policy:
        """The policy over this run's own horizon."""
        return self.spec.policy

    @property
    def horizon(self) -> int:
        """Updates of this run; a shorter run has fewer than the task."""
        return self.spec.horizon

    @property
    def epoch(self) -> float:
        """Updates of one pass over the training samples."""
        return self.spec.task.epoch

    @property
    def seed(self) -> int:
        """The seed of all random numbers; `random`, numpy and torch are seeded with it."""
        return self.spec.seed

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain values of the task for its training."""
        return self.spec.task.settings


@dataclass(frozen=True, slots=True)
class Point:
    """An evaluation during a run: step, validation loss (None where only the metric is known), score."""

    step: int
    loss: float | None
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of a run.

    Args:
        state: how it ended.
        steps: updates trained, also of a run that did not finish.
        seconds: wall time, evaluations included.
        score: the objective's value at the last evaluation, in its own unit and sign; for a classification the
            validation top-1 in [0, 1], or the score of its protocol. None unless finished or stopped.
        loss: validation cross-entropy at the same evaluation, of lrsearch's own loop; None unless finished or stopped.
        points: the evaluations, in order.
        train_losses: mean training loss of each `stride` steps; None where it was not finite.
        lrs: the learning rate at the first of each `stride` steps, for a controller, which has no curve of its own;
            for a line search the step sizes, 0 where it made no step.
        evaluations: forward passes of a line search beside the one of each step.
        metrics: the metrics of the LRBench paper on the validation split: "end" at the last step, "best" at the first
            evaluation with the highest top-1. Each has `step`, `loss`, `top1 top5 ac cd cdac` (see `score_predictions`;
            None where a metric is undefined) and `ld`, the loss less the mean training loss of the last epoch's
            updates. Empty unless finished or stopped.
        stride: steps of each mean training loss.
        error: the message of the exception that ended it.
        split: the digest of its training and validation samples.
        shared: steps that were trained as part of another run with the same prefix.
        memory: peak bytes: of the GPU during the run, else of the process so far. It is not compared.
        cause: why it failed, in a word: `stale` for a metric that is not of the last evaluation, `missing` for a metric
            that was never logged, `policy` for a policy that was not applied, `error` for an exception.
        applied: whether the policy was applied in a training outside of lrsearch's own loop: "yes", "not checked", or
            from which update on it was not.
        scores: the other metrics at its last evaluation.
        curves: (step, value) of the values that a user's own training logged, by name.
        lost: updates of killed attempts that were trained in vain: without those that a later attempt resumed from.
        source: the digest of the user's code that trained it.
        startup_seconds: from the start of the run to its first update; None where it is not known.
        environment: versions, device and threads, by name. Empty where they are not recorded.
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
        """The run that an exception ended before it began."""
        return cls(state=RunState.FAILED, steps=0, seconds=0.0, error=f"{type(error).__name__}: {error}")

    @property
    def why(self) -> str:
        """Its error or the meaning of its state, to stand after a colon: a traceback on lines of its own."""
        text = self.error or self.state.meaning
        return f"\n{text}" if "\n" in text else f" {text}"

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
        """The fields but the plain numbers, which are columns of the store, as plain JSON values."""
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
        """The whole run as JSON text, for another process."""
        numbers = {
            "state": str(self.state),
            "steps": self.steps,
            "seconds": self.seconds,
            "score": self.score,
            "loss": self.loss,
            "lost": self.lost,
        }
        return json.dumps(numbers | self.to_json(), allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the text of `to_text`.

        >>> run = Run(state=RunState.FINISHED, steps=2, seconds=0.5, score=1.0, points=(Point(2, 0.1, 1.0),))
        >>> Run.from_text(run.to_text()) == run
        True
        """
        values = json.loads(text)
        names = ("state", "steps", "seconds", "score", "loss", "lost")
        return cls.from_json(values, **{name: values[name] for name in names})

    @classmethod
    def from_json(cls, curves: Mapping[str, Any], *, state: str, **numbers: Any) -> Self:
        """Read the values of `to_json` and the plain numbers; fields that older versions did not write are empty."""
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
