"""A policy as a Trainer's scheduler."""

import dataclasses
import warnings
from typing import Any, ClassVar

from torch.optim import Optimizer
from transformers import Trainer

from lrsearch.errors import SchedulerWarning, UsageError
from lrsearch.integrations.huggingface.attached import Attached
from lrsearch.integrations.source import policy_of, scheduler_of
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy
from lrsearch.schedules.torch_jobs import SchedulerSet

NOT_USED = ("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps")
"""Arguments of the Trainer's own schedulers."""
VALIDATION_LOSS = "eval_loss"


class TrainerPolicy(Attached):
    """Sets a Trainer's learning rates to those of a policy.

    Args:
        trainer: the Trainer.
        source: a policy or a job.
        adopt: whether a checkpoint of another policy may be resumed.

    Raises:
        UsageError: if the Trainer was given a scheduler or trains with DeepSpeed, or a controller will hear of no
            validation loss.
    """

    replaced: ClassVar[tuple[str, ...]] = ("create_scheduler",)

    def __init__(self, trainer: Trainer, source: Policy | Job, adopt: bool = False) -> None:
        super().__init__(trainer)
        self.source, self.adopt = source, adopt
        if trainer.lr_scheduler is not None and not trainer._created_lr_scheduler:
            raise UsageError(
                "this Trainer was given a scheduler: leave it out, as Trainer(..., optimizers=(optimizer, None))"
            )
        self.require_evaluations()
        _warn_of_unused(trainer)

    def require_evaluations(self) -> None:
        """Refuse a controller that would hear of no validation loss."""
        policy, datasets = policy_of(self.source), self.trainer.eval_dataset
        if not policy.is_controller:
            return
        if self.trainer.args.eval_strategy == "no":
            raise UsageError(f"{policy} learns from {VALIDATION_LOSS}: set eval_strategy of the TrainingArguments")
        if isinstance(datasets, dict):
            there = ", ".join(f"eval_{name}_loss" for name in datasets)
            raise UsageError(
                f"{policy} learns from {VALIDATION_LOSS}, and a dict as eval_dataset has {there}: give the Trainer one"
                " eval_dataset"
            )

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """The Trainer's scheduler, in the place of `Trainer.create_scheduler`."""
        trainer = self.trainer
        optimizer = trainer.optimizer if optimizer is None else optimizer
        made = scheduler_of(self.source, optimizer, seed=trainer.args.seed, adopt=self.adopt)
        # A Trainer steps a ReduceLROnPlateau, which a controller is, at evaluations only; a set of one at each update.
        trainer.lr_scheduler = SchedulerSet([made]) if policy_of(self.source).is_controller else made
        trainer._created_lr_scheduler = True  # a second trainer.train() makes another
        return trainer.lr_scheduler

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Warn where another policy's checkpoint is resumed: the Trainer silences the scheduler's own warning."""
        before = getattr(self.trainer.lr_scheduler, "_adopted", None)
        if before is not None:
            warnings.warn(
                f"adopted at step {state.global_step}: {before} was followed up to here, and"
                f" {policy_of(self.source)} is from here on",
                SchedulerWarning,
                stacklevel=2,
            )

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let a controller learn from the validation loss."""
        metrics, policy = kwargs["metrics"], policy_of(self.source)
        if not (self.trainer.is_in_train and policy.is_controller):
            return
        if VALIDATION_LOSS not in metrics:
            known = ", ".join(sorted(metrics))
            raise UsageError(f"{policy} learns from {VALIDATION_LOSS}, which the evaluation lacks. It has: {known}")
        self.trainer.lr_scheduler.step(metrics[VALIDATION_LOSS])


def _warn_of_unused(trainer: Trainer) -> None:
    """Warn of arguments that were set and have no effect."""
    usual = {field.name: field.default for field in dataclasses.fields(trainer.args)}
    values = {name: getattr(trainer.args, name) for name in NOT_USED}
    unused = ", ".join(name for name, value in values.items() if value and value != usual[name])
    if unused:
        warnings.warn(
            f"{unused} of the TrainingArguments not used: the policy sets the LR of every update. A warm-up is"
            " written WARMUP(policy=..., l=100)",
            SchedulerWarning,
            stacklevel=4,
        )
