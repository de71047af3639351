"""The option `--set KEY=VALUE`, and `--try KEY=VALUE,VALUE`: plain values of a user's own training."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from lrsearch.cli.options import split_names
from lrsearch.errors import UsageError

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        show_default=False,
        help="A setting of a training of your own, JSON or text; may be given again.",
    ),
]
Tries = Annotated[
    list[str] | None,
    typer.Option(
        "--try",
        metavar="KEY=VALUE,VALUE",
        show_default=False,
        help="A setting of a training of your own, and its values to compare; may be given again.",
    ),
]


def read_settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """Read settings: values that are JSON as JSON, all others as texts.

    >>> read_settings(["decay=1e-2", "amp=true", "model=small", "shape=[1, 2]"])
    {'decay': 0.01, 'amp': True, 'model': 'small', 'shape': [1, 2]}
    """
    return {name: _value(text) for name, text in _pairs("--set", "decay=0.1", texts).items()}


def read_tries(texts: Sequence[str] | None) -> dict[str, list[Any]]:
    """Read settings with the values to compare, between commas that are outside of brackets.

    >>> read_tries(["decay=1e-2,1e-1", "model=small,large"])
    {'decay': [0.01, 0.1], 'model': ['small', 'large']}
    """
    pairs = _pairs("--try", "decay=0.01,0.1", texts)
    return {name: [_value(one) for one in split_names(text)] for name, text in pairs.items()}


def _pairs(option: str, example: str, texts: Sequence[str] | None) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} takes a name and a value, as {option} {example}, got {text[:80]!r}")
        if name.strip() in values:
            raise UsageError(f"{option} gives {name.strip()!r} twice")
        values[name.strip()] = value.strip()
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
