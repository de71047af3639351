"""Pictures of a search, drawn with matplotlib and without a screen."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lrsearch.heuristics.range_test import range_test_optimum, read_ramp
from lrsearch.recommendation.recommend import ramp_of
from lrsearch.report.canvas import BLUE, GREEN, GREY, ORANGE, RED, save, wrapped
from lrsearch.report.metric import axis, drawn
from lrsearch.report.range_test import loss_limits
from lrsearch.report.response import response_of
from lrsearch.report.summary import answer_trial, full_runs, headline, judged, peak_of, score_text
from lrsearch.runs import OWN, Objective
from lrsearch.runs.roles import Role
from lrsearch.schedules import Policy
from lrsearch.store import Trial
from lrsearch.study.decision import Answer, is_result
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import best_so_far, with_role
from lrsearch.words import counted

LADDER = (BLUE, GREEN, ORANGE)
DEFAULT, BEST, INK = "#b8580a", "#0b5cad", "#23272e"
FULL_RUN_MARKS = ((DEFAULT, False), (DEFAULT, True), (BEST, False), (BEST, True))
"""(colour, whether it is filled), in the order of `full_runs`: filled for fresh seeds, which decide."""
SHADE = "#2463a81c"
MARGIN, FULL, LEAST_MARGIN = 1.6, 100.4, 0.1
PICTURES = ("range-test.png", "response.png", "policy.png", "progress.png")


def draw_search(result: SearchResult, folder: Path) -> list[Path]:
    """Draw the range test, the response over LR, the answer's curve and full runs against cost; give the files.

    Each carries the verdict as its description. Pictures that are there and say this verdict stay as they are, unless
    this start has trained more.
    """
    files = [folder / name for name in PICTURES]
    if not result.spent.trained_runs and all(_says(path, result.verdict) for path in files):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    draws = (draw_range_test, draw_response, draw_policies, draw_progress)
    return [save(path, draw, result, description=result.verdict) for path, draw in zip(files, draws, strict=True)]


def _says(path: Path, verdict: str) -> bool:
    """Whether a picture exists and shows this verdict: a PNG file keeps its description as plain text."""
    return path.is_file() and verdict.encode("latin-1", "replace") in path.read_bytes()


def draw_range_test(axes: Axes, result: SearchResult) -> None:
    """Training loss over the rising learning rate, each repeat and its smoothed curve, with what was read off."""
    ramps = [ramp_of(trial.stored) for trial in with_role(result.history, Role.RANGE_TEST) if trial.stored]
    readings = [read_ramp(ramp, result.setup.rules) for ramp in ramps]
    for ramp, reading in zip(ramps, readings, strict=True):
        axes.plot(ramp.lrs, _drawable(ramp.losses), color=GREY, alpha=0.35, linewidth=0.8)
        axes.plot(ramp.lrs, _drawable(reading.smoothed), color=BLUE, linewidth=1.6)
    lowest = range_test_optimum(readings)
    if lowest:
        axes.axvline(lowest, color=ORANGE, linewidth=1.4, label=f"bottom of the smoothed loss: {lowest:.3g}")
    tops = [reading.blown_up for reading in readings if reading.blown_up]
    if tops:
        axes.axvline(min(tops), color=RED, linewidth=1.2, linestyle="--", label=f"blown up: {min(tops):.3g}")
    _shade(axes, result)
    low, high = loss_limits(readings) or (0, MARGIN * (result.setup.task.chance_loss or 1.0))
    axes.set(
        xscale="log",
        ylim=(low, high),
        xlabel="learning rate",
        ylabel="training loss",
        title=f"LR range test, {result.setup.task.name}, {counted(len(ramps), 'seed')}",
    )
    if ramps and not any(reading.smoothed for reading in readings):
        axes.text(0.5, 0.5, "the training logs no train_loss", ha="center", color=GREY, transform=axes.transAxes)
    axes.legend(frameon=False, loc="upper left")


def draw_response(axes: Axes, result: SearchResult) -> None:
    """How constant learning rates (probes) and candidates did over their peak: see `Response`."""
    candidates, default = with_role(result.history, Role.CANDIDATE), with_role(result.history, Role.DEFAULT)
    probes, answer = with_role(result.history, Role.CONSTANT_LR), answer_trial(result)
    response = response_of(result.setup.task, [*probes, *candidates, *default])

    def mark(trials: Sequence[Trial], **style: Any) -> None:
        points = [(peak_of(trial), place) for trial in trials if (place := response.place(trial)) is not None]
        axes.plot([peak for peak, _ in points], [place for _, place in points], linestyle="", **style)

    mark(probes, marker="o", color=GREY, markersize=5, label="FIX, short probes")
    for horizon, color, marker in zip(sorted({t.horizon for t in candidates}), LADDER, "^sD", strict=False):
        rung = [t for t in candidates if t.horizon == horizon]
        label = f"candidates, {counted(horizon, 'step')}"
        mark(rung, marker=marker, color=color, markersize=5.5, alpha=0.85, label=label)
    mark(default, marker="*", color=DEFAULT, markersize=13, label="default")
    mark(
        [answer] if answer else [],
        marker="o",
        color=INK,
        markersize=17,
        markerfacecolor="none",
        markeredgewidth=1.6,
        label=judged(result.decision)[0][0],
    )
    lost = [trial for trial in (*probes, *candidates, *default) if is_result(trial) and response.place(trial) is None]
    if lost and result.setup.task.trainer == OWN:
        axes.plot(
            list(map(peak_of, lost)),
            [response.edge] * len(lost),
            "x",
            color=RED,
            markersize=6,
            label="diverged, or far worse",
        )
    _shade(axes, result)
    is_drawn = any(len(np.asarray(line.get_ydata())) for line in axes.lines)
    axes.set(
        xscale="log",
        yscale="log" if is_drawn and response.is_log else "linear",
        xlabel="peak learning rate",
        ylabel=_literal(response.label),
        title=f"Response over learning rate\n{headline(result)}",
    )
    axes.legend(frameon=False, fontsize=8)


def draw_progress(axes: Axes, result: SearchResult) -> None:
    """Scores of full runs against everything spent, probes included: open ones chose, filled ones decide."""
    runs, objective = full_runs(result), result.decision.objective
    scores = {
        name: [
            (cost, drawn(objective, trial.run.score))
            for cost, trial in some
            if trial.run and trial.run.score is not None
        ]
        for name, some in runs.items()
    }
    every = [score for some in scores.values() for _, score in some]
    if not every:
        axes.set(title=f"No full-length run finished\n{headline(result)}")
        return
    points = best_so_far(result.history, result.setup.task.horizon, objective)
    if points:
        costs, bests = [cost for cost, _ in points], [drawn(objective, score) for _, score in points]
        axes.step(
            [*costs, result.cost],
            [*bests, bests[-1]],
            where="post",
            color=GREY,
            linewidth=1,
            label="best so far by the search's seed",
        )
    for (name, some), (color, is_filled) in zip(scores.items(), FULL_RUN_MARKS, strict=True):
        if some:
            axes.plot(
                [cost for cost, _ in some],
                [score for _, score in some],
                "o",
                color=color,
                markersize=6.5,
                markerfacecolor=color if is_filled else "white",
                label=name,
            )
    if result.best.score is not None:
        axes.axhline(
            drawn(objective, result.best.score),
            color=_color(result, result.best),
            linewidth=1.2,
            linestyle="--",
            label=_legend(*judged(result.decision)[0], objective),
        )
    axes.set_ylim(*_limits(every, objective))
    axes.axvline(result.cost, color=GREY, linewidth=1, linestyle=":", label=f"all spent: {result.cost:.2f} FRE")
    axes.set(
        xlim=(0, 1.02 * result.setup.budget),
        xlabel="cost in full-run equivalents (FRE)",
        ylabel=_literal(axis(objective)),
        title=f"Full runs against cost\n{headline(result)}",
    )
    axes.legend(frameon=False, fontsize=7, loc="upper left" if objective.is_minimized else "lower left")


def _limits(scores: Sequence[float], objective: Objective) -> tuple[float, float]:
    """Room above and below for the legend; a share ends a little above 100 %."""
    low, high = min(scores), max(scores)
    if objective.is_share:
        margin = max(0.5, high - low)
        return low - margin, min(FULL, high + margin)
    margin = (high - low) or LEAST_MARGIN * abs(high) or LEAST_MARGIN
    return low - margin, high + margin


def _literal(label: str) -> str:
    """Keep a metric's name from being read as a formula."""
    return label.replace("$", r"\$")


def draw_policies(axes: Axes, result: SearchResult) -> None:
    """Learning rates over the run, the answer's thicker: of a controller, those of its first full-length run."""
    for label, answer in judged(result.decision):
        steps, lrs = _curve(answer.policy, result)
        axes.plot(
            steps,
            lrs,
            color=_color(result, answer),
            linewidth=2.6 if answer is result.best else 1.2,
            label=_legend(label, answer, result.decision.objective),
        )
    axes.set(
        xlabel="step",
        ylabel="learning rate",
        xlim=(0, result.setup.task.horizon),
        title=f"Learning rate over the run\n{headline(result)}",
    )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _color(result: SearchResult, answer: Answer) -> str:
    return DEFAULT if answer.policy == result.default.policy else BEST


def _legend(label: str, answer: Answer, objective: Objective) -> str:
    return _literal(wrapped(f"{label}: {answer.policy}, {score_text(answer, objective)}", 70))


def _curve(policy: Policy, result: SearchResult) -> tuple[Sequence[float], Sequence[float]]:
    horizon = result.setup.task.horizon
    if not policy.is_controller:
        return range(horizon), policy.curve(horizon).tolist()
    runs = [t.run for t in result.history if t.run and t.policy == policy and t.run.steps == horizon]
    return [n * runs[0].stride for n in range(len(runs[0].lrs))], runs[0].lrs


def _shade(axes: Axes, result: SearchResult) -> None:
    peak = result.pruned.space.peak
    label = f"searched peaks: {peak.low:g} to {peak.high:g}"
    axes.axvspan(peak.low, peak.high, color=SHADE, linewidth=0, label=label)


def _drawable(losses: Sequence[float]) -> list[float]:
    return [loss if math.isfinite(loss) else math.nan for loss in losses]
