"""LR functions that stay or fall.

Each takes `t`, an array of steps (t = 0 for the first update), and its parameters, and gives the learning
rates as float64 of the same shape. `l` is a length in steps. What ends holds its last value past its end.
"""

import math

import numpy as np

from lrsearch.schedules.coordinates import (
    DecayPerDrop,
    DecayPerMilestone,
    DecayPerStep,
    Fall,
    Fraction,
    InverseDecay,
    Milestones,
    Peak,
    Repeat,
    Shape,
    Stages,
)
from lrsearch.schedules.fields import (
    exponent,
    factor,
    factor_per_step,
    fraction,
    height,
    heights,
    lr,
    milestones,
    slope_per_step,
    steps,
)
from lrsearch.schedules.function import Floats, lr_function
from lrsearch.schedules.functions.shapes import fall_through, progress, towards, whole

LRBENCH = "Wu et al. 2019, Table I"
TO_FLOOR = (Fall("k1", "k0"), Fraction("l", "end"))


def floor_below_start(k0: float, k1: float, **_: object) -> str | None:
    """The rule of functions that fall from k0 to k1."""
    return None if k1 <= k0 else f"the floor k1 must not be above k0, got k0={k0!r}, k1={k1!r}"


def _last_drop(k0: float, k1: float, gamma: float, l: float) -> float | None:
    """The step at which k0 gamma^n has come down to k1."""
    if gamma == 1 or k1 >= k0:
        return 0
    return l * math.ceil((math.log(k1) - math.log(k0)) / math.log(gamma) - 1e-9) if k1 > 0 else None


@lr_function("fixed", LRBENCH, lr("k0"), roles=(Peak("k0"),), end=lambda **_: 0, sample={"k0": 1})
def FIX(t: Floats, k0: float) -> Floats:
    """A constant learning rate: eta = k0.

    >>> FIX(k0=0.01)(5000)
    0.01
    """
    return k0 + 0 * t


@lr_function(
    "decaying",
    LRBENCH,
    lr("k0"),
    factor("gamma"),
    steps("l"),
    lr("k1", 0),
    roles=(Fall("k1", "k0"), Repeat("l"), DecayPerDrop("gamma", "l")),
    rule=floor_below_start,
    end=_last_drop,
    period=lambda l, **_: l,
    sample={"k0": 1, "gamma": 0.5, "l": 20},
)
def STEP(t: Floats, k0: float, gamma: float, l: float, k1: float) -> Floats:
    """Drops by gamma every l steps, never below k1: eta = max(k0 gamma^floor(t/l), k1).

    >>> STEP(k0=0.1, gamma=0.5, l=1000)(2500)
    0.025
    """
    return np.maximum(k0 * gamma ** whole(t / l), k1)


@lr_function(
    "decaying",
    LRBENCH,
    lr("k0"),
    factor("gamma"),
    milestones("l"),
    end=lambda l, **_: l[-1],
    roles=(Peak("k0"), Milestones("l"), DecayPerMilestone("gamma", "l")),
    sample={"k0": 1, "gamma": 0.32, "l": [50, 75]},
)
def NSTEP(t: Floats, k0: float, gamma: float, l: tuple[float, ...]) -> Floats:
    """Drops by gamma at every milestone: eta = k0 gamma^i, i = #{l_j <= t}.

    >>> NSTEP(k0=0.1, gamma=0.5, l=[5, 8])(8)
    0.025
    """
    passed = np.searchsorted(np.asarray(l, dtype=np.float64), t * (1 + 1e-12), side="right")
    return k0 * np.power(np.float64(gamma), passed.astype(np.float64))


@lr_function(
    "decaying",
    LRBENCH,
    lr("k0"),
    factor_per_step("gamma"),
    roles=(Peak("k0"), DecayPerStep("gamma")),
    sample={"k0": 1, "gamma": 0.97},
)
def EXP(t: Floats, k0: float, gamma: float) -> Floats:
    """Shrinks by gamma at every step: eta = k0 gamma^t. gamma is close to 1, such as 0.99994.

    >>> EXP(k0=0.1, gamma=0.5)(2)
    0.025
    """
    return k0 * np.power(gamma, t)


@lr_function(
    "decaying",
    LRBENCH,
    lr("k0"),
    slope_per_step("gamma"),
    exponent("p"),
    roles=(Peak("k0"), InverseDecay("gamma", "p")),
    sample={"k0": 1, "gamma": 0.1, "p": 0.75},
)
def INV(t: Floats, k0: float, gamma: float, p: float) -> Floats:
    """Shrinks like a power of time: eta = k0 (1 + gamma t)^-p.

    >>> INV(k0=0.01, gamma=0.0001, p=0.5)(30_000)
    0.005
    """
    return k0 * np.power(1 + gamma * t, -p)


@lr_function(
    "decaying",
    "Caffe; the authors of Wu et al. 2019 ship it too",
    lr("k0"),
    slope_per_step("gamma"),
    steps("l"),
    sample={"k0": 1, "gamma": 0.1, "l": 50},
)
def SIG(t: Floats, k0: float, gamma: float, l: float) -> Floats:
    """Falls along a sigmoid, half of it gone at step l: eta = k0 / (1 + exp(gamma (t - l))).

    Caffe's "sigmoid" with its gamma negated: a positive gamma falls.

    >>> SIG(k0=0.1, gamma=0.01, l=500)(500)
    0.05
    """
    return k0 / (1 + np.exp(np.minimum(gamma * (t - l), 700)))


@lr_function(
    "decaying",
    LRBENCH,
    lr("k0"),
    exponent("p"),
    steps("l"),
    lr("k1", 0),
    roles=(*TO_FLOOR, Shape("p", "power")),
    end=lambda l, **_: l,
    sample={"k0": 1, "p": 2, "l": 100},
)
def POLY(t: Floats, k0: float, p: float, l: float, k1: float) -> Floats:
    """Goes from k0 to k1 over l steps: eta = (k0 - k1) (1 - t/l)^p + k1, then k1.

    >>> POLY(k0=0.01, p=2, l=10_000)(5000)
    0.0025
    """
    return towards(k1, k0, np.power(1 - np.minimum(t / l, 1), p))


@lr_function(
    "decaying",
    "Li et al. 2020, Budgeted Training",
    lr("k0"),
    steps("l"),
    lr("k1", 0),
    roles=TO_FLOOR,
    end=lambda l, **_: l,
    sample={"k0": 1, "l": 100},
)
def LINEAR(t: Floats, k0: float, l: float, k1: float) -> Floats:
    """Goes from k0 to k1 over l steps along a line, up or down: eta = k0 + (k1 - k0) t/l, then k1.

    >>> LINEAR(k0=0.1, l=100)(50)
    0.05
    """
    return towards(k0, k1, np.minimum(t / l, 1))


@lr_function(
    "decaying",
    "Loshchilov and Hutter 2017, without restarts",
    lr("k0"),
    steps("l"),
    lr("k1", 0),
    roles=TO_FLOOR,
    end=lambda l, **_: l,
    sample={"k0": 1, "l": 100},
)
def HALFCOS(t: Floats, k0: float, l: float, k1: float) -> Floats:
    """Goes from k0 to k1 over l steps along half a cosine: eta = k1 + (k0 - k1) (1 + cos(pi t/l))/2, then k1.

    >>> HALFCOS(k0=0.1, l=100)(50)
    0.05
    """
    return towards(k1, k0, (1 + np.cos(np.pi * np.minimum(t / l, 1))) / 2)


@lr_function(
    "decaying",
    "Chen et al. 2022, REX",
    lr("k0"),
    steps("l"),
    fraction("beta", 0.5),
    lr("k1", 0),
    roles=(*TO_FLOOR, Shape("beta", "beta")),
    end=lambda l, **_: l,
    sample={"k0": 1, "l": 100},
)
def REX(t: Floats, k0: float, l: float, beta: float, k1: float) -> Floats:
    """Falls late: eta = k1 + (k0 - k1) z / (1 - beta + beta z), z = 1 - t/l, then k1.

    beta = 0 is a line, 0.5 the paper, 0.9 its companion repository; others call 1 - beta by this name.

    >>> REX(k0=3, l=1000)(500)
    2.0
    """
    left = 1 - np.minimum(t / l, 1)
    return towards(k1, k0, left / ((1 - beta) + beta * left))


@lr_function(
    "decaying",
    "Smith 2015, Cyclical Learning Rates",
    lr("k0"),
    lr("k1"),
    steps("l"),
    roles=(Fall("k0", "k1"), Fraction("l", "end")),
    end=lambda l, **_: l,
    sample={"k0": 0.1, "k1": 1, "l": 50},
)
def DECAY(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """The control of the CLR paper: a line from k1 to k0 over l steps, then constant at k0.

    >>> DECAY(k0=0.001, k1=0.007, l=4000)(2000)
    0.004
    """
    return towards(k1, k0, np.minimum(t / l, 1))


@lr_function(
    "decaying",
    "Haegele et al. 2024",
    lr("k0"),
    milestones("l", 2),
    lr("k1", 0),
    exponent("p", 1),
    roles=(Fall("k1", "k0"), Stages("l", 2), Shape("p", "power")),
    end=lambda l, **_: l[-1],
    sample={"k0": 1, "l": [70, 100]},
)
def COOLDOWN(t: Floats, k0: float, l: tuple[float, float], k1: float, p: float) -> Floats:
    """Constant until l[0], then cools down to k1 at l[1]: eta = k1 + (k0 - k1) (1 - x^p), x the part of the way.

    p = 1 is a line, p = 0.5 the paper's "1-sqrt".

    >>> COOLDOWN(k0=0.1, l=[800, 1000])(900)
    0.05
    """
    return towards(k0, k1, np.power(progress(t, *l), p))


@lr_function(
    "decaying",
    "Haegele et al. 2024, whose cooldown is also a cosine",
    lr("k0"),
    milestones("l", 2),
    lr("k1", 0),
    roles=(Fall("k1", "k0"), Stages("l", 2)),
    rule=floor_below_start,
    end=lambda l, **_: l[-1],
    sample={"k0": 1, "l": [70, 100]},
)
def COOLCOS(t: Floats, k0: float, l: tuple[float, float], k1: float) -> Floats:
    """Constant until l[0], then cools down to k1 at l[1] along half a cosine: eta = k1 + (k0 - k1) (1 + cos(pi x))/2.

    x is the part of the way from l[0] to l[1].

    >>> COOLCOS(k0=0.1, l=[800, 1000])(900)
    0.05
    """
    return towards(k1, k0, (1 + np.cos(np.pi * progress(t, *l))) / 2)


@lr_function(
    "decaying",
    "Naganuma et al. 2026, two-point spline",
    lr("k0"),
    milestones("l", 3),
    height("h"),
    height("d"),
    lr("k1", 0),
    roles=(Fall("k1", "k0"), Stages("l", 3), Shape("h", "height"), Shape("d", "drop")),
    rule=floor_below_start,
    end=lambda l, **_: l[-1],
    sample={"k0": 1, "l": [30, 70, 100], "h": 0.8, "d": 0.25},
)
def SPLINE(t: Floats, k0: float, l: tuple[float, float, float], h: float, d: float, k1: float) -> Floats:
    """Falls from k0 to k1 at l[2] along a monotone cubic spline through heights h at l[0] and h d at l[1].

    eta = k1 + (k0 - k1) P(t), where P is PCHIP through (0, 1), (l[0], h), (l[1], h d), (l[2], 0).

    >>> SPLINE(k0=1, l=[300, 700, 1000], h=0.8, d=0.25)(300)
    0.8
    """
    done = np.minimum(t / l[2], 1)
    return towards(k1, k0, fall_through(done, (l[0] / l[2], l[1] / l[2]), (h, h * d)))


@lr_function(
    "decaying",
    "Defazio et al. 2023, refined schedules",
    lr("k0"),
    steps("l"),
    heights("h"),
    end=lambda l, **_: l,
    sample={"k0": 1, "l": 100, "h": [0.2, 1, 0.8, 0.4, 0]},
)
def REFINED(t: Floats, k0: float, l: float, h: tuple[float, ...]) -> Floats:
    """Follows lines through heights h at even distances over l steps: eta = k0 h(t/l), then the last height.

    `lrs.refined` computes the heights from recorded gradient norms.

    >>> REFINED(k0=0.5, l=100, h=[0.5, 1, 0])(75)
    0.25
    """
    knots = np.asarray(h, dtype=np.float64)
    place = np.minimum(t / l, 1) * (len(h) - 1)
    left = np.minimum(np.floor(place), len(h) - 2).astype(np.intp)
    return k0 * towards(knots[left], knots[left + 1], place - left)
