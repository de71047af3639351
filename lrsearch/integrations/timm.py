"""A policy or a job with the interface of timm's schedulers: it stands where `create_scheduler_v2` stood.

It needs nothing of timm itself, whose base class sets learning rates of its own.
"""

import operator
import warnings
from typing import Any

from torch.optim import Optimizer

from lrsearch.errors import PolicyError, SchedulerWarning, UsageError, given
from lrsearch.integrations.source import policy_of, read_source, scheduler_of
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy


class TimmScheduler:
    """A scheduler with timm's calls: after `step_update(n)` the LR is policy(n), times the group's `lr_scale`.

    `step_update` is called after every optimizer update with the number of updates so far, as timm's own training
    script does. `step` ends an epoch, and changes no LR unless the policy is a controller, which takes the metric.
    Under a job the metric of `step_update` is logged as `train_loss`, and that of `step` as the job's objective.

    Args:
        source: a policy, its text, or a job.
        optimizer: any torch optimizer, such as one of `create_optimizer_v2` with layer decay.
        maximize: whether a higher metric is better, for a controller without a job: timm passes top-1 by default.
        seed: of a controller's random draws; a job has its own.

    Raises:
        PolicyError: if there is no policy in the source, or it does not suit the optimizer.
        UsageError: if the job has made a scheduler before.

    >>> import torch
    >>> from lrsearch.integrations.timm import TimmScheduler
    >>> optimizer = torch.optim.SGD(torch.nn.Linear(4, 2).parameters(), lr=1.0)
    >>> scheduler = TimmScheduler("TRI(k0=0.0, k1=0.5, l=2)", optimizer)
    >>> for num_updates in (1, 2, 3):
    ...     optimizer.step()
    ...     scheduler.step_update(num_updates=num_updates)
    ...     print(optimizer.param_groups[0]["lr"])
    0.25
    0.5
    0.25
    """

    t_in_epochs = False

    def __init__(
        self, source: Policy | str | Job, optimizer: Optimizer, *, maximize: bool = False, seed: int = 0
    ) -> None:
        read = read_source(source)
        if not isinstance(optimizer, Optimizer):
            raise UsageError(f"a scheduler takes the optimizer second, got {given(optimizer)}")
        self.optimizer, self.policy = optimizer, policy_of(read)
        self._job = read if isinstance(read, Job) else None
        self._sign = -1.0 if maximize else 1.0
        self._scheduler = scheduler_of(read, optimizer, seed=seed)

    @property
    def num_updates(self) -> int:
        """Optimizer updates so far."""
        return int(self._scheduler.last_epoch)

    def step_update(self, num_updates: int, metric: Any = None) -> None:
        """Set the LR of the next update.

        Args:
            num_updates: optimizer updates so far; several batches that accumulate make one update.
            metric: the training loss, a number or a tensor; a job logs it.

        Raises:
            UsageError: for no number of updates; under a job also where updates are left out or made again.
            PolicyError: if a controller is to go on from a step without the state that it had there.
        """
        scheduler = self._scheduler
        if num_updates == scheduler.last_epoch + 1:
            scheduler.step()
        elif num_updates != scheduler.last_epoch:
            self._go_to(_count(num_updates, "num_updates"))
        if metric is not None and self._job is not None:
            self._job.log(train_loss=metric)

    def step(self, epoch: int, metric: Any = None) -> None:
        """End an epoch: a job logs the metric as its objective, and a controller learns from it.

        Args:
            epoch: epochs so far.
            metric: the metric of the validation.

        Raises:
            UsageError: if no update was counted: `step_update` is never called, or not after a resume.
        """
        if _count(epoch, "epoch") > 0 and self.num_updates == 0:
            raise UsageError(
                f"step({epoch}) ends an epoch, and step_update was not called before. Call"
                " scheduler.step_update(num_updates) after every update. Where the training goes on from a checkpoint,"
                " call scheduler.step_update(start_epoch * updates_per_epoch) first, as timm's train.py does under"
                " --sched-on-updates"
            )
        if metric is None:
            return
        if self._job is not None:
            self._job.log(**{self._job.spec.task.objective.name: metric})
        elif self.policy.is_controller:
            self._scheduler.step(self._sign * float(metric))

    def state_dict(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        state: dict[str, Any] = self._scheduler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state, and set the LR that belongs to it."""
        self._scheduler.load_state_dict(state_dict)

    def _go_to(self, step: int) -> None:
        """Go to another step than the next: a training is resumed, or its updates are miscounted."""
        if self.policy.is_controller:
            raise PolicyError(
                f"{self.policy} goes on from what it has seen: load its state, scheduler.load_state_dict(...), before"
                f" step_update({step})"
            )
        if self.num_updates > 0:
            self._report_jump(step)
        self._scheduler.step(epoch=step)
        if self._job is not None:
            self._job.resumed_at(step)

    def _report_jump(self, step: int) -> None:
        text = (
            f"step_update went from {self.num_updates} to {step}: num_updates counts optimizer updates, one by one"
            " and through all epochs; batches that accumulate count once"
        )
        if self._job is not None:
            raise UsageError(text)
        warnings.warn(text, SchedulerWarning, stacklevel=4)


def _count(value: Any, name: str) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = -1
    if count < 0:
        raise UsageError(f"{name} is a whole number, 0 or more, got {given(value)}")
    return count
