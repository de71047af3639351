"""The learning rate of a Caffe solver, `lr_policy` and its keys in a prototxt, and policies.

Formulas as Caffe prints them: fixed, step, exp, inv, multistep, poly, sigmoid. Caffe computes in float32; a policy is
the formula. A written prototxt passes Caffe's own checks and fits its number types; a comment marks keys that only
Intel's fork has.
"""

import struct
from collections.abc import Callable
from typing import Any

from lrsearch.errors import PolicyError, unknown
from lrsearch.exchange.caffe_forks import forked, unwarmed
from lrsearch.exchange.numbers import bound, whole
from lrsearch.exchange.numbers import text as checked_text
from lrsearch.exchange.prototxt import Fields, fields_of, number_at, number_of, single, whole_at
from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS

LONGEST_PROTOTXT = 65_536
LARGEST_INT32 = 2**31 - 1
CLOSE = 1e-6
"""The relative error of float32 that is accepted: it has 24 bits, and less near 0."""
DECAY_ERROR = 0.01
"""The same for EXP's 1 - gamma, the loss at each step: a gamma near 1 has few bits for it (a rule)."""
FIX, STEP, NSTEP, EXP, INV, POLY, SIG = (
    FUNCTIONS[name] for name in ("FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "SIG")
)


def from_caffe(text: str) -> Policy:
    """Read the policy of a solver prototxt; keys that do not concern the learning rate are skipped.

    Raises:
        PolicyError: if it is no prototxt, or its lr_policy is not one of Caffe's; the message names those of Caffe.

    >>> from_caffe('base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 100000  # AlexNet')
    STEP(k0=0.01, gamma=0.1, l=100000)
    """
    fields = fields_of(checked_text(text, "a solver prototxt", LONGEST_PROTOTXT))
    name = single(fields, "lr_policy").strip("\"'")
    if name not in READERS:
        raise PolicyError(unknown("lr_policy of Caffe", name, READERS))
    try:
        return forked(fields, READERS[name](fields))
    except PolicyError as error:
        raise PolicyError(f"lr_policy {name!r}: {error}") from None


def to_caffe(policy: Policy, horizon: float) -> str:
    """Write a policy as the lines of a solver prototxt, for a run of `horizon` steps.

    Raises:
        PolicyError: if Caffe has no such policy.

    >>> from lrsearch.schedules import INV
    >>> print(to_caffe(INV(k0=0.01, gamma=0.0001, p=0.75), 10_000), end="")
    base_lr: 0.01
    lr_policy: "inv"
    gamma: 0.0001
    power: 0.75
    max_iter: 10000
    """
    policy = bound(policy)
    steps = _int32(horizon, "horizon")
    if policy.name not in ("WARMUP", "CHAIN"):
        return _written(policy, steps)
    whole_curve, length, start = unwarmed(policy)
    own = ("warmup_iter", str(_length(policy.name, length))), ("warmup_start_lr", _text(policy.name, "k0", start))
    needs = f"# {' and '.join(key for key, _ in own)}: Intel's fork of Caffe\n"
    return needs + _written(whole_curve, steps) + _lines(own)


def _written(policy: Policy, steps: int) -> str:
    writer = WRITERS.get(policy.name)
    if writer is None:
        raise PolicyError(f"{policy.name}: Caffe has no such lr_policy. Known: {', '.join(READERS)}")
    name, *own = writer(policy.params, steps)
    base = _text(policy.name, "k0", policy.params["k0"])
    return _lines((("base_lr", base), ("lr_policy", f'"{name}"'), *own, ("max_iter", str(steps))))


def _lines(pairs: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in pairs)


def _multistep(fields: Fields) -> Policy:
    k0 = number_at(fields, "base_lr")
    at = [whole(number_of(text, "stepvalue"), "stepvalue") for text in fields.get("stepvalue", [])]
    return NSTEP(k0=k0, gamma=number_at(fields, "gamma"), l=at) if at else FIX(k0=k0)


def _sigmoid(fields: Fields) -> Policy:
    """Caffe's gamma is negative where the learning rate falls."""
    gamma = number_at(fields, "gamma")
    if gamma > 0:
        raise PolicyError(f"gamma={gamma:g} is above 0: it rises, and SIG falls")
    return SIG(k0=number_at(fields, "base_lr"), gamma=abs(gamma), l=whole_at(fields, "stepsize"))


READERS: dict[str, Callable[[Fields], Policy]] = {
    "fixed": lambda f: FIX(k0=number_at(f, "base_lr")),
    "step": lambda f: STEP(k0=number_at(f, "base_lr"), gamma=number_at(f, "gamma"), l=whole_at(f, "stepsize")),
    "exp": lambda f: EXP(k0=number_at(f, "base_lr"), gamma=number_at(f, "gamma")),
    "inv": lambda f: INV(k0=number_at(f, "base_lr"), gamma=number_at(f, "gamma"), p=number_at(f, "power")),
    "multistep": _multistep,
    "poly": lambda f: POLY(k0=number_at(f, "base_lr"), p=number_at(f, "power"), l=whole_at(f, "max_iter")),
    "sigmoid": _sigmoid,
}


def _text(name: str, field: str, value: float) -> str:
    """The text of a number that Caffe can store: its fields are float32."""
    try:
        stored = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        stored = float("inf")
    near = CLOSE * abs(value) if name != "EXP" or field != "gamma" else DECAY_ERROR * (1 - value)
    if not abs(stored - value) <= near:
        raise PolicyError(f"{name}: Caffe has float32, and {field}={value!r} is {stored:.9g} there")
    return repr(value)


def _int32(value: Any, what: str) -> int:
    number = whole(value, what, least=1)
    if number > LARGEST_INT32:
        raise PolicyError(f"{what} must be at most {LARGEST_INT32}, Caffe's int32, got {number}")
    return number


def _length(name: str, value: Any) -> int:
    return _int32(value, f"{name}: Caffe counts whole iterations, so l")


Lines = tuple[Any, ...]
Writer = Callable[[dict[str, Any], int], Lines]


def _own(lr_policy: str, name: str, **keys: str) -> Writer:
    """The writer of an LR function whose parameters are Caffe's keys under other names."""

    def write(p: dict[str, Any], steps: int) -> Lines:
        return lr_policy, *((key, _text(name, field, p[field])) for key, field in keys.items())

    return write


def _write_step(p: dict[str, Any], steps: int) -> Lines:
    if p["k1"] > 0:
        raise PolicyError(f"STEP: Caffe's step has no floor, and k1 is {p['k1']!r}")
    return "step", ("gamma", _text("STEP", "gamma", p["gamma"])), ("stepsize", str(_length("STEP", p["l"])))


def _write_nstep(p: dict[str, Any], steps: int) -> Lines:
    at = (("stepvalue", str(_length("NSTEP", milestone))) for milestone in p["l"])
    return "multistep", ("gamma", _text("NSTEP", "gamma", p["gamma"])), *at


def _write_poly(p: dict[str, Any], steps: int) -> Lines:
    if p["k1"] > 0 or p["l"] != steps:
        raise PolicyError(
            f"Caffe's poly goes to 0 at max_iter, the end of the run: k1 must be 0, got {p['k1']!r},"
            f" and l={p['l']!r} the horizon, got {steps}"
        )
    return "poly", ("power", _text("POLY", "p", p.get("p", 1)))


def _write_sigmoid(p: dict[str, Any], steps: int) -> Lines:
    """Caffe's sigmoid falls with a gamma below 0, at which its solver stops since 2017."""
    if p["gamma"] > 0:
        raise PolicyError(
            f"SIG: it falls with a gamma below 0 in Caffe, here {-p['gamma']!r}, and Caffe checks that"
            " gamma is 0 or more"
        )
    return "sigmoid", ("gamma", "0"), ("stepsize", str(_length("SIG", p["l"])))


WRITERS: dict[str, Writer] = {
    "FIX": _own("fixed", "FIX"),
    "STEP": _write_step,
    "EXP": _own("exp", "EXP", gamma="gamma"),
    "INV": _own("inv", "INV", gamma="gamma", power="p"),
    "NSTEP": _write_nstep,
    "POLY": _write_poly,
    "LINEAR": _write_poly,
    "SIG": _write_sigmoid,
}
