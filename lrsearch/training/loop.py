"""The training loop: one run, deterministic from its seed."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.errors import TaskError
from lrsearch.schedules.torch import ControllerScheduler
from lrsearch.tasks import Split, Task
from lrsearch.training.metrics import score_predictions
from lrsearch.training.run import Metrics, Point, Run, RunSpec, RunState

CHECK_EVERY = 25
LOOKS = 10
KEPT_LOSSES = 200
BLOWN_UP = 1e6
EVALUATION_BATCH = 2000

Watch = Callable[[int], None]


class Trainer:
    """Trains runs of one task: holds its data in memory, on the GPU where there is one.

    Args:
        task: the task.
        data_dir: where its data set lies; None for the default place.
        device: a torch device; None for the GPU if there is one, else the CPU.

    Raises:
        DataError: if the data set is missing or broken.
        TaskError: if its splits have other sizes than the task says.
    """

    def __init__(self, task: Task, data_dir: Path | None = None, device: str | None = None) -> None:
        self.task = task
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        splits = task.load(data_dir)
        sizes, told = (len(splits.train), len(splits.validation)), (task.train_size, task.validation_size)
        if sizes != told:
            raise TaskError(f"task {task.name!r} says {told} samples to train and to choose by, its data has {sizes}")
        self.digest = splits.digest
        self.train_split = splits.train.to(self.device)
        self.validation = splits.validation.to(self.device)
        self._test = splits.test

    def train(self, spec: RunSpec, watch: Watch | None = None, keep: Path | None = None) -> Run:
        """Train one run to the end of its horizon, or until it diverges, fails or is interrupted.

        Args:
            spec: what to train.
            watch: is told the number of steps done, every few steps.
            keep: a file for the final weights of a finished run.
        """
        return _Training(self, spec, watch or (lambda step: None)).run(keep)

    def test(self, weights: Path) -> float:
        """Read the test set: top-1 in [0, 1] of stored weights."""
        model = self.new_model(seed=0)
        model.load_state_dict(torch.load(weights, map_location=self.device, weights_only=True))
        with self.precision():
            return evaluate(model, self._test.to(self.device))[1]

    def precision(self) -> torch.autocast:
        """Give the context in which the model computes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.task.precision == "bf16")

    def new_model(self, seed: int) -> nn.Module:
        """Give a new model, initialised from a seed; torch's own random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.task.build().to(self.device)
        if any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
            model = model.to(memory_format=torch.channels_last)
        return model


class _Training:
    """One run in progress."""

    def __init__(self, trainer: Trainer, spec: RunSpec, watch: Watch) -> None:
        self.trainer, self.spec, self.watch = trainer, spec, watch
        self.losses = torch.zeros(spec.horizon, device=trainer.device)
        self.look_every = max(math.ceil(trainer.task.epoch), math.ceil(spec.horizon / LOOKS))
        self.points: list[Point] = []
        self.metrics: dict[str, Metrics] = {}
        self.rates: list[float] = []
        self.steps = 0
        self.began = time.perf_counter()

    def run(self, keep: Path | None) -> Run:
        try:
            model = self.trainer.new_model(self.spec.seed)
            done = self._result(self._train(model))
        except KeyboardInterrupt:
            return self._result(RunState.INTERRUPTED)
        except Exception as error:  # a run that fails must not take the finished ones of its study with it
            return self._result(RunState.FAILED, f"{type(error).__name__}: {error}")
        if keep and done.state is RunState.FINISHED:
            with suppress(OSError, RuntimeError):  # a full disk may take the weights, never the run itself
                _save(model, keep)
        return done

    def _train(self, model: nn.Module) -> RunState:
        split = self.trainer.train_split
        optimizer = self.trainer.task.optimizer.build(model)
        scheduler = self.spec.policy.scheduler(optimizer, seed=self.spec.seed)
        augment, generator = self.trainer.task.augment, torch.Generator().manual_seed(self.spec.seed)
        order = batches(len(split), self.trainer.task.batch_size, self.spec.seed, self.trainer.device)
        while self.steps < self.spec.horizon:
            if self.spec.policy.is_controller:
                self.rates.append(optimizer.param_groups[0]["lr"])
            batch = next(order)
            x = split.x[batch]
            if augment:
                x = augment(x, generator)
            optimizer.zero_grad()
            with self.trainer.precision():
                scores = model(x)
            loss = F.cross_entropy(scores.float(), split.y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            self.losses[self.steps] = loss.detach()
            self.steps += 1
            last = self.steps == self.spec.horizon
            if (self.steps % CHECK_EVERY == 0 or last) and self._blew_up():
                return RunState.DIVERGED
            if self.steps % self.look_every == 0 or last:
                if not self._look(model):
                    return RunState.DIVERGED
                if isinstance(scheduler, ControllerScheduler):
                    scheduler.step(self.points[-1].loss)
        return RunState.FINISHED

    def _blew_up(self) -> bool:
        self.watch(self.steps)
        recent = self.losses[max(0, self.steps - CHECK_EVERY) : self.steps]
        return not bool((recent <= BLOWN_UP * self.losses[0]).all())

    def _look(self, model: nn.Module) -> bool:
        split = self.trainer.validation
        with self.trainer.precision():
            scores = predict(model, split)
            loss, score = judge(scores, split)
            if not math.isfinite(loss):
                return False
            is_best = score > max((point.score for point in self.points), default=-1)
            if is_best or self.steps == self.spec.horizon:
                metrics = self._metrics(model, scores, loss)
                self.metrics |= {"end": metrics, "best": metrics} if is_best else {"end": metrics}
        self.points.append(Point(self.steps, loss, score))
        return True

    def _metrics(self, model: nn.Module, scores: torch.Tensor, loss: float) -> Metrics:
        validation, train = self.trainer.validation, self.trainer.train_split
        as_many = Split(train.x[: len(validation)], train.y[: len(validation)])
        found = score_predictions(scores.double().softmax(1).cpu().numpy(), validation.y.cpu().numpy())
        known = {name: value if math.isfinite(value) else None for name, value in found.items()}
        return {"step": self.steps, "loss": loss, **known, "ld": loss - judge(predict(model, as_many), as_many)[0]}

    def _result(self, state: RunState, error: str | None = None) -> Run:
        stride = max(1, math.ceil(self.spec.horizon / KEPT_LOSSES))
        losses = self.losses[: self.steps].cpu().numpy()
        means = [float(losses[start : start + stride].mean()) for start in range(0, self.steps, stride)]
        finished = state is RunState.FINISHED
        return Run(
            state=state, steps=self.steps, seconds=time.perf_counter() - self.began,
            score=self.points[-1].score if finished else None,
            loss=self.points[-1].loss if finished else None,
            points=tuple(self.points),
            train_losses=tuple(mean if math.isfinite(mean) else None for mean in means),
            rates=tuple(self.rates[:: stride]), metrics=self.metrics if finished else {},
            stride=stride, error=error, split=self.trainer.digest,
        )


def batches(samples: int, size: int, seed: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Give the sample numbers of each update: one shuffled pass after the other, without a gap."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64, device=device)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(samples, generator=generator).to(device)])
        yield order[:size]
        order = order[size:]


@torch.no_grad()
def predict(model: nn.Module, split: Split) -> torch.Tensor:
    """Give the scores (logits) of a split's samples, shape (n, classes)."""
    model.eval()
    scores = [model(x).float() for x in torch.split(split.x, EVALUATION_BATCH)]
    model.train()
    return torch.cat(scores)


def judge(scores: torch.Tensor, split: Split) -> tuple[float, float]:
    """Give the mean cross-entropy and top-1 in [0, 1] of scores."""
    parts = zip(torch.split(scores, EVALUATION_BATCH), torch.split(split.y, EVALUATION_BATCH), strict=True)
    loss = sum(F.cross_entropy(some, y, reduction="sum").item() for some, y in parts)
    return loss / len(split), int((scores.argmax(1) == split.y).sum()) / len(split)


def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """Give the mean cross-entropy and top-1 in [0, 1] of a split."""
    return judge(predict(model, split), split)


def _save(model: nn.Module, path: Path) -> None:
    """Write the weights so that a kill leaves the old file or the new one, never half of one."""
    part = path.with_suffix(".part")
    torch.save(model.state_dict(), part)
    part.replace(path)
