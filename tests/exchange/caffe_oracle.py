"""Caffe as its sources have it: protobuf's numbers, the fields of its SolverParameter, and GetLearningRate with checks.

BVLC at 9b891540, Intel's fork at 44d53638, NVIDIA's at 87a25543 (0.17.4), at 0.16.4 before its ramp was squared.
"""

import re
import struct
from collections.abc import Mapping
from typing import Any

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
"""In base 10; 010 is octal and 0x10 hexadecimal, and an int32 takes no dot and no exponent."""
FLOAT = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
FIELDS = {
    "base_lr": "float",
    "lr_policy": "string",
    "gamma": "float",
    "power": "float",
    "stepsize": "int32",
    "stepvalue": "int32 repeated",
    "max_iter": "int32",
    "iter_size": "int32",
}
INTEL = {**FIELDS, "warmup_iter": "int32", "warmup_start_lr": "float"}
Solver = dict[str, Any]


class CaffeError(Exception):
    """Caffe would stop."""


def check(is_so: bool, what: str) -> None:
    if not is_so:
        raise CaffeError(what)


def solver(text: str, fields: Mapping[str, str] = FIELDS) -> Solver:
    """Parse lines of a prototxt as protobuf does, strictly."""
    result: Solver = {"stepvalue": []}
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].strip().partition(": ")
        if not key:
            continue
        check(bool(colon) and key in fields, f"no field {key}")
        kind, _, repeated = fields[key].partition(" ")
        check(bool(repeated) or key not in result, f"{key} twice")
        made = parsed(kind, value)
        if repeated:
            result[key].append(made)
        else:
            result[key] = made
    return result


def parsed(kind: str, value: str) -> Any:
    if kind == "string":
        check(re.fullmatch(r'"[a-z]+"', value) is not None, f"no string {value}")
        return value[1:-1]
    if kind == "int32":
        check(INTEGER.fullmatch(value) is not None and -(2**31) <= int(value) < 2**31, f"no int32 {value}")
        return int(value)
    check(FLOAT.fullmatch(value) is not None, f"no float {value}")
    try:
        kept = struct.unpack("<f", struct.pack("<f", float(value)))[0]
    except OverflowError:
        raise CaffeError(f"{value} is infinite in float32") from None
    check(kept != 0 or float(value) == 0, f"{value} is 0 in float32")
    return float(value)


def lr(s: Solver, t: int) -> float:
    """GetLearningRate of iteration t, in float64, with BVLC's CHECKs."""
    if t < s.get("warmup_iter", 0):
        w = s["warmup_iter"]
        return (t * s["base_lr"] + (w - t) * s.get("warmup_start_lr", 0)) / w
    base, gamma, kind = s["base_lr"], s.get("gamma", 0.0), s["lr_policy"]
    if kind == "fixed":
        return base
    if kind == "poly":
        return base * (1 - t / s["max_iter"]) ** s["power"]
    check(gamma >= 0, "Check failed: gamma >= 0")
    if kind in ("step", "sigmoid"):
        check(s["stepsize"] > 0, "Check failed: stepsize > 0")
    if kind == "step":
        return base * gamma ** (t // s["stepsize"])
    if kind == "sigmoid":
        return base / (1 + 2.718281828459045 ** (-gamma * (t - s["stepsize"])))
    if kind == "multistep":
        return base * gamma ** sum(t >= at for at in s["stepvalue"])
    if kind == "exp":
        return base * gamma**t
    check(kind == "inv", f"Unknown learning rate policy: {kind}")
    return base * (1 + gamma * t) ** -s["power"]


def nvidia_rate(s: Solver, t: int, *, is_squared: bool) -> float:
    """GetLearningRate of NVIDIA's fork: its ramp, squared or not, over poly to min_lr, and min_lr below all."""
    ramp, low, start = s.get("rampup_interval", 0), s.get("min_lr", 0), s.get("rampup_lr", 0)
    if t < ramp:
        part = (t / ramp) ** (2 if is_squared else 1)
        return max(start + (s["base_lr"] - start) * part, low)
    if s["lr_policy"] == "poly":
        return (s["base_lr"] - low) * (1 - t / s["max_iter"]) ** s["power"] + low
    return max(lr(s, t), low)
