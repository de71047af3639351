"""A range test by the Trainer's own loop."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer
from transformers import Trainer

from lrsearch.errors import UsageError, given
from lrsearch.heuristics.advice import LRAdvice
from lrsearch.heuristics.evidence import Ramp
from lrsearch.integrations.huggingface.attached import Attached, attached_to
from lrsearch.training.range_test import RangeTest

RESTORED = ("optimizer", "lr_scheduler", "_created_lr_scheduler")
"""Attributes of the Trainer that its `train()` sets; the last says whether the next one makes another scheduler."""


class _NoScheduler:
    """Stands where the Trainer expects a scheduler: the range test sets the learning rates."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Nothing."""

    def get_last_lr(self) -> list[float]:
        """The LR of each param group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}


class TrainerRangeTest(Attached):
    """Makes the next `trainer.train()` a range test; after it the Trainer is as it was.

    Model, optimizer and random generators are put back to the bit, also after an exception. It evaluates, saves and
    logs nothing. Accumulation, mixed precision and several processes are the Trainer's own.

    Args:
        trainer: a Trainer that nothing is attached to yet.
        options: `low`, `high`, `steps`, `shape`, `momentum`, `weight_decay` of `lrs.range_test`.

    Raises:
        UsageError: for another object than a Trainer, one with DeepSpeed or something attached to it, or an impossible
            range, steps or shape.

    Once `trainer.train()` has returned, `advice` is what the test suggests, and `ramp` what it showed.
    """

    replaced: ClassVar[tuple[str, ...]] = ("create_scheduler", "training_step", "train")
    is_replaceable: ClassVar[bool] = False

    def __init__(self, trainer: Trainer, **options: Any) -> None:
        if not isinstance(trainer, Trainer):
            raise UsageError(f"a TrainerRangeTest takes a transformers.Trainer first, got {given(trainer)}")
        if attached_to(trainer):
            raise UsageError("something is attached to this Trainer: make the range test first, then attach")
        super().__init__(trainer)
        self._options, self._steps = options, _steps_of(options)
        self._test: RangeTest | None = None
        self.attach()

    @property
    def advice(self) -> LRAdvice:
        """What the test suggests."""
        return self._made.advice

    @property
    def ramp(self) -> Ramp:
        """The learning rates and losses of the test."""
        return self._made.ramp

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Make the test, in the place of a training."""
        trainer = self.trainer
        before, max_steps = {name: getattr(trainer, name) for name in RESTORED}, trainer.args.max_steps
        trainer.args.max_steps = self._steps
        try:
            return self.call_original("train", *args, **kwargs)
        finally:
            if self._test is not None:
                self._test.__exit__(None, None, None)
            trainer.args.max_steps = max_steps
            for name, value in before.items():
                setattr(trainer, name, value)
            self.detach()

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """Begin the test, now that the optimizer is there."""
        trainer = self.trainer
        optimizer = trainer.optimizer if optimizer is None else optimizer
        self._test = RangeTest(trainer.model, optimizer, **self._options).__enter__()
        trainer.lr_scheduler = _NoScheduler(optimizer)
        return trainer.lr_scheduler

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the loss of an update, and stop where the test is over."""
        test = self._made
        test.step(self.take_loss())
        control.should_evaluate = control.should_save = control.should_log = False
        control.should_training_stop |= test.is_over

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluate, save and log nothing."""
        control.should_evaluate = control.should_save = control.should_log = False

    @property
    def _made(self) -> RangeTest:
        if self._test is None:
            raise UsageError("the range test was not made yet: call trainer.train()")
        return self._test


def _steps_of(options: Mapping[str, Any]) -> int:
    """The updates of a range test with these options. They are refused here, not in the middle of `train()`."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return RangeTest(torch.nn.Identity(), optimizer, **options).steps
