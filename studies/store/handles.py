"""Whether a store's connections are durable, and whether it closes all files and threads."""

import threading
from pathlib import Path
from typing import Any

from made import Databases

from lrsearch.store import open_store

SETTINGS = {
    "sqlite": {
        "PRAGMA synchronous": 2,
        "PRAGMA foreign_keys": 1,
        "PRAGMA journal_mode": "delete",
        "PRAGMA busy_timeout": 60_000,
    },
    "postgresql": {"SHOW synchronous_commit": "on", "SHOW fsync": "on"},
}


def settings(databases: Databases) -> dict[str, Any]:
    """Read the settings of three connections of a store."""
    with open_store(databases.new()) as store:
        connections = [store._engine.raw_connection() for _ in range(3)]
        names = SETTINGS[databases.kind]
        values = [{name: _setting(connection, name) for name in names} for connection in connections]
        for connection in connections:
            connection.close()
    return {
        "connections": len(values),
        "as_they_should": sum(each == SETTINGS[databases.kind] for each in values),
        "found": values[0],
    }


def cycles(databases: Databases, count: int) -> dict[str, Any]:
    """Open a store, read it and close it, again and again."""
    url = databases.new()
    _cycle(url)
    before = _open_handles()
    for _ in range(count):
        _cycle(url)
    after = _open_handles()
    return {"cycles": count, **{f"{name}_left": after[name] - before[name] for name in before}}


def _setting(connection: Any, query: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(query)
    ((value,),) = cursor.fetchall()
    cursor.close()
    return value


def _cycle(url: str) -> None:
    with open_store(url) as store:
        assert store.runs(limit=1) == []


def _open_handles() -> dict[str, int]:
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "tasks": len(list(Path("/proc/self/task").iterdir())),
    }
