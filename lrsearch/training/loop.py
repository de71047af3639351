"""The training loop: one run, deterministic from its seed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.errors import TaskError, UsageError
from lrsearch.heuristics.evidence import Evaluation
from lrsearch.runs import Metrics, Run, RunSpec, RunState
from lrsearch.schedules.torch import ControllerScheduler
from lrsearch.tasks import Split
from lrsearch.tasks.classification import Classification
from lrsearch.training.batch_loss import BatchLoss, Forward
from lrsearch.training.checkpoint import Checkpoint, Part, State, replace_file
from lrsearch.training.training_log import EVALUATION_BATCH, TrainingLog, judge, score_split

Watch = Callable[[int], None]
NORM_EVERY = 10
"""Updates from one recorded gradient norm to the next: a rule, a hundred norms in a short training."""


class Trainer:
    """Trains runs of one task, with its data in memory, on the GPU where there is one.

    Args:
        task: the task.
        data_dir: the folder of its data set; None for the default one.
        device: a torch device; None for the GPU if there is one, else the CPU.

    Raises:
        DataError: if the data set is missing or broken.
        TaskError: if its splits have other sizes than the task's description.
    """

    def __init__(self, task: Classification, data_dir: Path | None = None, device: str | None = None) -> None:
        self.task = task
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        splits = task.load(data_dir)
        sizes = len(splits.train), len(splits.validation)
        expected = task.train_size, task.validation_size
        if sizes != expected:
            raise TaskError(
                f"task {task.name!r} says {expected} samples to train and to choose by, its data has {sizes}"
            )
        self.digest = splits.digest
        self.train_split = splits.train.to(self.device)
        self.validation = splits.validation.to(self.device)
        self.test_split = splits.test

    def train(
        self,
        spec: RunSpec,
        watch: Watch | None = None,
        keep: Path | None = None,
        checkpoint: Path | None = None,
        snapshots: Path | None = None,
        norms: bool = False,
    ) -> Run:
        """Train one run to the end of its horizon, or until it diverges, fails or is interrupted.

        Args:
            spec: the run.
            watch: called with the number of steps done, every few steps.
            keep: a file for the final weights of a finished run.
            checkpoint: a file for the state of the run in progress, written twice a minute. A killed run resumes from
                it, to the bit on the same machine. It is removed once the run has ended for good. The steps of an
                interrupted run are those that must be trained again. Updates are counted in a folder beside it, which
                `settle` removes.
            snapshots: a folder for the weights at each end of a cycle, `<steps>.pt`, for an ensemble of them.
            norms: whether to record the gradient's norm at every tenth update, by which `lrs.refined` makes a policy:
                as the curve `grad_norm_l1` where the optimizer is of Adam's family, else `grad_norm`, the l2 norm.

        Raises:
            TaskError: if the run is of another task.
            UsageError: for snapshots of a controller, which has no cycles, and for a controller that maximizes.
        """
        self.require(spec)
        if spec.policy.params.get("maximize"):
            raise UsageError(
                f"{spec.policy} takes a metric that is better when higher, and this loop reports the"
                " validation loss: leave maximize out"
            )
        if snapshots and spec.policy.is_controller:
            raise UsageError(f"{spec.policy} is a controller: it has no cycles to take snapshots at")
        try:
            training = Training(self, spec, watch or (lambda step: None), checkpoint, snapshots, norms)
        except Exception as error:  # a model that cannot be built fails this run, and no other
            return Run.failed(error)
        return training.run(keep)

    def train_ramp(self, spec: RunSpec) -> tuple[Run, tuple[Evaluation, ...]]:
        """Train a range test with evaluations on a few validation samples: see `training.range_test.train_ramp`."""
        from lrsearch.training.range_test import train_ramp

        return train_ramp(self, spec)

    def require(self, spec: RunSpec) -> None:
        """Check that a run is of this trainer's task.

        Raises:
            TaskError: for a run of another task.
        """
        if spec.task.key != self.task.key:
            raise TaskError(
                f"this trainer holds the data of {self.task.name!r} ({self.task.key}), the run is of"
                f" {spec.task.name!r} ({spec.task.key})"
            )

    def require_test(self) -> None:
        """Check that the task has a test split.

        Raises:
            TaskError: if it has none.
        """
        if not len(self.test_split):
            raise TaskError(f"task {self.task.name!r} has no test split")

    @property
    def devices(self) -> list[torch.device]:
        """The accelerators whose random state a run changes."""
        return [self.device] if self.device.type == "cuda" else []

    def test(self, weights: Path) -> Metrics:
        """Read the test set: `loss top1 top5 ac cd cdac` of stored weights.

        Raises:
            TaskError: if the task has no test split.
        """
        self.require_test()
        split = self.test_split.to(self.device)
        scores = self.predict(weights, split)
        return {"loss": judge(scores, split)[0], **score_split(scores, split)}

    def predict(self, weights: Path, split: Split) -> torch.Tensor:
        """The logits of a split by stored weights, shape (n, classes)."""
        model = self.new_model(seed=0)
        model.load_state_dict(torch.load(weights, map_location=self.device, weights_only=True))
        with self.precision():
            return predict(model, split)

    def precision(self) -> torch.autocast:
        """The autocast context in which the model computes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.task.precision == "bf16")

    def loss(self, forward: Forward, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy of a batch."""
        with self.precision():
            scores = forward(x)
        return F.cross_entropy(at_least_float(scores), y)

    def new_model(self, seed: int) -> nn.Module:
        """A new model, initialised from a seed; torch's global random state does not change."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.task.build().to(self.device)
        if any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
            model = model.to(memory_format=torch.channels_last)
        return model


class Training:
    """One run in progress: `begin`, `advance` to a step or to the end, `end` with its result.

    Args:
        trainer: the trainer of the task, with its data in memory.
        spec: the run.
        watch: called with the number of steps done.
        checkpoint, snapshots, norms: as for `Trainer.train`.
    """

    def __init__(
        self,
        trainer: Trainer,
        spec: RunSpec,
        watch: Watch,
        checkpoint: Path | None = None,
        snapshots: Path | None = None,
        norms: bool = False,
    ) -> None:
        self.norms = norms
        self.trainer, self.spec, self.watch, self.snapshots = trainer, spec, watch, snapshots
        task, losses = trainer.task, torch.zeros(spec.horizon, device=trainer.device)
        folder = checkpoint.parent if checkpoint else None
        self.record = TrainingLog(spec, trainer.validation, trainer.digest, losses, folder)
        self.model = trainer.new_model(spec.seed)
        self.optimizer = task.optimizer.build(self.model, task.epoch)
        self.scheduler = self.record.job.scheduler(self.optimizer)
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.order = batches(len(trainer.train_split), task.batch_size, spec.seed, trainer.device)
        self.ends = frozenset(spec.policy.cycle_ends(spec.horizon)) if snapshots else frozenset()
        parts: dict[str, Part] = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "record": self.record,
        }
        self.checkpoint = Checkpoint(checkpoint, spec.key, parts, self.generator, trainer.devices)
        self.began_at = 0

    def run(self, keep: Path | None, advance: Callable[[], RunState | None] | None = None) -> Run:
        """Train the run to its end, from its checkpoint if there is one; `advance` replaces the plain training loop."""
        with torch.random.fork_rng(devices=self.trainer.devices):
            torch.manual_seed(self.spec.seed)  # for layers that draw, such as dropout
            return self.end(advance or self.advance, keep)

    def end(self, advance: Callable[[], RunState | None], keep: Path | None) -> Run:
        """Advance to the end and return the run; an exception or an interrupt becomes its state."""
        try:
            self.begin(self.checkpoint.read())
            state = advance()
            assert state is not None
        except KeyboardInterrupt:
            run = self.record.result(RunState.INTERRUPTED)
            return replace(run, steps=self.record.steps - self.checkpoint.steps, shared=0)
        except Exception as error:  # a run that fails must not end its study
            self._forget()
            return self.record.result(RunState.FAILED, f"{type(error).__name__}: {error}")
        else:
            if keep and state is not RunState.DIVERGED:
                write_weights(keep, self.model)
            self._forget()
            return self.record.result(state)
        finally:
            self.record.counter.close()

    def begin(self, state: State | None) -> None:
        """Resume from a state of this run; None to start at step 0."""
        if state is not None:
            self.checkpoint.restore(state)
            self.began_at = self.checkpoint.steps
            self.record.saved_at(self.began_at)
            for _ in range(self.began_at):
                next(self.order)

    def advance(self, until: int | None = None) -> RunState | None:
        """Train until `until` steps are done, or to the end; return the run's state if it ended."""
        state = None
        while state is None and self.record.steps != until:
            self._update()
            state = self.record.ended(self._predict)
            if state is not RunState.DIVERGED:
                self._report()
            if self.record.is_check_due and state is None:
                self.watch(self.record.steps)
                if self.checkpoint.is_due:
                    self.checkpoint.save(self.record.steps)
                    self.record.saved_at(self.checkpoint.steps)
        return state

    def _forget(self) -> None:
        """Remove the checkpoint: the run has ended for good."""
        self.checkpoint.forget()
        self.record.saved_at(0)

    def _update(self) -> None:
        """Make one update and record the loss before it."""
        task, split, batch = self.trainer.task, self.trainer.train_split, next(self.order)
        x, y = split.x[batch], split.y[batch]
        if task.augment:
            x = task.augment(x, self.generator)
        self.record.losses[self.record.steps] = self._search(x, y) if task.optimizer.searches else self._descend(x, y)
        self.scheduler.step()
        self.record.count_update()

    def _report(self) -> None:
        """Pass an evaluation to a controller, and write a snapshot at the end of a cycle."""
        points, steps = self.record.points, self.record.steps
        if isinstance(self.scheduler, ControllerScheduler) and points and points[-1].step == steps:
            self.scheduler.step(points[-1].loss)
        if self.snapshots and steps in self.ends:
            write_weights(self.snapshots / f"{steps}.pt", self.model)

    def _descend(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Make an update and return the loss before it."""
        if self.spec.policy.is_controller:
            self.record.lrs.append(self.optimizer.param_groups[0]["lr"])
        self.optimizer.zero_grad()
        loss = self.trainer.loss(self.model, x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.norms and (self.record.steps + 1) % NORM_EVERY == 0:
            self.record.norms.append((self.record.steps + 1, self._norm()))
        self.optimizer.step()
        return loss.detach()

    def _norm(self) -> float:
        """The norm of the gradient of all parameters: l1 for Adam and its relatives, else l2."""
        order = 1 if self.trainer.task.optimizer.family == "adam" else 2
        return float(grad_norm(self.model.parameters(), order))

    def _search(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Make an update by a line search on the batch and return the loss before it."""
        closure = BatchLoss(self.model, lambda forward: self.trainer.loss(forward, x, y), self.trainer.devices)
        self.optimizer.zero_grad()
        loss: torch.Tensor = self.optimizer.step(closure)  # type: ignore[assignment, arg-type]
        self.record.evaluations += closure.calls - 1
        self.record.lrs.append(self.optimizer.param_groups[0]["rate"])
        return loss.detach()

    def _predict(self, split: Split) -> torch.Tensor:
        with self.trainer.precision():
            return predict(self.model, split)


def grad_norm(parameters: Iterable[torch.Tensor], order: int) -> torch.Tensor:
    """The l1 or l2 norm of the gradient of all parameters."""
    norms = torch._foreach_norm([p.grad for p in parameters if p.grad is not None], order)
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(norms), order)
    return norm


def batches(samples: int, size: int, seed: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield the sample indices of each update, from shuffled passes over the data without incomplete batches."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64, device=device)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(samples, generator=generator).to(device)])
        yield order[:size]
        order = order[size:]


@torch.no_grad()
def predict(model: nn.Module, split: Split) -> torch.Tensor:
    """The logits of a split's samples, shape (n, classes)."""
    model.eval()
    scores = [at_least_float(model(x)) for x in torch.split(split.x, EVALUATION_BATCH)]
    model.train()
    return torch.cat(scores)


def at_least_float(scores: torch.Tensor) -> torch.Tensor:
    """The scores in float32, or in float64 where they are that already."""
    return scores if scores.dtype is torch.float64 else scores.float()


def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """The mean cross-entropy and top-1 in [0, 1] of a split."""
    return judge(predict(model, split), split)


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights. A full disk costs the weights, not the run."""
    with suppress(OSError, RuntimeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, model.state_dict())
