"""LR functions that swing: nine waves, each of constant height, halving with every cycle, or shrinking at every step.

A wave is a height g(t) in [0, 1]. LRBench's formula (2) lays it between the learning rates k0 and k1, in
either order: eta = abs(k0 - k1) g(t) + min(k0, k1). `l` is half a period; for sawtooths, which only fall, it
is the whole. A new wave is one row of WAVES and makes three LR functions: NAME, NAME2 and NAMEEXP.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lrsearch.schedules.coordinates import Bounds, DecayPerStep, Repeat
from lrsearch.schedules.fields import factor_per_step, lr, steps
from lrsearch.schedules.function import Floats, LRFunction
from lrsearch.schedules.functions.shapes import between, halvings, phase, sawtooth, triangle, whole

TABLE = "Wu et al. 2019, Table I"
SHIPPED = "LRBench's repository"
PEAKS = {"low": 3, "high": 2, "top": 1}
"""The second time at the top, in lengths l, by where a wave starts."""


@dataclass(frozen=True, slots=True)
class Wave:
    """A height in [0, 1] over the step.

    Args:
        name: the name of the LR function of constant height.
        says: what it does, in words.
        formula: g(t), for people.
        height: g(t, l).
        starts: "low", at its floor; "high", half-way between two floors; "top", where a sawtooth jumps to.
        sources: where the LR functions NAME, NAME2 and NAMEEXP were published.
    """

    name: str
    says: str
    formula: str
    height: Callable[[Floats, float], Floats]
    starts: str = "low"
    sources: tuple[str, str, str] = (SHIPPED, SHIPPED, SHIPPED)

    @property
    def parts(self) -> int:
        """How many lengths l make a cycle."""
        return 1 if self.starts == "top" else 2

    @property
    def early(self) -> int:
        """How many lengths l of its first cycle are over when it starts."""
        return 1 if self.starts == "high" else 0

    def functions(self) -> tuple[LRFunction, LRFunction, LRFunction]:
        """Make its three LR functions."""
        g, parts, early = self.height, self.parts, self.early

        def constant(t: Floats, k0: float, k1: float, l: float) -> Floats:
            return between(k0, k1, g(t, l))

        def halving(t: Floats, k0: float, k1: float, l: float) -> Floats:
            return between(k0, k1, halvings(g(t, l), whole((t / l + early) / parts)))

        def shrinking(t: Floats, k0: float, k1: float, gamma: float, l: float) -> Floats:
            return between(k0, k1, g(t, l) * np.power(gamma, t))

        fields, length, gamma = (lr("k0"), lr("k1")), steps("l"), factor_per_step("gamma")
        roles = (Bounds("k0", "k1"), Repeat("l", parts, early / 2))
        sample = {"k0": 0, "k1": 1, "l": 50 // parts}
        at = 2 * PEAKS[self.starts]
        cycle = "floor(t/l)" if parts == 1 else "floor((t + l)/2l)" if early else "floor(t/2l)"

        def doc(says: str, formula: str, example: str, value: float) -> str:
            return f"{says}: {formula}.\n\n    >>> {example}({at})\n    {value}\n    "

        name, period = self.name, lambda l, **_: parts * l
        return (
            LRFunction(
                name,
                "cyclic",
                self.sources[0],
                (*fields, length),
                constant,
                doc(self.says, f"g = {self.formula}", f"{name}(k0=0, k1=1, l=2)", 1.0),
                sample,
                roles,
                period=period,
            ),
            LRFunction(
                f"{name}2",
                "cyclic",
                self.sources[1],
                (*fields, length),
                halving,
                doc(
                    f"{name} whose height halves after every cycle",
                    f"g / 2^{cycle}, g = {self.formula}",
                    f"{name}2(k0=0, k1=1, l=2)",
                    0.5,
                ),
                sample,
                roles,
                period=period,
            ),
            LRFunction(
                f"{name}EXP",
                "cyclic",
                self.sources[2],
                (*fields, gamma, length),
                shrinking,
                doc(
                    f"{name} whose height shrinks by gamma at every step",
                    f"g gamma^t, g = {self.formula}",
                    f"{name}EXP(k0=0, k1=1, gamma=0.5, l=2)",
                    0.5**at,
                ),
                {**sample, "gamma": 0.98},
                (*roles, DecayPerStep("gamma")),
                period=period,
            ),
        )


WAVES = (
    Wave(
        "TRI",
        "Swings linearly between k0 and k1, from the lower; Smith 2015 calls it triangular",
        "(2/pi) abs(arcsin(sin(pi t / 2l)))",
        triangle,
        sources=(TABLE, TABLE, TABLE),
    ),
    Wave(
        "DTRI",
        "Swings linearly between k0 and k1, from the higher",
        "(2/pi) abs(arcsin(sin(pi (t + l) / 2l)))",
        lambda t, l: triangle(t + l, l),
        "high",
    ),
    Wave(
        "SIN",
        "Swings between k0 and k1 along arches of a sine, from the lower",
        "abs(sin(pi t / 2l))",
        lambda t, l: np.sin(np.pi / 2 * triangle(t, l)),
        sources=(TABLE, TABLE, TABLE),
    ),
    Wave(
        "DSIN",
        "Swings between k0 and k1 along arches of a sine, from the higher",
        "abs(sin(pi (t + l) / 2l))",
        lambda t, l: np.sin(np.pi / 2 * triangle(t + l, l)),
        "high",
    ),
    Wave(
        "COS",
        "Swings between k0 and k1 along a cosine, from the higher; l is half the period, as in LRBench's text,"
        " code and results (its printed formula has l/2)",
        "(1 + cos(pi t / l)) / 2",
        lambda t, l: (1 + np.cos(np.pi * phase(t, l))) / 2,
        "high",
        (TABLE, SHIPPED, SHIPPED),
    ),
    Wave(
        "UPCOS",
        "Swings between k0 and k1 along a cosine, from the lower",
        "(1 - cos(pi t / l)) / 2",
        lambda t, l: (1 - np.cos(np.pi * phase(t, l))) / 2,
    ),
    Wave(
        "RSW",
        "Falls along a line from the higher of k0 and k1 to the lower, and jumps back every l steps",
        "1 - (t/l - floor(t/l))",
        sawtooth,
        "top",
    ),
    Wave(
        "SINRSW",
        "Falls along a quarter of a sine from the higher of k0 and k1 to the lower, and jumps back every l steps",
        "sin(pi/2 (1 - (t/l - floor(t/l))))",
        lambda t, l: np.sin(np.pi / 2 * sawtooth(t, l)),
        "top",
    ),
    Wave(
        "COSRSW",
        "Falls along half a cosine from the higher of k0 and k1 to the lower, and jumps back every l steps",
        "(1 + cos(pi (t/l - floor(t/l)))) / 2",
        lambda t, l: (1 - np.cos(np.pi * sawtooth(t, l))) / 2,
        "top",
    ),
)
FAMILY = tuple(function for wave in WAVES for function in wave.functions())
