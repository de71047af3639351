"""The pruner of spaces: pure rules over evidence.

Optuna's pruners stop trials; this one shrinks the space that they are drawn from.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrsearch.heuristics.evidence import Evidence
from lrsearch.heuristics.forecast import Forecast, forecast
from lrsearch.heuristics.range_test import Reading, ceiling, lowest, optimum, read_ramp
from lrsearch.heuristics.refusals import refusal
from lrsearch.schedules import FUNCTIONS
from lrsearch.schedules.coordinates import Repeat
from lrsearch.spaces import Choice, Interval, Space
from lrsearch.spaces.axes import Axis
from lrsearch.words import counted

FIX_BELOW_CEILING, PEAK_BELOW_CEILING = 0.3, 0.1
PEAK_ABOVE_FIX = 1.0
"""The best decayed peak lies 0.4 to 0.8 decades above the best constant LR."""
SPAN = (10**-4.0, 10**-0.5)
"""Floor / peak, and what decay leaves: half a decade to four decades below the top."""
POWERS = (0.5, 2.0)
WARMUPS = (0.01, 0.2)
FRACTIONS = (0.2, 0.95)
MOST_EPOCHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80)
WHOLE_CYCLES = (1, 2, 3, 4, 5)
MOST_DROPS = 20
MOST_MILESTONES = 4
SERIES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


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
        """Give it as plain JSON values, with `runs` or `rule`."""
        because: dict[str, Any] = {"rule": self.rule} if self.rule else {"runs": list(self.runs)}
        return {"coordinate": self.coordinate, "low": self.low, "high": self.high, "reason": self.reason, **because}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The store and the probes say different things. The probes are believed, and the range goes half way.

    Args:
        stored: the stored peak that is nearest to the range.
        low, high: the range that the probes gave.
        gap: decades between the two.
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
        """Give it as plain JSON values."""
        return {"stored": self.stored, "low": self.low, "high": self.high, "gap": self.gap}


@dataclass(frozen=True, slots=True)
class Pruned:
    """A smaller space and the reasons for it.

    Args:
        raw: the space before.
        space: the space after; equal to `raw` on the learning rate where the pruner refused.
        bounds: every range that changed.
        optimum: the middle of the range test's bottom, in the middle of its repeats; None if flat.
        refusal: why the learning rate was not narrowed; None if it was.
        forecast: the best constant learning rate over the horizon, as the probes foretell it; None if refused.
        contradiction: how far the store is from the probes; None where they agree, or one of them is silent.
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
        """Give what was cut and why as plain JSON values."""
        return {
            "log_volume_before": 0.0,
            "log_volume_after": self.log_volume,
            "refusal": self.refusal,
            "contradiction": self.contradiction.to_json() if self.contradiction else None,
            "bounds": [bound.to_json() for bound in self.bounds],
        }


def prune(raw: Space, evidence: Evidence) -> Pruned:
    """Shrink a space by what short runs showed and by the structure of LR functions.

    The peak comes from decade scaling of FIX, corrected for the longer horizon, below what blew up in the
    range test; step sizes become epoch multiples and whole cycles; decay is set by what is left at the end.
    The same evidence always gives the same space. Where it teaches nothing about the learning rate, the raw
    range stays, and `refusal` says why.
    """
    readings = [read_ramp(ramp, evidence.rules) for ramp in sorted(evidence.ramps, key=lambda ramp: ramp.run)]
    refused = refusal(evidence)
    ahead = None if refused else forecast(evidence, raw.horizon)
    peak, contradiction = _peak_bound(raw, evidence, readings, ahead) if ahead else (None, None)
    structural = _structural(raw)
    bounds = ((peak,) if peak else ()) + tuple(structural.values())

    def own(form: str, name: str, axis: Axis) -> Axis:
        if isinstance(axis, Choice) or name == "end":
            return axis
        if name == "cycles" and isinstance(axis, Interval):
            return axis.at(_cycle_marks(form, raw))
        return _NARROWED[name](axis) if name in _NARROWED else axis

    space = raw.narrowed(raw.peak.within(peak.low, peak.high) if peak else raw.peak, raw.ratio.within(*SPAN), own)
    return Pruned(raw, space, bounds, optimum(readings), refused, ahead, contradiction)


def _peak_bound(
    raw: Space, evidence: Evidence, readings: list[Reading], ahead: Forecast
) -> tuple[Bound, Contradiction | None]:
    """The range of the peak that the probes give, half way to what the store says where all of that lies outside."""
    low, high, top = _ends(raw, readings, ahead)
    within = raw.peak.within(low, high)
    contradiction = contradicts(evidence.stored, within)
    if contradiction:
        wider_low, wider_high = contradiction.widened
        within = raw.peak.within(wider_low, within.high if top else wider_high)
    runs = (*ahead.best.runs, *(reading.run for reading in readings if reading.lowest or reading.blown_up))
    reason = _why(raw, evidence, ahead, top, contradiction)
    return Bound("peak", within.low, within.high, reason, runs), contradiction


def _ends(raw: Space, readings: list[Reading], ahead: Forecast) -> tuple[float, float, float | None]:
    """The FIX range [u - 2s, u + 2s], widened to the peaks of decaying and cyclic functions above it.

    It stays below what blew up in the range test, unless the constant rates say that the best is up there.
    The third is what blew up, where it held the range down.
    """
    u, s = ahead.high, ahead.spread
    top, least = ceiling(readings), lowest(readings)
    limit = math.log10(top) if top else math.inf
    above, least = (0.0, None) if raw.forms == ("FIX",) else (PEAK_ABOVE_FIX, least)
    fix_high, peak_high = min(u + 2 * s, limit - FIX_BELOW_CEILING), min(u + above, limit - PEAK_BELOW_CEILING)
    high = max(fix_high, peak_high, math.log10(least) if least else -math.inf, u - s)
    low_lr, high_lr = outward(10 ** (ahead.low - 2 * s), 10**high)
    if top and high < limit and (high_lr >= top or high < max(u + 2 * s, u + above)):
        return low_lr, min(high_lr, float(f"{10**high:.3g}")), top
    return low_lr, high_lr, None


def contradicts(stored: Sequence[float], probed: Interval) -> Contradiction | None:
    """Compare what the store says with the range that the probes gave: None where any of it lies inside."""
    if not stored or any(peak in probed for peak in stored):
        return None
    gap, peak = min((abs(math.log10(peak / probed.within(peak, peak).low)), peak) for peak in stored)
    return Contradiction(peak, probed.low, probed.high, gap)


def _why(
    raw: Space, evidence: Evidence, ahead: Forecast, top: float | None, contradiction: Contradiction | None
) -> str:
    """Say in a sentence where the range of the peak comes from."""
    best, longer = ahead.best, raw.horizon / evidence.probe_steps
    peaks = "" if raw.forms == ("FIX",) else f", and peaks that decay lie up to {10**PEAK_ABOVE_FIX:g} times higher"
    return (
        f"the best constant LR of {counted(len(best.runs), 'short run')} is {10**best.decade:.2g}; over {longer:.0f}"
        f" times the steps about {ahead.lr:.2g} (within a factor {10 ** (2 * ahead.spread):.1f}){peaks}"
        + (f", held below {top:.2g} where the range test blew up" if top else "")
        + (f"; {best.ambiguity}" if best.ambiguity else "")
        + (f"; {contradiction}" if contradiction else "")
    )


def _structural(raw: Space) -> dict[str, Bound]:
    """The rules that need no run, for the coordinates that this space has."""
    names = {name for branch in raw.branches for name, _ in branch.axes}
    cyclic = [branch.form for branch in raw.branches if "cycles" in dict(branch.axes)]
    cycles = [mark for form in cyclic for mark in _cycle_marks(form, raw)]
    rules = {
        "to_zero": Bound("ratio", *SPAN, "a floor half a decade to four decades below the peak, or zero", rule="floor"),
        "decay": Bound(
            "decay",
            *SPAN,
            "half a decade to four decades are lost by the end: gamma follows from it",
            rule="end-of-run decay",
        ),
        "cycles": Bound(
            "cycles",
            min(cycles, default=1),
            max(cycles, default=1),
            f"step sizes are multiples of an epoch ({counted(raw.epoch, 'step', form='g')}), or make whole"
            " cycles that end at the floor",
            rule="epoch multiples",
        ),
        "power": Bound("power", *POWERS, "exponents that published policies use", rule="power"),
        "warmup": Bound("warmup", *WARMUPS, "a warm-up takes 1 % to 20 % of the run", rule="warm-up"),
        "milestones": Bound("milestones", *FRACTIONS, "drops come between 20 % and 95 % of the run", rule="milestones"),
    }
    return {name: bound for name, bound in rules.items() if name in names}


_NARROWED: dict[str, Callable[[Any], Axis]] = {
    "decay": lambda axis: axis.within(*SPAN),
    "power": lambda axis: axis.within(*POWERS),
    "warmup": lambda axis: axis.within(*WARMUPS),
    "milestones": lambda axis: replace(axis, counts=_fewer(axis.counts), each=axis.each.within(*FRACTIONS)),
}


def _fewer(counts: Choice) -> Choice:
    return Choice(tuple(count for count in counts.values if count <= MOST_MILESTONES) or counts.values)


def _cycle_marks(form: str, raw: Space) -> list[float]:
    """Numbers of cycles whose step size is an epoch multiple, or which end the run at the floor."""
    repeat = next((role for role in FUNCTIONS[form].roles if isinstance(role, Repeat)), None)
    if repeat is None:
        return [float(c) for c in WHOLE_CYCLES]
    parts = repeat.parts
    longest = raw.horizon / parts
    sizes = [m * raw.epoch for m in MOST_EPOCHS if m * raw.epoch <= longest]
    marks = [raw.horizon / (parts * size) for size in sizes if raw.horizon / (parts * size) <= MOST_DROPS]
    ends = [cycles - repeat.floor for cycles in WHOLE_CYCLES]
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
    """Give the grid that a person would declare on an axis of learning rates: 1, 1.5, 2, 3, 5, 7 in each decade.

    >>> grid(Interval(0.0005, 0.006))
    [0.0005, 0.0007, 0.001, 0.0015, 0.002, 0.003, 0.005]
    """
    return [mark for mark in _marks() if mark in axis]


def linear_cut(axis: Interval) -> float:
    """Give the share of the learning rates from 0 to 1 that a range leaves out, counted as the LRBench paper counts.

    By length on a linear axis, where all but the highest decade weighs next to nothing: the paper's 99.41 % for CNN3
    is 1 - (0.006 - 0.00005) (its range begins at 0.0005, which makes 99.45 %). `Pruned.log_volume` counts factors.

    >>> round(linear_cut(Interval(0.0005, 0.006)), 4), round(linear_cut(Interval(0.1, 1.0)), 4)
    (0.9945, 0.1)
    """
    return 1.0 - Interval(axis.low, axis.high, log=False).share(Interval(0.0, 1.0, log=False))


def _marks() -> list[float]:
    return [round(m * 10.0**e, 15) for e in range(-9, 4) for m in SERIES]
