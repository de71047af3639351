"""A policy as calls of torch's own schedulers, where torch has the same curve.

Most of torch's schedulers start at the optimizer's learning rate, so one call has one `lr`; in a SequentialLR all
members share it. Another learning rate is a factor of LinearLR, or a MultiStepLR whose only drop is at step 0: torch's
ConstantLR is no constant, it takes its factor back.
"""

from collections.abc import Callable
from typing import Any

from lrsearch.errors import PolicyError
from lrsearch.exchange.call import Call
from lrsearch.exchange.numbers import bound, whole
from lrsearch.schedules import Policy
from lrsearch.schedules.values import text_of

NOISE = 1e-9
"""How far from a whole number of steps a phase may end: floating-point noise."""
Members = list[tuple[int, Call]]
"""Calls, each with the step at which it takes over."""
Params = dict[str, Any]
WAVES = {"TRI": "triangular", "TRI2": "triangular2", "TRIEXP": "exp_range", "DTRI": "triangular"}
NO_SHAPE = "torch has no scheduler of this shape; policy.scheduler(optimizer) is a torch LRScheduler for every policy"


def to_torch(policy: Policy, horizon: float | None = None) -> Call:
    """Write a policy as the call of a torch scheduler with exactly its curve.

    Args:
        policy: the policy; lengths that torch counts must be whole steps.
        horizon: the steps of the run, where known: CosineAnnealingLR and OneCycleLR are the same only up to an end.

    Raises:
        PolicyError: if torch has no scheduler with this curve; the message names the obstacle.

    >>> from lrsearch.schedules import HALFCOS, STEP
    >>> print(to_torch(STEP(k0=0.1, gamma=0.5, l=1000)))
    torch.optim.lr_scheduler.StepLR(optimizer, step_size=1000, gamma=0.5)  # optimizer with lr=0.1
    >>> print(to_torch(HALFCOS(k0=0.1, l=100), horizon=100))
    torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.0)  # optimizer with lr=0.1
    """
    policy = bound(policy)
    steps = None if horizon is None else whole(horizon, "horizon", least=1)
    alone = ALONE.get(policy.name)
    call = alone(policy, steps) if alone else None
    if call is not None:
        return call
    lr = _lr(policy)
    members = [(start, call) for start, call in _members(policy, lr, steps) if steps is None or start < steps]
    if len(members) == 1:
        return members[0][1]
    return _call(
        "SequentialLR",
        lr,
        schedulers=tuple(call for _, call in members),
        milestones=tuple(start for start, _ in members[1:]),
    )


def plateau_arguments(policy: Policy) -> tuple[tuple[str, Any], ...]:
    """Write PLATEAU as the arguments of ReduceLROnPlateau.

    >>> from lrsearch.schedules import PLATEAU
    >>> dict(plateau_arguments(PLATEAU(k0=0.1, gamma=0.5)))["factor"]
    0.5
    """
    p = policy.params
    if p["gamma"] == 1:
        raise PolicyError(
            "PLATEAU: gamma=1 never drops, and ReduceLROnPlateau takes a factor below 1: write"
            f" FIX(k0={text_of(p['k0'])})"
        )
    mode = (("mode", "max"),) if p["maximize"] else ()
    return (
        *mode,
        ("factor", float(p["gamma"])),
        ("patience", p["patience"]),
        ("threshold", float(p["threshold"])),
        ("cooldown", p["cooldown"]),
        ("min_lr", float(p["k1"])),
        ("eps", float(p["eps"])),
    )


def _call(name: str, lr: float, /, **arguments: Any) -> Call:
    return Call(name=name, arguments=tuple(arguments.items()), lr=float(lr))


def _plateau(policy: Policy, steps: int | None) -> Call:
    return Call(name="ReduceLROnPlateau", arguments=plateau_arguments(policy), lr=float(policy.params["k0"]))


def _cycling(policy: Policy, steps: int | None) -> Call:
    """CyclicLR or OneCycleLR: no other scheduler of torch cycles the momentum."""
    inner, m0, m1 = policy.params["policy"], float(policy.params["m0"]), float(policy.params["m1"])
    low_lr, high_lr = inner.bounds
    if low_lr == high_lr and m0 != m1 and inner.function.height is None:
        raise PolicyError(
            f"CM: beside a learning rate that stays at {low_lr!r} torch's momentum cycles, and CM's stays at m1"
        )
    if inner.name in WAVES:
        low, high = (m0, m1) if inner.name == "DTRI" else (m1, m0)
        return _cyclic(inner, cycle_momentum=True, base_momentum=low, max_momentum=high)
    rises_again = inner.name == "ONECYCLE" and inner.params["k2"] > inner.params["k0"] and m0 != m1
    if inner.name in ("ONECYCLE", "ONECYCLE2") and not rises_again:
        call = _one_cycle(inner, steps, cycle_momentum=True, base_momentum=m1, max_momentum=m0)
        if call is not None:
            return call
    raise PolicyError(
        f"CM: torch cycles the momentum beside {', '.join(WAVES)}, and ONECYCLE and ONECYCLE2 up to their"
        f" end where OneCycleLR has their phases, not beside {inner.form}"
    )


def _cyclic(policy: Policy, **momentum: Any) -> Call:
    p = policy.params
    low, high = sorted((float(p["k0"]), float(p["k1"])))
    base, top = (high, low) if policy.name == "DTRI" else (low, high)
    gamma = {"gamma": float(p["gamma"])} if policy.name == "TRIEXP" else {}
    return _call(
        "CyclicLR",
        base,
        base_lr=base,
        max_lr=top,
        step_size_up=p["l"],
        mode=WAVES[policy.name],
        **gamma,
        **(momentum or {"cycle_momentum": False}),
    )


def _one_cycle(policy: Policy, steps: int | None, **momentum: Any) -> Call | None:
    """OneCycleLR, if its phases can be the policy's: a phase that ends at step a is (a + 1)/total_steps long."""
    p = policy.params
    k0, k1, k2 = float(p["k0"]), float(p["k1"]), float(p["k2"])
    first, end = p["l"][0], p["l"][-1]
    has_phases = policy.name == "ONECYCLE2" or p["l"][1] == 2 * first
    has_lrs = k1 > 0 and (k0 > 0 or k2 == 0)
    if not (has_phases and has_lrs and end == int(end) and (steps is None or steps <= end + 1)):
        return None
    lines, cosines = {"anneal_strategy": "linear", "three_phase": True}, {"anneal_strategy": "cos"}
    shape: Params = lines if policy.name == "ONECYCLE" else cosines
    return _call(
        "OneCycleLR",
        k0,
        max_lr=k1,
        total_steps=int(end) + 1,
        pct_start=(first + 1) / (end + 1),
        **shape,
        div_factor=_ratio(k1, k0),
        final_div_factor=_ratio(k0, k2) if k0 else 1.0,
        **(momentum or {"cycle_momentum": False}),
    )


def _begun(policy: Policy, steps: int | None) -> Call | None:
    """OneCycleLR whose earlier phases end before step 0, so that it begins inside its last."""
    cosine, at = policy.parts[0], policy.params["at"]
    momenta = (cosine.params["m0"], cosine.params["m1"]) if cosine.name == "CM" else None
    cosine = cosine.parts[0] if momenta else cosine
    p, end = cosine.params, cosine.params["l"] - at if cosine.name == "HALFCOS" else 0.5
    total, is_third = round(end) + 1, at > 1
    is_still = momenta is None or momenta[0] == momenta[1]
    is_within = abs(end - round(end)) <= NOISE and at <= (2 if is_still else 1)
    if not (is_within and p["k0"] > 0 and (steps is None or steps <= total)):
        return None
    low, high = momenta[::-1] if momenta and p["k0"] >= p["k1"] else momenta or (0, 0)
    cycles = {"base_momentum": low, "max_momentum": high} if momenta else {}
    return _call(
        "OneCycleLR",
        p["k0"],
        max_lr=float(p["k0"]),
        total_steps=total,
        anneal_strategy="cos",
        pct_start=((2 - at) / 2 if is_third else 1 - at) / total,
        three_phase=is_third,
        div_factor=1.0,
        final_div_factor=_ratio(p["k0"], p["k1"]),
        cycle_momentum=bool(momenta),
        **cycles,
    )


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("inf")


ALONE: dict[str, Callable[[Policy, int | None], Call | None]] = {
    "PLATEAU": _plateau,
    "CM": _cycling,
    "ONECYCLE": _one_cycle,
    "ONECYCLE2": _one_cycle,
    "FROM": _begun,
}
"""LR functions that are no member of a SequentialLR, or another call there."""


def _lr(policy: Policy) -> float:
    """The learning rate that an optimizer needs for a policy."""
    p = policy.params
    if policy.name in WAVES:
        return _cyclic(policy).lr
    if policy.name == "WARMUP":
        return float(p["policy"](0)) if p["policy"].name in WAVES else _lr(p["policy"])
    if policy.name == "CHAIN":
        first = p["policies"][0]
        if first.name in WAVES:
            return _lr(first)
        return max(_lr(part) for part in p["policies"] if part.name not in WAVES)
    is_line = policy.name in ("LINEAR", "DECAY", "COOLDOWN", "ONECYCLE") or (policy.name == "POLY" and p["p"] == 1)
    if is_line or policy.name in ("COS", "SGDR", "COSRSW"):
        return float(max(p["k0"], p["k1"]))
    return float(min(p["k0"], p["k1"]) if policy.name == "UPCOS" else p.get("k0", 0))


def _members(policy: Policy, lr: float, steps: int | None) -> Members:
    """The calls of a policy over so many steps, for an optimizer with a learning rate."""
    writer = WRITERS.get(policy.name)
    if writer is None:
        raise PolicyError(f"{policy.name}: {NO_SHAPE}")
    return writer(policy, lr, steps)


def _length(policy: Policy, value: Any, what: str = "l") -> int:
    return whole(value, f"{policy.name}: torch counts whole steps, so {what}", least=1)


def _require_base(policy: Policy, scheduler: str, start: float, lr: float) -> None:
    if start != lr:
        raise PolicyError(
            f"{policy.name}: {scheduler} starts at the optimizer's learning rate, here {lr!r} because of"
            f" the other members, and this one at {start!r}"
        )


def _held(level: float, lr: float) -> Call:
    if level == lr:
        return _call("ConstantLR", lr, factor=1.0, total_iters=0)
    if lr == 0:
        raise PolicyError(f"an optimizer that starts at learning rate 0 cannot be held at {level!r}: torch multiplies")
    return _call("MultiStepLR", lr, milestones=(0,), gamma=level / lr)


def _line(policy: Policy, lr: float, k0: float, k1: float, length: int) -> Members:
    """The calls of a line. LinearLR cannot start at 0: then step 0 is held, and the line starts at step 1."""
    if max(k0, k1) > lr:
        raise PolicyError(
            f"{policy.name}: LinearLR's factors are at most 1, and {max(k0, k1)!r} is above the"
            f" optimizer's learning rate, here {lr!r} because of the other members"
        )
    if lr == 0:
        return [(0, _held(0, 0))]
    if k0 > 0:
        return [(0, _call("LinearLR", lr, start_factor=k0 / lr, end_factor=k1 / lr, total_iters=length))]
    if k1 == 0:
        return [(0, _held(0, lr))]
    end = k1 / lr
    rise = (
        _held(k1, lr)
        if length == 1
        else _call("LinearLR", lr, start_factor=end / length, end_factor=end, total_iters=length - 1)
    )
    return [(0, _held(0, lr)), (1, rise)]


def _fix(policy: Policy, lr: float, steps: int | None) -> Members:
    return [(0, _held(policy.params["k0"], lr))]


def _step(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    if p["k1"] > 0:
        raise PolicyError(f"STEP: StepLR has no floor, and k1 is {p['k1']!r}")
    _require_base(policy, "StepLR", p["k0"], lr)
    return [(0, _call("StepLR", lr, step_size=_length(policy, p["l"]), gamma=float(p["gamma"])))]


def _nstep(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    _require_base(policy, "MultiStepLR", p["k0"], lr)
    at = tuple(_length(policy, milestone) for milestone in p["l"])
    return [(0, _call("MultiStepLR", lr, milestones=at, gamma=float(p["gamma"])))]


def _exp(policy: Policy, lr: float, steps: int | None) -> Members:
    _require_base(policy, "ExponentialLR", policy.params["k0"], lr)
    return [(0, _call("ExponentialLR", lr, gamma=float(policy.params["gamma"])))]


def _poly(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    if p["p"] == 1:
        return _linear(policy, lr, steps)
    if p["k1"] > 0:
        raise PolicyError(f"POLY: PolynomialLR goes to 0, and k1 is {p['k1']!r}")
    _require_base(policy, "PolynomialLR", p["k0"], lr)
    return [(0, _call("PolynomialLR", lr, total_iters=_length(policy, p["l"]), power=float(p["p"])))]


def _linear(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    return _line(policy, lr, p["k0"], p["k1"], _length(policy, p["l"]))


def _decay(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    return _line(policy, lr, p["k1"], p["k0"], _length(policy, p["l"]))


def _half_cosine(policy: Policy, lr: float, steps: int | None) -> Members:
    return _cosine_over(policy, _length(policy, policy.params["l"]), lr, steps)


def _cosine_over(policy: Policy, length: int, lr: float, steps: int | None) -> Members:
    """CosineAnnealingLR, which turns round at T_max: a run that goes on needs a held value after it."""
    p = policy.params
    _require_base(policy, "CosineAnnealingLR", p["k0"], lr)
    fall = _call("CosineAnnealingLR", lr, T_max=length, eta_min=float(p["k1"]))
    return [(0, fall)] if steps is not None and steps <= length + 1 else [(0, fall), (length, _held(p["k1"], lr))]


def _cosine(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    ends = sorted((p["k0"], p["k1"]), reverse=policy.name == "COS")
    _require_base(policy, "CosineAnnealingLR", ends[0], lr)
    return [(0, _call("CosineAnnealingLR", lr, T_max=_length(policy, p["l"]), eta_min=float(ends[1])))]


def _restarts(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    _require_base(policy, "CosineAnnealingWarmRestarts", max(p["k0"], p["k1"]), lr)
    growth = whole(p.get("growth", 1), f"{policy.name}: CosineAnnealingWarmRestarts' T_mult, the growth,", least=1)
    length, floor = _length(policy, p["l"]), float(min(p["k0"], p["k1"]))
    return [(0, _call("CosineAnnealingWarmRestarts", lr, T_0=length, T_mult=growth, eta_min=floor))]


def _wave(policy: Policy, lr: float, steps: int | None) -> Members:
    return [(0, _cyclic(policy))]


def _three_lines(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    up, back, end = (_length(policy, at) for at in p["l"])
    return [
        *_line(policy, lr, p["k0"], p["k1"], up),
        *_after(up, _line(policy, lr, p["k1"], p["k0"], back - up)),
        *_after(back, _line(policy, lr, p["k0"], p["k2"], end - back)),
    ]


def _wsd(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    warm, decay, end = (_length(policy, at) for at in p["l"])
    return [
        *_line(policy, lr, 0, p["k0"], warm),
        (warm, _held(p["k0"], lr)),
        *_after(decay, _line(policy, lr, p["k0"], p["k1"], end - decay)),
    ]


def _cooldown(policy: Policy, lr: float, steps: int | None) -> Members:
    p = policy.params
    if p["p"] != 1:
        raise PolicyError(f"COOLDOWN: LinearLR cools down along a line, p=1, and p is {p['p']!r}")
    start, end = (_length(policy, at) for at in p["l"])
    return [(0, _held(p["k0"], lr)), *_after(start, _line(policy, lr, p["k0"], p["k1"], end - start))]


def _cosine_cooldown(policy: Policy, lr: float, steps: int | None) -> Members:
    start, end = (_length(policy, at) for at in policy.params["l"])
    rest = None if steps is None else max(steps - start, 1)
    return [(0, _held(policy.params["k0"], lr)), *_after(start, _cosine_over(policy, end - start, lr, rest))]


def _warmup(policy: Policy, lr: float, steps: int | None) -> Members:
    inner, length = policy.params["policy"], _length(policy, policy.params["l"])
    rest = None if steps is None else max(steps - length, 1)
    return [*_line(policy, lr, 0, inner(0), length), *_after(length, _members(inner, lr, rest))]


def _chain(policy: Policy, lr: float, steps: int | None) -> Members:
    parts, at = policy.params["policies"], [_length(policy, step, "at") for step in policy.params["at"]]
    chained: Members = []
    for part, start, end in zip(parts, (0, *at), (*at, steps), strict=True):
        if steps is not None and start >= steps:
            break
        lasts = None if end is None else end - start
        members = _members(part, lr, lasts)
        chained += _after(start, [(own, call) for own, call in members if lasts is None or own < lasts])
    return chained


def _after(start: int, members: Members) -> Members:
    return [(start + own, call) for own, call in members]


WRITERS: dict[str, Callable[[Policy, float, int | None], Members]] = {
    "FIX": _fix,
    "STEP": _step,
    "NSTEP": _nstep,
    "EXP": _exp,
    "POLY": _poly,
    "LINEAR": _linear,
    "DECAY": _decay,
    "HALFCOS": _half_cosine,
    "COS": _cosine,
    "UPCOS": _cosine,
    "SGDR": _restarts,
    "COSRSW": _restarts,
    "TRI": _wave,
    "TRI2": _wave,
    "TRIEXP": _wave,
    "DTRI": _wave,
    "ONECYCLE": _three_lines,
    "WSD": _wsd,
    "COOLDOWN": _cooldown,
    "COOLCOS": _cosine_cooldown,
    "WARMUP": _warmup,
    "CHAIN": _chain,
}
