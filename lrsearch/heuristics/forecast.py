"""From the probes' short horizon to a full run: the best constant learning rate falls as runs get longer."""

import math
from dataclasses import dataclass

from lrsearch.heuristics.evidence import Evidence
from lrsearch.heuristics.probes import BestConstantLR, best_constant_lr

SHIFT_PER_DECADE = (0.25, 0.10)
"""By how many decades the best LR falls for each tenfold horizon, and the spread of that. DeepOBS: 0.23, with a
95 % interval of [0.13, 0.33]; 0.32 is published for the token horizons of language models."""
RESIDUAL = 0.30
"""The standard deviation that the law leaves unexplained, in decades (DeepOBS: 0.31)."""
LONG_PROBE, LONG_RESIDUAL = 0.05, 0.15
"""A probe over this share of the horizon leaves half as much unexplained (a rule, not measured)."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The best constant learning rate over a whole run, forecast from the probes.

    Args:
        log10_lr: its log10.
        spread: the standard deviation of that, in decades.
        low, high: log10 of where else it may lie, where the probes are ambiguous; both are `log10_lr` else.
        best: the best learning rate of the probes, over their own horizon.
    """

    log10_lr: float
    spread: float
    low: float
    high: float
    best: BestConstantLR

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(10**self.log10_lr)


def forecast(evidence: Evidence, horizon: int) -> Forecast | None:
    """Lower the probes' best learning rate for the longer horizon, and widen it by the uncertainty of that law.

    u = u0 - b d and s^2 = s0^2 + (0.10 d)^2 + r^2, with u0 and s0 of the probes, d = log10(horizon / probe steps),
    b = 0.25 and r = 0.30, or 0.15 where a probe is over 5 % of the horizon. None where nothing was learned.

    Args:
        evidence: the probes.
        horizon: steps of a full run.
    """
    best = best_constant_lr(evidence)
    if best is None:
        return None
    longer = math.log10(horizon / evidence.probe_steps)
    law, law_spread = SHIFT_PER_DECADE
    residual = LONG_RESIDUAL if evidence.probe_steps > LONG_PROBE * horizon else RESIDUAL
    shift = law * longer
    spread = math.hypot(best.spread, law_spread * longer, residual)
    return Forecast(best.log10_lr - shift, spread, best.low - shift, best.high - shift, best)
