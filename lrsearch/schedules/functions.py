"""The table of LR functions. A new one is one function here and no other edit.

Each takes `t`, an array of steps (t = 0 for the first update), and its parameters, and gives the learning
rates as float64 of the same shape. `l` is always a length in steps; for cyclic functions it is half a period.
Whatever does not repeat holds its last value past its end.
"""

import numpy as np

from lrsearch.schedules.coordinates import (
    Bounds,
    DecayPerDrop,
    DecayPerMilestone,
    DecayPerStep,
    Fraction,
    InverseDecay,
    Milestones,
    Peak,
    Power,
    Repeat,
)
from lrsearch.schedules.fields import (
    exponent,
    factor,
    factor_per_step,
    milestones,
    rate,
    slope_per_step,
    steps,
)
from lrsearch.schedules.policy import Floats, LRFunction, Policy, lr_function, part

LRBENCH = "Wu et al. 2019, Table I"
CYCLIC = (Bounds("k0", "k1"), Repeat("l", parts=2))
TO_FLOOR = (Bounds("k1", "k0"), Fraction("l", "end"))


def _floor_below_start(k0: float, k1: float, **_: object) -> str | None:
    return None if k1 <= k0 else f"the floor k1 must not be above k0, got k0={k0!r}, k1={k1!r}"


def _rises(k0: float, k1: float, **_: object) -> str | None:
    return None if 0 < k0 < k1 else f"k0 must be above 0 and below k1, got k0={k0!r}, k1={k1!r}"


@lr_function("fixed", LRBENCH, rate("k0"), roles=(Peak("k0"),))
def FIX(t: Floats, k0: float) -> Floats:
    """A constant learning rate: eta = k0.

    >>> FIX(k0=0.01)(5000)
    0.01
    """
    return np.full(t.shape, float(k0))


@lr_function("decaying", LRBENCH, rate("k0"), factor("gamma"), steps("l"), rate("k1", 0),
             roles=(Bounds("k1", "k0"), Repeat("l"), DecayPerDrop("gamma", "l")), rule=_floor_below_start)
def STEP(t: Floats, k0: float, gamma: float, l: float, k1: float) -> Floats:
    """Drops by gamma every l steps, never below k1: eta = max(k0 gamma^floor(t/l), k1).

    >>> STEP(k0=0.1, gamma=0.5, l=1000)(2500)
    0.025
    """
    return np.maximum(k0 * gamma ** _whole(t / l), k1)


@lr_function("decaying", LRBENCH, rate("k0"), factor("gamma"), milestones("l"),
             roles=(Peak("k0"), Milestones("l"), DecayPerMilestone("gamma", "l")))
def NSTEP(t: Floats, k0: float, gamma: float, l: tuple[float, ...]) -> Floats:
    """Drops by gamma at every milestone: eta = k0 gamma^i, i = #{l_j <= t}.

    >>> NSTEP(k0=0.1, gamma=0.5, l=[5, 8])(8)
    0.025
    """
    passed = np.searchsorted(np.asarray(l, dtype=np.float64), t * (1 + 1e-12), side="right")
    return k0 * np.power(np.float64(gamma), passed.astype(np.float64))


@lr_function("decaying", LRBENCH, rate("k0"), factor_per_step("gamma"), roles=(Peak("k0"), DecayPerStep("gamma")))
def EXP(t: Floats, k0: float, gamma: float) -> Floats:
    """Shrinks by gamma at every step: eta = k0 gamma^t. gamma is close to 1, such as 0.99994.

    >>> EXP(k0=0.1, gamma=0.5)(2)
    0.025
    """
    return k0 * np.power(float(gamma), t)


@lr_function("decaying", LRBENCH, rate("k0"), slope_per_step("gamma"), exponent("p"),
             roles=(Peak("k0"), InverseDecay("gamma", "p")))
def INV(t: Floats, k0: float, gamma: float, p: float) -> Floats:
    """Shrinks like a power of time: eta = k0 (1 + gamma t)^-p.

    >>> INV(k0=0.01, gamma=0.0001, p=0.5)(30_000)
    0.005
    """
    return k0 * np.power(1 + gamma * t, -float(p))


@lr_function("decaying", LRBENCH, rate("k0"), exponent("p"), steps("l"), rate("k1", 0),
             roles=(*TO_FLOOR, Power("p")), rule=_floor_below_start)
def POLY(t: Floats, k0: float, p: float, l: float, k1: float) -> Floats:
    """Falls from k0 to k1 over l steps: eta = (k0 - k1) (1 - t/l)^p + k1, then k1.

    >>> POLY(k0=0.01, p=2, l=10_000)(5000)
    0.0025
    """
    return _between(k0, k1, np.power(1 - np.minimum(t / l, 1), float(p)))


@lr_function("decaying", "Loshchilov and Hutter 2017, without restarts", rate("k0"), steps("l"), rate("k1", 0),
             roles=TO_FLOOR, rule=_floor_below_start)
def HALFCOS(t: Floats, k0: float, l: float, k1: float) -> Floats:
    """Falls from k0 to k1 over l steps along half a cosine: eta = (k0 - k1) (1 + cos(pi t/l))/2 + k1, then k1.

    >>> HALFCOS(k0=0.1, l=100)(50)
    0.05
    """
    return _between(k0, k1, (1 + np.cos(np.pi * np.minimum(t / l, 1))) / 2)


@lr_function("cyclic", LRBENCH, rate("k0"), rate("k1"), steps("l"), roles=CYCLIC)
def TRI(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """Swings linearly between k0 and k1, from the lower: eta = abs(k0 - k1) tri(t) + min(k0, k1).

    tri(t) = (2/pi) abs(arcsin(sin(pi t / 2l))). Smith 2015 calls it "triangular".

    >>> TRI(k0=0.25, k1=0.75, l=2000)(3000)
    0.5
    """
    return _between(k0, k1, _triangle(t, l))


@lr_function("cyclic", LRBENCH, rate("k0"), rate("k1"), steps("l"), roles=CYCLIC)
def TRI2(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """TRI whose height halves after every cycle: tri(t) / 2^floor(t / 2l).

    >>> TRI2(k0=0, k1=1, l=2)(6)
    0.5
    """
    return _between(k0, k1, _halved(_triangle(t, l), t, l))


@lr_function("cyclic", LRBENCH, rate("k0"), rate("k1"), factor_per_step("gamma"), steps("l"),
             roles=(*CYCLIC, DecayPerStep("gamma")))
def TRIEXP(t: Floats, k0: float, k1: float, gamma: float, l: float) -> Floats:
    """TRI whose height shrinks by gamma at every step: tri(t) gamma^t.

    >>> TRIEXP(k0=0, k1=1, gamma=1, l=2)(2)
    1.0
    """
    return _between(k0, k1, _triangle(t, l) * np.power(float(gamma), t))


@lr_function("cyclic", LRBENCH, rate("k0"), rate("k1"), steps("l"), roles=CYCLIC)
def SIN(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """Swings between k0 and k1 along arches of a sine, from the lower: abs(sin(pi t / 2l)).

    >>> SIN(k0=0, k1=1, l=2)(2)
    1.0
    """
    return _between(k0, k1, _arch(t, l))


@lr_function("cyclic", LRBENCH, rate("k0"), rate("k1"), steps("l"), roles=CYCLIC)
def SIN2(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """SIN whose height halves after every cycle: abs(sin(pi t / 2l)) / 2^floor(t / 2l).

    >>> SIN2(k0=0, k1=1, l=2)(6)
    0.5
    """
    return _between(k0, k1, _halved(_arch(t, l), t, l))


@lr_function("cyclic", LRBENCH, rate("k0"), rate("k1"), factor_per_step("gamma"), steps("l"),
             roles=(*CYCLIC, DecayPerStep("gamma")))
def SINEXP(t: Floats, k0: float, k1: float, gamma: float, l: float) -> Floats:
    """SIN whose height shrinks by gamma at every step: abs(sin(pi t / 2l)) gamma^t.

    >>> SINEXP(k0=0, k1=1, gamma=1, l=2)(2)
    1.0
    """
    return _between(k0, k1, _arch(t, l) * np.power(float(gamma), t))


@lr_function("cyclic", LRBENCH, rate("k0"), rate("k1"), steps("l"), roles=CYCLIC)
def COS(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """Swings between k0 and k1 along a cosine, from the higher: (1 + cos(pi t / l)) / 2.

    Here too l is half the period, as in LRBench's text, code and results; its printed formula has l/2.

    >>> COS(k0=0.25, k1=0.75, l=2000)(0)
    0.75
    """
    return _between(k0, k1, (1 + np.cos(np.pi * _phase(t, l))) / 2)


@lr_function("one-shot", "Smith 2015, LR range test, on a logarithmic axis", rate("k0"), rate("k1"), steps("l"),
             rule=_rises)
def RAMP(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """Rises geometrically from k0 to k1 over l steps, then holds k1: the LR range test as a policy.

    >>> RAMP(k0=0.01, k1=1, l=100)(50)
    0.1
    """
    risen = np.minimum(t / l, 1)
    rates: Floats = np.power(float(k0), 1 - risen) * np.power(float(k1), risen)
    return rates


@lr_function("combinator", "Goyal et al. 2017", part("policy"), steps("l"), roles=(Fraction("l", "warmup"),))
def WARMUP(t: Floats, policy: Policy, l: float) -> Floats:
    """Rises linearly from 0 to the policy's first value over l steps, then the policy from its own start.

    >>> WARMUP(policy=FIX(k0=0.5), l=100)(50)
    0.25
    """
    start = policy.at(np.zeros(1))[0]
    return np.where(t < l, start * np.minimum(t / l, 1), policy.at(np.maximum(t - l, 0)))


def _between(k0: float, k1: float, height: Floats) -> Floats:
    """The LRBench paper's formula (2): height 0 is the lower, height 1 the higher of the two."""
    return abs(k0 - k1) * height + min(k0, k1)


def _phase(t: Floats, l: float) -> Floats:
    """The position in a cycle of 2 l steps, in [0, 2)."""
    return np.fmod(t, 2 * l) / l


def _triangle(t: Floats, l: float) -> Floats:
    return 1 - np.abs(_phase(t, l) - 1)


def _arch(t: Floats, l: float) -> Floats:
    return np.sin(np.pi / 2 * _triangle(t, l))


def _halved(height: Floats, t: Floats, l: float) -> Floats:
    cycle = np.minimum(_whole(t / (2 * l)), 2000)
    return np.ldexp(height, -cycle.astype(np.int64).astype(np.int32))


def _whole(x: Floats) -> Floats:
    """Round down, but not by floating-point noise: 2.9999999999 is 3."""
    return np.floor(x + 1e-9)


FUNCTIONS: dict[str, LRFunction] = {f.name: f for f in list(globals().values()) if isinstance(f, LRFunction)}
__test__ = {name: function.doc for name, function in FUNCTIONS.items()}
