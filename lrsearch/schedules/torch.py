"""A policy as a torch `LRScheduler`: the only file of schedules that knows torch."""

from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrsearch.errors import PolicyError
from lrsearch.schedules.policy import Policy


class PolicyScheduler(LRScheduler):
    """Sets each param group to policy(t) x its initial LR / the largest initial LR.

    A pure function of the step: it can be resumed in either load order, and holds no state but the step.
    Call `step()` once after every `optimizer.step()`.

    Args:
        optimizer: any torch optimizer; its groups keep their ratios.
        policy: the policy; its steps are optimizer updates.

    Raises:
        PolicyError: if every param group starts at LR 0, or a loaded state belongs to another policy.
    """

    def __init__(self, optimizer: Optimizer, policy: Policy) -> None:
        self.policy = policy
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        largest = max(float(group["initial_lr"]) for group in optimizer.param_groups)
        if not largest > 0:
            raise PolicyError("every param group starts at LR 0, so their ratios are not defined")
        self.largest = largest
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Give the LR of each param group at the present step."""
        rate = self.policy(max(self.last_epoch, 0))
        return [rate * (float(group["initial_lr"]) / self.largest) for group in self._groups()]

    def step(self, epoch: int | None = None) -> None:
        """Go one update on, or to the given one."""
        self._step_count = getattr(self, "_step_count", 0) + 1
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain JSON values."""
        return {"policy": str(self.policy), "last_epoch": self.last_epoch, "largest": self.largest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state and set the LR that belongs to it."""
        owner = state_dict.get("policy", "another scheduler")
        if owner != str(self.policy):
            raise PolicyError(f"this state belongs to {owner}, not to {self.policy}")
        self.last_epoch = int(state_dict["last_epoch"])
        self.largest = float(state_dict["largest"])
        self._step_count = self.last_epoch + 1
        self._apply()

    def _groups(self) -> list[dict[str, Any]]:
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        return self.optimizer.param_groups

    def _apply(self) -> None:
        rates = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._last_lr = rates
