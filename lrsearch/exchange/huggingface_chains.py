"""transformers' schedules of several phases as calls: a warm-up with its own start, stable phases, and their decays."""

from dataclasses import dataclass
from typing import Any

from lrsearch.exchange.call import Call
from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS

LINEAR = FUNCTIONS["LINEAR"]
SHAPES = {"LINEAR": "linear", "HALFCOS": "cosine"}
Phases = list[tuple[float | None, Policy]]
"""Policies, each with its number of steps; None for the last, which goes on."""


@dataclass(frozen=True, slots=True)
class _Swing:
    """A cosine from a learning rate to another and back, half a period in l steps; constant if both are equal."""

    start: float
    other: float
    l: float

    def cycles(self, steps: float) -> float:
        """How many periods there are in so many steps."""
        return 0.0 if self.start == self.other else steps / (2 * self.l)


def write_phases(policy: Policy, steps: int) -> Call | None:
    """The call of a policy of several phases over a run of so many steps, or of one that begins inside its curve.

    None if transformers has no such schedule.

    >>> from lrsearch.schedules import parse
    >>> write_phases(parse("FROM(policy=COS(k0=0, k1=0.1, l=50), at=1)"), 50).name
    'cosine_warmup_with_min_lr'
    """
    phases = _phases(policy)
    lengths = [length for length, _ in phases if length is not None]
    if any(length != int(length) for length in lengths):
        return None
    return _early_cosine(phases, steps) or _stable(phases) or _ended(phases)


def _phases(policy: Policy) -> Phases:
    if policy.name == "WARMUP":
        inner, length = policy.params["policy"], policy.params["l"]
        return [(length, LINEAR(k0=0, l=length, k1=inner(0))), *_phases(inner)]
    if policy.name != "CHAIN":
        return [(None, policy)]
    *before, last = policy.parts
    at = policy.params["at"]
    lengths = [end - start for start, end in zip((0, *at), at, strict=False)]
    return [*zip(lengths, before, strict=True), *_phases(last)]


def _swing(policy: Policy) -> _Swing | None:
    p = policy.params
    if policy.name == "FIX":
        return _Swing(p["k0"], p["k0"], 1)
    if policy.name not in ("COS", "UPCOS"):
        return None
    start, other = sorted((p["k0"], p["k1"]), reverse=policy.name == "COS")
    return _Swing(start, other, p["l"])


def _begun(policy: Policy) -> tuple[Policy, float]:
    """The policy inside FROM, and the step at which it begins; else the policy itself and 0."""
    return (policy.parts[0], policy.params["at"]) if policy.name == "FROM" else (policy, 0)


def _call(name: str, lr: float, warmup: float, total: float, /, **specific: Any) -> Call:
    return Call(
        name=name,
        arguments=(("num_warmup_steps", int(warmup)), ("num_training_steps", int(total))),
        lr=float(lr),
        tool="huggingface",
        specific=tuple(specific.items()),
    )


def _early_cosine(phases: Phases, steps: int) -> Call | None:
    """A cosine that begins at the last step of the warm-up, which may start anywhere."""
    inner, at = _begun(phases[-1][1])
    swing, (length, rise) = _swing(inner), phases[0]
    if swing is None or swing.start == 0 or len(phases) > 2:
        return None
    first, warmup = swing.start, 0.0
    if length is not None:
        p = rise.params
        is_line = rise.name == "LINEAR" and p["l"] == length and p["k1"] == swing.start and at == 0
        if not is_line and not (rise.name == "FIX" and length == at == 1):
            return None
        first, warmup = p["k0"], length + 1 if is_line else 1
    elif at != 1:
        return None
    rest = max(steps - warmup, 1)
    return _call(
        "cosine_warmup_with_min_lr",
        swing.start,
        warmup,
        warmup + rest,
        num_cycles=swing.cycles(rest),
        min_lr=float(swing.other),
        **({"warmup_lr_rate": first / swing.start} if warmup else {}),
    )


def _stable(phases: Phases) -> Call | None:
    """The call of warmup_stable_decay: a rise from the floor, a hold, a decay that may begin in the rise, the floor."""
    left = list(phases)
    rise = _rise(*left[0])
    warmup, kind = (left.pop(0)[0] or 0, rise) if rise else (0, "linear")
    first = phases[0][1].params["k0"] if rise else None
    lr = phases[0][1].params["k1"] if rise else _begun(left[0][1])[0](0)
    held = 0.0
    if len(left) > 1 and left[0][1].form == "FIX" and left[0][1].params["k0"] == lr:
        held = left.pop(0)[0] or 0
    decay = _decay(left, lr)
    if decay is None or lr == 0 or (first is not None and first != decay.floor):
        return None
    return _call(
        "warmup_stable_decay",
        lr,
        warmup,
        warmup + held + decay.held + decay.length,
        warmup_type=kind,
        decay_type=decay.kind,
        num_decay_steps=int(decay.length),
        min_lr_ratio=decay.floor / lr,
        **({"num_cycles": decay.cycles} if decay.kind == "cosine" else {}),
    )


def _ended(phases: Phases) -> Call | None:
    """The call of a polynomial whose training ends within its warm-up: after that it is at its end."""
    (length, rise), last = phases[0], phases[-1][1]
    is_line = len(phases) == 2 and _rise(length, rise) == "linear" and rise.params["k0"] == 0
    if not is_line or last.form != "FIX" or not last.params["k0"] < rise.params["k1"]:
        return None
    return _call("polynomial", rise.params["k1"], length or 1, (length or 1) - 1, lr_end=float(last.params["k0"]))


def _rise(length: float | None, policy: Policy) -> str | None:
    p = policy.params
    kinds = SHAPES | ({"POLY": "1-sqrt"} if p.get("p") == 0.5 else {})
    is_rise = policy.name in kinds and p["l"] == length and p["k0"] <= p["k1"]
    return kinds[policy.name] if is_rise else None


@dataclass(frozen=True, slots=True)
class _Decay:
    """A decay: the steps held before it (negative where it begins within a rise), its length, kind and floor."""

    held: float
    length: float
    kind: str
    floor: float
    cycles: float = 0.5


def _decay(left: Phases, lr: float) -> _Decay | None:
    (length, first), last = left[0], left[-1][1]
    policy, at = _begun(first)
    p = policy.params
    if len(left) == 1 and policy.name == "FIX":
        return _Decay(0, 0, "linear", p["k0"])
    if len(left) == 1 and p.get("k0") == lr and policy.name in SHAPES:
        return _whole(_Decay(-at, p["l"], SHAPES[policy.name], p["k1"]))
    if len(left) == 1 and policy.name == "COOLDOWN" and p["k0"] == lr and p["p"] == 0.5:
        return _whole(_Decay(p["l"][0] - at, p["l"][1] - p["l"][0], "1-sqrt", p["k1"]))
    swing = _swing(policy) if len(left) == 2 and last.form == "FIX" else None
    if swing is None or length is None or swing.start != lr:
        return None
    floor = last.params["k0"]
    whole = length + at
    return _whole(_Decay(-at, whole, "cosine", floor, swing.cycles(whole))) if swing.other in (floor, lr) else None


def _whole(decay: _Decay) -> _Decay | None:
    return decay if decay.length == int(decay.length) and decay.held == int(decay.held) else None
