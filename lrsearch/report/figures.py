"""Pictures of a search, drawn with matplotlib and without a screen."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lrsearch.heuristics.range_test import centre, read_ramp
from lrsearch.knowledge.recommend import ramp_of
from lrsearch.report.canvas import BLUE, GREEN, GREY, ORANGE, RED, colors, save, wrapped
from lrsearch.report.story import peak_of
from lrsearch.schedules import Policy
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import Trial, best_so_far, searched_in_full, with_role

LADDER = (BLUE, GREEN, ORANGE)
SHADE = "#2463a81c"
PICTURES = ("range-test.png", "response.png", "policy.png", "progress.png")


def draw_search(result: SearchResult, folder: Path) -> list[Path]:
    """Draw the range test, the response over LR, the winning curve and best-so-far against cost; give the files."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = (draw_range_test, draw_response, _draw_winner, draw_progress)
    return [save(folder / name, draw, result) for name, draw in zip(PICTURES, draws, strict=True)]


def draw_range_test(axes: Axes, result: SearchResult) -> None:
    """Training loss over the rising learning rate, each repeat and its smoothed curve, with what was read off."""
    ramps = [ramp_of(trial.stored) for trial in with_role(result.history, "range-test") if trial.stored]
    readings = [read_ramp(ramp, result.setup.rules) for ramp in ramps]
    for ramp, reading in zip(ramps, readings, strict=True):
        axes.plot(ramp.rates, _drawable(ramp.losses), color=GREY, alpha=0.35, linewidth=0.8)
        axes.plot(ramp.rates, _drawable(reading.smoothed), color=BLUE, linewidth=1.6)
    lowest = centre(readings)
    if lowest:
        axes.axvline(lowest, color=ORANGE, linewidth=1.4, label=f"bottom of the smoothed loss: {lowest:.3g}")
    tops = [reading.blown_up for reading in readings if reading.blown_up]
    if tops:
        axes.axvline(min(tops), color=RED, linewidth=1.2, linestyle="--", label=f"blown up: {min(tops):.3g}")
    _shade(axes, result)
    firsts = [reading.smoothed[0] for reading in readings if reading.smoothed and math.isfinite(reading.smoothed[0])]
    start = max(firsts, default=result.setup.task.chance_loss)
    axes.set(xscale="log", ylim=(0, 1.6 * start), xlabel="learning rate", ylabel="training loss",
             title=f"LR range test, {result.setup.task.name}, {len(ramps)} seeds")
    axes.legend(frameon=False, loc="upper left")


def draw_response(axes: Axes, result: SearchResult) -> None:
    """Validation loss of constant learning rates (probes) and of candidates over their peak."""
    def mark(trials: Sequence[Trial], **look: Any) -> None:
        points = [(peak_of(t), t.run.loss) for t in trials if t.run and t.run.loss is not None]
        axes.plot([peak for peak, _ in points], [loss for _, loss in points], linestyle="", **look)

    candidates = with_role(result.history, "candidate")
    mark(with_role(result.history, "decade"), marker="o", color=GREY, markersize=5, label="FIX, short probes")
    for horizon, color, marker in zip(sorted({t.assignment.horizon for t in candidates}), LADDER, "^sD", strict=False):
        here = [t for t in candidates if t.assignment.horizon == horizon]
        mark(here, marker=marker, color=color, markersize=5.5, alpha=0.85, label=f"candidates, {horizon} steps")
    mark(with_role(result.history, "default"), marker="*", color=RED, markersize=13, label="default")
    _shade(axes, result)
    is_drawn = any(len(np.asarray(line.get_ydata())) for line in axes.lines)
    axes.set(xscale="log", yscale="log" if is_drawn else "linear", xlabel="peak learning rate",
             ylabel="validation loss at the end", title=f"Response over learning rate, {result.setup.task.name}")
    axes.legend(frameon=False, fontsize=8)


def draw_progress(axes: Axes, result: SearchResult) -> None:
    """Best validation score of a full-length run so far against everything spent, probes included."""
    horizon = result.setup.task.horizon
    points = best_so_far(result.history, horizon)
    if not points:
        axes.set(title="No full-length run finished")
        return
    costs, scores = [cost for cost, _ in points], [100 * score for _, score in points]
    full = searched_in_full(result.history, horizon)
    every = [100 * t.run.score for t in full if t.run and t.run.score is not None]
    axes.step([*costs, result.cost], [*scores, scores[-1]], where="post", color=BLUE, label="best so far")
    axes.plot(costs, every, "o", color=BLUE, markersize=5, markerfacecolor="white", label="full-length runs")
    axes.axhline(scores[0], color=RED, linewidth=1, linestyle=":", label="the default, first full run")
    margin = max(0.5, max(every) - min(every))
    axes.set_ylim(min(every) - margin, min(100.05, max(every) + margin))
    axes.axvline(result.cost, color=GREY, linewidth=1, label=f"all spent: {result.cost:.2f} FRE")
    axes.set(xlim=(0, result.setup.budget), xlabel="cost in full-run equivalents (FRE)",
             ylabel="best validation top-1 so far, %", title=f"Best so far against cost, {result.setup.task.name}")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_winner(axes: Axes, result: SearchResult) -> None:
    """Learning rates over the run: of a controller, those that it gave in its first full-length run."""
    drawn = list(dict.fromkeys([result.best.policy, result.default.policy]))
    for policy, color in zip(drawn, colors(len(drawn)), strict=True):
        steps, rates = _curve(policy, result)
        axes.plot(steps, rates, color=color, linewidth=1.6, label=wrapped(str(policy), 70))
    axes.set(xlabel="step", ylabel="learning rate", xlim=(0, result.setup.task.horizon),
             title="Learning rate over the run")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _curve(policy: Policy, result: SearchResult) -> tuple[Sequence[float], Sequence[float]]:
    horizon = result.setup.task.horizon
    if not policy.is_controller:
        return range(horizon), policy.curve(horizon).tolist()
    runs = [t.run for t in result.history if t.run and t.assignment.policy == policy and t.run.steps == horizon]
    return [n * runs[0].stride for n in range(len(runs[0].rates))], runs[0].rates


def _shade(axes: Axes, result: SearchResult) -> None:
    peak = result.pruned.space.peak
    label = f"searched peaks: {peak.low:g} to {peak.high:g}"
    axes.axvspan(peak.low, peak.high, color=SHADE, linewidth=0, label=label)


def _drawable(losses: Sequence[float]) -> list[float]:
    return [loss if math.isfinite(loss) else math.nan for loss in losses]
