"""Learning rates that LR range tests suggest: one by every published rule, each with its scatter."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lrsearch.heuristics.evidence import Ramp
from lrsearch.heuristics.range_test import HIGH, LOW, Reading, disagree, hidden_fall, read_ramp
from lrsearch.later import warn_older

Numbers = npt.NDArray[np.float64]
Read = Callable[[Reading, Numbers, Numbers], float | None]
"""From a reading, the log10 of its learning rates and its smoothed losses: log10 of a learning rate, or None."""
ENOUGH_REPEATS = 3
"""Repeats from which on their own standard deviation is used (a rule)."""
MOST_NAMED = 5
"""Left-out losses that a note lists (a rule: a line)."""
SLIDE_WIDTH, SLIDE_LEVEL = 15, 0.005
"""Points between two slopes, and the change that still counts. Source: fastai's `slide`, its defaults."""
NO_TRAIN_LOSS = "the training logs no train_loss, so a range test shows nothing"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A learning rate that a rule suggests.

    Args:
        rule: the rule's name.
        lr: the learning rate: the median, on a log axis, of its readings of the tests.
        low, high: two standard deviations to each side, in which a repeat's reading is expected.
        purpose: what the learning rate is for.
        source: who proposed the rule.
    """

    rule: str
    lr: float
    low: float
    high: float
    purpose: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "rule": self.rule,
            "rate": self.lr,
            "low": self.low,
            "high": self.high,
            "purpose": self.purpose,
            "source": self.source,
        }

    @property
    def rate(self) -> float:
        """The older name of `lr`."""
        warn_older("Suggestion.rate", "Suggestion.lr")
        return self.lr


@dataclass(frozen=True, slots=True)
class LRAdvice:
    """The suggestions of range tests, and whether they can be trusted.

    Args:
        verdict: "found"; "disagree" where repeats are over half a decade apart; "edge" where the range ends before the
            loss turns, and "flat" where no curve falls: these two suggest nothing.
        readings: of each test.
        suggestions: by every rule, the default first; none where the verdict is "edge" or "flat".
        notes: sentences for people: which end of the range to move, which losses were left out.
    """

    verdict: str
    readings: tuple[Reading, ...]
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...] = ()

    @property
    def default(self) -> Suggestion | None:
        """The suggestion of the rule that scatters least; None where there is none."""
        return self.suggestions[0] if self.suggestions else None

    @property
    def edge(self) -> str | None:
        """The end of the range to move, "low" or "high", where the verdict is "edge"; else None."""
        return _edge(self.readings) if self.verdict == "edge" else None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            "verdict": self.verdict,
            "suggestions": [suggestion.to_json() for suggestion in self.suggestions],
            "tests": [
                {
                    "run": reading.run,
                    "lowest": reading.lowest,
                    "bottom": reading.optimum,
                    "blown_up": reading.blown_up,
                    "edge": reading.edge,
                    "left_out": list(reading.left_out),
                }
                for reading in self.readings
            ],
            "edge": self.edge,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a learning rate is read from a smoothed curve; `scatter` is its standard deviation over seeds, in decades."""

    name: str
    read: Read
    scatter: float
    purpose: str
    source: str


def advise(ramps: Sequence[Ramp]) -> LRAdvice:
    """Read range tests of one model and task, repeats of each other, by every rule.

    From three repeats on, a rule's scatter is that of its readings; below, that measured over 12 seeds.
    Curves that are flat, or had not turned when their range ended, suggest nothing.

    >>> lrs = tuple(10 ** (-4 + n / 50) for n in range(200))
    >>> losses = tuple(2.3 - 1.5 * math.exp(-((math.log10(lr) + 1) ** 2)) for lr in lrs)
    >>> advice = advise([Ramp("a", lrs, losses)])
    >>> advice.verdict, round(advice.default.lr, 3)
    ('found', 0.1)
    """
    readings = tuple(map(read_ramp, ramps))
    notes = tuple(note for ramp, reading in zip(ramps, readings, strict=True) for note in _notes(ramp, reading))
    pairs = zip(ramps, readings, strict=True)
    turned = [(ramp, reading) for ramp, reading in pairs if reading.lowest and not reading.edge]
    if not turned:
        return LRAdvice("edge" if _edge(readings) else "flat", readings, (), notes)
    suggestions = [suggestion for rule in SUGGESTING if (suggestion := _suggest(rule, turned)) is not None]
    return LRAdvice("disagree" if disagree(readings) else "found", readings, tuple(suggestions), notes)


def _edge(readings: Sequence[Reading]) -> str | None:
    """The end of the range that most tests point to; None where none points to any."""
    ends = [reading.edge for reading in readings if reading.edge]
    return max(sorted(set(ends)), key=ends.count) if ends else None


def _notes(ramp: Ramp, reading: Reading) -> list[str]:
    """Sentences about one test: no losses, the end of the range to move, a hidden fall, and losses left out."""
    if not ramp.losses:
        return [NO_TRAIN_LOSS]
    notes = []
    if reading.edge == HIGH:
        notes.append(
            f"the loss still falls, or stays at its lowest, at the last learning rate, {ramp.lrs[-1]:.2g}:"
            " move the high end up"
        )
    if reading.edge == LOW:
        notes.append(f"the loss rises from the first learning rate on, {ramp.lrs[0]:.2g}: move the low end down")
    if reading.lowest is None and reading.edge is None and (fall := hidden_fall(ramp, reading)) is not None:
        notes.append(
            f"the losses scatter too much to tell a fall of {fall:.2g} from noise: make the test longer, or"
            " take each loss over more samples"
        )
    if reading.left_out:
        some = ", ".join(str(place + 1) for place in reading.left_out[:MOST_NAMED])
        more = ", ..." if len(reading.left_out) > MOST_NAMED else ""
        notes.append(
            f"{len(reading.left_out)} of {len(ramp.losses)} losses before the lowest are not finite or far"
            f" outside of the others and were left out (number {some}{more})"
        )
    return notes


def _suggest(rule: _Rule, falling: Sequence[tuple[Ramp, Reading]]) -> Suggestion | None:
    """A rule's suggestion from all tests; None where it reads nothing from any."""
    log10_lrs = []
    for ramp, reading in falling:
        finite = np.isfinite(reading.smoothed)
        log10_lr = rule.read(reading, np.log10(ramp.lrs)[finite], np.array(reading.smoothed)[finite])
        log10_lrs += [log10_lr] if log10_lr is not None else []
    if not log10_lrs:
        return None
    middle = statistics.median(log10_lrs)
    scatter = statistics.stdev(log10_lrs) if len(log10_lrs) >= ENOUGH_REPEATS else rule.scatter
    low, lr, high = (float(f"{10**x:.3g}") for x in (middle - 2 * scatter, middle, middle + 2 * scatter))
    return Suggestion(rule.name, lr, low, high, rule.purpose, rule.source)


def _below_lowest(factor: float) -> Read:
    return lambda reading, log10_lrs, losses: math.log10((reading.lowest or math.nan) / factor)


def _below_optimum(factor: float) -> Read:
    return lambda reading, log10_lrs, losses: math.log10((reading.optimum or math.nan) / factor)


def _steepest(reading: Reading, log10_lrs: Numbers, losses: Numbers) -> float | None:
    """Where the loss falls most steeply over log LR, before its minimum."""
    end = int(np.argmin(losses)) + 1
    if end < 3:
        return None
    return float(log10_lrs[np.argmin(np.gradient(losses[:end], log10_lrs[:end]))])


def _valley(reading: Reading, log10_lrs: Numbers, losses: Numbers) -> float | None:
    """Half way down the longest descent: the longest falling subsequence, as fastai has it."""
    lengths, begins = np.ones(len(losses), dtype=int), np.arange(len(losses))
    for n in range(1, len(losses)):
        before = np.flatnonzero(losses[:n] > losses[n])
        if len(before):
            best = before[np.argmax(lengths[before])]
            lengths[n], begins[n] = lengths[best] + 1, begins[best]
    end = int(np.argmax(lengths))
    begin = int(begins[end])
    third = (end - begin) / 3
    return float(log10_lrs[begin + int(third) + int(third / 2)])


def _slide(reading: Reading, log10_lrs: Numbers, losses: Numbers) -> float | None:
    """From the right, the first place at which the slope over a window of 15 points stops changing."""
    slopes = np.gradient(losses)
    right, left = len(losses) - 1, len(losses) - 1 - SLIDE_WIDTH
    if left < 0:
        return None
    place = left
    while left >= 0 and abs(slopes[right] - slopes[left]) > SLIDE_LEVEL:
        place, right, left = left, right - 1, left - 1
    return float(log10_lrs[place])


SMITH_CLR, SMITH_ONECYCLE, FASTAI = "Smith 2015", "Smith 2018", "fastai"
SUGGESTING = (
    _Rule("bottom", _below_optimum(1), 0.08, "peak of a decaying or cyclic policy", "lrsearch"),
    _Rule("bottom / 5", _below_optimum(5), 0.08, "constant learning rate", "lrsearch"),
    _Rule("minimum", _below_lowest(1), 0.18, "peak of a decaying or cyclic policy", SMITH_CLR),
    _Rule("minimum / 10", _below_lowest(10), 0.18, "peak, carefully", FASTAI),
    _Rule("base, 1/3", _below_optimum(3), 0.08, "floor of a cyclic policy", SMITH_CLR),
    _Rule("base, 1/4", _below_optimum(4), 0.08, "floor of a cyclic policy", SMITH_CLR),
    _Rule("start, 1/10", _below_optimum(10), 0.08, "start of a one-cycle policy", SMITH_ONECYCLE),
    _Rule("start, 1/20", _below_optimum(20), 0.08, "start of a one-cycle policy", SMITH_ONECYCLE),
    _Rule("steepest", _steepest, 0.10, "learns fast", FASTAI),
    _Rule("valley", _valley, 0.15, "learns fast", FASTAI),
    _Rule("slide", _slide, 1.2, "before the loss turns; scatters", FASTAI),
)
"""The rules, the default first. Their scatter is measured in `studies/range-test`: 12 seeds of each of four tasks."""
