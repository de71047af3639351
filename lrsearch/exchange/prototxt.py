"""The prototxt of a Caffe solver: the values at its top level, in protobuf's text format."""

import re
from collections.abc import Iterator

from lrsearch.errors import PolicyError
from lrsearch.exchange.numbers import number, whole
from lrsearch.words import counted

TOKEN = re.compile(
    r"""[\s,;]*(?:#[^\n]*|(?P<string>"[^"\n]*"|'[^'\n]*')|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[:{}\[\]<>]))"""
)
NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?[fF]?")
"""Protobuf's decimal numbers; octal and hexadecimal numbers are refused, since 010 would be 8."""
OPEN = {"{": "}", "<": ">"}
Fields = dict[str, list[str]]


def fields_of(text: str) -> Fields:
    """The values of each key at the top level, in order; messages inside are skipped."""
    fields: Fields = {}
    tokens = _tokens(text)
    for token in tokens:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", token):
            raise PolicyError(
                f"expected a key, found {token[:40]!r}: a solver prototxt has lines such as base_lr: 0.01"
            )
        value = _next(tokens, token)
        if value == ":":
            value = _next(tokens, token)
        elif value not in OPEN:
            raise PolicyError(f"expected ':' after {token[:40]!r}, found {value[:40]!r}")
        if value in OPEN:
            _skip(tokens, value, token)
        elif value == "[":
            fields.setdefault(token, []).extend(_listed(tokens, token))
        elif value in ":}]>":
            raise PolicyError(f"{token[:40]!r} has no value, found {value!r}")
        else:
            fields.setdefault(token, []).append(value)
    return fields


def _tokens(text: str) -> Iterator[str]:
    position, end = 0, len(text.rstrip(" \t\r\n,;"))
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            raise PolicyError(f"cannot read {text[position : position + 30].strip()!r} in the prototxt")
        position = match.end()
        if match.lastgroup:
            yield match[match.lastgroup]


def _next(tokens: Iterator[str], key: str) -> str:
    piece = next(tokens, None)
    if piece is None:
        raise PolicyError(f"the prototxt ends after {key[:40]!r}")
    return piece


def _listed(tokens: Iterator[str], key: str) -> list[str]:
    items: list[str] = []
    while (piece := _next(tokens, key)) != "]":
        items.append(piece)
    return items


def _skip(tokens: Iterator[str], opened: str, key: str) -> None:
    closing = [OPEN[opened]]
    while closing:
        piece = _next(tokens, key)
        if piece in OPEN:
            closing.append(OPEN[piece])
        elif piece == closing[-1]:
            closing.pop()
        elif piece in "}>":
            raise PolicyError(f"{piece!r} inside {key[:40]!r} closes nothing")


def single(fields: Fields, key: str) -> str:
    """The value of a key that must be there exactly once.

    >>> single(fields_of("gamma: 0.1 test { gamma: 5 }"), "gamma")
    '0.1'
    """
    values = fields.get(key, [])
    if len(values) != 1:
        raise PolicyError(f"{key} must be given once, found {counted(len(values), 'time')}")
    return values[0]


def number_of(text: str, key: str) -> float:
    """A value as a number.

    >>> number_of(".5f", "gamma")
    0.5
    """
    if not NUMBER.fullmatch(text):
        raise PolicyError(f"{key} must be a number, got {text[:40]!r}")
    return number(float(text.rstrip("fF")), key)


def number_at(fields: Fields, key: str, default: float | None = None) -> float:
    """The number of a key; its default, if any, where the key is missing."""
    if default is not None and key not in fields:
        return default
    return number_of(single(fields, key), key)


def whole_at(fields: Fields, key: str, default: int | None = None) -> int:
    """The whole number of a key: 1 or more, or 0 or more where it has a default."""
    return whole(number_at(fields, key, default), key, least=1 if default is None else 0)
