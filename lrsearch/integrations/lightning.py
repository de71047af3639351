"""A policy or a job in Lightning's Trainer, by a callback."""

import warnings
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from lrsearch.errors import PolicyError, SchedulerWarning, UsageError
from lrsearch.integrations.lightning_job import JobLoop
from lrsearch.integrations.source import policy_of, read_source, scheduler_of
from lrsearch.integrations.updates import UpdateHooks
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy

try:
    from lightning.pytorch import Callback
    from lightning.pytorch.utilities.types import LRSchedulerConfig
except ModuleNotFoundError:  # the same library by its older name
    from pytorch_lightning import Callback
    from pytorch_lightning.utilities.types import LRSchedulerConfig

__all__ = ["Callback", "NoOpScheduler", "PolicyCallback"]
STATES = "lr_schedulers"
"""Where Lightning keeps the states of schedulers in a checkpoint."""


class PolicyCallback(Callback):  # type: ignore[misc]  # Lightning is not typed for us
    """Sets the learning rate of each update to a policy's, in the place of the schedulers of `configure_optimizers`.

    It counts the updates that the optimizers really make: with accumulated gradients, a gradient scaler, automatic and
    manual optimization. Param groups keep their ratios, over all optimizers. With a job the Trainer's length and its
    validation are the job's, see `docs/lightning.md`.

    Args:
        source: a policy, its text, or a job.
        adopt: whether a checkpoint of another policy, or of none, may be resumed: its number of updates is taken.
        monitor: the metric, lower is better, that a controller such as PLATEAU learns from; a job has its own.

    Raises:
        PolicyError: if the source is none, or a controller has no metric to learn from.
        UsageError: if a job or a controller is to adopt a checkpoint.

    >>> callback = PolicyCallback("WARMUP(policy=HALFCOS(k0=0.1, l=900), l=100)")
    >>> callback.policy.horizon
    1000
    """

    def __init__(self, source: Policy | str | Job, *, adopt: bool = False, monitor: str | None = None) -> None:
        self._source = read_source(source)
        self.policy = policy_of(self._source)
        self._adopt, self._monitor = adopt, monitor
        self._job = JobLoop(self._source) if isinstance(self._source, Job) else None
        if not self.policy.is_controller:
            self.policy.require_curve()
        elif monitor is None and self._job is None:
            raise PolicyError(
                f"{self.policy.name} learns from a validation loss: name the metric that validation_step logs, as in"
                f" PolicyCallback({str(self.policy)!r}, monitor='val_loss')"
            )
        if adopt and (self._job is not None or self.policy.is_controller):
            raise UsageError("a job and a controller do not adopt the checkpoint of another policy: leave out adopt")
        self._goes_on_at: int | None = None
        self._hooks: UpdateHooks | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse a second callback, and a Trainer whose runs are not the job's."""
        if sum(isinstance(callback, PolicyCallback) for callback in trainer.callbacks) > 1:
            raise UsageError("a Trainer takes one PolicyCallback, and this one has several")
        if self._job is not None and stage == "fit":
            self._job.require(trainer)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the place of the schedulers."""
        self._remove_hooks()
        strategy = trainer.strategy
        if not any(optimizer.param_groups for optimizer in strategy.optimizers):
            raise UsageError("a policy needs an optimizer, and configure_optimizers returned none")
        _warn_of_replaced(strategy.lr_scheduler_configs, self.policy)
        self._scheduler = scheduler_of(self._source, *strategy.optimizers)
        self._parts = getattr(self._scheduler, "schedulers", (self._scheduler,))
        for part in self._parts:
            part.adopt = self._adopt
            if len(self._parts) > 1:  # one optimizer may wait for the others' updates: a step before its first is right
                part._warned.add("order")
        strategy.lr_scheduler_configs = [
            LRSchedulerConfig(NoOpScheduler(part), interval="step") for part in self._parts
        ]
        self._hooks = UpdateHooks(strategy.optimizers, self._scheduler.step)
        if self._job is not None:
            self._job.prepare(trainer)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Refuse or adopt a checkpoint that another policy, or none, has made."""
        if trainer.state.fn != "fit":
            return
        owners = {str(state.get("policy", "")) for state in checkpoint.get(STATES, ())} or {""}
        if owners != {str(self.policy)} and not self._adopt:
            raise PolicyError(_refusal(owners, self.policy, checkpoint, self._job is None))
        if "" in owners:
            checkpoint[STATES] = []
            self._goes_on_at = int(checkpoint["global_step"])

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on where a checkpoint without a policy ended."""
        if self._goes_on_at is not None:
            _go_on(self._parts, self._goes_on_at)
            self._goes_on_at = None
        if self._job is not None:
            self._job.begin(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End an update of several optimizers, and log the job's."""
        if self._hooks is not None:
            self._hooks.end_round()
        if self._job is not None:
            self._job.after_batch(trainer, outputs)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the job's metric, or report a controller's."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self._job is not None:
            self._job.after_validation(trainer)
        elif self.policy.is_controller:
            self._scheduler.step(_metric(trainer, str(self._monitor)))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the optimizers alone."""
        self._remove_hooks()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Let an interrupted job be interrupted: Lightning would exit with 1, which is a failure."""
        self._remove_hooks()
        if self._job is not None and isinstance(exception, KeyboardInterrupt):
            for callback in trainer.callbacks[trainer.callbacks.index(self) + 1 :]:  # those that save are the last
                callback.on_exception(trainer, pl_module, exception)
            for logger in trainer.loggers:
                logger.finalize("failed")
            trainer._teardown()
            raise exception

    def _remove_hooks(self) -> None:
        if self._hooks is not None:
            self._hooks.remove()
            self._hooks = None


class NoOpScheduler:
    """A policy's scheduler as Lightning sees it: shown and saved. Its `step()` does nothing, the callback's counts.

    Args:
        scheduler: the scheduler.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler, self.optimizer = scheduler, scheduler.optimizer

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: Lightning, `lr_scheduler_step` or `training_step` may call it as often as they like."""

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state."""
        state: dict[str, Any] = self.scheduler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state."""
        self.scheduler.load_state_dict(state_dict)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each param group."""
        return [float(lr) for lr in self.scheduler.get_last_lr()]


def _warn_of_replaced(configs: Sequence[Any], policy: Policy) -> None:
    if not configs:
        return
    replaced = [config.scheduler for config in configs]
    names = ", ".join(type(scheduler).__name__ for scheduler in replaced)
    momentum = (
        ". It has set the momentum as well, which stays: leave it out of configure_optimizers"
        if any(getattr(scheduler, "cycle_momentum", False) for scheduler in replaced) and not policy.has_momentum
        else ""
    )
    warnings.warn(
        f"{policy} takes the place of {names} of configure_optimizers{momentum}", SchedulerWarning, stacklevel=3
    )


def _refusal(owners: set[str], policy: Policy, checkpoint: dict[str, Any], may_adopt: bool) -> str:
    if not may_adopt:
        return f"this checkpoint is not one of {policy}: a job resumes its own, of job.folder, where job.resumed"
    if "" not in owners:
        return (
            f"this checkpoint is one of {', '.join(sorted(owners))}, not of {policy}."
            " PolicyCallback(..., adopt=True) takes its number of updates and goes on"
        )
    return (
        f"this checkpoint was made without PolicyCallback. PolicyCallback(..., adopt=True) goes on at update"
        f" {checkpoint['global_step']} of {policy}. To begin at its first, load the weights alone:"
        " fit(model) with MyModule.load_from_checkpoint(path)"
    )


def _go_on(parts: Sequence[Any], step: int) -> None:
    """Go to an update of the policy. The ratios are those of the optimizer's loaded state."""
    if len(parts) > 1:
        raise UsageError(
            "a checkpoint that was made without PolicyCallback counts the updates of all its optimizers in one"
            " global_step, so that the update to go on at is not known: load its weights alone, and begin anew"
        )
    (scheduler,) = parts
    optimizer: Optimizer = scheduler.optimizer
    largest = max(float(group.get("initial_lr", 0.0)) for group in optimizer.param_groups)
    scheduler.groups.rescale(largest or scheduler.largest)
    scheduler.step(epoch=step)
    warnings.warn(
        f"{scheduler.policy} goes on at update {step} of a checkpoint without it", SchedulerWarning, stacklevel=3
    )


def _metric(trainer: Any, name: str) -> float:
    metrics = trainer.callback_metrics
    if name not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        raise UsageError(f"the validation logged no {name!r}, which the policy learns from; logged were: {known}")
    return float(metrics[name])
