"""Output that every command shares: JSON, a console, a labelled line. It loads no other package."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def open_console(*, stderr: bool = False, soft_wrap: bool = True, least_width: int = 0) -> "Console":
    """Open a console that prints text as it stands: brackets in names, paths and errors are no markup, colons no emoji.

    Args:
        stderr: whether it prints on stderr.
        soft_wrap: whether the terminal breaks long lines, and not the console.
        least_width: columns that it has at least, however narrow the terminal.
    """
    from rich.console import Console

    console = Console(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)
    console.width = max(console.width, least_width)
    return console


def labelled(label: str, text: str, width: int = 12) -> "Text":
    """Make a line of a bold label, filled up to a width, and a text."""
    from rich.text import Text

    return Text.assemble((f"{label:<{width}}", "bold"), " ", text)
