"""LR functions of other policies: they move a policy's time, or carry a momentum against its learning rate."""

import math

import numpy as np

from lrsearch.schedules.coordinates import Fraction
from lrsearch.schedules.fields import fraction, milestones, steps, steps_or_milestones
from lrsearch.schedules.function import Floats, lr_function
from lrsearch.schedules.functions.decaying import FIX, HALFCOS, LINEAR
from lrsearch.schedules.functions.oneshot import ONECYCLE
from lrsearch.schedules.functions.shapes import towards, whole
from lrsearch.schedules.making import part, parts
from lrsearch.schedules.policy import Policy
from lrsearch.words import counted

NOISE = 1 + 1e-12
"""A factor on steps, so that a boundary with floating-point noise is reached on its own step."""
Steps = tuple[float, ...]


def _joined(policies: tuple[Policy, ...], at: Steps) -> str | None:
    if len(at) != len(policies) - 1:
        return f"{len(policies)} policies need {counted(len(policies) - 1, 'step')} in at, got {len(at)}"
    has_momentum = [policy.has_momentum for policy in policies]
    return "all policies carry a momentum, or none does" if any(has_momentum) and not all(has_momentum) else None


def _current(t: Floats, at: Steps) -> "np.ndarray[tuple[int, ...], np.dtype[np.intp]]":
    """The number of each step's piece: a piece begins at its own step."""
    return np.searchsorted(np.asarray(at, dtype=np.float64), t * NOISE, side="right")


def _piecewise(t: Floats, policies: tuple[Policy, ...], at: Steps, formula: str) -> Floats:
    values, current = np.empty(t.shape), _current(t, at)
    for n, (policy, start) in enumerate(zip(policies, (0, *at), strict=True)):
        values[current == n] = getattr(policy, formula)(np.maximum(t[current == n] - start, 0))
    return values


def _ends(at: float, policy: Policy) -> float | None:
    return None if policy.horizon is None else at + policy.horizon


@lr_function(
    "combinator",
    "Goyal et al. 2017",
    part("policy"),
    steps("l"),
    roles=(Fraction("l", "warmup"),),
    end=lambda policy, l: _ends(l, policy),
    bounds=lambda policy, l: (0, policy.bounds[1]),
    momentum=lambda t, policy, l: policy.momentum_at(np.maximum(t - l, 0)),
    sample={"policy": LINEAR(k0=1, l=80), "l": 20},
)
def WARMUP(t: Floats, policy: Policy, l: float) -> Floats:
    """Rises linearly from 0 to the policy's first value over l steps, then the policy from its own start.

    >>> WARMUP(policy=FIX(k0=0.5), l=100)(50)
    0.25
    """
    start = policy.at(np.zeros(1))[0]
    return np.where(t < l, start * np.minimum(t / l, 1), policy.at(np.maximum(t - l, 0)))


@lr_function(
    "combinator",
    "Smith 2015, Table 2; Wu et al. 2022",
    parts("policies"),
    milestones("at"),
    rule=_joined,
    end=lambda policies, at: _ends(at[-1], policies[-1]),
    momentum=lambda t, policies, at: _piecewise(t, policies, at, "momentum_at"),
    sample={"policies": [FIX(k0=1), LINEAR(k0=0.5, l=40), FIX(k0=0.1)], "at": [40, 80]},
)
def CHAIN(t: Floats, policies: tuple[Policy, ...], at: Steps) -> Floats:
    """One policy after the other: the n-th begins at step at[n-1] and counts from there.

    >>> CHAIN(policies=[FIX(k0=0.5), FIX(k0=0.25)], at=[100])(100)
    0.25
    """
    return _piecewise(t, policies, at, "at")


@lr_function(
    "combinator",
    "timm and Caffe's forks, whose curves count through a warm-up",
    part("policy"),
    steps("at"),
    end=lambda policy, at: None if policy.horizon is None else max(0, policy.horizon - at),
    period=lambda policy, at: policy.period,
    height=lambda t, policy, at: policy.height_at(t + at),
    momentum=lambda t, policy, at: policy.momentum_at(t + at),
    sample={"policy": HALFCOS(k0=1, l=100), "at": 20},
)
def FROM(t: Floats, policy: Policy, at: float) -> Floats:
    """The policy from its step `at` on, as after a warm-up during which it counted: p(t + at).

    >>> from lrsearch.schedules import LINEAR
    >>> FROM(policy=LINEAR(k0=1, l=100), at=25)(50)
    0.25
    """
    return policy.at(t + at)


def _sampled(t: Floats, every: float | Steps) -> Floats:
    """The last step at which a sample was taken."""
    if isinstance(every, tuple):
        return np.asarray((0, *every), dtype=np.float64)[_current(t, every)]
    return whole(t / every) * every


def _last_sample(policy: Policy, every: float | Steps) -> float | None:
    if isinstance(every, tuple):
        return every[-1]
    return None if policy.horizon is None else max(0, math.ceil(policy.horizon / every - 1e-9)) * every


@lr_function(
    "combinator",
    "Chen et al. 2022, the sampling rates of REX",
    part("policy"),
    steps_or_milestones("every"),
    end=_last_sample,
    momentum=lambda t, policy, every: policy.momentum_at(_sampled(t, every)),
    sample={"policy": LINEAR(k0=1, l=100), "every": 20},
)
def SAMPLED(t: Floats, policy: Policy, every: float | Steps) -> Floats:
    """The policy looked at only every so many steps, or only at listed steps, and held in between.

    >>> from lrsearch.schedules import LINEAR
    >>> SAMPLED(policy=LINEAR(k0=1, l=100), every=25)(49)
    0.75
    """
    return policy.at(_sampled(t, every))


@lr_function(
    "combinator",
    "Smith 2018, the 1cycle report",
    part("policy"),
    fraction("m0"),
    fraction("m1"),
    rule=lambda policy, **_: "the policy carries a momentum already" if policy.has_momentum else None,
    end=lambda policy, **_: policy.horizon,
    period=lambda policy, **_: policy.period,
    own_momentum=True,
    momentum=lambda t, policy, m0, m1: towards(m0, m1, policy.height_at(t)),
    sample={"policy": ONECYCLE(k0=0.1, k1=1, l=[45, 90, 100], k2=0.001), "m0": 0.95, "m1": 0.85},
)
def CM(t: Floats, policy: Policy, m0: float, m1: float) -> Floats:
    """Cyclical momentum against the policy's learning rate: m0 where that is lowest, m1 where it is highest.

    >>> from lrsearch.schedules import TRI
    >>> CM(policy=TRI(k0=0.1, k1=1, l=100), m0=0.95, m1=0.85).momentum(100)
    0.85
    """
    return policy.at(t)
