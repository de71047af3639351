"""torch's schedulers and policies: `from_torch` reads a real scheduler, `to_torch` writes the call that makes one.

A policy equals the scheduler that it was read from at every step, also past its end, up to rounding: torch multiplies
from step to step. One exception: OneCycleLR allows one step past its last, step `total_steps`, at which it climbs again
or falls below zero; a policy holds its last value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.exchange.numbers import number, whole
from lrsearch.exchange.phases import is_staircase, joined, swing
from lrsearch.exchange.torch_calls import to_torch
from lrsearch.exchange.torch_cycles import CODE, LRs, base, cyclic, cyclic_lrs, one_cycle, one_cycle_lrs
from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS
from lrsearch.words import counted

__all__ = ["from_torch", "plateau", "to_torch"]

CLOSE = 1e-9
"""The relative difference of equal ratios of param groups: floating-point noise."""
DRIFT = 1e-6
"""How far from its formula a running scheduler may be, in parts of the largest LR, before it counts as changed: torch
multiplies from step to step, and rounds each time."""
MODULE = "torch.optim.lr_scheduler"
CANNOT: dict[str, str] = {
    "LambdaLR": CODE,
    "MultiplicativeLR": CODE,
    "SWALR": "it starts from whatever learning rate it finds",
}
FIX, STEP, NSTEP, EXP, POLY, LINEAR, SGDR, SAMPLED, CHAIN, PLATEAU = (
    FUNCTIONS[name] for name in ("FIX", "STEP", "NSTEP", "EXP", "POLY", "LINEAR", "SGDR", "SAMPLED", "CHAIN", "PLATEAU")
)


def from_torch(scheduler: Any, *, every: int = 1) -> Policy:
    """Read the policy of a torch scheduler: that of its largest param group; the others must be proportional to it.

    Args:
        scheduler: a scheduler of torch.optim.lr_scheduler, or one that a policy made.
        every: optimizer steps per `scheduler.step()`; the steps of an epoch where it is stepped once an epoch.

    Raises:
        PolicyError: if no policy is exactly this scheduler; the message has the reason.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90, eta_min=0.001)
    >>> from_torch(scheduler), from_torch(scheduler, every=500)
    (COS(k0=0.001, k1=0.1, l=90), SAMPLED(policy=COS(k0=0.001, k1=0.1, l=45000), every=500))
    """
    every = whole(every, "every, optimizer steps per scheduler.step(),", least=1)
    own = _own_policy(scheduler)
    if own is not None:
        return _per(own, every)
    reader = _reader(scheduler)
    try:
        lrs = _largest(scheduler, reader)
        policy = reader.policy(scheduler, lrs)
        _require_standing(scheduler, policy, max(lrs))
        return _per(policy, every)
    except PolicyError as error:
        raise PolicyError(f"{type(scheduler).__name__}: {error}") from None


def plateau(
    k0: Any,
    *,
    mode: Any = "min",
    factor: Any = 0.1,
    patience: Any = 10,
    threshold: Any = 1e-4,
    threshold_mode: Any = "rel",
    cooldown: Any = 0,
    min_lr: Any = 0,
    eps: Any = 1e-8,
) -> Policy:
    """Translate the arguments of ReduceLROnPlateau, with torch's defaults.

    >>> plateau(0.1, factor=0.5)
    PLATEAU(k0=0.1, gamma=0.5, eps=1e-8)
    """
    if mode not in ("min", "max"):
        raise PolicyError(f"mode must be 'min' or 'max', got {mode!r}"[:120])
    if threshold_mode != "rel" and not (threshold_mode == "abs" and threshold == 0):
        raise PolicyError(f"threshold_mode={threshold_mode!r}: PLATEAU's threshold is relative")
    return PLATEAU(
        k0=k0,
        gamma=factor,
        patience=patience,
        cooldown=cooldown,
        threshold=threshold,
        k1=min_lr,
        eps=eps,
        maximize=int(mode == "max"),
    )


@dataclass(frozen=True, slots=True)
class _SchedulerReader:
    """The two functions that read one class of schedulers.

    Args:
        lrs: (scheduler, number of a param group) -> the learning rates that the policy consists of.
        policy: (scheduler, learning rates) -> the policy.
    """

    lrs: Callable[[Any, int], LRs]
    policy: Callable[[Any, LRs], Policy]


def _own_policy(scheduler: Any) -> Policy | None:
    """The policy of lrsearch's own scheduler; None for another's."""
    is_ours = type(scheduler).__module__ == "lrsearch.schedules.torch"
    own = getattr(scheduler, "policy", None) if is_ours else None
    return own if isinstance(own, Policy) else None


def _reader(scheduler: Any) -> _SchedulerReader:
    name = type(scheduler).__name__
    if type(scheduler).__module__ == MODULE and name in READERS:
        return READERS[name]
    if type(scheduler).__module__ in (MODULE, "torch.optim.swa_utils") and name in CANNOT:
        raise PolicyError(f"{name}: {CANNOT[name]}")
    raise PolicyError(f"a scheduler of torch.optim.lr_scheduler is read, got {name[:80]}. Known: {', '.join(READERS)}")


def _largest(scheduler: Any, reader: _SchedulerReader) -> LRs:
    """The learning rates of the largest param group; groups that are not proportional to it are refused."""
    groups = [reader.lrs(scheduler, n) for n in range(len(scheduler.optimizer.param_groups))]
    largest = max(groups, key=max)
    top = max(largest)
    for n, lrs in enumerate(groups):
        share = lrs[largest.index(top)] / top if top > 0 else 1.0
        if any(abs(lr - share * most) > CLOSE * top for lr, most in zip(lrs, largest, strict=True)):
            raise PolicyError(
                f"param group {n} is not proportional to the largest: learning rates {lrs} beside"
                f" {largest}. A policy moves all groups by one factor"
            )
    return largest


def _require_standing(scheduler: Any, policy: Policy, top: float) -> None:
    """Refuse a scheduler whose present learning rate is not that of its arguments."""
    inner = scheduler
    while type(inner).__name__ == "ChainedScheduler":
        inner = inner._schedulers[0]
    step = whole(inner.last_epoch, "last_epoch")
    if policy.is_controller:
        if step:
            raise PolicyError(
                f"it has taken {counted(step, 'report')}, and no longer knows the learning rate it"
                " started at: read it before the first report"
            )
        return
    if step >= getattr(inner, "total_steps", step + 1):
        return
    now = max(number(lr, "the last learning rate") for lr in scheduler.get_last_lr())
    if abs(now - policy(step)) > DRIFT * top:
        raise PolicyError(
            f"at step {step} it stands at {now:.9g}, and {policy} is at {policy(step):.9g}: it was"
            " changed by hand, by another scheduler or when it was resumed"
        )


def _per(policy: Policy, every: int) -> Policy:
    """The policy of a scheduler that is stepped once in `every` updates."""
    if every == 1:
        return policy
    if policy.is_controller:
        raise PolicyError(f"{policy.name} counts reports, whenever they come: leave every=1, got {every}")
    slow = policy.stretch(every)
    return slow if is_staircase(policy) else SAMPLED(policy=slow, every=every)


def _base_and_floor(scheduler: Any, n: int) -> LRs:
    return (*base(scheduler, n), number(scheduler.eta_min, "eta_min"))


def _gamma(scheduler: Any) -> float:
    return number(scheduler.gamma, "gamma")


def _step(scheduler: Any, lrs: LRs) -> Policy:
    return STEP(k0=lrs[0], gamma=_gamma(scheduler), l=whole(scheduler.step_size, "step_size", least=1))


def _multi_step(scheduler: Any, lrs: LRs) -> Policy:
    """Drops, as often at a milestone as it is listed, as in torch; those of milestone 0 lower the start."""
    gamma = _gamma(scheduler)
    times = {whole(at, "a milestone"): count for at, count in scheduler.milestones.items() if count > 0}
    start = lrs[0] * gamma ** times.pop(0, 0)
    at = sorted(times)
    if not at:
        return FIX(k0=start)
    if set(times.values()) == {1}:
        return NSTEP(k0=start, gamma=gamma, l=at)
    steps = [start]
    for milestone in at:
        steps.append(steps[-1] * gamma ** times[milestone])
    return CHAIN(policies=[FIX(k0=lr) for lr in steps], at=at)


def _constant(scheduler: Any, lrs: LRs) -> Policy:
    """A factor until total_iters; total_iters=0 never takes it back, since torch checks after the first step only."""
    factor, until = number(scheduler.factor, "factor"), whole(scheduler.total_iters, "total_iters")
    if factor == 0 and until > 0:
        raise PolicyError(f"factor=0: torch divides by it at step {until}")
    low = FIX(k0=lrs[0] * factor)
    return joined([(until, low)], FIX(k0=lrs[0])) if until > 0 else low


def _linear(scheduler: Any, lrs: LRs) -> Policy:
    start, end = number(scheduler.start_factor, "start_factor"), number(scheduler.end_factor, "end_factor")
    length = whole(scheduler.total_iters, "total_iters")
    if length == 0 or start == end:
        return FIX(k0=lrs[0] * start)
    return LINEAR(k0=lrs[0] * start, l=length, k1=lrs[0] * end)


def _polynomial(scheduler: Any, lrs: LRs) -> Policy:
    length = whole(scheduler.total_iters, "total_iters")
    return POLY(k0=lrs[0], p=number(scheduler.power, "power"), l=length) if length else FIX(k0=lrs[0])


def _cosine(scheduler: Any, lrs: LRs) -> Policy:
    start, other = lrs
    return swing(start, other, whole(scheduler.T_max, "T_max", least=1))


def _restarts(scheduler: Any, lrs: LRs) -> Policy:
    base, floor = lrs
    if floor > base:
        raise PolicyError(f"eta_min={floor:g} is above the base {base:g}: it rises and restarts, and SGDR falls")
    return SGDR(k0=floor, k1=base, l=whole(scheduler.T_0, "T_0", least=1), growth=scheduler.T_mult)


def _plateau_lrs(scheduler: Any, n: int) -> LRs:
    group = scheduler.optimizer.param_groups[n]
    return (number(group["lr"], "lr"), number(scheduler.min_lrs[n], "min_lr"), number(scheduler.eps, "eps"))


def _plateau(scheduler: Any, lrs: LRs) -> Policy:
    lr, low, eps = lrs
    return plateau(
        lr,
        mode=scheduler.mode,
        factor=scheduler.factor,
        patience=scheduler.patience,
        eps=eps,
        min_lr=low,
        threshold=scheduler.threshold,
        threshold_mode=scheduler.threshold_mode,
        cooldown=scheduler.cooldown,
    )


def _members(scheduler: Any) -> list[tuple[Any, _SchedulerReader]]:
    return [(member, _reader(member)) for member in scheduler._schedulers]


def _lrs_of_members(scheduler: Any, n: int) -> LRs:
    return tuple(lr for member, reader in _members(scheduler) for lr in reader.lrs(member, n))


def _policies_of_members(scheduler: Any, lrs: LRs) -> list[Policy]:
    policies, used = [], 0
    for member, reader in _members(scheduler):
        count = len(reader.lrs(member, 0))
        policies.append(reader.policy(member, lrs[used : used + count]))
        used += count
    return policies


def _sequential(scheduler: Any, lrs: LRs) -> Policy:
    """The members, joined: torch starts a later member from its own base, and the first from the group's initial LR."""
    at = [whole(step, "a milestone") for step in scheduler._milestones]
    if at != sorted(at):
        raise PolicyError(f"milestones={at} do not rise, and torch walks through them in another order")
    if 0 in at:
        raise PolicyError(f"milestones={at}: torch before 2.13 is one step late after 0; leave out what ends there")
    members, policies = list(scheduler._schedulers), _policies_of_members(scheduler, lrs)
    starts = [0, *at]
    for member, policy, start in zip(members, policies, starts, strict=True):
        _require_member(member, policy, is_first=start == 0)
    lengths = [end - start for start, end in zip(starts, at, strict=False)]
    return joined(list(zip(lengths, policies, strict=False)), policies[-1])


def _require_member(member: Any, policy: Policy, *, is_first: bool) -> None:
    name = type(member).__name__
    if name in ("SequentialLR", "ChainedScheduler"):
        raise PolicyError(f"a {name} inside: torch counts its steps wrongly or fails at its milestone (pytorch#162591)")
    if policy.has_momentum:
        raise PolicyError(
            f"{name} cycles the momentum, which torch leaves where it stands when another member takes"
            " over; with cycle_momentum=False it is read, and its learning rate is the same"
        )
    empty = name in ("LinearLR", "PolynomialLR", "ConstantLR") and member.total_iters == 0
    if empty and not is_first and getattr(member, "factor", 0) != 1:
        raise PolicyError(
            f"{name}(total_iters=0) after a milestone: torch divides by zero there, or forgets the factor"
        )
    initial = [number(group["initial_lr"], "initial_lr") for group in member.optimizer.param_groups]
    recursive = name not in ("CyclicLR", "OneCycleLR", "CosineAnnealingWarmRestarts")
    if is_first and recursive and initial != [number(lr, "base_lr") for lr in member.base_lrs]:
        raise PolicyError(
            f"{name} comes first and was made for learning rates {member.base_lrs}, and another scheduler"
            f" has set them to {initial}"
        )


def _chained(scheduler: Any, lrs: LRs) -> Policy:
    """The product of the members: a policy where there is one member, or all are exponential."""
    policies = _policies_of_members(scheduler, lrs)
    if len(policies) == 1:
        return policies[0]
    if {policy.name for policy in policies} == {"EXP"}:
        gamma = 1.0
        for policy in policies:
            gamma *= policy.params["gamma"]
        return EXP(k0=lrs[0], gamma=gamma)
    named = ", ".join(type(member).__name__ for member in scheduler._schedulers)
    raise PolicyError(f"members ({named}) that multiply each other; no policy is a product")


READERS: dict[str, _SchedulerReader] = {
    "StepLR": _SchedulerReader(base, _step),
    "MultiStepLR": _SchedulerReader(base, _multi_step),
    "ConstantLR": _SchedulerReader(base, _constant),
    "LinearLR": _SchedulerReader(base, _linear),
    "ExponentialLR": _SchedulerReader(base, lambda scheduler, lrs: EXP(k0=lrs[0], gamma=_gamma(scheduler))),
    "PolynomialLR": _SchedulerReader(base, _polynomial),
    "CosineAnnealingLR": _SchedulerReader(_base_and_floor, _cosine),
    "CosineAnnealingWarmRestarts": _SchedulerReader(_base_and_floor, _restarts),
    "CyclicLR": _SchedulerReader(cyclic_lrs, cyclic),
    "OneCycleLR": _SchedulerReader(one_cycle_lrs, one_cycle),
    "ReduceLROnPlateau": _SchedulerReader(_plateau_lrs, _plateau),
    "SequentialLR": _SchedulerReader(_lrs_of_members, _sequential),
    "ChainedScheduler": _SchedulerReader(_lrs_of_members, _chained),
}
