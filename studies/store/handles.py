"""Is a store as durable as it says, and does it give back what it takes?"""

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
    """Read back what each of three connections of a store was set to."""
    with open_store(databases.new()) as store:
        connections = [store._engine.raw_connection() for _ in range(3)]
        found = [{asked: _ask(connection, asked) for asked in SETTINGS[databases.kind]} for connection in connections]
        for connection in connections:
            connection.close()
    return {
        "connections": len(found),
        "as_they_should": sum(each == SETTINGS[databases.kind] for each in found),
        "found": found[0],
    }


def cycles(databases: Databases, count: int) -> dict[str, Any]:
    """Open a store, read it and close it, again and again."""
    url = databases.new()
    _cycle(url)
    before = _held()
    for _ in range(count):
        _cycle(url)
    after = _held()
    return {"cycles": count, **{f"{name}_left": after[name] - before[name] for name in before}}


def _ask(connection: Any, asked: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(asked)
    ((said,),) = cursor.fetchall()
    cursor.close()
    return said


def _cycle(url: str) -> None:
    with open_store(url) as store:
        assert store.runs(limit=1) == []


def _held() -> dict[str, int]:
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "tasks": len(list(Path("/proc/self/task").iterdir())),
    }
