"""The log of a run while it trains: losses, evaluations on the validation split, and divergence."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lrsearch.runs import Metrics, Point, Run, RunSpec, RunState
from lrsearch.runs.counter import StepCounter
from lrsearch.runs.environment import environment
from lrsearch.runs.job import Job
from lrsearch.tasks import Split
from lrsearch.tasks.classification import is_optimistic
from lrsearch.training.metrics import score_predictions
from lrsearch.training.process import forget_peak_memory, peak_memory

CHECK_EVERY = 25
"""Rule: steps between two checks of the losses; each check synchronizes the device."""
KEPT_LOSSES = 200
"""Rule: mean training losses that are stored with a run."""
BLOWN_UP = 1e6
"""Rule: a training loss this many times the first one is a divergence."""
EVALUATION_BATCH = 2000
"""Rule: samples of one forward pass of an evaluation."""

Predict = Callable[[Split], torch.Tensor]
"""Returns the logits of a split's samples, shape (n, classes)."""


class TrainingLog:
    """The log of one run of a classification, beside its job.

    Args:
        spec: the run.
        validation: the split of its evaluations.
        digest: the digest of the samples of each split.
        losses: storage for the training losses, shape (horizon,), on the device of the training.
        folder: the parent of the run's folder, in which its updates are counted; None to count in memory.
    """

    def __init__(
        self, spec: RunSpec, validation: Split, digest: str, losses: torch.Tensor, folder: Path | None = None
    ) -> None:
        self.spec, self.validation, self.digest, self.losses = spec, validation, digest, losses
        self.job = Job(spec, device=str(losses.device), is_range_test=False, feeds_controller=False)
        self.points: list[Point] = []
        self.metrics: dict[str, Metrics] = {}
        self.lrs: list[float] = []
        self.norms: list[tuple[int, float]] = []
        self.evaluations, self.shared = 0, 0
        self.steps, self.counter = 0, StepCounter(folder / spec.key if folder else None)
        self.scored_at = "best" if is_optimistic(spec.task) else "end"
        self.began = time.perf_counter()
        forget_peak_memory(losses.device)

    def count_update(self) -> None:
        """Count an update."""
        self.steps += 1
        self.counter.count()

    def saved_at(self, steps: int) -> None:
        """Record the steps of the run's checkpoint, 0 where it was removed. Those of another run are not its own."""
        self.counter.save(max(0, steps - self.shared))

    @property
    def lost(self) -> int:
        """Counted updates of all attempts that were not charged, without those of this run's own steps."""
        return self.counter.total - self.counter.charged - (self.steps - self.shared) if self.counter.is_open else 0

    @property
    def is_check_due(self) -> bool:
        """Whether to check now that the losses did not blow up."""
        return self.steps % CHECK_EVERY == 0 or self.steps == self.spec.horizon

    @property
    def is_evaluation_due(self) -> bool:
        """Whether to evaluate now on the validation split."""
        return self.job.is_evaluation_due(self.steps)

    def ended(self, predict: Predict) -> RunState | None:
        """Check and evaluate where due; return the state in which the run ended, None while it goes on."""
        if self.is_check_due and self._blew_up():
            return RunState.DIVERGED
        if self.is_evaluation_due and not self._evaluate(predict):
            return RunState.DIVERGED
        if self.steps == self.spec.horizon:
            return RunState.FINISHED
        return RunState.STOPPED if self.job.should_stop else None

    def _blew_up(self) -> bool:
        recent = self.losses[max(0, self.steps - CHECK_EVERY) : self.steps]
        return not bool((recent.isfinite() & (recent <= BLOWN_UP * self.losses[0])).all())

    def _evaluate(self, predict: Predict) -> bool:
        scores = predict(self.validation)
        loss, score = judge(scores, self.validation)
        if not math.isfinite(loss):
            return False
        is_best = score > max((point.score for point in self.points), default=-1)
        if is_best or self.steps == self.spec.horizon or self._has_patience:
            metrics = self._metrics(scores, loss)
            self.metrics |= {"end": metrics, "best": metrics} if is_best else {"end": metrics}
        self.points.append(Point(self.steps, loss, score))
        self.job.log(self.steps, **{self.job.spec.task.objective.name: score})
        return True

    @property
    def _has_patience(self) -> bool:
        return self.spec.stop is not None and self.spec.stop.patience is not None

    def _metrics(self, scores: torch.Tensor, loss: float) -> Metrics:
        epoch = self.losses[max(0, self.steps - math.ceil(self.spec.task.epoch)) : self.steps]
        values = score_split(scores, self.validation) | {"ld": _finite(loss - float(epoch.mean()))}
        return {"step": self.steps, "loss": loss, **values}

    def state_dict(self) -> dict[str, Any]:
        """The log as tensors and plain values."""
        return {
            "steps": self.steps,
            "losses": self.losses[: self.steps].clone(),
            "rates": list(self.lrs),
            "evaluations": self.evaluations,
            "shared": self.shared,
            "points": [[p.step, p.loss, p.score] for p in self.points],
            "metrics": {evaluation: dict(values) for evaluation, values in self.metrics.items()},
            "seconds": time.perf_counter() - self.began,
        } | ({"norms": list(map(list, self.norms))} if self.norms else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the log of a run in progress."""
        self.steps, self.lrs = state_dict["steps"], list(state_dict["rates"])
        self.losses[: self.steps] = state_dict["losses"]
        self.evaluations, self.shared = state_dict["evaluations"], state_dict["shared"]
        self.metrics = dict(state_dict["metrics"])
        self.points = [Point(*point) for point in state_dict["points"]]
        self.norms = [(step, norm) for step, norm in state_dict.get("norms", [])]
        self.job.points = [Point(point.step, None, point.score) for point in self.points]
        self.began = time.perf_counter() - state_dict["seconds"]

    def result(self, state: RunState, error: str | None = None) -> Run:
        """The run, in the state in which it ended."""
        stride = max(1, math.ceil(self.spec.horizon / KEPT_LOSSES))
        losses = self.losses[: self.steps].cpu().numpy()
        means = [float(losses[start : start + stride].mean()) for start in range(0, self.steps, stride)]
        finished = state in (RunState.FINISHED, RunState.STOPPED)
        metrics = self.metrics[self.scored_at] if finished else {}
        return Run(
            state=state,
            steps=self.steps,
            seconds=time.perf_counter() - self.began,
            score=metrics.get("top1"),
            loss=metrics.get("loss"),
            points=tuple(self.points),
            train_losses=tuple(mean if math.isfinite(mean) else None for mean in means),
            lrs=tuple(self.lrs[::stride]),
            evaluations=self.evaluations,
            metrics=self.metrics if finished else {},
            stride=stride,
            error=error,
            split=self.digest,
            shared=self.shared,
            lost=self.lost,
            memory=peak_memory(self.losses.device),
            environment=environment(str(self.losses.device)),
            curves={self._norm_name: tuple(self.norms)} if self.norms else {},
        )

    @property
    def _norm_name(self) -> str:
        """The name of the recorded norm: l1 for Adam and its relatives, else l2."""
        return "grad_norm_l1" if self.spec.task.description["optimizer"]["family"] == "adam" else "grad_norm"


def score_split(scores: torch.Tensor, split: Split) -> dict[str, float | None]:
    """The metrics `top1 top5 ac cd cdac` of a split's logits; None for a value that is not finite."""
    values = score_predictions(scores.double().softmax(1).cpu().numpy(), split.y.cpu().numpy())
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def judge(scores: torch.Tensor, split: Split) -> tuple[float, float]:
    """The mean cross-entropy and top-1 in [0, 1] of a split's logits."""
    parts = zip(torch.split(scores, EVALUATION_BATCH), torch.split(split.y, EVALUATION_BATCH), strict=True)
    loss = sum(F.cross_entropy(some, y, reduction="sum").item() for some, y in parts)
    return loss / len(split), int((scores.argmax(1) == split.y).sum()) / len(split)
