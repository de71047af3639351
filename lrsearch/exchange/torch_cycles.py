"""CyclicLR and OneCycleLR as policies: the two schedulers of torch that may move the momentum too."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.exchange.numbers import number
from lrsearch.exchange.phases import joined, later
from lrsearch.schedules import LRFunction, Policy
from lrsearch.schedules.functions import FUNCTIONS

CODE = (
    "it holds arbitrary code, which is no value; write the curve as a policy, and if it is a schedule of"
    " transformers, read it with from_huggingface"
)
LINEAR, HALFCOS, ONECYCLE, ONECYCLE2, CM = (
    FUNCTIONS[name] for name in ("LINEAR", "HALFCOS", "ONECYCLE", "ONECYCLE2", "CM")
)
LRs = tuple[float, ...]
Ends = tuple[float, float]
"""A value at the start and at the end of a phase."""


def base(scheduler: Any, n: int) -> LRs:
    """The learning rate from which most schedulers start."""
    if len(scheduler.base_lrs) != len(scheduler.optimizer.param_groups):
        raise PolicyError("a param group was added after the scheduler was made")
    return (number(scheduler.base_lrs[n], "the base learning rate"),)


def cyclic_lrs(scheduler: Any, n: int) -> LRs:
    """The learning rates of CyclicLR: at its start and half a cycle later."""
    return (*base(scheduler, n), number(scheduler.max_lrs[n], "max_lr"))


def cyclic(scheduler: Any, lrs: LRs) -> Policy:
    """Read CyclicLR: a triangle wave."""
    _require_waves(scheduler, *lrs)
    starts_low = lrs[0] <= lrs[1]
    name = {"triangular": "TRI" if starts_low else "DTRI", "triangular2": "TRI2", "exp_range": "TRIEXP"}[scheduler.mode]
    gamma = {"gamma": number(scheduler.gamma, "gamma")} if name == "TRIEXP" else {}
    wave = FUNCTIONS[name](k0=min(lrs), k1=max(lrs), l=scheduler.total_size / 2, **gamma)
    if not scheduler.cycle_momentum:
        return wave
    first, other = _same(scheduler.max_momentums, "max_momentum"), _same(scheduler.base_momentums, "base_momentum")
    return _with_momentum(wave, first, other) if starts_low else _with_momentum(wave, other, first)


def one_cycle_lrs(scheduler: Any, n: int) -> LRs:
    """The learning rates of OneCycleLR: at its start, at its peak and at its end."""
    group = scheduler.optimizer.param_groups[n]
    return tuple(number(group[name], name) for name in ("initial_lr", "max_lr", "min_lr"))


def one_cycle(scheduler: Any, lrs: LRs) -> Policy:
    """Read OneCycleLR: phases that end at steps pct_start total_steps - 1 and so on, the last at total_steps - 1."""
    named = dict(zip(("initial_lr", "max_lr", "min_lr"), lrs, strict=True))
    for name in ("max_momentum", "base_momentum") if scheduler.cycle_momentum else ():
        named[name] = _same([group[name] for group in scheduler.optimizer.param_groups], name)
    is_linear = scheduler._anneal_func_type == "linear"
    phases = _reached(scheduler._schedule_phases, is_linear, named)
    cycle = ONECYCLE if is_linear else ONECYCLE2
    if len(phases) == len(scheduler._schedule_phases) == (3 if is_linear else 2) and _is_cycle(cycle, named):
        policy = cycle(k0=lrs[0], k1=lrs[1], l=[phase.end for phase in phases], k2=lrs[2])
        if "max_momentum" not in named:
            return policy
        return _with_momentum(policy, named["max_momentum"], named["base_momentum"])
    shape = LINEAR if is_linear else HALFCOS
    *earlier, last = [
        (phase.end - max(phase.start, 0), later(phase.policy(shape), max(-phase.start, 0))) for phase in phases
    ]
    return joined(earlier, last[1])


def _is_cycle(cycle: LRFunction, named: dict[str, float]) -> bool:
    """Whether an LR function has these learning rates; CM's momentum moves in a last phase that rises, torch's not."""
    has_peak = max(named["initial_lr"], named["min_lr"]) <= named["max_lr"]
    return has_peak and (cycle is ONECYCLE2 or "max_momentum" not in named or named["min_lr"] <= named["initial_lr"])


@dataclass(frozen=True, slots=True)
class _Phase:
    """A phase of OneCycleLR: from step `start`, which may be before step 0, to step `end`."""

    start: float
    end: float
    lrs: Ends
    momenta: Ends | None

    def policy(self, shape: Callable[..., Policy]) -> Policy:
        policy = shape(k0=self.lrs[0], l=self.end - self.start, k1=self.lrs[1])
        if self.momenta is None:
            return policy
        at_lowest, at_highest = self.momenta if self.lrs[0] <= self.lrs[1] else self.momenta[::-1]
        return _with_momentum(policy, at_lowest, at_highest)

    def from_zero(self) -> "_Phase":
        """The part of a line that began before step 0."""
        done = -self.start / (self.end - self.start)
        return _Phase(0.0, self.end, _rest(self.lrs, done), self.momenta and _rest(self.momenta, done))


def _reached(listed: Sequence[Any], is_linear: bool, named: dict[str, float]) -> list[_Phase]:
    """The phases that contain a step: torch takes the first phase whose end is not passed."""
    reached: list[_Phase] = []
    before, total = 0.0, number(listed[-1]["end_step"], "the end")
    if total < 1:
        raise PolicyError("total_steps=1: a cycle of one step has no shape")
    for phase in listed:
        end = number(phase["end_step"], "the end of a phase")
        if end >= 0 and (not reached or reached[-1].end < total):
            lrs = named[phase["start_lr"]], named[phase["end_lr"]]
            cycles = "max_momentum" in named
            momenta = (named[phase["start_momentum"]], named[phase["end_momentum"]]) if cycles else None
            reached.append(_Phase(before, end, lrs, momenta))
        before = end
    return [reached[0].from_zero(), *reached[1:]] if is_linear and reached[0].start < 0 else reached


def _rest(ends: Ends, done: float) -> Ends:
    return ends[0] + (ends[1] - ends[0]) * done, ends[1]


def _require_waves(scheduler: Any, start: float, other: float) -> None:
    if scheduler._scale_fn_custom is not None:
        raise PolicyError(f"scale_fn: {CODE}")
    if scheduler.step_ratio != 0.5:
        raise PolicyError(
            f"step_size_up and step_size_down differ (up is {scheduler.step_ratio:.4g} of the cycle), and"
            " no policy repeats unequal halves"
        )
    if other < start and scheduler.mode != "triangular":
        raise PolicyError(
            f"max_lr={other:g} is below base_lr={start:g}: upside down, and no policy is for mode {scheduler.mode}"
        )


def _with_momentum(policy: Policy, at_lowest: float, at_highest: float) -> Policy:
    low, high = policy.bounds
    if low == high and at_lowest != at_highest and policy.function.height is None:
        raise PolicyError(f"the momentum cycles and the learning rate stays at {low:g}: CM needs one that moves")
    return CM(policy=policy, m0=at_lowest, m1=at_highest)


def _same(values: Sequence[Any], what: str) -> float:
    distinct = {number(value, what) for value in values}
    if len(distinct) != 1:
        raise PolicyError(f"{what} differs between param groups, and a policy has one: {sorted(distinct)}")
    return distinct.pop()
