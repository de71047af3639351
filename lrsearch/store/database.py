"""Opening a database as a store: SQLite by default, PostgreSQL by URL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.orm import InstrumentedAttribute, Session

from lrsearch.errors import StoreAwayError, StoreError
from lrsearch.store.mounts import ON_NETWORK, refused_type
from lrsearch.store.schema import SCHEMA_VERSION, Base, SchemaRow
from lrsearch.store.values import canonical

SQLITE_MAGIC = b"SQLite format 3\x00"
BUSY_SECONDS = 60
"""Seconds to wait for a lock or a server: a rule, longer than any transaction of a store."""
MALFORMED = ("malformed", "not a database", "codec can't decode", "corrupt")
"""Words of SQLite's messages about a damaged file."""
AWAY = (OperationalError, NoConnectionError, sqlite3.OperationalError)
"""Errors of a database that is away for now, or whose connections are all in use."""
NEIGHBOURS = {"alembic_version", "version_info"}
"""Tables of programs that may share a database with a store: Optuna, MLflow."""


def read_url(url: str) -> URL:
    """Read a store's URL, or the path of an SQLite file.

    Raises:
        StoreError: if it is neither, or a URL of another kind of database.
    """
    try:
        parsed = make_url(url if "://" in url else f"sqlite:///{url}")
    except ArgumentError:
        raise StoreError(f"a store is a file or a URL such as sqlite:///lr.db, got {url[:40]!r}") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"a store lives in SQLite or PostgreSQL, not in {parsed.get_backend_name()}")
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def connect(url: URL, patience: float = BUSY_SECONDS) -> Engine:
    """Connect to a database that is a store, or that may become one.

    Args:
        url: of the database.
        patience: seconds to wait for a lock on a file, or for a server.

    Raises:
        StoreError: if it is another program's database, or has a newer schema. Nothing is written then.
        StoreAwayError: if it cannot be reached.
    """
    engine = _sqlite(url, patience) if url.get_backend_name() == "sqlite" else _postgresql(url, patience)
    with transaction(engine, url, "cannot be opened as a store: ", reads=True) as session:
        _check(session.connection(), url)
    return engine


def _postgresql(url: URL, patience: float) -> Engine:
    timeout = {"connect_timeout": max(1, round(patience))}
    return create_engine(url, pool_pre_ping=True, json_serializer=canonical, connect_args=timeout)


def _sqlite(url: URL, patience: float) -> Engine:
    if path := file_of(url):
        _check_mount(path)
        _check_file(path)
    engine = create_engine(url, connect_args={"timeout": patience}, json_serializer=canonical)

    @event.listens_for(engine, "connect")
    def settings(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.text_factory = lambda raw: raw.decode(errors="replace")  # a damaged text must not hide the others
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def check_exists(url: str) -> None:
    """Check that a store's file exists; a server says itself when a database does not.

    Raises:
        StoreError: if it does not exist; the message says what to do.
    """
    parsed = read_url(url)
    file = file_of(parsed)
    if file and not file.exists():
        raise StoreError(f"no store at {file}; search first, or give one with --store")


def file_of(url: URL) -> Path | None:
    """The file of an SQLite store; None for a store in memory, a `file:` URI of SQLite, and a server."""
    is_file = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":memory:", "file:"))
    return Path(url.database) if is_file and url.database else None


def is_in_memory(url: URL) -> bool:
    """Whether a store is in memory: then it has no other process."""
    return url.get_backend_name() == "sqlite" and (not url.database or ":memory:" in url.database)


def _check_mount(path: Path) -> None:
    """Refuse a file on a network file system, whose locks do not keep two processes apart."""
    kind = refused_type(path)
    if kind is not None:
        raise StoreError(
            f"{path} lies on a network file system ({kind}), where SQLite's locks cannot be trusted: give a store on a"
            f" local disk or in PostgreSQL. With {ON_NETWORK}=1 it is opened all the same, for one process at a time"
        )


def _check_file(path: Path) -> None:
    try:
        if path.exists():
            if path.is_dir():
                raise StoreError(f"{path} is a folder, not a store; give a file in it")
            with path.open("rb") as file:
                # an empty file may be a store that another process is creating
                if file.read(len(SQLITE_MAGIC)) not in (SQLITE_MAGIC, b""):
                    raise StoreError(f"{path} is not a store (no SQLite database); it was left as it is")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be used as a store: {error.strerror}") from None


def _check(connection: Connection, url: URL) -> None:
    """Check that the database is not another program's and its schema not newer."""
    tables = set(inspect(connection).get_table_names())
    if SchemaRow.__tablename__ in tables:
        version = schema_version(connection)
        if version is None or version > SCHEMA_VERSION:
            raise StoreError(
                f"{shown(url)} has schema {version}, this lrsearch knows {SCHEMA_VERSION}: update lrsearch"
            )
    elif tables and not tables & NEIGHBOURS and url.get_backend_name() == "sqlite":
        some = ", ".join(sorted(tables)[:3])
        raise StoreError(f"{shown(url)} is another program's database (tables {some} ...), not a store")


def schema_version(connection: Connection) -> int | None:
    """The schema version of a database; None if it has no store yet."""
    if not inspect(connection).has_table(SchemaRow.__tablename__):
        return None
    return connection.execute(select(SchemaRow.version)).scalar()


@contextmanager
def transaction(engine: Engine, url: URL, failed: str = "", reads: bool = False) -> Iterator[Session]:
    """One short transaction. An error of the database names the store, never the password.

    Args:
        engine: of the store.
        url: of the store.
        failed: words before the database's own message.
        reads: whether it only reads: then other processes may write at the same time.

    Raises:
        StoreAwayError: if the database cannot be reached or locked, or all connections are in use.
        StoreError: for its other errors.
    """
    try:
        with Session(engine.execution_options(reads=reads)) as session, session.begin():
            yield session
    except (SQLAlchemyError, sqlite3.Error, UnicodeDecodeError) as error:
        message = reason(error)
        is_damaged = any(word in message for word in MALFORMED)
        hint = "; `lrsearch store salvage` gets out what is whole" if is_damaged else ""
        kind = StoreAwayError if isinstance(error, AWAY) else StoreError
        raise kind(f"{shown(url)} {failed}".rstrip() + f"{'' if failed else ':'} {message}{hint}") from None
    except (KeyboardInterrupt, SystemExit):
        if engine.dialect.name == "postgresql":  # a connection may be in the middle of a statement: none is kept
            engine.dispose()
        raise


def insert_all_new(
    session: Session, table: type[Base], rows: list[dict[str, Any]], *returning: InstrumentedAttribute[Any]
) -> dict[Any, Any]:
    """Insert the rows whose keys are not in the table. Safe when two processes do so at once.

    Args:
        session: a transaction.
        table: the table.
        rows: the rows, each a mapping by column.
        returning: two columns, or none.

    Returns:
        For each inserted row its value of the second column by that of the first; empty without `returning`.
    """
    statement = _insert(session.get_bind().dialect.name)(table.__table__).on_conflict_do_nothing()
    if not returning:
        if rows:
            session.connection().execute(statement, rows)
        return {}
    first, second = returning
    return {row[0]: row[1] for row in session.connection().execute(statement.returning(first, second), rows)}


def _insert(dialect: str) -> Any:
    """The `insert` of a dialect; the other dialect is not imported, because that takes a tenth of a second."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert
    from sqlalchemy.dialects import postgresql

    return postgresql.insert


def shown(url: URL) -> str:
    """A URL as text, without its password."""
    return url.render_as_string(hide_password=True)


def reason(error: Exception) -> str:
    """The first line of a database's error message."""
    message = str(getattr(error, "orig", None) or error).strip()
    return message.splitlines()[0][:200] if message else type(error).__name__
