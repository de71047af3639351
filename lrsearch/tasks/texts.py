"""Texts that come with Python: what small language models learn from, without a download."""

import hashlib
import sysconfig
from functools import cache
from pathlib import Path

from lrsearch.errors import DataError

MODULES = (
    "argparse",
    "ast",
    "calendar",
    "configparser",
    "datetime",
    "decimal",
    "difflib",
    "doctest",
    "fractions",
    "inspect",
    "ipaddress",
    "locale",
    "mailbox",
    "optparse",
    "pathlib",
    "pickletools",
    "shutil",
    "statistics",
    "tarfile",
    "turtle",
    "typing",
    "zipfile",
)
"""Modules of the standard library whose sources are the text `code`; those that a version lacks are left out."""
LENGTH = 400_000
"""Characters of a text, a rule: in Python 3.11.7 the manual has 465,048 and the sources 1,677,322."""
TEXTS = ("manual", "code")


@cache
def read_text(name: str) -> str:
    """A text: "manual", Python's reference manual, or "code", sources of its standard library.

    Raises:
        DataError: if this Python has no such text.
    """
    text = _manual() if name == "manual" else _code()
    if len(text) < LENGTH:
        raise DataError(
            f"this Python lacks the {name} that comes with it, and a task learns from it: install the whole standard"
            " library"
        )
    return text[:LENGTH]


def _manual() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return ""
    return "\n".join(topics[name] for name in sorted(topics))


def _code() -> str:
    folder = Path(sysconfig.get_path("stdlib"))
    files = (folder / f"{name}.py" for name in MODULES)
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())


def text_digest(name: str) -> str:
    """The digest of a text: 8 hex digits. It differs from one version of Python to another."""
    return hashlib.sha256(read_text(name).encode()).hexdigest()[:8]
