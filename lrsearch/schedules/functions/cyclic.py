"""LR functions that repeat without being a wave of formula (2)."""

import math

import numpy as np

from lrsearch.schedules.coordinates import Bounds, DecayPerStep, Repeat, Restarts, Shape
from lrsearch.schedules.fields import factor_per_step, growth, lr, steps
from lrsearch.schedules.fields import whole as whole_number
from lrsearch.schedules.function import Floats, lr_function
from lrsearch.schedules.functions.shapes import between, sawtooth, triangle, whole


@lr_function(
    "cyclic",
    "Smith 2015, the text on exp_range",
    lr("k0"),
    lr("k1"),
    factor_per_step("gamma"),
    steps("l"),
    roles=(Bounds("k0", "k1"), Repeat("l", 2), DecayPerStep("gamma")),
    period=lambda l, **_: 2 * l,
    sample={"k0": 0.2, "k1": 1, "gamma": 0.98, "l": 25},
)
def EXPRANGE(t: Floats, k0: float, k1: float, gamma: float, l: float) -> Floats:
    """TRI whose two bounds both shrink by gamma at every step: eta = TRI(t) gamma^t.

    Everybody's code for "exp_range" shrinks the height only: that is TRIEXP.

    >>> EXPRANGE(k0=0.5, k1=1, gamma=0.5, l=2)(4)
    0.03125
    """
    return between(k0, k1, triangle(t, l)) * np.power(gamma, t)


@lr_function(
    "cyclic",
    "Loshchilov and Hutter 2017",
    lr("k0"),
    lr("k1"),
    steps("l"),
    growth("growth", 1),
    roles=(Bounds("k0", "k1"), Restarts("l", "growth")),
    end=lambda l, growth, **_: l / (1 - growth) if growth < 1 else None,
    period=lambda l, growth, **_: l if growth == 1 else None,
    sample={"k0": 0, "k1": 1, "l": 14, "growth": 2},
)
def SGDR(t: Floats, k0: float, k1: float, l: float, growth: float) -> Floats:
    """Falls from the higher of k0 and k1 to the lower along half a cosine, and restarts; fall n takes l growth^n.

    A growth below 1 makes falls shorter and shorter: at l / (1 - growth) they are over.

    >>> SGDR(k0=0, k1=1, l=100, growth=2)(200)
    0.5
    """
    if growth == 1:
        return between(k0, k1, (1 - np.cos(np.pi * sawtooth(t, l))) / 2)
    more, passed = growth - 1, t / l
    left = 1 + passed * more
    restarts = whole(np.log1p(np.maximum(passed * more, 1e-9 - 1)) / math.log1p(more))
    begun = np.expm1(restarts * math.log1p(more)) / more
    done = np.where(left > 1e-9, (passed - begun) / np.power(growth, restarts), 1)
    return between(k0, k1, (1 + np.cos(np.pi * np.clip(done, 0, 1))) / 2)


@lr_function(
    "cyclic",
    "Agarwal et al. 2021, Acceleration via Fractal Learning Rate Schedules",
    lr("k0"),
    lr("k1"),
    whole_number("n", 1, 16),
    steps("l"),
    roles=(Bounds("k0", "k1", to_zero=False), Repeat("l"), Shape("n", "levels")),
    rule=lambda k0, k1, **_: None if min(k0, k1) > 0 else f"both bounds must be above 0, got k0={k0!r}, k1={k1!r}",
    period=lambda l, **_: l,
    sample={"k0": 0.05, "k1": 1, "n": 5, "l": 100},
)
def FRACTAL(t: Floats, k0: float, k1: float, n: int, l: float) -> Floats:
    """Takes the 2^n Chebyshev steps between k0 and k1 in fractal order over l steps, and repeats.

    eta = 1 / ((M + m)/2 - (M - m)/2 cos((s - 1/2) pi / 2^n)), M = 1/k0, m = 1/k1; s runs through the fractal
    permutation, in which each large step stands beside a small one that makes it safe.

    >>> FRACTAL(k0=0.1, k1=1, n=1, l=2).curve(2).round(4).tolist()
    [0.4314, 0.1152]
    """
    passed = t / l
    index = np.floor(np.clip(passed - whole(passed), 0, 1) * 2**n + 1e-7).astype(np.int64) % 2**n
    place = np.ones(t.shape, dtype=np.int64)
    for level in range(1, n + 1):
        mirrored = (index >> (n - level)) & 1
        place = np.where(mirrored, 2**level + 1 - place, place)
    half = (place - 0.5) * np.pi / 2 ** (n + 1)  # with half the angle no digits cancel
    lrs: Floats = 1 / (np.sin(half) ** 2 / min(k0, k1) + np.cos(half) ** 2 / max(k0, k1))
    return lrs
