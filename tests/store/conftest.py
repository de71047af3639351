"""A store on SQLite and on a real PostgreSQL."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrsearch.store import Store, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[str], str]) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return postgres(hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url) as opened:
        assert opened._engine.dialect.name == url.split(":")[0].split("+")[0]
        yield opened
