"""A learning-rate range test as a callback of Lightning's Trainer."""

from typing import Any

import torch
from torch import Tensor

from lrsearch.errors import UsageError
from lrsearch.heuristics.advice import LRAdvice
from lrsearch.integrations.lightning import Callback, NoOpScheduler, PolicyCallback
from lrsearch.integrations.lightning_job import mean_loss
from lrsearch.training.range_test import RangeTest


class RangeTestCallback(Callback):  # type: ignore[misc]  # Lightning is not typed for us
    """Makes `Trainer.fit` a range test: the learning rate rises, and the model is as before when it ends.

    `fit` ends where the test does; it validates nothing, saves no checkpoint, and none of the module's schedulers takes
    part. Restored, to the bit, are the model, the optimizer, a gradient scaler and the random generators. Under DDP all
    ranks read the mean of their losses. The Trainer is the test's own: the training takes another.

    Args:
        low, high: the first and the last learning rate.
        steps: updates at most.
        options: of `lrs.range_test`: `shape`, `momentum`, `weight_decay`, `also`.

    Raises:
        UsageError: for a range, number of steps or shape that cannot be.

    >>> callback = RangeTestCallback(low=1e-5, high=1.0, steps=100)
    >>> callback.advice
    Traceback (most recent call last):
        ...
    lrsearch.errors.UsageError: there is no advice yet: Trainer(callbacks=[callback]).fit(model) makes the range test
    """

    def __init__(self, low: float = 1e-6, high: float = 10.0, steps: int = 300, **options: Any) -> None:
        self._options = {"low": low, "high": high, "steps": steps, **options}
        model = torch.nn.Linear(1, 1)
        RangeTest(model, torch.optim.SGD(model.parameters(), lr=1.0), **self._options)  # refuses here, not in fit
        self._test: RangeTest | None = None
        self._is_open = False
        self._updates = 0
        self._losses: list[Tensor] = []

    @property
    def advice(self) -> LRAdvice:
        """What the test suggests, as that of `lrs.range_test`.

        Raises:
            UsageError: before the test.
        """
        return self.test.advice

    @property
    def test(self) -> RangeTest:
        """The range test itself: its learning rates and losses are in `test.ramp`.

        Raises:
            UsageError: before the test.
        """
        if self._test is None:
            raise UsageError("there is no advice yet: Trainer(callbacks=[callback]).fit(model) makes the range test")
        return self._test

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave checkpoints out, which would be of a model in the middle of a test."""
        if any(isinstance(callback, PolicyCallback) for callback in trainer.callbacks):
            raise UsageError("a range test sets the learning rate by itself: leave out PolicyCallback beside it")
        trainer.callbacks = [callback for callback in trainer.callbacks if callback not in trainer.checkpoint_callbacks]

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Let nothing else set the learning rate or end the training."""
        loop = trainer.fit_loop
        loop.max_epochs, loop.min_epochs, loop.epoch_loop.max_steps, loop.epoch_loop.min_steps = -1, None, -1, None
        trainer.limit_val_batches = 0
        for config in trainer.strategy.lr_scheduler_configs:
            config.scheduler, config.reduce_on_plateau = NoOpScheduler(config.scheduler), False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the snapshot, and set the first learning rate."""
        if len(trainer.optimizers) != 1:
            raise UsageError(
                f"a range test is of one optimizer, and this module has {len(trainer.optimizers)}: search it as a job,"
                " whose range tests are of all of them"
            )
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        also = (*self._options.get("also", ()), *([scaler] if scaler is not None else []))
        self._test = RangeTest(pl_module, trainer.optimizers[0], **{**self._options, "also": also})
        self._test.__enter__()
        self._is_open, self._updates = True, trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the loss of an update, and set the next learning rate."""
        loss = outputs.get("loss") if outputs else None
        if not isinstance(loss, Tensor):
            raise UsageError("a range test reads the loss that training_step returns, and it returned none")
        self._losses.append(loss)
        if trainer.global_step == self._updates:  # gradients are accumulated
            return
        self._updates = trainer.global_step
        self.test.step(mean_loss(self._losses, trainer))
        self._losses.clear()
        trainer.should_stop = self.test.is_over

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Put everything back."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Put everything back."""
        self._close()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self.test.__exit__(None, None, None)
