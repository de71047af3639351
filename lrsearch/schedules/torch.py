"""A policy as a torch `LRScheduler`: the only file of schedules that knows torch."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lrsearch.errors import PolicyError
from lrsearch.schedules.policy import Policy
from lrsearch.schedules.values import canonical_value

BLOCK = 4096
"""How many steps of a curve are computed at once."""
Groups = list[dict[str, Any]]


class PolicyScheduler(LRScheduler):
    """Sets each param group to policy(t) x its initial LR / the largest initial LR, and the momentum if there is one.

    A pure function of the step: it can be resumed in either load order, and holds no state but the step.
    Call `step()` once after every `optimizer.step()`. An LR that is a tensor is filled in place. A group that is added
    later gets its own share of what was the largest at the start.

    Args:
        optimizer: any torch optimizer; its groups keep their ratios.
        policy: the policy; its steps are optimizer updates.

    Raises:
        PolicyError: if every param group starts at LR 0, the policy is not bound, it carries a momentum and the
            optimizer has none, or a loaded state belongs to another policy.
    """

    def __init__(self, optimizer: Optimizer, policy: Policy) -> None:
        policy.require_curve()
        if policy.has_momentum and not all(map(_has_momentum, optimizer.param_groups)):
            raise PolicyError(f"{policy.name} carries a momentum, and {type(optimizer).__name__} has none to set:"
                              " take SGD, RMSprop with a momentum above 0, or an optimizer with betas")
        self.policy = policy
        self.largest = _largest(optimizer.param_groups)
        self._start = -BLOCK
        self._forget()
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Give the LR of each param group at the present step."""
        rate = self.policy(max(self.last_epoch, 0))
        return [rate * share for share in _shares(self.optimizer.param_groups, self.largest)]

    def step(self, epoch: int | None = None) -> None:
        """Go one update on, or to the given one."""
        self._step_count += 1
        if epoch is not None:
            self._update_lr(epoch)
            return
        self.last_epoch = t = self.last_epoch + 1
        groups = self.optimizer.param_groups
        if groups is not self._groups or len(groups) != len(self._shared) or groups[-1] is not self._shared[-1][0]:
            self._look(groups)
        index = t - self._start
        if not 0 <= index < BLOCK:
            self._fill(t)
            index = 0
        rate = self._rates[index]
        for group, share in self._shared:
            if group["lr"].__class__ is float:
                group["lr"] = rate * share
            else:
                _set(group, rate * share)
        if self._momenta:
            _set_momentum(groups, self._momenta[index])

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else _whole(epoch, "a step", 0)
        self._apply()

    def _apply(self) -> None:
        for group, own in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            _set(group, own)
        if self.policy.has_momentum:
            _set_momentum(self.optimizer.param_groups, self.policy.momentum(max(self.last_epoch, 0)))

    @property
    def _last_lr(self) -> list[Any]:  # type: ignore[override]
        """The LR of each param group, where torch looks for it."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain JSON values."""
        return {"policy": str(self.policy), "last_epoch": self.last_epoch, "largest": self.largest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state, and set the LR that belongs to it.

        An LR that another hand has set since this scheduler did is left: it came with the optimizer's own state, or
        from the scheduler whose turn it is inside a SequentialLR.
        """
        _require_owner(state_dict, self.policy, "last_epoch", "largest")
        is_ours = np.allclose(self._last_lr, self.get_lr(), rtol=1e-6, atol=0)
        self.largest = float(state_dict["largest"])
        self.last_epoch = _whole(state_dict["last_epoch"], "last_epoch", -1)
        self._step_count = self.last_epoch + 1
        self._forget()
        if is_ours:
            self._apply()

    def _forget(self) -> None:
        """Compute shares and rates anew at the next step."""
        self._groups: Groups | None = None
        self._shared: list[tuple[dict[str, Any], float]] = []
        self._start = -BLOCK
        self._rates: list[float] = []
        self._momenta: list[float] = []

    def _look(self, groups: Groups) -> None:
        """Take in param groups that are new: added later, or loaded."""
        self._groups, self._shared = groups, list(zip(groups, _shares(groups, self.largest), strict=True))

    def _fill(self, start: int) -> None:
        """Compute the rates of the steps from a start on."""
        self._start = start
        t = np.arange(start, start + BLOCK, dtype=np.float64)
        self._rates = self.policy.at(t).tolist()
        if self.policy.has_momentum:
            self._momenta = self.policy.momentum_at(t).tolist()


class ControllerScheduler(ReduceLROnPlateau):
    """A controller as a scheduler that takes the metric, as ReduceLROnPlateau does.

    `step(loss)` reports a validation loss (lower is better); `step()` goes one update on, which matters for
    controllers that count updates or draw a rate for each. Groups keep their ratios.

    Args:
        optimizer: any torch optimizer.
        policy: a controller: ASLR, PLATEAU, CHANGEONPLATEAU.
        seed: where its random draws come from, if it has any.

    Raises:
        PolicyError: if every param group starts at LR 0, or a loaded state belongs to another policy.
    """

    def __init__(self, optimizer: Optimizer, policy: Policy, seed: int = 0) -> None:
        self.policy, self.seed = policy, seed
        self.state: Any = policy.begin()
        self.largest = _largest(optimizer.param_groups)
        super().__init__(optimizer)
        self._apply()

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:  # type: ignore[override]
        """Report a metric, or go one update on."""
        if metrics is not None:
            self.state = self.state.after(float(metrics), self.last_epoch)
        else:
            self.last_epoch += 1
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Give the state as plain JSON values."""
        stands = {f.name: getattr(self.state, f.name) for f in dataclasses.fields(self.state)}
        stands = {name: value for name, value in stands.items() if _is_plain(value)}
        return {"policy": str(self.policy), "seed": self.seed, "last_epoch": self.last_epoch, "largest": self.largest,
                "state": stands}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state and set the LR that belongs to it."""
        _require_owner(state_dict, self.policy, "seed", "last_epoch", "largest", "state")
        stands = {name: tuple(value) if isinstance(value, list) else value
                  for name, value in state_dict["state"].items()}
        self.state = dataclasses.replace(self.state, **stands)
        self.seed, self.last_epoch = int(state_dict["seed"]), int(state_dict["last_epoch"])
        self.largest = float(state_dict["largest"])
        self._apply()

    def _apply(self) -> None:
        groups = self.optimizer.param_groups
        draws = np.random.default_rng((self.seed, self.last_epoch)).random(len(groups)).tolist()
        self._last_lr = rates = [self.state.rate(self.last_epoch, u) * share
                                 for u, share in zip(draws, _shares(groups, self.largest), strict=True)]
        for group, own in zip(groups, rates, strict=True):
            _set(group, own)


def _largest(groups: Groups) -> float:
    """The largest initial LR; each group's own is remembered under torch's name for it."""
    for group in groups:
        if isinstance(group["lr"], torch.Tensor) and not group["lr"].is_floating_point():
            raise PolicyError(f"an LR tensor of type {group['lr'].dtype} cannot hold the policy's rates: make it"
                              " float32")
        group.setdefault("initial_lr", float(group["lr"]))
    largest = max(float(group["initial_lr"]) for group in groups)
    if not largest > 0:
        raise PolicyError("every param group starts at LR 0, so their ratios are not defined")
    return largest


def _shares(groups: Groups, largest: float) -> list[float]:
    for group in groups:
        group.setdefault("initial_lr", float(group["lr"]))
    return [float(group["initial_lr"]) / largest for group in groups]


def _set(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _has_momentum(group: dict[str, Any]) -> bool:
    """Whether a momentum can be set: RMSprop makes no place for one that starts at 0."""
    return "betas" in group or ("momentum" in group and ("alpha" not in group or group["momentum"] > 0))


def _set_momentum(groups: Groups, momentum: float) -> None:
    for group in groups:
        if "momentum" in group:
            group["momentum"] = momentum
        else:
            group["betas"] = (momentum, *group["betas"][1:])


def _is_plain(value: Any) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return all(item is None or isinstance(item, int | float) for item in items)


def _require_owner(state: Any, policy: Policy, *needed: str) -> None:
    owner = state.get("policy", "another scheduler") if isinstance(state, dict) else type(state).__name__
    if owner != str(policy):
        raise PolicyError(f"this state belongs to {owner}, not to {policy}")
    missing = [name for name in needed if name not in state]
    if missing:
        raise PolicyError(f"this state of {policy} lacks {', '.join(missing)}")


def _whole(value: Any, what: str, least: int) -> int:
    number = canonical_value(value)
    if not isinstance(number, int) or number < least:
        raise PolicyError(f"{what} of a scheduler is a whole number, {least} or more, got {str(value)[:80]}")
    return number
