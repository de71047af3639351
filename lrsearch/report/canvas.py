"""What every picture is drawn on: colours, clean axes, PNG files; matplotlib without a screen."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrsearch.errors import OutputError

BLUE, ORANGE, GREEN, GREY, RED, PURPLE = "#2463a8", "#d9822b", "#3a8f5c", "#8a8f98", "#b5403a", "#6b4fa0"
PIXELS_PER_INCH = 130
SIZE = (7.5, 4.3)


def blank(width: float, height: float, **how: Any) -> Figure:
    """An empty figure of a size in inches."""
    figure = Figure(figsize=(width, height), **how)
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> Axes:
    """Draw a light grid and no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    return axes


def keep(figure: Figure, path: Path, pixels_per_inch: int = PIXELS_PER_INCH, description: str = "") -> Path:
    """Keep a figure as a PNG file, which can carry a description; its folder is made.

    Raises:
        OutputError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=pixels_per_inch, metadata={"Description": description} if description else None)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; give another file") from None
    return path


def save(path: Path, draw: Callable[..., None], *what: Any, description: str = "") -> Path:
    """Let a function draw something on axes, and keep the picture as a PNG file."""
    figure = blank(*SIZE, layout="constrained")
    draw(tidy(figure.add_subplot()), *what)
    return keep(figure, path, description=description)


def colors(count: int) -> list[str]:
    """As many colours as there are lines."""
    cycle = (BLUE, ORANGE, GREEN, RED, GREY, PURPLE, "#4a9aa8", "#a8894a")
    return [cycle[i % len(cycle)] for i in range(count)]


def wrapped(text: str, width: int, lines: int = 4) -> str:
    r"""Break a long text into lines at its spaces; what is too long even so ends in dots.

    >>> wrapped("TRI(k0=0.001, k1=0.006, l=2000)", 20)
    'TRI(k0=0.001,\nk1=0.006, l=2000)'
    """
    return textwrap.fill(text, width, max_lines=lines, placeholder=" ...", break_on_hyphens=False)
