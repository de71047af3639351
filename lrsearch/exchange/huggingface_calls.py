"""A policy as the call of `transformers.get_scheduler`, where transformers has the same curve."""

import math
from collections.abc import Callable
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.exchange.call import Call
from lrsearch.exchange.huggingface_chains import write_phases
from lrsearch.exchange.numbers import bound, whole
from lrsearch.exchange.torch_calls import plateau_arguments
from lrsearch.schedules import Policy

MOST_CYCLES = 100_000
"""Cycles whose restarts are checked one by one (a rule: a fraction of a second)."""
SWINGS = ("COS", "UPCOS", "SGDR", "COSRSW")
OWN_WARMUP = ("INVSQRT", "WSD")
NO_SCHEDULE = (
    "transformers has no schedule of this shape; its Trainer takes policy.scheduler(optimizer) in"
    " `optimizers=(optimizer, scheduler)`"
)


def to_huggingface(policy: Policy, horizon: float) -> Call:
    """Write a policy as the call of `transformers.get_scheduler` with exactly its curve over `horizon` steps.

    Raises:
        PolicyError: if transformers has no such schedule; the message names the obstacle.

    >>> from lrsearch.schedules import HALFCOS, WARMUP
    >>> to_huggingface(WARMUP(policy=HALFCOS(k0=0.1, l=90), l=10), 100).source
    'transformers.get_scheduler("cosine", optimizer, num_warmup_steps=10, num_training_steps=100)'
    """
    policy = bound(policy)
    steps = whole(horizon, "horizon", least=1)
    inner, warmup = policy, 0
    if policy.name == "WARMUP":
        inner, warmup = policy.params["policy"], _length(policy, policy.params["l"])
    writer = WRITERS.get(inner.name)
    phased = write_phases(policy, steps) if inner.name in ("CHAIN", "FROM") else None
    if phased is not None:
        return phased
    if writer is None:
        raise PolicyError(f"{policy.form}: {NO_SCHEDULE}")
    if warmup and inner.name in OWN_WARMUP:
        raise PolicyError(f"{policy.form}: {inner.name} has a warm-up of its own, and transformers one at most")
    return writer(inner, warmup, steps)


def require_restarts(rest: int, cycles: float) -> None:
    """Refuse cycles whose restart transformers' remainder misses by rounding, as at step 1 of 49 cycles of 1."""
    if cycles > MOST_CYCLES:
        raise PolicyError(f"at most {MOST_CYCLES} cycles are looked through, got {cycles:g}")
    for n in range(1, math.ceil(cycles)):
        step = n * rest / cycles
        at = round(step)
        if abs(step - at) < 1e-6 and (cycles * (at / rest)) % 1.0 > 0.5:
            raise PolicyError(
                f"transformers rounds the restart at step {at} of {rest} away, and has learning rate 0 there"
            )


def _call(name: str, policy: Policy, warmup: int | None = None, total: int | None = None, /, **specific: Any) -> Call:
    general = (("num_warmup_steps", warmup), ("num_training_steps", total))
    return Call(
        name=name,
        arguments=tuple((what, value) for what, value in general if value is not None),
        lr=float(policy(0) if policy.name in SWINGS else policy.params["k0"]),
        tool="huggingface",
        specific=tuple(specific.items()),
    )


def _length(policy: Policy, value: Any) -> int:
    return whole(value, f"{policy.name}: transformers counts whole steps, so l", least=1)


def _write_fix(policy: Policy, warmup: int, steps: int) -> Call:
    return _call("constant_with_warmup", policy, warmup) if warmup else _call("constant", policy)


def _write_line(policy: Policy, warmup: int, steps: int) -> Call:
    p = policy.params
    total = warmup + _length(policy, p["l"])
    if p["k1"] == 0 and p.get("p", 1) == 1:
        return _call("linear", policy, warmup, total)
    if not p["k1"] < p["k0"]:
        raise PolicyError(
            f"{policy.name}: transformers' polynomial falls, and k1={p['k1']!r} is not below k0={p['k0']!r}"
        )
    return _call("polynomial", policy, warmup, total, lr_end=float(p["k1"]), power=float(p.get("p", 1)))


def _write_half_cosine(policy: Policy, warmup: int, steps: int) -> Call:
    """Half a cosine. A run that goes on at 0 needs cosine_with_restarts: cosine turns round after the last step."""
    p = policy.params
    total, ends_in_time = warmup + _length(policy, p["l"]), steps <= warmup + p["l"] + 1
    if p["k1"] == 0:
        return _call("cosine" if ends_in_time else "cosine_with_restarts", policy, warmup, total)
    if p["k1"] > p["k0"]:
        raise PolicyError(f"HALFCOS: transformers' cosines fall, and k1={p['k1']!r} is above k0={p['k0']!r}")
    if ends_in_time:
        return _call("cosine_with_min_lr", policy, warmup, total, min_lr=float(p["k1"]))
    if warmup:
        raise PolicyError(
            f"HALFCOS: cosine_with_min_lr climbs again after step {total}, and the run has {steps}: it is"
            f" the same up to a horizon of {total + 1}"
        )
    return _call("warmup_stable_decay", policy, 0, total, num_decay_steps=total, min_lr_ratio=p["k1"] / p["k0"])


def _write_cosine(policy: Policy, warmup: int, steps: int) -> Call:
    """A cosine to the other bound, which transformers calls min_lr even where it is the higher."""
    other = policy.bounds[policy.name == "UPCOS"]
    rest = max(steps - warmup, 1)
    cycles = rest / (2 * policy.params["l"])
    own = {} if cycles == 0.5 else {"num_cycles": cycles}
    if other == 0:
        return _call("cosine", policy, warmup, warmup + rest, **own)
    if policy(0) == 0:
        raise PolicyError(
            f"{policy.name}: an optimizer that starts at learning rate 0 stays there: transformers multiplies"
        )
    return _call("cosine_with_min_lr", policy, warmup, warmup + rest, **own, min_lr=float(other))


def _write_restarts(policy: Policy, warmup: int, steps: int) -> Call:
    low, _ = policy.bounds
    if low > 0 or policy.params.get("growth", 1) != 1:
        raise PolicyError(f"{policy.name}: cosine_with_restarts falls to 0 in cycles of one length")
    return _restarted(policy, warmup, max(steps - warmup, 1))


def _write_chain(policy: Policy, warmup: int, steps: int) -> Call:
    """Restarts, and 0 after the last."""
    first, last = policy.parts[0], policy.parts[-1]
    if len(policy.parts) > 2 or first.name not in ("SGDR", "COSRSW") or last.form != "FIX" or last.params["k0"] > 0:
        raise PolicyError(f"{policy.form}: {NO_SCHEDULE}")
    return _write_restarts(first, warmup, warmup + _length(policy, policy.params["at"][0]))


def _restarted(policy: Policy, warmup: int, rest: int) -> Call:
    cycles = rest / policy.params["l"]
    require_restarts(rest, cycles)
    own = {} if cycles == 1 else {"num_cycles": int(cycles) if cycles.is_integer() else cycles}
    return _call("cosine_with_restarts", policy, warmup, warmup + rest, **own)


def _write_inverse_sqrt(policy: Policy, warmup: int, steps: int) -> Call:
    return _call("inverse_sqrt", policy, _length(policy, policy.params["l"]))


def _write_inverse(policy: Policy, warmup: int, steps: int) -> Call:
    p = policy.params
    if p["p"] != 0.5 or p["gamma"] == 0:
        raise PolicyError(f"INV: inverse_sqrt has p=0.5 and a gamma above 0, got p={p['p']!r}, gamma={p['gamma']!r}")
    scale = 1 / p["gamma"]
    nearest = max(round(scale), 1)
    return _call("inverse_sqrt", policy, warmup, timescale=nearest if 1 / nearest == p["gamma"] else scale)


def _write_wsd(policy: Policy, warmup: int, steps: int) -> Call:
    p = policy.params
    if p["k1"] > 0:
        raise PolicyError(f"WSD: transformers' warm-up starts at the floor, and not at 0 where k1 is {p['k1']!r}")
    warm, decay, end = (_length(policy, at) for at in p["l"])
    return _call("warmup_stable_decay", policy, warm, end, num_decay_steps=end - decay, decay_type="linear")


def _write_cooldown(policy: Policy, warmup: int, steps: int) -> Call:
    p = policy.params
    kind = "cosine" if policy.name == "COOLCOS" else {1: "linear", 0.5: "1-sqrt"}.get(p["p"])
    if kind is None or p["k1"] > p["k0"] or (warmup and p["k1"] > 0):
        raise PolicyError(
            f"{policy.name}: transformers decays down, by p=1, p=0.5 or a cosine, and warms up from the floor: {policy}"
        )
    start, end = (_length(policy, at) for at in p["l"])
    own = {"min_lr_ratio": p["k1"] / p["k0"]} if p["k1"] > 0 else {}
    return _call(
        "warmup_stable_decay", policy, warmup, warmup + end, num_decay_steps=end - start, decay_type=kind, **own
    )


def _write_plateau(policy: Policy, warmup: int, steps: int) -> Call:
    return Call(
        name="reduce_lr_on_plateau",
        arguments=(),
        lr=float(policy.params["k0"]),
        tool="huggingface",
        specific=plateau_arguments(policy),
    )


WRITERS: dict[str, Callable[[Policy, int, int], Call]] = {
    "FIX": _write_fix,
    "LINEAR": _write_line,
    "POLY": _write_line,
    "HALFCOS": _write_half_cosine,
    "COS": _write_cosine,
    "UPCOS": _write_cosine,
    "SGDR": _write_restarts,
    "COSRSW": _write_restarts,
    "INVSQRT": _write_inverse_sqrt,
    "INV": _write_inverse,
    "WSD": _write_wsd,
    "COOLDOWN": _write_cooldown,
    "COOLCOS": _write_cooldown,
    "PLATEAU": _write_plateau,
    "CHAIN": _write_chain,
}
