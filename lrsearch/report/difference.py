"""How two policies differ over a run: where, by how much, and in what."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lrsearch.schedules import Policy
from lrsearch.schedules.function import Floats
from lrsearch.schedules.values import text_of
from lrsearch.words import counted

NOISE = 1e-9
"""Relative differences up to this are rounding."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How far two curves are apart over the same steps.

    Args:
        first: the first step at which they differ by more than rounding; None if there is none.
        absolute: the largest difference, at the first step at which it is so large.
        absolute_at: that step.
        relative: the largest difference over the larger of the two values, in [0, 1].
        relative_at: its first step.
        means: the mean of each curve.
    """

    first: int | None
    absolute: float
    absolute_at: int
    relative: float
    relative_at: int
    means: tuple[float, float]

    def lines(self, what: str, steps: int) -> list[str]:
        """The gap in words."""
        if self.first is None:
            return [f"{what}: the same curve over {counted(steps, 'step')}"]
        return [
            f"{what}: differs from step {self.first} on",
            f"  by {self.absolute:.6g} at most, at step {self.absolute_at};"
            f" relatively by {100 * self.relative:.3g} %, at step {self.relative_at}",
            f"  mean over {counted(steps, 'step')}: {self.means[0]:.6g} in A, {self.means[1]:.6g} in B",
        ]


def gap(a: Floats, b: Floats) -> Gap:
    """Measure how far two curves >= 0 of the same length are apart.

    >>> gap(np.array([1.0, 1.0, 0.5, 0.5]), np.array([1.0, 0.5, 0.125, 0.375]))
    Gap(first=1, absolute=0.5, absolute_at=1, relative=0.75, relative_at=2, means=(0.75, 0.5))
    """
    apart, larger = np.abs(a - b), np.maximum(a, b)
    relative = np.divide(apart, larger, out=np.zeros(a.shape), where=larger > 0)
    differing = np.flatnonzero(relative > NOISE)
    widest, steepest = int(apart.argmax()), int(relative.argmax())
    return Gap(
        int(differing[0]) if differing.size else None,
        float(apart[widest]),
        widest,
        float(relative[steepest]),
        steepest,
        (float(a.mean()), float(b.mean())),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """How two policies differ over a run.

    Args:
        a, b: the policies, their durations in steps.
        steps: the steps of the run.
        parameters: what the two have, by name, where they are of one LR function and it is not the same.
        lrs: how far their learning rates are apart; None if one of them needs feedback and so has no curve.
        momenta: the same of their momentum; None unless both carry one.
    """

    a: Policy
    b: Policy
    steps: int
    parameters: dict[str, tuple[Any, Any]]
    lrs: Gap | None
    momenta: Gap | None

    def lines(self) -> list[str]:
        """The difference in words, line by line."""
        lines = [
            f"parameter {name}: {text_of(one)} in A, {text_of(other)} in B"
            for name, (one, other) in self.parameters.items()
        ]
        if self.a.name != self.b.name:
            lines.append(f"LR function: {self.a.name} in A, {self.b.name} in B")
        carrying = [which for which, policy in (("A", self.a), ("B", self.b)) if policy.has_momentum]
        if len(carrying) == 1:
            lines.append(f"momentum: only {carrying[0]} carries one")
        if self.lrs is None:
            return [*lines, "a controller's learning rate follows from its feedback: there is no curve to compare"]
        lines += self.lrs.lines("learning rate", self.steps)
        return lines + (self.momenta.lines("momentum", self.steps) if self.momenta else [])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "steps": self.steps,
            "parameters": {name: [text_of(one), text_of(other)] for name, (one, other) in self.parameters.items()},
            "learning_rate": asdict(self.lrs) if self.lrs else None,
            "momentum": asdict(self.momenta) if self.momenta else None,
        }


def difference(a: Policy, b: Policy, steps: int) -> Difference:
    """Compare two policies whose durations are bound.

    >>> from lrsearch.schedules import STEP
    >>> gap = difference(STEP(k0=1, gamma=0.5, l=4), STEP(k0=1, gamma=0.5, l=5), steps=10)
    >>> gap.parameters, gap.lrs.first
    ({'l': (4, 5)}, 4)
    """
    same = a.function is b.function
    pairs = {name: (value, b.params[name]) for name, value in a.params.items()} if same else {}
    t = np.arange(steps)
    return Difference(
        a,
        b,
        steps,
        parameters={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        lrs=None if a.is_controller or b.is_controller else gap(a.curve(steps), b.curve(steps)),
        momenta=gap(a.momentum(t), b.momentum(t)) if a.has_momentum and b.has_momentum else None,
    )
