"""The picture of an LR range test: losses and the metric over the learning rate, with what it advises."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrsearch.heuristics.evidence import Ramp
from lrsearch.heuristics.range_test import Reading
from lrsearch.report.canvas import GREY, ORANGE, RED, blank, colors, keep, tidy
from lrsearch.runs import Objective
from lrsearch.schedules import LINEAR, Policy
from lrsearch.study.range_tests import RangeTested
from lrsearch.words import counted

HEADROOM, FOOTROOM, GAP_SHARE = 1.6, 0.1, 0.5


def draw_range_tests(tested: Sequence[RangeTested], path: Path) -> Path:
    """Draw range tests into a file, see `figure_of`.

    Raises:
        OutputError: if the file cannot be written.
    """
    return keep(figure_of(tested), path)


def figure_of(tested: Sequence[RangeTested]) -> Figure:
    """Range tests below each other: losses, their difference, the metric; a colour for each weight decay.

    Of a training that is not evaluated on the way there are losses alone.
    """
    evaluations = [evaluation for one in tested for ramp in one.ramps for evaluation in ramp.evaluations]
    has_scores = any(evaluation.score is not None for evaluation in evaluations)
    heights = [2.2, *([1] if evaluations else []), *([1] if has_scores else [])]
    figure = blank(8, 1 + sum(heights) * 1.5, layout="constrained")
    panels = [
        tidy(axes) for axes in figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    ]
    losses, gap = panels[0], panels[1] if evaluations else None
    for one, color in zip(tested, colors(len(tested)), strict=True):
        for ramp, reading in zip(one.ramps, one.advice.readings, strict=True):
            _draw_losses(losses, ramp, reading, color)
            if gap is not None:
                _draw_gap(gap, ramp, reading, color)
            if has_scores:
                _draw_scores(panels[2], ramp, color, one.task.objective)
        is_compared = len(tested) > 1 and one.weight_decay is not None
        label = f"weight decay {one.weight_decay:g}" if is_compared else "training loss, smoothed"
        losses.plot([], [], color=color, label=label)
    if evaluations:
        losses.plot([], [], color=GREY, linestyle="--", marker=".", label="validation loss")
    for axes in panels:
        _mark(axes, tested, is_first=axes is losses)
    course = tested[0].policy.curve(tested[0].steps)
    if _is_linear(tested[0].policy):
        losses.set_xlim(0, float(course.max()))
    else:
        losses.set_xlim(float(course.min()), float(course.max()))
        losses.set_xscale("log")
    _scale(losses, gap, tested)
    losses.set_ylabel("loss")
    losses.legend(fontsize=8, loc="upper left")
    updates = counted(tested[0].steps, "update")
    losses.set_title(f"{tested[0].task.name}: LR range test, {updates}", loc="left", fontsize=10)
    panels[-1].set_xlabel("learning rate")
    return figure


def _is_linear(policy: Policy) -> bool:
    """Whether a range test's learning rate rises by the same amount each update."""
    return LINEAR.name in str(policy)


def _draw_losses(axes: Axes, ramp: Ramp, reading: Reading, color: str) -> None:
    axes.plot(ramp.lrs, ramp.losses, color=color, alpha=0.18, linewidth=0.7)
    axes.plot(ramp.lrs, reading.smoothed, color=color, linewidth=1.5)
    axes.plot(
        [evaluation.lr for evaluation in ramp.evaluations],
        [evaluation.loss for evaluation in ramp.evaluations],
        color=color,
        linestyle="--",
        marker=".",
        markersize=4,
        linewidth=0.9,
    )


def _draw_gap(axes: Axes, ramp: Ramp, reading: Reading, color: str) -> None:
    """Validation loss less training loss: rising, where the 1cycle report sees overfitting; the end of a plateau."""
    if ramp.evaluations and reading.smoothed:
        lrs = [evaluation.lr for evaluation in ramp.evaluations]
        training = np.interp(np.log(lrs), np.log(ramp.lrs), reading.smoothed)
        axes.plot(
            lrs,
            np.array([evaluation.loss for evaluation in ramp.evaluations]) - training,
            color=color,
            marker=".",
            markersize=4,
            linewidth=0.9,
        )
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylabel("validation\nless training", fontsize=8)


def _draw_scores(axes: Axes, ramp: Ramp, color: str, objective: Objective) -> None:
    known = [(evaluation.lr, evaluation.score) for evaluation in ramp.evaluations if evaluation.score is not None]
    axes.plot(
        [lr for lr, _ in known], [score for _, score in known], color=color, marker=".", markersize=4, linewidth=0.9
    )
    axes.set_ylabel(f"validation\n{objective.name}", fontsize=8)
    if objective.is_share:
        axes.set_ylim(0, 1.02)


def _mark(axes: Axes, tested: Sequence[RangeTested], *, is_first: bool) -> None:
    """Mark what the tests with the first weight decay suggest, and the lowest learning rate that blew up in them."""
    default = tested[0].advice.default
    if default:
        axes.axvspan(default.low, default.high, color=ORANGE, alpha=0.15, linewidth=0)
        axes.axvline(
            default.lr,
            color=ORANGE,
            linewidth=1.2,
            label=f"bottom: {default.lr:.2g} ({default.low:.2g} .. {default.high:.2g})" if is_first else None,
        )
    blown = [reading.blown_up for reading in tested[0].advice.readings if reading.blown_up]
    if blown:
        axes.axvline(
            min(blown),
            color=RED,
            linewidth=1.2,
            linestyle=":",
            label=f"blew up: {min(blown):.2g}" if is_first else None,
        )


def _scale(losses: Axes, gap: Axes | None, tested: Sequence[RangeTested]) -> None:
    """Show the curves as far as `loss_limits` says; a blow-up leaves the picture."""
    limits = loss_limits([reading for one in tested for reading in one.advice.readings])
    if limits:
        low, high = limits
        losses.set_ylim(low, high)
        if gap is not None:
            gap.set_ylim(*(side * GAP_SHARE * (high - low) / HEADROOM for side in (-1, 1)))


def loss_limits(readings: Sequence[Reading]) -> tuple[float, float] | None:
    """From 0, or the lowest where that is lower, to somewhat above where the curves start; None where nothing is shown.

    Losses may be negative, as those of densities are.
    """
    smoothed = [reading.smoothed for reading in readings if reading.smoothed]
    top = max((curve[0] for curve in smoothed if math.isfinite(curve[0])), default=math.nan)
    least = min((value for curve in smoothed for value in curve if math.isfinite(value)), default=0.0)
    low = 0.0 if least >= 0 else least - FOOTROOM * (top - least)
    return (low, low + HEADROOM * (top - low)) if math.isfinite(top) and top > low else None
