"""The pruner of spaces: pure rules over evidence.

Optuna's pruners stop trials; this one shrinks the space that they are drawn from.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrsearch.heuristics.evidence import Evidence
from lrsearch.heuristics.forecast import Forecast, forecast
from lrsearch.heuristics.range_test import Reading, ceiling, lowest, range_test_optimum, read_ramp
from lrsearch.heuristics.refusals import refusal
from lrsearch.schedules import FUNCTIONS
from lrsearch.schedules.coordinates import Repeat
from lrsearch.spaces import Choice, Interval, Space
from lrsearch.spaces.axes import Axis
from lrsearch.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunerRules:
    """The constants by which a space is pruned."""

    fix_below_ceiling: float = 0.3
    """Decades between the highest constant LR and the first that blew up: blow-ups move with the seed (a rule)."""
    peak_below_ceiling: float = 0.1
    """The same for the peak of a decaying or cyclic function, which stands at the top only briefly (a rule)."""
    peak_above_fix: float = 1.0
    """Decades. Measured on MLPs for MNIST and CIFAR-10: the best cosine peak lies 0.4 to 0.8 decades above the best
    constant LR."""
    span: tuple[float, float] = (10**-4.0, 10**-0.5)
    """Floor / peak, and the share that decay leaves: half a decade to four decades below the top. That holds the 6, 120
    and 9000 times of LRBench's published policies."""
    powers: tuple[float, float] = (0.5, 2.0)
    """Exponents of POLY and INV: those of published policies lie inside."""
    warmups: tuple[float, float] = (0.01, 0.2)
    """Share of the run (a rule)."""
    fractions: tuple[float, float] = (0.2, 0.95)
    """Share of the run at which drops come: an earlier one wastes the peak, a later one changes nothing (a rule)."""
    epochs: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80)
    """Step sizes in epochs, by factors of at most 2 and at least 1.2 (a rule)."""
    whole_cycles: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Cycles that end the run at the floor: a run that ends within a cycle is judged by its phase, not its policy."""
    most_drops: int = 20
    """Step sizes in one run (a rule)."""
    most_milestones: int = 4
    """Of a piecewise constant policy (a rule)."""
    series: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    """Learning rates in a decade that a person would write: steps of at most 0.22 decades, below the forecast's
    spread."""


PRUNER_RULES = PrunerRules()


@dataclass(frozen=True, slots=True)
class Bound:
    """One range of the pruned space, and why it is so.

    Args:
        coordinate: `peak`, `ratio`, or `<FUNCTION>.<coordinate>`.
        low, high: its ends.
        reason: the sentence for people.
        runs: keys of the runs behind it.
        rule: the name of the structural rule behind it; None where runs are.
    """

    coordinate: str
    low: float
    high: float
    reason: str
    runs: tuple[str, ...] = ()
    rule: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, with `runs` or `rule`."""
        because: dict[str, Any] = {"rule": self.rule} if self.rule else {"runs": list(self.runs)}
        return {"coordinate": self.coordinate, "low": self.low, "high": self.high, "reason": self.reason, **because}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The store and the probes disagree: the probes are believed, and the range is widened half way to the store.

    Args:
        stored: the stored peak that is nearest to the range.
        low, high: the range from the probes.
        gap: decades between the stored peak and the range.
    """

    stored: float
    low: float
    high: float
    gap: float

    @property
    def widened(self) -> tuple[float, float]:
        """The range, its end towards the stored peak moved by half of the gap."""
        half = 10 ** (self.gap / 2)
        if self.stored < self.low:
            return float(f"{self.low / half:.3g}"), self.high
        return self.low, float(f"{self.high * half:.3g}")

    def __str__(self) -> str:
        return (
            f"the store's {self.stored:.2g} contradicts the probes' {self.low:.2g} .. {self.high:.2g} by"
            f" {self.gap:.1f} decades: the probes are believed, and the range goes half way"
        )

    def to_json(self) -> dict[str, float]:
        """The fields as JSON values."""
        return {"stored": self.stored, "low": self.low, "high": self.high, "gap": self.gap}


@dataclass(frozen=True, slots=True)
class Pruned:
    """A smaller space and the reasons for it.

    Args:
        raw: the space before.
        space: the space after; equal to `raw` on the learning rate where the pruner refused.
        bounds: every range that changed.
        optimum: the range-test optimum, the median of its repeats; None if all are flat.
        refusal: why the learning rate was not narrowed; None if it was.
        forecast: the best constant learning rate over the horizon, from the probes; None if refused.
        contradiction: how far the store is from the probes; None where they agree, or one of them has no peak.
    """

    raw: Space
    space: Space
    bounds: tuple[Bound, ...]
    optimum: float | None
    refusal: str | None
    forecast: Forecast | None = None
    contradiction: Contradiction | None = None

    @property
    def log_volume(self) -> float:
        """log10 of the share of the raw space's prior mass that remains."""
        return self.space.log_volume(self.raw)

    def to_json(self) -> dict[str, Any]:
        """The cuts and their reasons, as JSON values."""
        return {
            "log_volume_before": 0.0,
            "log_volume_after": self.log_volume,
            "refusal": self.refusal,
            "contradiction": self.contradiction.to_json() if self.contradiction else None,
            "bounds": [bound.to_json() for bound in self.bounds],
        }


def prune(raw: Space, evidence: Evidence) -> Pruned:
    """Shrink a space by the evidence of short runs and by the structure of LR functions.

    The peak comes from the constant-LR probes, corrected for the longer horizon, and stays below the learning rates
    that blew up in the range test. Step sizes become epoch multiples and whole cycles. Decay is set by the share that
    is left at the end. The same evidence always gives the same space. Where it teaches nothing about the learning
    rate, the raw range stays, and `refusal` says why.
    """
    readings = [read_ramp(ramp, evidence.rules) for ramp in sorted(evidence.ramps, key=lambda ramp: ramp.run)]
    refused = refusal(evidence)
    over_horizon = None if refused else forecast(evidence, raw.horizon)
    peak, contradiction = _peak_bound(raw, evidence, readings, over_horizon) if over_horizon else (None, None)
    structural = _structural(raw)
    bounds = ((peak,) if peak else ()) + tuple(structural.values())

    def narrowed(form: str, name: str, axis: Axis) -> Axis:
        if isinstance(axis, Choice) or name == "end":
            return axis
        if name == "cycles" and isinstance(axis, Interval):
            return axis.at(_cycle_marks(form, raw))
        return _NARROWED[name](axis) if name in _NARROWED else axis

    peaks = raw.peak.within(peak.low, peak.high) if peak else raw.peak
    space = raw.narrowed(peaks, raw.ratio.within(*PRUNER_RULES.span), narrowed)
    return Pruned(raw, space, bounds, range_test_optimum(readings), refused, over_horizon, contradiction)


def _peak_bound(
    raw: Space, evidence: Evidence, readings: list[Reading], over_horizon: Forecast
) -> tuple[Bound, Contradiction | None]:
    """The range of the peak from the probes, widened half way to the store's peaks where all of these lie outside."""
    low, high, top = _ends(raw, readings, over_horizon)
    within = raw.peak.within(low, high)
    contradiction = contradicts(evidence.stored, within)
    if contradiction:
        wider_low, wider_high = contradiction.widened
        within = raw.peak.within(wider_low, within.high if top else wider_high)
    runs = (*over_horizon.best.runs, *(reading.run for reading in readings if reading.lowest or reading.blown_up))
    reason = _why(raw, evidence, over_horizon, top, contradiction)
    return Bound("peak", within.low, within.high, reason, runs), contradiction


def _ends(raw: Space, readings: list[Reading], over_horizon: Forecast) -> tuple[float, float, float | None]:
    """The FIX range [u - 2s, u + 2s], widened to the peaks of decaying and cyclic functions above it.

    It stays below the lowest learning rate that blew up in a range test, unless the probes' best lies above that.

    Returns:
        The lowest and the highest learning rate; and the one that blew up, where it held the range down, else None.
    """
    u, s = over_horizon.high, over_horizon.spread
    top, least = ceiling(readings), lowest(readings)
    limit = math.log10(top) if top else math.inf
    above, least = (0.0, None) if raw.forms == ("FIX",) else (PRUNER_RULES.peak_above_fix, least)
    fix_high = min(u + 2 * s, limit - PRUNER_RULES.fix_below_ceiling)
    peak_high = min(u + above, limit - PRUNER_RULES.peak_below_ceiling)
    high = max(fix_high, peak_high, math.log10(least) if least else -math.inf, u - s)
    low_lr, high_lr = outward(10 ** (over_horizon.low - 2 * s), 10**high)
    if top and high < limit and (high_lr >= top or high < max(u + 2 * s, u + above)):
        return low_lr, min(high_lr, float(f"{10**high:.3g}")), top
    return low_lr, high_lr, None


def contradicts(stored: Sequence[float], probed: Interval) -> Contradiction | None:
    """How far the store's peaks are from the range of the probes; None where any peak lies inside, or none exists."""
    if not stored or any(peak in probed for peak in stored):
        return None
    gap, peak = min((abs(math.log10(peak / probed.within(peak, peak).low)), peak) for peak in stored)
    return Contradiction(peak, probed.low, probed.high, gap)


def _why(
    raw: Space, evidence: Evidence, over_horizon: Forecast, top: float | None, contradiction: Contradiction | None
) -> str:
    """A sentence for people: where the range of the peak comes from."""
    best, longer = over_horizon.best, raw.horizon / evidence.probe_steps
    higher = 10**PRUNER_RULES.peak_above_fix
    peaks = "" if raw.forms == ("FIX",) else f", and peaks that decay lie up to {higher:g} times higher"
    return (
        f"the best constant LR of {counted(len(best.runs), 'short run')} is {10**best.log10_lr:.2g}; over {longer:.0f}"
        f" times the steps about {over_horizon.lr:.2g} (within a factor {10 ** (2 * over_horizon.spread):.1f}){peaks}"
        + (f", held below {top:.2g} where the range test blew up" if top else "")
        + (f"; {best.ambiguity}" if best.ambiguity else "")
        + (f"; {contradiction}" if contradiction else "")
    )


def _structural(raw: Space) -> dict[str, Bound]:
    """The bounds that need no run, by the coordinates that this space has."""
    names = {name for branch in raw.branches for name, _ in branch.axes}
    cyclic = [branch.form for branch in raw.branches if "cycles" in dict(branch.axes)]
    cycles = [mark for form in cyclic for mark in _cycle_marks(form, raw)] or [1]
    epoch, span = counted(raw.epoch, "step", form="g"), PRUNER_RULES.span
    floor = "a floor half a decade to four decades below the peak, or zero"
    decay = "half a decade to four decades are lost by the end: gamma follows from it"
    sizes = f"step sizes are multiples of an epoch ({epoch}), or make whole cycles that end at the floor"
    warmup, drops = "a warm-up takes 1 % to 20 % of the run", "drops come between 20 % and 95 % of the run"
    bounds = {
        "to_zero": Bound("ratio", *span, floor, rule="floor"),
        "decay": Bound("decay", *span, decay, rule="end-of-run decay"),
        "cycles": Bound("cycles", min(cycles), max(cycles), sizes, rule="epoch multiples"),
        "power": Bound("power", *PRUNER_RULES.powers, "exponents that published policies use", rule="power"),
        "warmup": Bound("warmup", *PRUNER_RULES.warmups, warmup, rule="warm-up"),
        "milestones": Bound("milestones", *PRUNER_RULES.fractions, drops, rule="milestones"),
    }
    return {name: bound for name, bound in bounds.items() if name in names}


_NARROWED: dict[str, Callable[[Any], Axis]] = {
    "decay": lambda axis: axis.within(*PRUNER_RULES.span),
    "power": lambda axis: axis.within(*PRUNER_RULES.powers),
    "warmup": lambda axis: axis.within(*PRUNER_RULES.warmups),
    "milestones": lambda axis: replace(
        axis, counts=_fewer(axis.counts), each=axis.each.within(*PRUNER_RULES.fractions)
    ),
}


def _fewer(counts: Choice) -> Choice:
    return Choice(tuple(count for count in counts.values if count <= PRUNER_RULES.most_milestones) or counts.values)


def _cycle_marks(form: str, raw: Space) -> list[float]:
    """Numbers of cycles whose step size is an epoch multiple, or which end the run at the floor."""
    rules = PRUNER_RULES
    repeat = next((role for role in FUNCTIONS[form].roles if isinstance(role, Repeat)), None)
    if repeat is None:
        return [float(cycles) for cycles in rules.whole_cycles]
    parts = repeat.parts
    longest = raw.horizon / parts
    sizes = [epochs * raw.epoch for epochs in rules.epochs if epochs * raw.epoch <= longest]
    marks = [raw.horizon / (parts * size) for size in sizes if raw.horizon / (parts * size) <= rules.most_drops]
    ends = [cycles - repeat.floor for cycles in rules.whole_cycles]
    least = 1.0 if form == "STEP" else 0.0  # a STEP without a drop decays nothing
    return sorted({round(mark, 12) for mark in [*marks, *ends] if mark > least})


def outward(low: float, high: float) -> tuple[float, float]:
    """Round a range outward to the series 1, 1.5, 2, 3, 5, 7 in each decade.

    >>> outward(0.0012, 0.44)
    (0.001, 0.5)
    """
    marks = _marks()
    below = [mark for mark in marks if mark <= low * (1 + 1e-9)]
    above = [mark for mark in marks if mark >= high * (1 - 1e-9)]
    return (below[-1] if below else low), (above[0] if above else high)


def grid(axis: Interval) -> list[float]:
    """The grid that a person would declare on an axis of learning rates: 1, 1.5, 2, 3, 5, 7 in each decade.

    >>> grid(Interval(0.0005, 0.006))
    [0.0005, 0.0007, 0.001, 0.0015, 0.002, 0.003, 0.005]
    """
    return [mark for mark in _marks() if mark in axis]


def linear_cut(axis: Interval) -> float:
    """The share of the learning rates from 0 to 1 that a range leaves out, counted as in the LRBench paper.

    The paper counts length on a linear axis, where all but the highest decade weighs next to nothing. Its 99.41 % for
    CNN3 is 1 - (0.006 - 0.00005) (its range begins at 0.0005, which makes 99.45 %). `Pruned.log_volume` counts factors.

    >>> round(linear_cut(Interval(0.0005, 0.006)), 4), round(linear_cut(Interval(0.1, 1.0)), 4)
    (0.9945, 0.1)
    """
    return 1.0 - Interval(axis.low, axis.high, log=False).share(Interval(0.0, 1.0, log=False))


def _marks() -> list[float]:
    return [round(mark * 10.0**decade, 15) for decade in range(-9, 4) for mark in PRUNER_RULES.series]
