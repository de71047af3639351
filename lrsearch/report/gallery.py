"""The whole table of LR functions on one page: a small panel for each, drawn from its example."""

from collections.abc import Mapping, Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lrsearch.report.canvas import GREY, PURPLE, blank, colors, keep, wrapped
from lrsearch.schedules import LRFunction, Policy
from lrsearch.schedules.function import Floats

COLUMNS = 9
PIXELS_PER_INCH = 150
WIDTH, MARGIN, PANEL_WIDTH, PITCH = 16, 0.4, 1.45, 1.73
"""All sizes are in inches."""
TOP, HEADING, NAME, LINE, PANEL, FOOT = 0.68, 0.38, 0.24, 0.135, 0.78, 0.2
CHARACTERS = 29
STEPS = np.arange(130.0)
EXAMPLE = 100
REPORT_EVERY = 5
INK, FAINT = "#22262b", "#d5d8dc"
HUES = [hue for hue in colors(8) if hue not in (GREY, PURPLE)]
"""Families take turns; grey is the loss, purple the momentum."""
LOSS: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 2))}
MOMENTUM: dict[str, Any] = {"color": PURPLE, "linewidth": 0.9}


def draw_gallery(path: Path, table: Mapping[str, LRFunction]) -> Path:
    """Draw every LR function of a table into one PNG file, family by family."""
    return keep(gallery(list(table.values())), path, PIXELS_PER_INCH)


def gallery(functions: Sequence[LRFunction]) -> Figure:
    """Lay out a panel for each LR function, in rows, with its name and parameters above it."""
    rows = rows_of(functions)
    families = list(dict.fromkeys(function.family for function in functions))
    hues = dict(zip(families, cycle(HUES), strict=False))
    firsts = {function.family: function for function in reversed(functions)}
    heads = [HEADING if any(firsts[f.family] is f for f in row) else 0 for row in rows]
    words = [NAME + LINE * max(_parameters(f).count("\n") + 1 for f in row) for row in rows]
    height = TOP + sum(heads) + sum(words) + len(rows) * (PANEL + FOOT)
    figure = blank(WIDTH, height)
    _title(figure, height, functions)
    top = height - TOP
    for row, head, said in zip(rows, heads, words, strict=True):
        bottom = top - head - said - PANEL
        for column, function in enumerate(row):
            left, hue = MARGIN + column * PITCH, hues[function.family]
            at = (left / WIDTH, bottom / height, PANEL_WIDTH / WIDTH, PANEL / height)
            _panel(figure.add_axes(at, label=function.name), function.example, hue)
            inches: dict[str, Any] = {"transform": figure.dpi_scale_trans, "va": "top"}
            figure.text(left, top - head, function.name, fontsize=11, weight="bold", color=hue, **inches)
            figure.text(
                left,
                top - head - NAME + 0.04,
                _parameters(function),
                fontsize=6.9,
                color=INK,
                linespacing=1.15,
                **inches,
            )
            if firsts[function.family] is function:
                figure.text(left, top - 0.08, function.family, fontsize=14, color=hue, **inches)
        top = bottom - FOOT
    return figure


def rows_of(functions: Sequence[LRFunction]) -> list[list[LRFunction]]:
    """Put LR functions into rows: a family that does not fit beside the one before begins a new one.

    A single panel gets no row of its own.
    """
    order = list(dict.fromkeys(function.family for function in functions))
    rows: list[list[LRFunction]] = [[]]
    for _, group in groupby(sorted(functions, key=lambda f: order.index(f.family)), key=lambda f: f.family):
        members = list(group)
        if len(rows[-1]) > 1 and len(rows[-1]) + len(members) > COLUMNS:
            rows.append([])
        for function in members:
            if len(rows[-1]) == COLUMNS:
                rows.append([])
            rows[-1].append(function)
    return rows


def driven(policy: Policy, losses: Floats, every: int, seed: int = 0) -> Floats:
    """The learning rates of a controller that receives the loss every few steps."""
    rng, state = np.random.default_rng(seed), policy.begin()
    lrs = np.empty(len(losses))
    for step, loss in enumerate(losses):
        if step and step % every == 0:
            state = state.after(float(loss), step)
        lrs[step] = state.lr(step, rng.random())
    return lrs


def made_up_loss(t: Floats) -> Floats:
    """A loss that falls, stalls at step 45, and rises a little from step 90 on."""
    falling = 0.25 + 0.75 * np.exp(-np.minimum(t, 45) / 15)
    return falling + 0.004 * np.maximum(t - 90, 0)


def _panel(axes: Axes, policy: Policy, hue: str) -> None:
    """Draw one policy: its learning rate, and its momentum or the loss that it is told."""
    loss = made_up_loss(STEPS)
    lrs = driven(policy, loss, REPORT_EVERY) if policy.is_controller else policy(STEPS)
    highest = float(lrs.max())
    axes.axvline(EXAMPLE, color=FAINT, linewidth=1, zorder=0)
    axes.plot(STEPS, lrs, color=hue, linewidth=1.5, clip_on=False)
    if policy.is_controller:
        axes.plot(STEPS, loss * highest, **LOSS)
    if policy.has_momentum:
        momenta = policy.momentum(STEPS)
        swing = float(np.ptp(momenta)) or 1
        axes.plot(STEPS, highest * (1 - (momenta.max() - momenta) / swing / 2), **MOMENTUM)
    axes.set(xlim=(0, STEPS[-1]), xticks=(), ylim=(0, 1.04 * highest))
    axes.set_yticks((0, highest), ("0", f"{highest:.2g}"), fontsize=7, color=GREY)
    axes.tick_params(length=2, color=GREY, pad=1.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)


def _title(figure: Figure, height: float, functions: Sequence[LRFunction]) -> None:
    figure.text(
        MARGIN,
        height - 0.2,
        f"The {len(functions)} LR functions",
        fontsize=20,
        color=INK,
        va="top",
        transform=figure.dpi_scale_trans,
    )
    keys = [
        Line2D([], [], color=INK, linewidth=1.5, label=f"learning rate over {len(STEPS)} steps"),
        Line2D([], [], color=FAINT, linewidth=1.2, label=f"step {EXAMPLE}, the end of the example"),
        Line2D([], [], label="momentum, on its own scale", **MOMENTUM),
        Line2D([], [], label=f"made-up loss, told to controllers every {REPORT_EVERY} steps", **LOSS),
    ]
    figure.legend(
        handles=keys,
        loc="upper right",
        ncols=4,
        frameon=False,
        fontsize=9,
        bbox_to_anchor=(1 - MARGIN / WIDTH, 1 - 0.12 / height),
    )


def _parameters(function: LRFunction) -> str:
    return wrapped(str(function.example)[len(function.name) + 1 : -1], CHARACTERS)
