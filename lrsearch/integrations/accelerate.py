"""A policy or a job in a loop with Accelerate: its scheduler counts the updates that are made."""

from typing import Any

from accelerate import Accelerator, DistributedType
from accelerate.optimizer import AcceleratedOptimizer

from lrsearch.errors import UsageError, given
from lrsearch.integrations.source import read_source, scheduler_of
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy

UNSUPPORTED = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
"""Their engines step a scheduler of their own."""


class UpdateScheduler:
    """A scheduler that goes one update on where Accelerate's optimizers made one, in any number of processes.

    Call `step()` after every `optimizer.step()`, inside of `accelerator.accumulate(model)` too. It does nothing while
    gradients accumulate. A skipped update of mixed precision leaves a policy where it is; for a job it counts.

    Args:
        accelerator: the Accelerator.
        scheduler: of the optimizers.
        optimizers: as they were prepared.
        counts_skipped: whether an update that was skipped counts.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        scheduler: Any,
        optimizers: tuple[AcceleratedOptimizer, ...],
        counts_skipped: bool,
    ) -> None:
        self.accelerator, self.scheduler, self.optimizers = accelerator, scheduler, optimizers
        self._counts_skipped = counts_skipped

    @property
    def last_epoch(self) -> int:
        """Updates so far."""
        return int(self.scheduler.last_epoch)

    def step(self, metrics: Any = None) -> None:
        """Go one update on, if one was made; a controller takes a validation loss instead."""
        if metrics is not None:
            self.scheduler.step(metrics)
        elif self.accelerator.sync_gradients and (self._counts_skipped or not self._was_skipped):
            self.scheduler.step()

    @property
    def _was_skipped(self) -> bool:
        return any(optimizer.step_was_skipped for optimizer in self.optimizers)

    def get_last_lr(self) -> list[float]:
        """The LR of each param group."""
        return [float(lr) for lr in self.scheduler.get_last_lr()]

    def state_dict(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        state: dict[str, Any] = self.scheduler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state."""
        self.scheduler.load_state_dict(state_dict)


def prepare_scheduler(
    accelerator: Accelerator, source: Policy | str | Job, *optimizers: AcceleratedOptimizer, adopt: bool = False
) -> UpdateScheduler:
    """The scheduler of a policy or a job in a loop with Accelerate. It is not given to `accelerator.prepare`.

    `accelerator.save_state` and `load_state` keep and restore it.

    Args:
        accelerator: the Accelerator.
        source: a policy, its text or a job.
        optimizers: one or more, as `accelerator.prepare` returned them.
        adopt: whether a state of another policy may be loaded; its step is taken, and a warning given. For a policy
            and one optimizer alone.

    Raises:
        UsageError: for another object, an optimizer that was not prepared, DeepSpeed and Megatron-LM, or if a job or
            several optimizers are to adopt a state.
        PolicyError: for another source, or if every param group starts at LR 0.

    >>> import torch
    >>> accelerator = Accelerator(cpu=True)
    >>> model = torch.nn.Linear(4, 2)
    >>> model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0))
    >>> scheduler = prepare_scheduler(accelerator, "LINEAR(k0=1.0, l=4)", optimizer)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.75]
    """
    if not isinstance(accelerator, Accelerator):
        raise UsageError(f"prepare_scheduler takes an accelerate.Accelerator first, got {given(accelerator)}")
    if accelerator.distributed_type in UNSUPPORTED:
        raise UsageError(
            f"{accelerator.distributed_type.value} steps a scheduler of its own, which lrsearch cannot set yet: use DDP"
        )
    for optimizer in optimizers:
        if not isinstance(optimizer, AcceleratedOptimizer):
            raise UsageError(
                f"the optimizer is one that accelerator.prepare returned, got {given(optimizer)}: first"
                " `model, optimizer = accelerator.prepare(model, optimizer)`"
            )
    read = read_source(source)
    made = scheduler_of(read, *optimizers, adopt=adopt)
    prepared = UpdateScheduler(accelerator, made, optimizers, counts_skipped=isinstance(read, Job))
    accelerator.register_for_checkpointing(prepared)
    return prepared
