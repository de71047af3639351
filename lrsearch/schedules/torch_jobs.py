"""A policy's schedulers for a job: they notify a listener of steps, resumes and changed learning rates."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch.optim import Optimizer

from lrsearch.schedules.policy import Policy
from lrsearch.schedules.torch import ControllerScheduler, GroupedScheduler, PolicyScheduler
from lrsearch.schedules.torch_groups import KnownGroup, ParamGroups


class Listener(Protocol):
    """An object that a scheduler notifies."""

    def stepped(self, updates: int | None, lr: float | None = None) -> None:
        """Called when the scheduler went one update on.

        Args:
            updates: those that the optimizer made since the step before; None if unknown.
            lr: the learning rate of the update, of a controller.
        """

    def resumed_at(self, step: int) -> None:
        """Called when the scheduler loaded a state, with its number of updates."""

    def changed_lr(self, update: int, lr: float, expected: float) -> None:
        """Called when a param group had another learning rate in an update, counted from 1, than the policy's."""


class JobScheduler(PolicyScheduler):
    """A policy's scheduler that notifies its listener of each step, and of learning rates that other code has set."""

    def __init__(self, optimizer: Optimizer, policy: Policy, listener: Listener, is_alone: bool = True) -> None:
        self._listener, self._is_alone = listener, is_alone
        super().__init__(optimizer, policy)

    def step(self, epoch: int | None = None) -> None:
        """Go one update on, or to the given one."""
        updates = self._updates if self._counts and self._is_alone else None
        super().step(epoch)
        if epoch is None:
            self._listener.stepped(updates)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, and notify the listener of the update from which the training goes on."""
        super().load_state_dict(state_dict)
        self._listener.resumed_at(self.last_epoch)

    def _require_unchanged(self, known: KnownGroup, stacklevel: int) -> None:
        if known.is_changed:
            self._listener.changed_lr(self.last_epoch, float(known.group["lr"]), known.lr)
        super()._require_unchanged(known, stacklevel + 1)


class JobControllerScheduler(ControllerScheduler):
    """A controller's scheduler that notifies its listener in the same way."""

    def __init__(self, optimizer: Optimizer, policy: Policy, listener: Listener, seed: int) -> None:
        self._listener = listener
        super().__init__(optimizer, policy, seed)

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:  # type: ignore[override]
        """Report a metric, or go one update on."""
        used = float(self.get_last_lr()[0])
        super().step(metrics, epoch)
        if metrics is None:
            self._listener.stepped(None, used if epoch is None else None)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, and notify the listener of the update from which the training goes on."""
        super().load_state_dict(state_dict)
        self._listener.resumed_at(self.last_epoch)

    def _require_unchanged(self, known: KnownGroup, stacklevel: int) -> None:
        if known.is_changed:
            self._listener.changed_lr(self.last_epoch + 1, float(known.group["lr"]), known.lr)
        super()._require_unchanged(known, stacklevel + 1)


class SchedulerSet:
    """The schedulers of several optimizers, which step together.

    Args:
        schedulers: one for each optimizer; the step of the first counts the updates.
    """

    def __init__(self, schedulers: Sequence[GroupedScheduler]) -> None:
        self.schedulers = tuple(schedulers)

    @property
    def last_epoch(self) -> int:
        """Updates so far."""
        return self.schedulers[0].last_epoch

    def step(self, metrics: Any = None) -> None:
        """Go one update on; a controller takes a metric instead."""
        for scheduler in self.schedulers:
            if metrics is None:
                scheduler.step()
            else:
                scheduler.step(metrics)

    def get_last_lr(self) -> list[float]:
        """The LR of each param group, optimizer by optimizer."""
        return [float(lr) for scheduler in self.schedulers for lr in scheduler.get_last_lr()]

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state."""
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)


class _UncountedListener:
    """Passes all notices to a job but the steps, which the first scheduler counts."""

    def __init__(self, listener: Listener) -> None:
        self.changed_lr, self.resumed_at = listener.changed_lr, listener.resumed_at

    def stepped(self, updates: int | None, lr: float | None = None) -> None:
        """Do nothing: the step of the first scheduler counts."""


def job_schedulers(
    policy: Policy, optimizers: Sequence[Optimizer], listener: Listener, seed: int
) -> "JobScheduler | JobControllerScheduler | SchedulerSet":
    """The schedulers of a job. Ratios count over all groups of all optimizers: the largest initial LR has ratio 1."""
    is_alone = len(optimizers) == 1
    largest = max(ParamGroups(optimizer).largest for optimizer in optimizers)
    schedulers: list[JobScheduler | JobControllerScheduler] = []
    for optimizer in optimizers:
        notified = _UncountedListener(listener) if schedulers else listener
        scheduler = (
            JobControllerScheduler(optimizer, policy, notified, seed)
            if policy.is_controller
            else JobScheduler(optimizer, policy, notified, is_alone)
        )
        if not is_alone:
            scheduler.groups.rescale(largest)
            scheduler._apply()
        schedulers.append(scheduler)
    return schedulers[0] if is_alone else SchedulerSet(schedulers)
