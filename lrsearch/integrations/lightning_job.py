"""A job in Lightning's Trainer: how long it trains, when it validates, what is logged, when it stops."""

import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lrsearch.errors import UsageError
from lrsearch.runs.job import REPORT_EVERY, TRAIN_LOSS, Job

NEVER = sys.maxsize
"""Batches between two validations of the Trainer's own."""


def mean_loss(losses: Sequence[Tensor], trainer: Any) -> Tensor:
    """The mean of the losses of an update's batches. Automatic optimization has divided each by their number."""
    parts: int = trainer.accumulate_grad_batches if trainer.lightning_module.automatic_optimization else 1
    return losses[0] if parts == len(losses) == 1 else sum(losses[1:], losses[0]) * (parts / len(losses))


class JobLoop:
    """Makes the Trainer's loop the job's: its horizon, its evaluations, its stop.

    Args:
        job: the job.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._seen = 0
        self._due: int | None = None
        self._losses: list[Tensor] = []

    def require(self, trainer: Any) -> None:
        """Refuse a Trainer that would train something else than the job.

        Raises:
            UsageError: it says what to change.
        """
        if self.job.has_scheduler:
            raise UsageError("this job has been trained: each call of the function takes a job of its own")
        if trainer.world_size > 1 and not trainer.strategy.cluster_environment.creates_processes_externally:
            raise UsageError(
                "a Trainer that starts processes cannot be searched as a function: write Trainer(devices=1), or make it"
                " a program and search it by torchrun, see docs/lightning.md"
            )
        if trainer.fast_dev_run:
            raise UsageError("fast_dev_run ends before the job does: leave it out. lrs.check(...) makes two updates")
        if trainer.early_stopping_callbacks:
            raise UsageError(
                "EarlyStopping ends a run before its policy does: leave it out of a job's Trainer, which stops by"
                " job.should_stop"
            )
        if getattr(trainer, "_val_check_time_interval", None) is not None:
            raise UsageError("val_check_interval is a time, and a job is evaluated at updates: leave it out")

    def prepare(self, trainer: Any) -> None:
        """Hand the Trainer's length and validation to the job, after `configure_optimizers` has seen its own."""
        trainer.fit_loop.max_epochs, trainer.fit_loop.min_epochs = -1, None
        trainer.fit_loop.epoch_loop.max_steps, trainer.fit_loop.epoch_loop.min_steps = -1, None
        trainer.check_val_every_n_epoch = None
        if self.job.is_range_test:
            trainer.limit_val_batches = 0

    def begin(self, trainer: Any) -> None:
        """Begin, or go on after a checkpoint; of one at the last update only the evaluation is left."""
        self._seen = self.job.step
        trainer.val_check_batch = NEVER
        if self._seen >= self.job.horizon:
            trainer.should_stop = True
            self._validate(trainer)

    def after_batch(self, trainer: Any, outputs: Any) -> None:
        """Log an update that was made, and have the Trainer validate or stop where it is due."""
        job, before = self.job, self._seen
        if isinstance(loss := outputs.get("loss") if outputs else None, Tensor):
            self._losses.append(loss)
        trainer.val_check_batch = NEVER
        if job.step == before:  # gradients are accumulated
            return
        self._seen = step = job.step
        self._log_loss(trainer)
        due = [at for at in range(before + 1, step + 1) if job.is_evaluation_due(at)]
        if due:
            self._due = due[-1]
            trainer.val_check_batch = 1
        if step >= job.horizon:
            trainer.should_stop = True
        elif due or step // REPORT_EVERY > before // REPORT_EVERY:
            self._stop_where_due(trainer)

    def after_validation(self, trainer: Any) -> None:
        """Log the metrics of the task at an evaluation."""
        due, self._due = self._due, None
        if due is None:
            return
        metrics = trainer.callback_metrics
        names = [objective.name for objective in self.job.spec.task.objectives]
        self.job.log(due, **{name: metrics[name] for name in names if name in metrics})
        self._stop_where_due(trainer)

    def _log_loss(self, trainer: Any) -> None:
        """Log the mean loss of an update's batches. A device sync is left to the job."""
        if self._losses:
            loss = mean_loss(self._losses, trainer)
            self._losses.clear()
        elif (loss := trainer.callback_metrics.get(TRAIN_LOSS)) is None:
            return
        self.job.log(self._seen, **{TRAIN_LOSS: loss})

    def _stop_where_due(self, trainer: Any) -> None:
        """Stop on all ranks where one is to stop. All ask at the same updates."""
        if trainer.strategy.reduce_boolean_decision(self.job.should_stop, all=False):
            trainer.should_stop = True

    def _validate(self, trainer: Any) -> None:
        """Validate as the Trainer does in the middle of an epoch."""
        if not self.job.is_evaluation_due(self._seen):
            return
        self._due = self._seen
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.restarting = False  # as the Trainer has it where it trains first
        trainer.validating = True
        loop.run()
        trainer.training = True
