"""A policy as a torch `LRScheduler`. Only this file, ranks.py and the other torch_*.py files import torch."""

import dataclasses
import math
import warnings
from typing import Any, Self

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lrsearch.errors import PolicyError, SchedulerWarning
from lrsearch.schedules.policy import Policy
from lrsearch.schedules.ranks import mean_over_ranks
from lrsearch.schedules.text import parse
from lrsearch.schedules.torch_groups import KnownGroup, ParamGroups, has_momentum, momentum_of, set_momentum
from lrsearch.schedules.torch_updates import attach, may_be_skipped
from lrsearch.schedules.values import canonical_value, is_number

BLOCK = 4096
"""Steps of a curve that are computed at once: 32 KiB of floats, a call of the formula every few thousand updates."""
FORGOTTEN = 1000
"""Updates without a `step()` after which the scheduler warns: within the first epoch of most trainings (a rule)."""
SILENCE = "To silence this: warnings.filterwarnings('ignore', category=lrsearch.SchedulerWarning)"


class GroupedScheduler(LRScheduler):
    """The common part of both schedulers: each param group keeps its ratio, also a group that is added later."""

    policy: Policy
    groups: ParamGroups
    auto_step = False
    """Whether it steps by itself after each update."""
    _warned: set[str]
    _is_own_step = False

    def start_auto_step(self) -> Self:
        """Step after each update of the optimizer from now on; a `step()` by hand is refused.

        Raises:
            PolicyError: if the optimizer has no step hooks.
        """
        if not attach(self.optimizer, self._see_groups, self._end_update):
            raise PolicyError(
                f"auto_step needs torch's step hooks, which {type(self.optimizer).__name__} does not have: call"
                " scheduler.step() after every optimizer.step()"
            )
        self.auto_step = True
        return self

    @property
    def largest(self) -> float:
        """The largest initial LR, which has ratio 1."""
        return self.groups.largest

    def add_param_group(self, param_group: dict[str, Any], *, ratio: float) -> None:
        """Add a param group to the optimizer that has `ratio` times the policy's LR from its first update on.

        Args:
            param_group: as for `optimizer.add_param_group`, without `lr`.
            ratio: 0 or more; it may be above 1.

        Raises:
            PolicyError: if the ratio is no such number, or the group has an `lr` beside it.

        >>> import torch
        >>> from lrsearch.schedules import FIX
        >>> head, body = torch.nn.Linear(4, 2), torch.nn.Linear(4, 4)
        >>> optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
        >>> scheduler = FIX(k0=0.5).scheduler(optimizer)
        >>> scheduler.add_param_group({"params": body.parameters()}, ratio=0.25)
        >>> scheduler.get_last_lr()
        [0.5, 0.125]
        """
        number = canonical_value(ratio)
        if not (is_number(number) and number >= 0):
            raise PolicyError(f"the ratio of a param group is a finite number, 0 or more, got {str(ratio)[:80]}")
        if "lr" in param_group:
            raise PolicyError("a param group takes a ratio or an lr, and this one has both: leave out its lr")
        _require_momentum(self.policy, self.optimizer, self.optimizer.defaults | param_group)
        self._see_groups()
        self.optimizer.add_param_group(param_group | {"initial_lr": number * self.largest})
        self._see_groups()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach()
        if self.auto_step:
            self.start_auto_step()

    def _attach(self) -> None:
        """Have `_see_groups` called before each update, so that groups added since the last one get their LR."""
        attach(self.optimizer, self._see_groups)

    def _end_update(self) -> None:
        self._is_own_step = True
        try:
            self.step()
        finally:
            self._is_own_step = False

    def _require_no_auto_step(self) -> None:
        if self.auto_step and not self._is_own_step:
            raise PolicyError(
                "this scheduler steps by itself after each update (auto_step=True): take scheduler.step() out of the"
                " training"
            )

    def _see_groups(self) -> None:
        if not self.groups.is_current:
            self._see_new_groups()

    def _see_new_groups(self) -> None:
        raise NotImplementedError

    def _warn(self, kind: str, text: str, stacklevel: int) -> None:
        """Warn once for each kind of warning."""
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(text, SchedulerWarning, stacklevel=stacklevel + 1)

    def _require_unchanged(self, known: KnownGroup, stacklevel: int) -> None:
        """Warn where other code has set an LR since this scheduler did."""
        if known.is_changed:
            self._warn(
                "changed",
                f"a param group has LR {float(known.group['lr']):g}, and this scheduler had set"
                f" {known.lr:g}: something else sets it too, perhaps another scheduler. The policy's LR"
                " takes its place again",
                stacklevel + 1,
            )


class PolicyScheduler(GroupedScheduler):
    """Sets each param group to policy(t) x its ratio, and the momentum if there is one.

    A pure function of the step: it can be resumed in either load order, and holds no state but the step.
    Call `step()` once after every `optimizer.step()`, or `start_auto_step()` once. An LR that is a tensor is filled in
    place.

    A group's ratio is its initial LR / the largest initial LR, times timm's `lr_scale` where it has one. A group that
    is added later has its ratio from the first update on. With its own `lr` that is its lr / the present LR of
    ratio 1; with the optimizer's default, the default / the largest initial LR. `add_param_group` takes the ratio.

    It warns once, by `lrsearch.SchedulerWarning`, where it is stepped before the first update, or once in many updates,
    and where something else sets the LR too.

    Args:
        optimizer: any torch optimizer; its groups keep their ratios.
        policy: the policy; its steps are optimizer updates.
        adopt: take the step from the state of another policy, with a warning, and ignore the rest of that state.

    Raises:
        PolicyError: if every param group starts at LR 0, the policy is not bound, it carries a momentum and the
            optimizer has none, a loaded state belongs to another policy, or an added group's ratio is above 1.
    """

    def __init__(self, optimizer: Optimizer, policy: Policy, adopt: bool = False) -> None:
        policy.require_curve()
        for group in optimizer.param_groups:
            _require_momentum(policy, optimizer, group)
        self.policy, self.adopt = policy, adopt
        self.groups = ParamGroups(optimizer)
        self._warned = set()
        self._adopted: Policy | None = None
        self._updates, self._is_odd, self._was_updated = 0, False, False
        self._forget()
        super().__init__(optimizer)
        self._attach()

    def get_lr(self) -> list[Any]:
        """The LR of each param group at the present step."""
        self._see_groups()
        lr = self.policy(self._place)
        return [lr * known.ratio for known in self.groups.known]

    def step(self, epoch: int | None = None) -> None:
        """Go one update on, or to the given one."""
        if self.auto_step:
            self._require_no_auto_step()
        self._step_count += 1
        if epoch is not None:
            self._update_lr(epoch)
            return
        groups, every = self.optimizer.param_groups, self.groups.known
        if groups is not self.groups.source or len(groups) != len(every) or groups[-1] is not every[-1].group:
            self._see_new_groups()
            every = self.groups.known
        if self._is_odd:
            self._check_updates()
        self._updates = 0
        self.last_epoch = t = self.last_epoch + 1
        index = t - self._start
        if not 0 <= index < BLOCK:
            self._fill(t)
            index = 0
        lr = self._lrs[index]
        for known in every:
            group = known.group
            if group["lr"] is known.lr:  # the same object that was set: no other code has set it
                group["lr"] = known.lr = lr * known.ratio
            else:
                self._set(known, lr)
        if self._momenta:
            set_momentum(groups, self._momenta[index])

    @property
    def _place(self) -> int:
        """The step whose LR holds at present."""
        return max(self.last_epoch, 0)

    def _initial_step(self) -> None:
        """Set the first LR: now, and again where a SequentialLR begins with this scheduler."""
        self._step_count = 1
        self._update_lr()
        self._fill(self._place)
        self._is_odd = True  # until an update is made

    def _update_lr(self, epoch: int | None = None) -> None:
        self._see_groups()
        self._updates, self._is_odd = 0, False
        self.last_epoch = self.last_epoch + 1 if epoch is None else _whole(epoch, "a step", 0)
        self._apply()

    def _apply(self) -> None:
        lr = self.policy(self._place)
        for known in self.groups.known:
            known.set(lr)
        if self.policy.has_momentum:
            set_momentum([known.group for known in self.groups.known], self.policy.momentum(self._place))

    def _set(self, known: KnownGroup, lr: float) -> None:
        """Set an LR that is in a tensor, or was changed."""
        self._require_unchanged(known, stacklevel=3)
        known.set(lr)

    @property
    def _last_lr(self) -> list[Any]:  # type: ignore[override]
        """The LR of each param group, under the name that torch reads."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"policy": str(self.policy), "last_epoch": self.last_epoch, "largest": self.largest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, and set the LR that belongs to it.

        An LR that other code has set since this scheduler did stays: it came with the optimizer's own state, or from
        the active scheduler inside a SequentialLR. With `adopt`, an LR of the policy before is set anew.
        """
        _require_owner(state_dict, self.policy, "last_epoch", "largest", adopt=self.adopt)
        last_epoch, largest = _whole(state_dict["last_epoch"], "last_epoch", -1), float(state_dict["largest"])
        is_ours = self.groups.follow(self.policy(self._place))
        self.groups.rescale(largest)
        self.last_epoch = last_epoch
        self._step_count = self.last_epoch + 1
        self._forget()
        self._adopted = None
        if state_dict["policy"] != str(self.policy):
            self._adopt(parse(state_dict["policy"]))
        if is_ours or self._is_left_by_adopted:
            self._apply()

    def _adopt(self, before: Policy) -> None:
        """Follow another policy from its step on."""
        self._adopted = before
        stays = before.has_momentum and not self.policy.has_momentum
        momentum = f". The momentum stays at {before.momentum(self._place):g}" if stays else ""
        self._warn(
            f"adopted {before}",
            f"adopted at step {self._place}: {before} was followed up to here, and"
            f" {self.policy} is from here on{momentum}",
            stacklevel=3,
        )

    @property
    def _is_left_by_adopted(self) -> bool:
        """Whether the LRs are those of the adopted policy, which came with the optimizer's state."""
        before = self._adopted
        return before is not None and (before.is_controller or self.groups.follow(before(self._place)))

    def _forget(self) -> None:
        """Discard the computed learning rates, so that the next step computes them anew."""
        self._start = -BLOCK
        self._lrs: list[float] = []
        self._momenta: list[float] = []

    def _attach(self) -> None:
        self._counts = bool(attach(self.optimizer, self._see_groups, self._count_update))

    def _count_update(self) -> None:
        self._updates = count = self._updates + 1
        self._is_odd = count > 1
        if count == FORGOTTEN and self.groups.follow(self.policy(self._place)):
            self._warn(
                "updates",
                f"{FORGOTTEN} optimizer updates ran at one LR, and scheduler.step() was not"
                f" called. Call it after every optimizer.step(). {SILENCE}",
                stacklevel=6,
            )

    def _see_new_groups(self) -> None:
        """Register param groups that were loaded or added, and set the LR and momentum that they lack."""
        is_loaded = self.groups.is_loaded
        for group in self.optimizer.param_groups:
            _require_momentum(self.policy, self.optimizer, group)
        new = self.groups.see_new(self.policy(self._place))
        if self.policy.has_momentum:
            standing = [known.group for known in self.groups.known if known not in new]
            momentum = momentum_of(standing[0]) if standing else self.policy.momentum(self._place)
            set_momentum([known.group for known in new], momentum)
        if is_loaded:
            self._was_updated |= self._updates > 0
            self._updates = 0
            if self._is_left_by_adopted:
                self._apply()

    def _check_updates(self) -> None:
        """Warn if there was no update before the first step, or more than one between two."""
        self._is_odd = False
        if not self._counts:
            return
        most = 2 if self._step_count == 2 else 1  # one more at first is common: it makes the optimizer's state
        if self._updates > most:
            self._warn(
                "updates",
                f"{self._updates} optimizer updates ran at one LR. The steps of {self.policy} are"
                " updates: call scheduler.step() after every optimizer.step() (Lightning:"
                f" interval='step'). It may be written in epochs on purpose. {SILENCE}",
                stacklevel=3,
            )
        elif not (self._updates or self._was_updated or may_be_skipped(self.optimizer)):
            self._warn(
                "order",
                f"scheduler.step() was called before the first optimizer.step(): the LR of step 0,"
                f" {self.policy(0):g}, was not used. Call it after every optimizer.step()",
                stacklevel=3,
            )

    def _fill(self, start: int) -> None:
        """Compute the learning rates of the block of steps from a start on."""
        self._start = start
        t = np.arange(start, start + BLOCK, dtype=np.float64)
        self._lrs = self.policy.at(t).tolist()
        if self.policy.has_momentum:
            self._momenta = self.policy.momentum_at(t).tolist()


class ControllerScheduler(GroupedScheduler, ReduceLROnPlateau):
    """A controller as a scheduler that takes the metric, as ReduceLROnPlateau does.

    `step(loss)` reports a validation loss (lower is better); `step()` goes one update on, which matters for
    controllers that count updates or draw a learning rate for each. Groups keep their ratios, as in `PolicyScheduler`.
    In a distributed training every rank reports, and all follow the mean, so that their LRs stay the same.

    Args:
        optimizer: any torch optimizer.
        policy: a controller: ASLR, PLATEAU, CHANGEONPLATEAU.
        seed: of its random draws, if it has any.

    Raises:
        PolicyError: if every param group starts at LR 0, a loaded state belongs to another policy, or an added group's
            ratio is above 1.
    """

    def __init__(self, optimizer: Optimizer, policy: Policy, seed: int = 0) -> None:
        self.policy, self.seed = policy, seed
        self.state: Any = policy.begin()
        self.groups, self._warned = ParamGroups(optimizer), set()
        super().__init__(optimizer)
        self._apply()
        self._attach()

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:  # type: ignore[override]
        """Report a metric, or go one update on."""
        if metrics is None:
            self._require_no_auto_step()
        self._see_groups()
        for known in self.groups.known:
            self._require_unchanged(known, stacklevel=2)
        if metrics is not None:
            device = self.optimizer.param_groups[0]["params"][0].device
            self.state = self.state.after(mean_over_ranks([float(metrics)], device)[0], self.last_epoch)
        else:
            self.last_epoch += 1
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON values."""
        values = {f.name: getattr(self.state, f.name) for f in dataclasses.fields(self.state)}
        return {
            "policy": str(self.policy),
            "seed": self.seed,
            "last_epoch": self.last_epoch,
            "largest": self.largest,
            "state": {name: value for name, value in values.items() if _is_number_or_none(value)},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state and set the LR that belongs to it."""
        _require_owner(state_dict, self.policy, "seed", "last_epoch", "largest", "state")
        loaded = state_dict["state"].items()
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in loaded}
        self.state = dataclasses.replace(self.state, **values)
        self.seed, self.last_epoch = int(state_dict["seed"]), int(state_dict["last_epoch"])
        self.groups.rescale(float(state_dict["largest"]))
        self._apply()

    def _see_new_groups(self) -> None:
        self.groups.see_new(math.nan)  # the present LR is that of the other groups
        self._apply()

    def _apply(self) -> None:
        groups = self.groups.known
        draws = np.random.default_rng((self.seed, self.last_epoch)).random(len(groups)).tolist()
        for known, u in zip(groups, draws, strict=True):
            known.set(self.state.lr(self.last_epoch, u))
        self._last_lr = [known.lr for known in groups]


def _require_momentum(policy: Policy, optimizer: Optimizer, group: dict[str, Any]) -> None:
    if policy.has_momentum and not has_momentum(group):
        raise PolicyError(
            f"{policy.name} carries a momentum, and {type(optimizer).__name__} has none to set:"
            " take SGD, RMSprop with a momentum above 0, or an optimizer with betas"
        )


def _is_number_or_none(value: Any) -> bool:
    """Whether a value, or each item of a tuple, is a number or None: the rest of a state is in the policy."""
    items = value if isinstance(value, tuple) else (value,)
    return all(item is None or isinstance(item, int | float) for item in items)


def _require_owner(state: Any, policy: Policy, *needed: str, adopt: bool = False) -> None:
    owner = state.get("policy", "another scheduler") if isinstance(state, dict) else type(state).__name__
    if adopt and owner == "another scheduler":
        raise PolicyError(
            "adopt takes the step from the state of a policy, and this one belongs to another scheduler,"
            " whose steps may be epochs: scheduler.step(n) goes to the n-th update"
        )
    if owner != str(policy) and not adopt:
        advice = "" if policy.is_controller else ". policy.scheduler(optimizer, adopt=True) takes its step and goes on"
        raise PolicyError(f"this state belongs to {owner}, not to {policy}{advice}")
    missing = [name for name in needed if name not in state]
    if missing:
        raise PolicyError(f"this state of {policy} lacks {', '.join(missing)}")


def _whole(value: Any, what: str, least: int) -> int:
    number = canonical_value(value)
    if not isinstance(number, int) or number < least:
        raise PolicyError(f"{what} of a scheduler is a whole number, {least} or more, got {str(value)[:80]}")
    return number
