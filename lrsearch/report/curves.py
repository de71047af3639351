"""Pictures of policies over a run: their learning rates and momentum, and how two of them differ."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lrsearch.report.canvas import GREY, PURPLE, SIZE, blank, colors, keep, tidy, wrapped
from lrsearch.schedules import Policy
from lrsearch.schedules.function import Floats

LEGEND_LINE = 0.17
"""The height of one line of a legend, in inches."""


def draw_policies(path: Path, policies: Sequence[Policy], steps: int, log: bool = False) -> Path:
    """Draw learning rates over a run, and the momentum below them where a policy carries one."""
    drawn = list(dict.fromkeys(policies))
    hues = colors(len(drawn))
    carrying = [(policy, hue) for policy, hue in zip(drawn, hues, strict=True) if policy.has_momentum]
    figure, axes = stacked(list(map(str, drawn)), panels=2 if carrying else 1)
    plot_lrs(axes[0], [policy.curve(steps) for policy in drawn], log)
    for policy, hue in carrying:
        axes[1].plot(policy.momentum(np.arange(steps)), color=hue, linewidth=1.4)
        axes[1].set(ylabel="momentum")
    return keep(figure, path)


def draw_difference(path: Path, a: Policy, b: Policy, steps: int) -> Path:
    """Draw the learning rates of two policies, and below them how many times the first the second is."""
    figure, axes = stacked([f"A  {a}", f"B  {b}"], panels=2)
    lrs = [policy.curve(steps) for policy in (a, b)]
    plot_lrs(axes[0], lrs)
    ratio = np.divide(lrs[1], lrs[0], out=np.full(steps, np.nan), where=lrs[0] > 0)
    seen = ratio[ratio > 0]
    axes[1].axhline(1, color=GREY, linewidth=1)
    axes[1].plot(ratio, color=PURPLE, linewidth=1.4)
    axes[1].set(ylabel="B / A", yscale="log" if seen.size and seen.max() > 10 * seen.min() else "linear")
    return keep(figure, path)


def stacked(labels: Sequence[str], panels: int) -> tuple[Figure, list[Axes]]:
    """Make panels over the same steps, the first the highest, with a legend below that hides no curve."""
    texts = [wrapped(label, 110) for label in labels]
    lines = sum(text.count("\n") + 1 for text in texts)
    height = SIZE[1] + 1.3 * (panels - 1) + LEGEND_LINE * lines
    figure = blank(SIZE[0] + 1, height, layout="constrained")
    grid = figure.subplots(panels, 1, sharex=True, squeeze=False, height_ratios=[3, *[1] * (panels - 1)])
    axes = [tidy(one) for one in grid[:, 0]]
    axes[-1].set(xlabel="step")
    keys = [Line2D([], [], color=hue, label=text) for hue, text in zip(colors(len(texts)), texts, strict=True)]
    figure.legend(handles=keys, loc="outside lower left", frameon=False, fontsize=8)
    return figure, axes


def plot_lrs(axes: Axes, lrs: Sequence[Floats], log: bool = False) -> None:
    """Plot learning rates over steps; a logarithmic axis leaves out those that are 0."""
    for curve, hue in zip(lrs, colors(len(lrs)), strict=True):
        axes.plot(np.where(curve > 0, curve, np.nan) if log else curve, color=hue, linewidth=1.6)
    steps = max(map(len, lrs))
    axes.set(ylabel="learning rate", xlim=(0, max(steps - 1, 1)))
    if log and any((curve > 0).any() for curve in lrs):
        axes.set(yscale="log")
    else:
        axes.set_ylim(bottom=0)
