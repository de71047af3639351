"""The training loop: one run, deterministic from its seed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.errors import TaskError
from lrsearch.schedules.torch import ControllerScheduler
from lrsearch.tasks import Split, Task
from lrsearch.training.batch_loss import BatchLoss, Forward
from lrsearch.training.checkpoint import Checkpoint, replace_file
from lrsearch.training.record import EVALUATION_BATCH, Record, judge, score_split
from lrsearch.training.run import Metrics, Run, RunSpec, RunState

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
        self.test_split = splits.test

    def train(
        self, spec: RunSpec, watch: Watch | None = None, keep: Path | None = None, checkpoint: Path | None = None,
        snapshots: Path | None = None,
    ) -> Run:
        """Train one run to the end of its horizon, or until it diverges, fails or is interrupted.

        Args:
            spec: what to train.
            watch: is told the number of steps done, every few steps.
            keep: a file for the final weights of a finished run.
            checkpoint: a file in which the run in progress is kept, twice a minute, so that it can go on if it was
                killed: to the bit on the same machine. It is removed once the run has ended for good. An interrupted
                run gives as its steps those that must be trained again.
            snapshots: a folder for the weights at each end of a cycle, `<steps>.pt`, for an ensemble of them.

        Raises:
            TaskError: if the run is of another task.
        """
        self.require(spec)
        return _Training(self, spec, watch or (lambda step: None), checkpoint, snapshots).run(keep)

    def require(self, spec: RunSpec) -> None:
        """Refuse a run of another task."""
        if spec.task.key != self.task.key:
            raise TaskError(f"this trainer holds the data of {self.task.name!r} ({self.task.key}), the run is of"
                            f" {spec.task.name!r} ({spec.task.key})")

    @property
    def devices(self) -> list[torch.device]:
        """The accelerators whose random state a run changes."""
        return [self.device] if self.device.type == "cuda" else []

    def test(self, weights: Path) -> Metrics:
        """Read the test set: `loss top1 top5 ac cd cdac` of stored weights.

        Raises:
            TaskError: if the task has no test split.
        """
        if not len(self.test_split):
            raise TaskError(f"task {self.task.name!r} has no test split")
        split = self.test_split.to(self.device)
        scores = self.predict(weights, split)
        return {"loss": judge(scores, split)[0], **score_split(scores, split)}

    def predict(self, weights: Path, split: Split) -> torch.Tensor:
        """Give the scores (logits) of a split by stored weights, shape (n, classes)."""
        model = self.new_model(seed=0)
        model.load_state_dict(torch.load(weights, map_location=self.device, weights_only=True))
        with self.precision():
            return predict(model, split)

    def precision(self) -> torch.autocast:
        """Give the context in which the model computes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.task.precision == "bf16")

    def loss(self, forward: Forward, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Give the mean cross-entropy of a batch."""
        with self.precision():
            scores = forward(x)
        return F.cross_entropy(at_least_float(scores), y)

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

    def __init__(
        self, trainer: Trainer, spec: RunSpec, watch: Watch, checkpoint: Path | None, snapshots: Path | None
    ) -> None:
        self.trainer, self.spec, self.watch = trainer, spec, watch
        self.file, self.snapshots = checkpoint, snapshots
        losses = torch.zeros(spec.horizon, device=trainer.device)
        self.record = Record(spec, trainer.validation, trainer.digest, losses)
        self.kept_steps = 0

    def run(self, keep: Path | None) -> Run:
        try:
            model = self.trainer.new_model(self.spec.seed)
            with torch.random.fork_rng(devices=self.trainer.devices):
                torch.manual_seed(self.spec.seed)  # for layers that draw, such as dropout
                done = self.record.result(self._train(model))
        except KeyboardInterrupt:
            return self._cut_short(RunState.INTERRUPTED)
        except Exception as error:  # a run that fails must not take the finished ones of its study with it
            return self._cut_short(RunState.FAILED, f"{type(error).__name__}: {error}")
        if keep and done.state is RunState.FINISHED:
            with suppress(OSError, RuntimeError):  # a full disk may take the weights, never the run itself
                replace_file(keep, model.state_dict())
        return done

    def _snap(self, model: nn.Module) -> None:
        assert self.snapshots is not None
        self.snapshots.mkdir(parents=True, exist_ok=True)
        replace_file(self.snapshots / f"{self.record.steps}.pt", model.state_dict())

    def _cut_short(self, state: RunState, error: str | None = None) -> Run:
        """Give what came of it, less the steps that need not be trained again."""
        run = self.record.result(state, error)
        return replace(run, steps=run.steps - self.kept_steps)

    def _train(self, model: nn.Module) -> RunState:
        split, record = self.trainer.train_split, self.record
        optimizer = self.trainer.task.optimizer.build(model, self.trainer.task.epoch)
        scheduler = self.spec.policy.scheduler(optimizer, seed=self.spec.seed)
        augment, generator = self.trainer.task.augment, torch.Generator().manual_seed(self.spec.seed)
        update = self._search if self.trainer.task.optimizer.searches else self._descend
        parts = {"model": model, "scheduler": scheduler, "optimizer": optimizer, "record": record}
        checkpoint = Checkpoint(self.file, self.spec.key, parts, generator, self.trainer.devices)
        checkpoint.load()
        order = batches(len(split), self.trainer.task.batch_size, self.spec.seed, self.trainer.device)
        self.kept_steps = sum(1 for _ in zip(range(checkpoint.steps), order, strict=False))
        ends = frozenset(self.spec.policy.cycle_ends(self.spec.horizon)) if self.snapshots else frozenset()
        state = None
        while state is None:
            batch = next(order)
            x = split.x[batch]
            if augment:
                x = augment(x, generator)
            record.losses[record.steps] = update(model, optimizer, x, split.y[batch])
            scheduler.step()
            record.steps += 1
            looks = len(record.points)
            state = record.ended(partial(self._predict, model))
            if isinstance(scheduler, ControllerScheduler) and len(record.points) > looks:
                scheduler.step(record.points[-1].loss)
            if record.steps in ends:
                self._snap(model)
            if record.is_check_due and state is None:
                self.watch(record.steps)
                if checkpoint.is_due:
                    checkpoint.save(record.steps)
                    self.kept_steps = checkpoint.steps
        checkpoint.forget()
        return state

    def _descend(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        """Make an update; give the loss before it."""
        if self.spec.policy.is_controller:
            self.record.rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        loss = self.trainer.loss(model, x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    def _search(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        """Make an update by a line search on the batch; give the loss before it."""
        closure = BatchLoss(model, lambda forward: self.trainer.loss(forward, x, y), self.trainer.devices)
        optimizer.zero_grad()
        loss: torch.Tensor = optimizer.step(closure)  # type: ignore[assignment, arg-type]
        self.record.evaluations += closure.calls - 1
        self.record.rates.append(optimizer.param_groups[0]["rate"])
        return loss.detach()

    def _predict(self, model: nn.Module, split: Split) -> torch.Tensor:
        with self.trainer.precision():
            return predict(model, split)


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
    scores = [at_least_float(model(x)) for x in torch.split(split.x, EVALUATION_BATCH)]
    model.train()
    return torch.cat(scores)


def at_least_float(scores: torch.Tensor) -> torch.Tensor:
    """Give scores in float32, or float64 where they are that already."""
    return scores if scores.dtype is torch.float64 else scores.float()


def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """Give the mean cross-entropy and top-1 in [0, 1] of a split."""
    return judge(predict(model, split), split)
