"""The learning rate of a Caffe solver, `lr_policy` and its friends in a prototxt, and policies.

Formulas as Caffe prints them: fixed, step, exp, inv, multistep, poly, sigmoid. Caffe computes in float32; a policy is
the formula.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from lrsearch.errors import PolicyError, unknown
from lrsearch.exchange.numbers import bound, number, whole
from lrsearch.exchange.numbers import text as checked_text
from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS
from lrsearch.words import counted

LONGEST_PROTOTXT = 65_536
TOKEN = re.compile(
    r"""[\s,;]*(?:#[^\n]*|(?P<string>"[^"\n]*"|'[^'\n]*')|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[:{}\[\]<>]))"""
)
NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?[fF]?")
OPEN = {"{": "}", "<": ">"}
OF_FORKS = ("warmup_iter", "warmup_start_lr", "rampup_interval", "rampup_lr", "min_lr")
"""Keys by which forks of Caffe bend the curve."""
FIX, STEP, NSTEP, EXP, INV, POLY, SIG = (
    FUNCTIONS[name] for name in ("FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "SIG"))
Fields = dict[str, list[str]]


def from_caffe(text: str) -> Policy:
    """Read the policy of a solver prototxt; what is not about the learning rate is passed over.

    Raises:
        PolicyError: if it is no prototxt, or its lr_policy is not one of Caffe's; it says what would do.

    >>> from_caffe('base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 100000  # AlexNet')
    STEP(k0=0.01, gamma=0.1, l=100000)
    """
    fields = _fields(checked_text(text, "a solver prototxt", LONGEST_PROTOTXT))
    forked = [name for name in OF_FORKS if name in fields]
    if forked:
        raise PolicyError(f"{forked[0]} belongs to a fork of Caffe, and bends the curve: take it out, and put the"
                          " policy into WARMUP if that is what it does")
    name = _one(fields, "lr_policy").strip("\"'")
    if name not in READERS:
        raise PolicyError(unknown("lr_policy of Caffe", name, READERS))
    try:
        return READERS[name](fields)
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
    steps = whole(horizon, "horizon", least=1)
    writer = WRITERS.get(policy.name)
    if writer is None:
        raise PolicyError(f"{policy.name}: Caffe has no such lr_policy. Known: {', '.join(READERS)}")
    name, *own = writer(policy.params, steps)
    lines = [("base_lr", _text(policy.params["k0"])), ("lr_policy", f'"{name}"'), *own, ("max_iter", str(steps))]
    return "".join(f"{key}: {value}\n" for key, value in lines)


def _fields(text: str) -> Fields:
    """The values of each key at the top level, in order; messages inside are passed over."""
    fields: Fields = {}
    tokens = _tokens(text)
    for token in tokens:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", token):
            raise PolicyError(f"expected a key, found {token[:40]!r}: a solver prototxt has lines such as"
                              " base_lr: 0.01")
        value = _next(tokens, token)
        if value == ":":
            value = _next(tokens, token)
        elif value not in OPEN:
            raise PolicyError(f"expected ':' after {token[:40]!r}, found {value[:40]!r}")
        if value in OPEN:
            _skip(tokens, value, token)
        elif value == "[":
            fields.setdefault(token, []).extend(_listed(tokens, token))
        elif value in ":}]>":
            raise PolicyError(f"{token[:40]!r} has no value, found {value!r}")
        else:
            fields.setdefault(token, []).append(value)
    return fields


def _tokens(text: str) -> Iterator[str]:
    position, end = 0, len(text.rstrip(" \t\r\n,;"))
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            raise PolicyError(f"cannot read {text[position:position + 30].strip()!r} in the prototxt")
        position = match.end()
        if match.lastgroup:
            yield match[match.lastgroup]


def _next(tokens: Iterator[str], key: str) -> str:
    found = next(tokens, None)
    if found is None:
        raise PolicyError(f"the prototxt ends after {key[:40]!r}")
    return found


def _listed(tokens: Iterator[str], key: str) -> list[str]:
    items: list[str] = []
    while (found := _next(tokens, key)) != "]":
        items.append(found)
    return items


def _skip(tokens: Iterator[str], opened: str, key: str) -> None:
    waiting = [OPEN[opened]]
    while waiting:
        found = _next(tokens, key)
        if found in OPEN:
            waiting.append(OPEN[found])
        elif found == waiting[-1]:
            waiting.pop()
        elif found in "}>":
            raise PolicyError(f"{found!r} inside {key[:40]!r} closes nothing")


def _one(fields: Fields, key: str) -> str:
    values = fields.get(key, [])
    if len(values) != 1:
        raise PolicyError(f"{key} must be given once, found {counted(len(values), 'time')}")
    return values[0]


def _read(text: str, key: str) -> float:
    if not NUMBER.fullmatch(text):
        raise PolicyError(f"{key} must be a number, got {text[:40]!r}")
    return number(float(text.rstrip("fF")), key)


def _number(fields: Fields, key: str) -> float:
    return _read(_one(fields, key), key)


def _whole(fields: Fields, key: str) -> int:
    return whole(_number(fields, key), key, least=1)


def _multistep(fields: Fields) -> Policy:
    k0, at = _number(fields, "base_lr"), [whole(_read(text, "stepvalue"), "stepvalue") for text in
                                          fields.get("stepvalue", [])]
    return NSTEP(k0=k0, gamma=_number(fields, "gamma"), l=at) if at else FIX(k0=k0)


def _sigmoid(fields: Fields) -> Policy:
    """Caffe's gamma is negative where the learning rate falls."""
    gamma = _number(fields, "gamma")
    if gamma > 0:
        raise PolicyError(f"gamma={gamma:g} is above 0: it rises, and SIG falls")
    return SIG(k0=_number(fields, "base_lr"), gamma=abs(gamma), l=_whole(fields, "stepsize"))


READERS: dict[str, Callable[[Fields], Policy]] = {
    "fixed": lambda f: FIX(k0=_number(f, "base_lr")),
    "step": lambda f: STEP(k0=_number(f, "base_lr"), gamma=_number(f, "gamma"), l=_whole(f, "stepsize")),
    "exp": lambda f: EXP(k0=_number(f, "base_lr"), gamma=_number(f, "gamma")),
    "inv": lambda f: INV(k0=_number(f, "base_lr"), gamma=_number(f, "gamma"), p=_number(f, "power")),
    "multistep": _multistep,
    "poly": lambda f: POLY(k0=_number(f, "base_lr"), p=_number(f, "power"), l=_whole(f, "max_iter")),
    "sigmoid": _sigmoid,
}


def _text(value: float) -> str:
    return repr(value)


Lines = tuple[Any, ...]


def _write_step(p: dict[str, Any], steps: int) -> Lines:
    if p["k1"] > 0:
        raise PolicyError(f"STEP: Caffe's step has no floor, and k1 is {p['k1']!r}")
    return "step", ("gamma", _text(p["gamma"])), ("stepsize", str(_length("STEP", p["l"])))


def _write_nstep(p: dict[str, Any], steps: int) -> Lines:
    at = (("stepvalue", str(_length("NSTEP", milestone))) for milestone in p["l"])
    return "multistep", ("gamma", _text(p["gamma"])), *at


def _write_poly(p: dict[str, Any], steps: int) -> Lines:
    if p["k1"] > 0 or p["l"] != steps:
        raise PolicyError(f"Caffe's poly goes to 0 at max_iter, the end of the run: k1 must be 0, got {p['k1']!r},"
                          f" and l={p['l']!r} the horizon, got {steps}")
    return "poly", ("power", _text(p.get("p", 1)))


def _write_sigmoid(p: dict[str, Any], steps: int) -> Lines:
    return "sigmoid", ("gamma", _text(-p["gamma"])), ("stepsize", str(_length("SIG", p["l"])))


def _length(name: str, value: Any) -> int:
    return whole(value, f"{name}: Caffe counts whole iterations, so l", least=1)


WRITERS: dict[str, Callable[[dict[str, Any], int], Lines]] = {
    "FIX": lambda p, steps: ("fixed",),
    "STEP": _write_step,
    "EXP": lambda p, steps: ("exp", ("gamma", _text(p["gamma"]))),
    "INV": lambda p, steps: ("inv", ("gamma", _text(p["gamma"])), ("power", _text(p["p"]))),
    "NSTEP": _write_nstep,
    "POLY": _write_poly,
    "LINEAR": _write_poly,
    "SIG": _write_sigmoid,
}
