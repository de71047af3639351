"""The picture of a table of policies: what was measured beside what was published."""

from pathlib import Path

from matplotlib.axes import Axes

from lrsearch.compare.reproduction import Results
from lrsearch.report.canvas import BLUE, GREY, ORANGE, blank, keep, tidy, wrapped
from lrsearch.report.metric import axis, drawn
from lrsearch.runs import Objective
from lrsearch.runs.objective import TOP1
from lrsearch.words import counted

ROW_HEIGHT = 0.42
TEXT_WIDTH = 52
BESIDE = 0.25


def draw_results(results: Results, folder: Path) -> Path:
    """Draw the scores of all policies into a PNG file in a folder, the best on top."""
    figure = blank(9.0, 1.6 + ROW_HEIGHT * len(results.outcomes), layout="constrained")
    _draw(tidy(figure.add_subplot()), results)
    return keep(figure, folder / "table.png")


def _draw(axes: Axes, results: Results) -> None:
    objective = results.table.task.objective
    has_published = objective.name == TOP1 and any("top1" in outcome.row.published for outcome in results.outcomes)
    ranked = sorted(results.outcomes, key=lambda outcome: (bool(outcome.scores), -objective.cost(outcome.mean)))
    for place, outcome in enumerate(ranked):
        scores = [drawn(objective, score) for score in outcome.scores]
        axes.plot(scores, [place] * len(scores), "o", color=BLUE, markersize=4, alpha=0.45)
        axes.plot([drawn(objective, outcome.mean)], [place], "|", color=BLUE, markersize=16, markeredgewidth=2)
        if not scores:
            axes.text(
                0.02,
                place,
                "diverged" if outcome.runs else "not trained",
                va="center",
                fontsize=8,
                color=GREY,
                transform=axes.get_yaxis_transform(),
            )
        if has_published and "top1" in outcome.row.published:
            axes.errorbar(
                [outcome.row.published["top1"]],
                [place - BESIDE],
                fmt="D",
                color=ORANGE,
                markersize=5,
                xerr=[outcome.row.published.get("spread", 0)],
                capsize=3,
            )
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    axes.set_yticks(
        range(len(ranked)), [wrapped(str(outcome.row.policy), TEXT_WIDTH, 2) for outcome in ranked], fontsize=7.5
    )
    axes.plot([], [], "o", color=BLUE, markersize=4, alpha=0.45, label="measured, a run each")
    axes.plot([], [], "|", color=BLUE, markersize=12, markeredgewidth=2, label="measured, mean")
    if has_published:
        axes.plot([], [], "D", color=ORANGE, markersize=5, label="published, with its standard deviation")
    axes.set_xlabel(_label(results, objective), color=GREY, fontsize=8)
    steps = counted(results.table.task.horizon, "step")
    axes.set_title(f"{results.table.name}: {results.table.task.name}, {steps}", fontsize=10)
    axes.figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)


def _label(results: Results, objective: Objective) -> str:
    """What the scores are: of a classification as its protocol says."""
    metric = results.table.task.description.get("metric")
    return axis(objective) if metric is None else f"{metric.split(',')[0]}, %"
