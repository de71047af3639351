"""JSON values as stores and bundles hold them: one text, digests, numbers that are not finite, names."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from lrsearch.errors import StoreError

LONGEST_NAME = 1000
"""Bytes of a name: a rule, so that every database can index it."""
LARGEST = 2**63 - 1
"""The largest integer column of SQLite and PostgreSQL."""


def float_to_json(value: float | None) -> float | str | None:
    """A number for JSON, which has no NaN and no infinity: those are the texts "nan", "inf" and "-inf"."""
    return value if value is None or math.isfinite(value) else kind_of(value)


def float_from_json(value: float | str | None) -> float | None:
    """Read a number that `float_to_json` wrote."""
    return None if value is None else float(value)


def kind_of(value: float | None) -> str:
    """The kind of a value: "finite", "inf", "-inf", "nan" or "none"."""
    if value is None:
        return "none"
    return "finite" if math.isfinite(value) else str(float(value))


def finite(value: float | None) -> float | None:
    """The value if it is finite, else None."""
    return value if value is not None and math.isfinite(value) else None


def canonical(values: Any) -> str:
    """The one JSON text of JSON values: sorted names, no spaces, no NaN. Stores and bundles hold this text."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(values: Any) -> str:
    """The digest of JSON values: 16 hex digits of SHA-256."""
    return hashlib.sha256(canonical(values).encode()).hexdigest()[:16]


def seal(row: Mapping[str, Any]) -> str:
    """The digest of a table's row: of all columns except `digest` and `id`, a number that the database assigns."""
    return digest({name: value for name, value in row.items() if name not in ("digest", "id")})


def check_name(what: str, name: Any) -> str:
    """Return the name if every database can hold it.

    Raises:
        StoreError: if not; the message says why.
    """
    try:
        length = len(name.encode()) if isinstance(name, str) and name.strip() and "\0" not in name else 0
    except UnicodeEncodeError:
        raise StoreError(f"{what} has half of a character in it: {name[:40]!r}") from None
    if not 0 < length <= LONGEST_NAME:
        raise StoreError(f"{what} is a text of 1 to {LONGEST_NAME:,} bytes without NUL, got {str(name)[:40]!r}")
    return str(name)
