"""Optimisation paths on a two-dimensional loss surface: figure 1 of the LRBench paper (Wu et al. 2019), for teaching.

The surface has two steep trenches beside a ridge of shallow hills:

    f(x, y) = -sin(x^2) cos(3 y^2) exp(-(x y)^2) - 2.5 exp(-(x + y)^2) - g(1, -0.5, 0.25) - g(-1, 0.5, 0.2)

with g(a, b, s) = exp(-((x - a)^2 + (y - b)^2) / 2s^2) / (2 pi s^2).

The authors' notebook has Nesterov momentum 0.9 over 50 steps; with the paper's parameters over 200 steps that throws
NSTEP and TRIEXP off the surface. Plain SGD stays on it, and is what is drawn here unless asked otherwise. FIX ends in
the shallower trench, NSTEP at the bottom of the deeper one; TRIEXP bounces in that, and where it stops is chaos:
another rounding gives another place.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from lrsearch.report.canvas import blank, colors, keep, tidy, wrapped
from lrsearch.schedules import Policy, parse
from lrsearch.schedules.function import Floats
from lrsearch.words import counted

START = (0.75, 1.0)
EDGE = 1.5
STEPS = 200
TRENCHES = ((1.0, -0.5, 0.25), (-1.0, 0.5, 0.2))
PAPER = tuple(
    map(
        parse,
        ("FIX(k0=0.025)", "NSTEP(k0=0.05, gamma=0.1, l=[150, 180])", "TRIEXP(k0=0.05, k1=0.3, gamma=0.94, l=100)"),
    )
)
"""The three policies of the figure."""


def loss(x: Floats, y: Floats) -> Floats:
    """The height of the surface.

    >>> float(loss(np.array(0.75), np.array(1.0)).round(4))
    0.1839
    """
    hills = -np.sin(x**2) * np.cos(3 * y**2) * np.exp(-((x * y) ** 2)) - 2.5 * np.exp(-((x + y) ** 2))
    height: Floats = hills - sum(_trench(x, y, *trench) for trench in TRENCHES)
    return height


def slope(x: Floats, y: Floats) -> Floats:
    """The gradient of the surface, shape (2, ...)."""
    wave, dip = np.exp(-((x * y) ** 2)), np.exp(-((x + y) ** 2))
    sine, cosine = np.sin(x**2), np.cos(3 * y**2)
    valley = 5 * (x + y) * dip
    across = -2 * x * np.cos(x**2) * cosine * wave + 2 * x * y**2 * sine * cosine * wave + valley
    along = 6 * y * sine * np.sin(3 * y**2) * wave + 2 * x**2 * y * sine * cosine * wave + valley
    for a, b, s in TRENCHES:
        depth = _trench(x, y, a, b, s) / s**2
        across, along = across + (x - a) * depth, along + (y - b) * depth
    return np.stack([across, along])


def _trench(x: Floats, y: Floats, a: float, b: float, s: float) -> Floats:
    depth: Floats = np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) / (2 * np.pi * s**2)
    return depth


def descend(policy: Policy, steps: int = STEPS, momentum: float = 0, start: tuple[float, float] = START) -> Floats:
    """Go down the surface by SGD with Nesterov momentum, the policy's where it has one: places, shape (steps + 1, 2).

    Where the steps throw it off to infinity, it stays at the last place that is a place.

    >>> descend(PAPER[0], 200).shape
    (201, 2)
    """
    lrs = policy.curve(steps)
    momenta = policy.momentum(np.arange(steps)) if policy.has_momentum else np.full(steps, momentum)
    places, velocity = np.empty((steps + 1, 2)), np.zeros(2)
    places[0] = start
    with np.errstate(all="ignore"):
        for step, (lr, kept) in enumerate(zip(lrs, momenta, strict=True)):
            gradient = slope(*places[step])
            velocity = kept * velocity + gradient
            moved = places[step] - lr * (gradient + kept * velocity)
            places[step + 1] = moved if np.all(np.isfinite(moved)) else places[step]
    return places


def draw_paths(path: Path, policies: Sequence[Policy] = PAPER, steps: int = STEPS, momentum: float = 0) -> Path:
    """Draw the surface with the paths on it, and the learning rates below, into a PNG file."""
    figure = blank(7.5, 9.2, layout="constrained")
    surface, lrs = figure.subplots(2, 1, height_ratios=[3.2, 1])
    side = np.linspace(-EDGE, EDGE, 301)
    x, y = np.meshgrid(side, side)
    filled = surface.contourf(x, y, loss(x, y), levels=40, cmap="Greys_r", alpha=0.75)
    figure.colorbar(filled, ax=surface, label="loss", shrink=0.7)
    for policy, hue in zip(policies, colors(len(policies)), strict=True):
        _draw_path(surface, policy, descend(policy, steps, momentum), hue)
        lrs.plot(policy.curve(steps), color=hue, linewidth=1.5)
    surface.plot(*START, "o", color="white", markeredgecolor="black", markersize=8, label="start")
    surface.set(
        xlim=(-EDGE, EDGE),
        ylim=(-EDGE, EDGE),
        aspect="equal",
        xlabel="x",
        ylabel="y",
        title=f"{counted(steps, 'step')} of SGD" + (f", Nesterov momentum {momentum:g}" if momentum else ""),
    )
    surface.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False, fontsize=8)
    tidy(lrs).set(xlabel="step", ylabel="learning rate", xlim=(0, steps), ylim=(0, None))
    return keep(figure, path)


def _draw_path(axes: Axes, policy: Policy, places: Floats, hue: str) -> None:
    end = places[-1]
    said = f"ends at loss {float(loss(*end)):.2f}" if np.all(np.abs(end) <= EDGE) else "leaves the picture"
    axes.plot(
        places[:, 0],
        places[:, 1],
        color=hue,
        linewidth=1,
        marker=".",
        markersize=3,
        alpha=0.8,
        label=f"{wrapped(str(policy), 70)}  {said}",
    )
    axes.plot(*end, "X", color=hue, markeredgecolor="white", markersize=10)
