"""The LR range test on any model and loop: the learning rate rises, the loss is noted, and nothing of it remains."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrsearch.errors import UsageError
from lrsearch.heuristics.advice import Advice, advise
from lrsearch.heuristics.evidence import Look, Ramp
from lrsearch.schedules import CM, LINEAR, RAMP, Policy
from lrsearch.tasks import Split
from lrsearch.training.loop import Trainer, Training, Watch, predict
from lrsearch.training.record import judge
from lrsearch.training.run import Run, RunSpec, RunState
from lrsearch.training.snapshot import Part, Snapshot

SHAPES = {"exponential": RAMP, "linear": LINEAR}
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LEAST_STEPS = 20
OVER = 4.0
"""Times the lowest smoothed loss: there the test ends, for what follows shows nothing more."""
SMOOTHING = 0.9
LOOKS, LOOK_SAMPLES = 30, 1000


def ramp(
    low: float, high: float, steps: int, shape: str = "exponential", momentum: tuple[float, float] | None = None
) -> Policy:
    """Give the policy of a range test: the learning rate rises from `low` to `high` in `steps` updates.

    Args:
        low, high: learning rates, 0 < low < high.
        steps: updates, 20 or more.
        shape: "exponential" (each update by the same factor) or "linear" (by the same amount, as Smith has it).
        momentum: (first, last): it falls as the learning rate rises, as Smith's 1cycle report tests it.

    Raises:
        UsageError: it says which of these cannot be.
    """
    if not 0 < low < high < math.inf:
        raise UsageError(f"a range test goes from a learning rate above 0 to a higher one, got {low!r} to {high!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < LEAST_STEPS:
        raise UsageError(f"a range test takes {LEAST_STEPS} updates or more, got {steps!r}")
    if shape not in SHAPES:
        raise UsageError(f"the shape is exponential or linear, got {shape!r}")
    rising = SHAPES[shape](k0=low, k1=high, l=steps - 1)
    return CM(policy=rising, m0=momentum[0], m1=momentum[1]) if momentum else rising


def train_ramp(trainer: Trainer, spec: RunSpec, watch: Watch | None = None) -> tuple[Run, tuple[Look, ...]]:
    """Train a range test of a task, and look at a thousand validation samples 30 times on the way.

    The run is the one that `Trainer.train` gives: the looks change nothing of it.
    """
    trainer.require(spec)
    few = Split(trainer.validation.x[:LOOK_SAMPLES], trainer.validation.y[:LOOK_SAMPLES])
    looks: list[Look] = []
    try:
        training = Training(trainer, spec, watch or (lambda step: None))
    except Exception as error:  # a model that cannot be built fails this run, as it does in `Trainer.train`
        return Run.failed(error), ()

    def advance() -> RunState | None:
        every = max(1, spec.horizon // LOOKS)
        for mark in range(every, spec.horizon, every):
            if (ended := training.advance(until=mark)) is not None:
                return ended
            with trainer.precision():
                loss, score = judge(predict(training.model, few), few)
            looks.append(Look(float(spec.policy(mark - 1)), loss if math.isfinite(loss) else math.inf, score))
        return training.advance()

    return training.run(keep=None, advance=advance), tuple(looks)


class RangeTest:
    """An LR range test in a loop of one's own: a context, after which all is as it was before, to the bit.

    Restored are the model's parameters, gradients, buffers and modes, the optimizer's state and param groups, what is
    named in `also`, and all random generators: also after an exception, and after a loss of NaN. Hooks that are
    registered inside stay; an optimizer within another one is restored if it is named in `also`.

    Args:
        model: the model.
        optimizer: any torch optimizer; its param groups keep the ratios of their learning rates.
        low, high: the first and the last learning rate.
        steps: updates at most; the test ends sooner where the smoothed loss is over 4 times its lowest.
        shape: "exponential" or "linear".
        momentum: (first, last) for a momentum that falls as the learning rate rises; None to leave it.
        weight_decay: of all param groups during the test; None to leave it.
        also: what else is restored: a gradient scaler, a scheduler, the loader's `torch.Generator` ...

    Raises:
        UsageError: for a range, number of steps or shape that cannot be.
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
    >>> test.advice.verdict in ("found", "flat")
    True
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, *, low: float = 1e-6, high: float = 10.0, steps: int = 300,
        shape: str = "exponential", momentum: tuple[float, float] | None = None, weight_decay: float | None = None,
        also: Sequence[Part] = (),
    ) -> None:
        self.model, self.optimizer, self.steps = model, optimizer, steps
        self.policy = ramp(low, high, steps, shape, momentum)
        self._weight_decay, self._also = weight_decay, also
        self._forget()

    def _forget(self) -> None:
        """Begin anew."""
        self._scheduler: LRScheduler | None = None
        self._losses: list[float] = []
        self._looks: list[Look] = []
        self._smoothed, self._lowest = 0.0, math.inf
        self._is_blown_up = False

    def __enter__(self) -> Self:
        """Take the snapshot, and set the first learning rate."""
        self._forget()
        self._snapshot = Snapshot(self.model, self.optimizer, self._also)
        try:
            if self._weight_decay is not None:
                for group in self.optimizer.param_groups:
                    group["weight_decay"] = self._weight_decay
            self._scheduler = self.policy.scheduler(self.optimizer)
        except BaseException:
            self._snapshot.restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put everything back."""
        self._scheduler = None
        self._snapshot.restore()

    @property
    def is_over(self) -> bool:
        """Whether the last learning rate was reached, or the loss blew up."""
        return self._is_blown_up or len(self._losses) >= self.steps

    @property
    def ramp(self) -> Ramp:
        """What the test showed so far, as evidence."""
        rates = tuple(float(self.policy(step)) for step in range(len(self._losses)))
        return Ramp("range test", rates, tuple(self._losses), tuple(self._looks))

    @property
    def advice(self) -> Advice:
        """What it suggests."""
        return advise([self.ramp])

    def step(self, loss: torch.Tensor | float, *, val_loss: float | None = None, accuracy: float | None = None) -> None:
        """Note the loss of an update that was made, and set the next learning rate.

        Args:
            loss: the training loss of the batch, before the update; 0 or more.
            val_loss: the validation loss after it, where it was looked at.
            accuracy: the validation accuracy in [0, 1] at the same look.

        Raises:
            UsageError: outside of the context, and for a loss below 0.
        """
        if self.is_over:
            return
        if self._scheduler is None:
            raise UsageError("a range test is a context: step() belongs inside of `with lrs.range_test(...) as test:`")
        rate = float(self.policy(len(self._losses)))
        value = float(loss.detach() if isinstance(loss, torch.Tensor) else loss)
        if value < 0:
            raise UsageError(f"a range test is read by how far the loss falls towards 0, and this one is {value:g}: add"
                             " a constant to it")
        self._losses.append(value if math.isfinite(value) else math.inf)
        if val_loss is not None:
            self._looks.append(Look(rate, val_loss if math.isfinite(val_loss) else math.inf, accuracy))
        self._watch(value)
        if not self.is_over:
            self._scheduler.step()

    def run(
        self, loader: Iterable[tuple[torch.Tensor, torch.Tensor]], loss: Loss = F.cross_entropy,
        validation: Iterable[tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> Self:
        """Make the whole test: a plain loop over the loader, from its start as often as is needed.

        Args:
            loader: gives (inputs, labels), on the model's device.
            loss: takes (the model's output, labels); a mean over the batch.
            validation: a few batches to look at 30 times during the test; None to look at none.
        """
        device = next(self.model.parameters()).device
        few = list(validation) if validation is not None else []
        for x, y in self._batches(loader):
            self.optimizer.zero_grad()
            value = loss(self.model(x.to(device)), y.to(device))
            value.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            is_look = few and len(self._losses) % max(1, self.steps // LOOKS) == 0
            self.step(value.detach(), **(self._look(few, loss, device) if is_look else {}))
        return self

    def _batches(self, loader: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[Any]:
        """Give batches until the test is over."""
        while True:
            is_empty = True
            for batch in loader:
                is_empty = False
                yield batch
                if self.is_over:
                    return
            if is_empty:
                raise UsageError("the loader gave no batch: a range test needs some, as often as it asks")

    @torch.no_grad()
    def _look(
        self, few: Sequence[tuple[torch.Tensor, torch.Tensor]], loss: Loss, device: torch.device
    ) -> dict[str, Any]:
        """Judge the model on a few batches, each module in evaluation mode."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        judged = [(float(loss(scores := self.model(x.to(device)), y.to(device))), scores, y.to(device)) for x, y in few]
        for module, mode in modes:
            module.training = mode
        count = sum(len(y) for _, _, y in judged)
        found: dict[str, Any] = {"val_loss": sum(value * len(y) for value, _, y in judged) / count}
        if all(scores.ndim == 2 and not y.is_floating_point() for _, scores, y in judged):
            found["accuracy"] = sum(int((scores.argmax(1) == y).sum()) for _, scores, y in judged) / count
        return found

    def _watch(self, loss: float) -> None:
        """See whether the smoothed loss, its start debiased, is over 4 times its lowest."""
        self._smoothed = SMOOTHING * self._smoothed + (1 - SMOOTHING) * loss
        debiased = self._smoothed / (1 - SMOOTHING ** len(self._losses))
        self._lowest = min(self._lowest, debiased)
        self._is_blown_up = not debiased <= OVER * self._lowest
