"""LRBench's policy strings, `lrPolicy_NSTEP+k0_0.001+gamma_0.32+l_30000+50000`, and policies.

A string is read as the function that LRBench computes, without its bugs. Two conventions differ: its POLY goes from k1
to k0, and its SIG falls with a negative gamma. A wave with k0 above k1 is upside down in LRBench, since its height
starts at k0: TRI is then DTRI, COS is UPCOS, and the reverse; other waves have no equal and are refused. Bugs that are
not imitated: NSTEP and piecewise policies depend on the steps of earlier calls; RSW, SINRSW and COSRSW have their
lowest value at the step of their restart.
"""

import re
from typing import Any

from lrsearch.errors import PolicyError, unknown
from lrsearch.exchange.numbers import bound, whole
from lrsearch.exchange.numbers import text as checked_text
from lrsearch.schedules import Policy
from lrsearch.schedules.functions import FUNCTIONS

LONGEST_STRING = 4096
NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
PLUS, MINUS = re.compile(r"(?<![0-9.][eE])\+"), re.compile(r"(?<![0-9.][eE])(?<!_)-")
"""The signs between parameters and between policies; in 1e+05 and -0.1 a sign is part of a number."""
SHAPES = ("TRI", "DTRI", "SIN", "DSIN", "COS", "UPCOS", "RSW", "SINRSW", "COSRSW")
WAVES = tuple(f"{shape}{suffix}" for shape in SHAPES for suffix in ("", "2", "EXP"))
MIRRORED = {"TRI": "DTRI", "DTRI": "TRI", "COS": "UPCOS", "UPCOS": "COS"}
TAKES: dict[str, tuple[str, ...]] = {
    "FIX": ("k0",),
    "STEP": ("k0", "gamma", "l"),
    "NSTEP": ("k0", "gamma", "l"),
    "EXP": ("k0", "gamma"),
    "INV": ("k0", "gamma", "p"),
    "POLY": ("k0", "k1", "p", "l"),
    "SIG": ("k0", "gamma", "l"),
    **{name: ("k0", "k1", "gamma", "l") if name.endswith("EXP") else ("k0", "k1", "l") for name in WAVES},
}
"""LRBench's 34 functions with their parameters."""
KEYS = ("k0", "k1", "gamma", "p", "l")
Params = dict[str, Any]


def from_lrbench(text: str) -> Policy:
    """Read a policy from LRBench's string; policies of several regions are joined by "-", with "-AT-" and their steps.

    Raises:
        PolicyError: if it is no such string, or no policy is equal; the message names the place and the reason.

    >>> from_lrbench("lrPolicy_NSTEP+k0_0.001+gamma_0.32+l_30000+50000")
    NSTEP(k0=0.001, gamma=0.32, l=[30000, 50000])
    >>> from_lrbench("lrPolicy_FIX+k0_0.1-k0_1e-05+lrPolicy_FIX-AT-10")
    CHAIN(policies=[FIX(k0=0.1), FIX(k0=1e-5)], at=[10])
    """
    text = checked_text(text, "an LRBench string", LONGEST_STRING).strip()
    if "-k0F-" in text:
        raise PolicyError("-k0F- belongs to fixedPiecewiseLR, a class that LRBench does not have")
    listed, joint, regions = text.partition("-AT-")
    policies = [_policy(region) for region in MINUS.split(listed)]
    if not joint and len(policies) == 1:
        return policies[0]
    if not joint:
        raise PolicyError(f"{len(policies)} policies need -AT- and the steps at which they change (in {text[:120]!r})")
    at = [_number(step, "a step after -AT-") for step in PLUS.split(regions)]
    return FUNCTIONS["CHAIN"](policies=policies, at=at)


def to_lrbench(policy: Policy) -> str:
    """Write a policy as LRBench's string.

    Raises:
        PolicyError: if LRBench has no such function.

    >>> from lrsearch.schedules import POLY, TRI
    >>> to_lrbench(TRI(k0=0.00001, k1=0.006, l=2000)), to_lrbench(POLY(k0=0.1, p=2, l=100))
    ('lrPolicy_TRI+k0_1e-05+k1_0.006+l_2000', 'lrPolicy_POLY+k0_0+k1_0.1+p_2+l_100')
    """
    policy = bound(policy)
    if policy.name != "CHAIN":
        return _string(policy)
    if any(part.name == "SIG" and part.params["gamma"] for part in policy.parts):
        raise PolicyError("CHAIN: LRBench splits regions at '-', and SIG's gamma is negative there")
    at = [whole(step, "CHAIN: LRBench counts whole steps, so at", least=1) for step in policy.params["at"]]
    return f"{'-'.join(map(_string, policy.parts))}-AT-{'+'.join(map(str, at))}"


def _policy(text: str) -> Policy:
    values = _parameters(text)
    name = values.pop("lrPolicy", None)
    if not isinstance(name, str):
        raise PolicyError(f"lrPolicy_ and a function's name are missing (in {text[:120]!r})")
    if name not in TAKES:
        raise PolicyError(f"{unknown('function of LRBench', name, TAKES)} (in {text[:120]!r})")
    params = {key: value for key, value in values.items() if key in TAKES[name] and value is not None}
    try:
        return _read(name, params)
    except PolicyError as error:
        raise PolicyError(f"{error} (in {text[:120]!r})") from None


def _parameters(text: str) -> Params:
    """The values by key; a value without a key is one more item of l."""
    values: Params = {}
    key = ""
    for item in PLUS.split(text.strip()):
        before, named, value = item.strip().rpartition("_")
        if not named and key == "l" and values.get("l") is not None:
            items = values["l"] if isinstance(values["l"], tuple) else (values["l"],)
            values["l"] = (*items, _number(value, "l"))
            continue
        key = before
        if key not in ("lrPolicy", *KEYS) or key in values:
            problem = "twice" if key in values else "expected lrPolicy_, k0_, k1_, gamma_, p_ or l_, found"
            raise PolicyError(f"{problem} {item[:40]!r} (in {text[:120]!r})")
        values[key] = value if key == "lrPolicy" else None if value in ("None", "") else _number(value, key)
    return values


def _number(text: str, what: str) -> float:
    if not NUMBER.fullmatch(text.strip()):
        raise PolicyError(f"{what} must be a number, got {text[:40]!r}")
    return float(text)


def _read(name: str, params: Params) -> Policy:
    if name == "NSTEP" and isinstance(params.get("l"), float):
        params = {**params, "l": [params["l"]]}
    if name == "POLY" and "k1" in params:
        params = {**params, "k0": params["k1"], "k1": params.get("k0", 0)}
    if name == "SIG" and "gamma" in params:
        if params["gamma"] > 0:
            raise PolicyError(f"SIG: gamma={params['gamma']:g} is above 0: it rises in LRBench, and SIG falls")
        params = {**params, "gamma": abs(params["gamma"])}
    if name in WAVES and params.get("k0", 0) > params.get("k1", params.get("k0", 0)):
        name, params = _upright(name, params)
    return FUNCTIONS[name](**params)


def _upright(name: str, params: Params) -> tuple[str, Params]:
    """The name and parameters of the policy that equals a wave upside down."""
    params = {**params, "k0": params["k1"], "k1": params["k0"]}
    if name not in MIRRORED:
        raise PolicyError(
            f"{name}: k0={params['k1']:g} is above k1={params['k0']:g}, where LRBench turns the wave"
            " upside down, and no policy does"
        )
    return MIRRORED[name], params


def _string(policy: Policy) -> str:
    p = {**policy.params}
    name = policy.name
    if name == "LINEAR":
        name, p = "POLY", {**p, "p": 1}
    if name not in TAKES:
        raise PolicyError(f"{policy.name}: LRBench has no such function. Known: {', '.join(TAKES)}")
    if name == "STEP" and p.get("k1", 0) > 0:
        raise PolicyError(f"STEP: LRBench's has no floor, and k1 is {p['k1']!r}")
    if name == "POLY":
        p |= {"k0": p["k1"], "k1": p["k0"]}
    if name == "SIG":
        p["gamma"] = -p["gamma"]
    if name in WAVES:
        p |= {"k0": min(policy.bounds), "k1": max(policy.bounds)}
    return "+".join((f"lrPolicy_{name}", *(f"{key}_{_text(p[key])}" for key in KEYS if key in TAKES[name])))


def _text(value: Any) -> str:
    return "+".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
