"""Keys that forks of Caffe add to a solver: Intel's warm-up, which is read and written, and NVIDIA's ramp and floor.

The policy counts during a warm-up, so the run continues inside its curve. Releases of NVIDIA's fork compute different
curves from the same keys, so these are refused, with the policy of each release.
"""

from collections.abc import Callable
from typing import NoReturn

from lrsearch.errors import PolicyError
from lrsearch.exchange.phases import joined, later
from lrsearch.exchange.prototxt import Fields, number_at, whole_at
from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS

FIX, NSTEP, POLY, STEP, LINEAR, COOLDOWN, WARMUP, CHAIN, FROM = (
    FUNCTIONS[name] for name in ("FIX", "NSTEP", "POLY", "STEP", "LINEAR", "COOLDOWN", "WARMUP", "CHAIN", "FROM")
)
INTEL = ("warmup_iter", "warmup_start_lr")
NVIDIA = ("rampup_interval", "rampup_lr", "min_lr")
LAST_STEP = 2**31 - 1


def forked(fields: Fields, policy: Policy) -> Policy:
    """Add the warm-up of a fork of Caffe to the policy of a solver.

    Raises:
        PolicyError: if releases of the fork differ; the message has the policy of each.
    """
    intel, nvidia = ([key for key in keys if key in fields] for keys in (INTEL, NVIDIA))
    if intel and nvidia:
        raise PolicyError(f"{intel[0]} is a key of Intel's fork of Caffe and {nvidia[0]} of NVIDIA's: none has both")
    base = number_at(fields, "base_lr")
    if nvidia:
        ramp, floor = whole_at(fields, "rampup_interval", 0), number_at(fields, "min_lr", 0)
        if ramp or floor:
            _refuse(nvidia[0], policy, ramp, (number_at(fields, "rampup_lr", 0), base), floor)
    return _warmed(policy, whole_at(fields, "warmup_iter", 0), (number_at(fields, "warmup_start_lr", 0), base))


def unwarmed(policy: Policy) -> tuple[Policy, float, float]:
    """Split off a warm-up of Intel's kind.

    Returns:
        The policy that counts during the warm-up, the warm-up's length, and its first learning rate.

    >>> unwarmed(WARMUP(policy=NSTEP(k0=0.8, gamma=0.1, l=[15, 34]), l=3))
    (NSTEP(k0=0.8, gamma=0.1, l=[18, 37]), 3, 0)
    """
    p = policy.params
    if policy.name == "WARMUP":
        start, top, length, rest = 0, p["policy"](0), p["l"], p["policy"]
    else:
        rise, rest = policy.parts[0], policy.parts[-1]
        length, (start, top) = p["at"][0], (rise.params["k0"], rise.params["k1"]) if rise.name == "LINEAR" else (0, 0)
    counted = _counted(rest, length)
    is_rise = policy.name == "WARMUP" or (len(policy.parts) == 2 and policy.parts[0].params.get("l") == length)
    if counted is None or not is_rise or counted.params.get("k0") != top:
        raise PolicyError(
            f"{policy.form}: Caffe has no such lr_policy. Intel's fork has a line to base_lr, and after"
            " it FIX, NSTEP, or FROM of a policy that starts at base_lr"
        )
    return counted, length, start


def _counted(rest: Policy, length: float) -> Policy | None:
    """The policy that becomes `rest` after so many steps; None where that is unknown."""
    if rest.name == "NSTEP":
        return NSTEP(**{**rest.params, "l": [at + length for at in rest.params["l"]]})
    if rest.name == "FROM" and rest.params["at"] == length:
        return rest.parts[0]
    return rest if rest.name == "FIX" else None


def _warmed(policy: Policy, length: int, ends: tuple[float, float]) -> Policy:
    """A policy with a warm-up along a line, after which it continues inside its curve."""
    if length == 0:
        return policy
    rest = later(policy, length)
    if ends[0] == 0 and rest(0) == ends[1]:
        return WARMUP(policy=rest, l=length)
    return joined([(length, LINEAR(k0=ends[0], l=length, k1=ends[1]))], rest)


def _refuse(key: str, policy: Policy, ramp: int, ends: tuple[float, float], floor: float) -> NoReturn:
    """Refuse a ramp and a floor; the message has the policy of each release."""
    says = f"{key} belongs to NVIDIA's fork of Caffe, whose releases differ"
    if ramp and min(ends) < floor:
        raise PolicyError(f"{says}; and its ramp is below min_lr={floor:g}")
    rest = later(_floored(policy, floor), ramp)
    square = FROM(policy=COOLDOWN(k0=ends[0], l=[1, 1 + ramp], k1=ends[1], p=2), at=1) if ramp else rest
    new = joined([(ramp, square)], rest)
    old = f"; from 0.16.1 to 0.16.4 it is {_warmed(policy, ramp, ends)}" if floor == 0 else ""
    raise PolicyError(f"{says}. From {'0.17.1' if floor else '0.16.5'} on it is {new}{old}")


def _floored(policy: Policy, floor: float) -> Policy:
    """A falling policy that stays at a floor; poly falls to the floor."""
    p = policy.params
    if floor == 0 or policy(LAST_STEP) >= floor:
        return policy
    if policy.name == "POLY":
        return POLY(k0=p["k0"], p=p["p"], l=p["l"], k1=floor)
    if policy(0) <= floor:
        return FIX(k0=floor)
    if policy.name == "STEP":
        return STEP(k0=p["k0"], gamma=p["gamma"], l=p["l"], k1=floor)
    return CHAIN(policies=[policy, FIX(k0=floor)], at=[_first(lambda step: policy(step) <= floor)])


def _first(is_past: Callable[[int], bool]) -> int:
    """The first step at which a condition holds that then stays true, by bisection between step 0 and the last."""
    before, past = 0, LAST_STEP
    while past - before > 1:
        middle = (before + past) // 2
        before, past = (before, middle) if is_past(middle) else (middle, past)
    return past
