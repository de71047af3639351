"""The picture of a comparison: best so far against cost, one colour a strategy, one line a study."""

from pathlib import Path

from matplotlib.axes import Axes

from lrsearch.compare.comparison import Comparison
from lrsearch.report.canvas import GREY, colors, save
from lrsearch.report.metric import axis, drawn

DASHES = ("-", "--", ":")


def draw_comparison(comparison: Comparison, folder: Path) -> Path:
    """Draw a comparison into a PNG file in a folder."""
    objective = comparison.objective

    def draw(axes: Axes) -> None:
        hues = dict(zip(comparison.strategies, colors(len(comparison.strategies)), strict=True))
        dashes = dict(zip(comparison.strategies, DASHES, strict=False))  # equal courses lie on each other
        for course in comparison.courses:
            points = [*course.points, *([(course.cost, course.best)] if course.best is not None else [])]
            costs, scores = [cost for cost, _ in points], [drawn(objective, score) for _, score in points]
            axes.step(
                costs,
                scores,
                where="post",
                color=hues[course.strategy],
                linewidth=1.8,
                linestyle=dashes.get(course.strategy, "-"),
            )
            axes.plot(costs[:1], scores[:1], "o", color=hues[course.strategy], markersize=4)
        for name, hue in hues.items():
            axes.plot([], [], color=hue, linestyle=dashes.get(name, "-"), label=name)
        if comparison.target is not None:
            axes.axhline(
                drawn(objective, comparison.target),
                color=GREY,
                linestyle=":",
                linewidth=1,
                label=f"reached by all on average: {objective.text(comparison.target)}",
            )
        axes.set(
            xlim=(0, comparison.budget),
            xlabel="cost in full-run equivalents (FRE), probes included",
            ylabel=axis(objective, "best {} so far"),
            title=f"What a search costs, {comparison.task}",
        )
        axes.legend(frameon=False, fontsize=8, loc="upper right" if objective.is_minimized else "lower right")

    return save(folder / "comparison.png", draw)
