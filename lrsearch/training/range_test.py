"""The LR range test on any model and loop: the learning rate rises, the losses are recorded, all state is restored."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrsearch.errors import UsageError
from lrsearch.heuristics.advice import LRAdvice, advise
from lrsearch.heuristics.evidence import Evaluation, Ramp
from lrsearch.heuristics.range_test import read_ramp, running_median
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules.ranks import mean_over_ranks
from lrsearch.tasks import Split
from lrsearch.training.loop import Trainer, Training, Watch, predict
from lrsearch.training.ramps import is_number, ramp
from lrsearch.training.snapshot import Part, Snapshot
from lrsearch.training.training_log import judge

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]
EVALUATIONS, EVALUATION_SAMPLES = 30, 1000
"""Rule: evaluations during a range test of a task, and the validation samples of each."""
YOUR_OWN_LOOP = (
    "make the loop yourself, `while not test.is_over:`, and call test.step(loss) after every optimizer.step()"
)


def train_ramp(trainer: Trainer, spec: RunSpec, watch: Watch | None = None) -> tuple[Run, tuple[Evaluation, ...]]:
    """Train a range test of a task, with 30 evaluations on a thousand validation samples.

    The run equals the run of `Trainer.train`: the evaluations do not change it.
    """
    trainer.require(spec)
    few = Split(trainer.validation.x[:EVALUATION_SAMPLES], trainer.validation.y[:EVALUATION_SAMPLES])
    evaluations: list[Evaluation] = []
    try:
        training = Training(trainer, spec, watch or (lambda step: None))
    except Exception as error:  # a model that cannot be built fails this run, as it does in `Trainer.train`
        return Run.failed(error), ()

    def advance() -> RunState | None:
        every = max(1, spec.horizon // EVALUATIONS)
        for mark in range(every, spec.horizon, every):
            if (ended := training.advance(until=mark)) is not None:
                return ended
            with trainer.precision():
                loss, score = judge(predict(training.model, few), few)
            evaluations.append(
                Evaluation(float(spec.policy(mark - 1)), loss if math.isfinite(loss) else math.inf, score)
            )
        return training.advance()

    return training.run(keep=None, advance=advance), tuple(evaluations)


class RangeTest:
    """An LR range test in the user's own loop: a context manager that restores all state at its exit, to the bit.

    It restores the model's parameters, gradients, buffers and modes, the optimizer's state and param groups, the
    objects in `also`, and all random generators. So it does after an exception or a loss of NaN. Hooks that are
    registered inside stay. An optimizer within another one is restored if it is in `also`.

    Before the lowest loss, a loss that is not finite or far from the others is left out, with a note in `advice.notes`.
    In a distributed training every rank runs the test, and all ranks use the mean of their losses.

    Args:
        model: the model. Lazy modules must have seen a batch.
        optimizer: any torch optimizer; its param groups keep the ratios of their learning rates. Nothing else may set
            its learning rates during the test.
        low, high: the first and the last learning rate.
        steps: updates at most; the test ends sooner where the loss has blown up, see `read_ramp`.
        shape: "exponential" or "linear".
        momentum: (first, last) for a momentum that falls as the learning rate rises; None to leave it.
        weight_decay: of all param groups during the test; None to leave it.
        also: further objects to restore: a gradient scaler, a scheduler, the loader's `torch.Generator` ...

    Raises:
        UsageError: for an unsupported model, optimizer or object in `also`, or an impossible range, steps or shape.
        PolicyError: if every param group has a learning rate of 0, or there is no momentum to set.

    Source: Smith 2015, "Cyclical Learning Rates for Training Neural Networks"; cyclical momentum: Smith 2018.

    >>> import torch
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> x, y = torch.randn(64, 4), torch.arange(64) % 2
    >>> with RangeTest(model, optimizer, low=1e-4, high=10, steps=50) as test:
    ...     while not test.is_over:
    ...         optimizer.zero_grad()
    ...         loss = torch.nn.functional.cross_entropy(model(x), y)
    ...         loss.backward()
    ...         optimizer.step()
    ...         test.step(loss)
    >>> optimizer.param_groups[0]["lr"], len(optimizer.state)
    (0.1, 0)
    >>> test.advice.verdict in ("found", "edge", "flat")
    True
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        low: float = 1e-6,
        high: float = 10.0,
        steps: int = 300,
        shape: str = "exponential",
        momentum: tuple[float, float] | None = None,
        weight_decay: float | None = None,
        also: Sequence[Part] = (),
    ) -> None:
        _require_parts(model, optimizer, also)
        self.model, self.optimizer, self.steps = model, optimizer, steps
        self.policy = ramp(low, high, steps, shape, momentum)
        self._weight_decay, self._also = weight_decay, also
        self._reset()

    def _reset(self) -> None:
        """Reset the losses and evaluations of an earlier test."""
        self._scheduler: LRScheduler | None = None
        self._losses: list[float] = []
        self._evaluations: list[Evaluation] = []
        self._lrs: list[float] = []
        self._is_blown_up = False

    def __enter__(self) -> Self:
        """Take the snapshot and set the first learning rate."""
        self._reset()
        self._snapshot = Snapshot(self.model, self.optimizer, self._also)
        try:
            if self._weight_decay is not None:
                for group in self.optimizer.param_groups:
                    group["weight_decay"] = self._weight_decay
            self._scheduler = self.policy.scheduler(self.optimizer)
            self._lrs = self._present_lrs()
        except BaseException:
            self._snapshot.restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore everything."""
        self._scheduler = None
        self._snapshot.restore()

    @property
    def is_over(self) -> bool:
        """Whether the last learning rate was reached or the loss blew up."""
        return self._is_blown_up or len(self._losses) >= self.steps

    @property
    def ramp(self) -> Ramp:
        """The learning rates and losses so far, as evidence."""
        lrs = tuple(self.policy.curve(len(self._losses)).tolist())
        return Ramp("range test", lrs, tuple(self._losses), tuple(self._evaluations), self.steps)

    @property
    def advice(self) -> LRAdvice:
        """The suggested learning rates."""
        return advise([self.ramp])

    def step(self, loss: torch.Tensor | float, *, val_loss: float | None = None, accuracy: float | None = None) -> None:
        """Record the loss of an update, and set the next learning rate.

        Args:
            loss: the training loss of the batch, before the update: one number. With several ranks, that of this rank.
            val_loss: the validation loss after the update; None where it was not evaluated.
            accuracy: the validation accuracy in [0, 1] at the same evaluation, or the value of another metric.

        Raises:
            UsageError: outside of the context, for a loss that is not one number, and where the optimizer's
                learning rates were not those that the test had set.
        """
        if self.is_over:
            return
        if self._scheduler is None:
            raise UsageError("a range test is a context: step() belongs inside of `with lrs.range_test(...) as test:`")
        is_foreign = self._present_lrs() != self._lrs
        value, val_loss, accuracy, foreign = mean_over_ranks(
            [_one_number(loss), val_loss, accuracy, 1.0 if is_foreign else None], self._device
        )
        if foreign is not None:
            raise UsageError(self._foreign_lrs(is_foreign))
        lr = float(self.policy(len(self._losses)))
        assert value is not None
        self._losses.append(value if math.isfinite(value) else math.inf)
        if val_loss is not None:
            self._evaluations.append(Evaluation(lr, val_loss if math.isfinite(val_loss) else math.inf, accuracy))
        self._is_blown_up = self._has_blown_up()
        if not self.is_over:
            self._scheduler.step()
            self._lrs = self._present_lrs()

    @property
    def _device(self) -> torch.device:
        parameter: torch.Tensor = self.optimizer.param_groups[0]["params"][0]
        return parameter.device

    def _present_lrs(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _foreign_lrs(self, on_this_rank: bool) -> str:
        """The error message where something else set the learning rate."""
        where = "on this rank" if on_this_rank else "on another rank"
        lrs = f": {self._lrs[0]:g} was set, {self._present_lrs()[0]:g} is there" if on_this_rank else ""
        return (
            f"update {len(self._losses) + 1} was not made at the learning rate of the range test ({where}{lrs})."
            " Something else sets it: leave your own or the framework's scheduler out of the loop during the test"
        )

    def run(
        self, loader: Iterable[Batch], loss: Loss = F.cross_entropy, validation: Iterable[Batch] | None = None
    ) -> Self:
        """Run the whole test in a plain loop over the loader, with as many passes as needed.

        Args:
            loader: yields (inputs, labels), two tensors, and can be iterated over again.
            loss: takes (the model's output, labels); a mean over the batch.
            validation: a few batches to evaluate 30 times during the test; None for no evaluations.

        Raises:
            UsageError: for other batches, an optimizer that needs a closure, an iterator that is used up, and a loss
                that is not one number; the message shows the loop of your own that would work.
        """
        if _wants_closure(self.optimizer):
            raise UsageError(
                f"{type(self.optimizer).__name__}.step wants a closure, which run() has not:"
                f" {YOUR_OWN_LOOP.replace('optimizer.step()', 'optimizer.step(closure)')}"
            )
        device = self._device
        few = [_pair(batch) for batch in validation] if validation is not None else []
        for x, y in map(_pair, self._batches(loader)):
            self.optimizer.zero_grad()
            value = loss(self.model(x.to(device)), y.to(device))
            _one_number(value)
            value.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            is_due = few and len(self._losses) % max(1, self.steps // EVALUATIONS) == 0
            self.step(value.detach(), **(self._evaluate(few, loss, device) if is_due else {}))
        return self

    def _batches(self, loader: Iterable[Batch]) -> Iterator[object]:
        """Yield batches in pass after pass over the loader, until the test is over."""
        while True:
            is_empty = True
            for batch in loader:
                is_empty = False
                yield batch
                if self.is_over:
                    return
            if isinstance(loader, Iterator):
                raise UsageError(
                    f"the loader is an iterator that ended after update {len(self._losses)} of"
                    f" {self.steps}: give one that can be read again, as a DataLoader or a list"
                )
            if is_empty:
                raise UsageError("the loader gave no batch: a range test needs some, as often as it asks")

    @torch.no_grad()
    def _evaluate(self, few: Sequence[Batch], loss: Loss, device: torch.device) -> dict[str, Any]:
        """Evaluate the model on a few batches, each module in evaluation mode, as keywords of `step`."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        outputs = []
        for x, y in ((x.to(device), y.to(device)) for x, y in few):
            scores = self.model(x)
            outputs.append((float(loss(scores, y)), scores, y))
        for module, mode in modes:
            module.training = mode
        count = sum(len(y) for _, _, y in outputs)
        values: dict[str, Any] = {"val_loss": sum(value * len(y) for value, _, y in outputs) / count}
        if all(scores.ndim == 2 and not y.is_floating_point() for _, scores, y in outputs):
            values["accuracy"] = sum(int((scores.argmax(1) == y).sum()) for _, scores, y in outputs) / count
        return values

    def _has_blown_up(self) -> bool:
        """Whether the loss blew up, by the losses and by their running median.

        One or two outliers do not move the median. It is read after a quarter of the updates; a median that is not
        finite ends the test at once.
        """
        medians = running_median(self._losses)
        if not medians or math.isinf(medians[-1]):
            return bool(medians)
        ramps = (self.ramp, replace(self.ramp, losses=medians)) if len(medians) >= self.steps / 4 else ()
        return bool(ramps) and all(read_ramp(ramp).blown_up is not None for ramp in ramps)


def _require_parts(model: object, optimizer: object, also: Sequence[object]) -> None:
    """Check the types: a model, an optimizer, and objects whose state can be restored."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"a range test takes a torch.nn.Module first, got {type(model).__name__}")
    if not isinstance(optimizer, Optimizer):
        raise UsageError(f"a range test takes a torch optimizer second, got {type(optimizer).__name__}")
    lazy = [name for name, part in (*model.named_parameters(), *model.named_buffers()) if is_lazy(part)]
    if lazy:
        raise UsageError(
            f"{lazy[0]} of the model has no shape yet (a lazy module): pass a batch through the model"
            " before the range test, and before the optimizer is made"
        )
    for part in also:
        if not isinstance(part, torch.Generator) and not hasattr(part, "load_state_dict"):
            raise UsageError(
                f"`also` takes what has state_dict() and load_state_dict(), or a torch.Generator, got"
                f" {type(part).__name__}"
            )


def _wants_closure(optimizer: Optimizer) -> bool:
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _pair(batch: object) -> Batch:
    """The batch as a pair (inputs, labels).

    Raises:
        UsageError: for another batch.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        x, y = batch
        if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
            return x, y
    shape = f" of {len(batch)}" if isinstance(batch, tuple | list | dict) else ""
    raise UsageError(
        f"run() takes batches of two tensors, (inputs, labels), and got a {type(batch).__name__}{shape}:"
        f" {YOUR_OWN_LOOP}"
    )


def _one_number(loss: object) -> float:
    """The loss as a float.

    Raises:
        UsageError: if it is not one number.
    """
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        return float(loss.detach())
    if isinstance(loss, np.generic) or is_number(loss):
        return float(loss)  # type: ignore[arg-type]
    what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else repr(loss)[:80]
    raise UsageError(f"the loss must be one number, a mean over the batch, got {what}")
