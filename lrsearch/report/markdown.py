"""Any text as Markdown in which nothing of it is markup."""

import re

LONGEST_TEXT = 300


def code(text: str) -> str:
    """A text as a Markdown code span, in which nothing is markup, and which fits in a table's cell.

    >>> code("TRI(k0=0.1)")
    '`TRI(k0=0.1)`'
    """
    line = one_line(text).replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{space}{line}{space}{fence}"


def escape(text: str) -> str:
    """Escape what Markdown or HTML could read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~$&])", r"\\\1", one_line(text))


def one_line(text: str) -> str:
    """A text without line breaks and control characters, and not too long."""
    return shortened("".join(char if char.isprintable() else " " for char in text).strip(), LONGEST_TEXT)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters; a longer one ends in dots."""
    return text if len(text) <= most else text[: most - 3] + "..."
