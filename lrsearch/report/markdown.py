"""Any text as Markdown in which nothing of it is markup."""

import re

LONGEST_TEXT = 300


def code(text: str) -> str:
    """Give any text as a Markdown code span, in which nothing is markup, that also fits in a table's cell.

    >>> code("TRI(k0=0.1)")
    '`TRI(k0=0.1)`'
    """
    plain = one_line(text).replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if plain.startswith("`") or plain.endswith("`") or not plain else ""
    return f"{fence}{space}{plain}{space}{fence}"


def escape(text: str) -> str:
    """Escape what Markdown or HTML could read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~$&])", r"\\\1", one_line(text))


def one_line(text: str) -> str:
    """Give a text without line breaks and control characters, and not too long."""
    return shortened("".join(char if char.isprintable() else " " for char in text).strip(), LONGEST_TEXT)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters; a longer one ends in dots."""
    return text if len(text) <= most else text[: most - 3] + "..."
