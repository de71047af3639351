"""LR functions that go up and come down once."""

import numpy as np

from lrsearch.schedules.coordinates import Bounds, Fall, Fraction, Left, Peak, Stages
from lrsearch.schedules.fields import lr, milestones, steps
from lrsearch.schedules.function import Floats, lr_function
from lrsearch.schedules.functions.decaying import floor_below_start
from lrsearch.schedules.functions.shapes import progress, towards


def _rises(k0: float, k1: float, **_: object) -> str | None:
    return None if 0 < k0 < k1 else f"k0 must be above 0 and below k1, got k0={k0!r}, k1={k1!r}"


def _peaks(k0: float, k1: float, k2: float, **_: object) -> str | None:
    return None if k0 <= k1 and k2 <= k1 else f"k1 is the peak: k0={k0!r} and k2={k2!r} must not be above k1={k1!r}"


@lr_function(
    "one-shot",
    "Smith 2015, LR range test, on a logarithmic axis",
    lr("k0"),
    lr("k1"),
    steps("l"),
    rule=_rises,
    end=lambda l, **_: l,
    sample={"k0": 0.001, "k1": 1, "l": 100},
)
def RAMP(t: Floats, k0: float, k1: float, l: float) -> Floats:
    """Rises geometrically from k0 to k1 over l steps, then holds k1: the LR range test as a policy.

    >>> RAMP(k0=0.01, k1=1, l=100)(50)
    0.1
    """
    risen = np.minimum(t / l, 1)
    lrs: Floats = np.power(k0, 1 - risen) * np.power(k1, risen)
    return lrs


@lr_function(
    "one-shot",
    "Smith 2018, the 1cycle report",
    lr("k0"),
    lr("k1"),
    milestones("l", 3),
    lr("k2"),
    roles=(Bounds("k0", "k1"), Stages("l", 3), Left("k2", "k1")),
    rule=_peaks,
    end=lambda l, **_: l[-1],
    sample={"k0": 0.1, "k1": 1, "l": [45, 90, 100], "k2": 0.0001},
)
def ONECYCLE(t: Floats, k0: float, k1: float, l: tuple[float, float, float], k2: float) -> Floats:
    """The 1cycle policy: lines from k0 up to k1 at l[0], back to k0 at l[1], and down to k2 at l[2].

    Its momentum cycle is CM around it.

    >>> ONECYCLE(k0=0.1, k1=1, l=[450, 900, 1000], k2=0.001)(450)
    1.0
    """
    up, back, down = progress(t, 0, l[0]), progress(t, l[0], l[1]), progress(t, l[1], l[2])
    return np.where(t < l[0], towards(k0, k1, up), np.where(t < l[1], towards(k1, k0, back), towards(k0, k2, down)))


@lr_function(
    "one-shot",
    "fastai and torch, a reading of Smith 2018",
    lr("k0"),
    lr("k1"),
    milestones("l", 2),
    lr("k2"),
    roles=(Bounds("k0", "k1"), Stages("l", 2), Left("k2", "k1")),
    rule=_peaks,
    end=lambda l, **_: l[-1],
    height=lambda t, l, **_: _risen(t, l),
    sample={"k0": 0.04, "k1": 1, "l": [30, 100], "k2": 0},
)
def ONECYCLE2(t: Floats, k0: float, k1: float, l: tuple[float, float], k2: float) -> Floats:
    """1cycle in two phases, as torch has it: half a cosine from k0 up to k1 at l[0], another down to k2 at l[1].

    >>> ONECYCLE2(k0=0.04, k1=1, l=[300, 1000], k2=0)(300)
    1.0
    """
    risen = _risen(t, l)
    return np.where(t < l[0], k0, k2) * (1 - risen) + k1 * risen


def _risen(t: Floats, l: tuple[float, float]) -> Floats:
    """From 0 to 1 at l[0] and back to 0 at l[1], along two half cosines."""
    passed = np.minimum(t / l[0], 1) + progress(t, l[0], l[1])
    return (1 - np.cos(np.pi * passed)) / 2


@lr_function(
    "one-shot",
    "Hu et al. 2024, MiniCPM; trapezoid in Xing et al. 2018",
    lr("k0"),
    milestones("l", 3),
    lr("k1", 0),
    roles=(Fall("k1", "k0"), Stages("l", 3, warmup=True)),
    end=lambda l, **_: l[-1],
    rule=floor_below_start,
    sample={"k0": 1, "l": [10, 80, 100]},
)
def WSD(t: Floats, k0: float, l: tuple[float, float, float], k1: float) -> Floats:
    """Warm-up, stable, decay: a line from 0 up to k0 at l[0], constant until l[1], a line down to k1 at l[2].

    >>> WSD(k0=0.1, l=[100, 800, 1000])(900)
    0.05
    """
    return np.where(t < l[0], k0 * progress(t, 0, l[0]), towards(k0, k1, progress(t, l[1], l[2])))


@lr_function(
    "one-shot",
    "Vaswani et al. 2017",
    lr("k0"),
    steps("l"),
    roles=(Peak("k0"), Fraction("l", "warmup")),
    sample={"k0": 1, "l": 10},
)
def INVSQRT(t: Floats, k0: float, l: float) -> Floats:
    """Inverse square root with warm-up: eta = k0 t/l up to step l, then k0 sqrt(l/t).

    >>> INVSQRT(k0=0.001, l=4000)(16_000)
    0.0005
    """
    return np.where(t < l, k0 * np.minimum(t / l, 1), k0 * np.sqrt(l / np.maximum(t, l)))
