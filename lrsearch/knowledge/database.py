"""Opening a database as a store: SQLite by default, PostgreSQL by URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from lrsearch.errors import StoreError
from lrsearch.knowledge.schema import SCHEMA_VERSION, Base, SchemaRow

SQLITE_MAGIC = b"SQLite format 3\x00"
BUSY_SECONDS = 60
CREATION_LOCK = 7_105_117_101


def read_url(url: str) -> URL:
    """Read a store's URL, or the path of an SQLite file.

    Raises:
        StoreError: if it is neither, or names another kind of database.
    """
    try:
        parsed = make_url(url if "://" in url else f"sqlite:///{url}")
    except ArgumentError:
        raise StoreError(f"a store is a file or a URL such as sqlite:///lr.db, got {url[:40]!r}") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"a store lives in SQLite or PostgreSQL, not in {parsed.get_backend_name()}")
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def connect(url: URL) -> Engine:
    """Open a database that is a store, or make an empty one into one.

    Raises:
        StoreError: if it cannot be reached, holds something else, or has a newer schema. Nothing is written then.
    """
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else create_engine(url, pool_pre_ping=True)
    try:
        with engine.connect() as connection:
            fresh = _check(connection, url)
        if fresh:
            with engine.begin() as connection:
                _create(connection)
    except SQLAlchemyError as error:
        raise StoreError(f"{shown(url)} cannot be opened as a store: {reason(error)}") from None
    return engine


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        _check_file(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def settings(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def check_exists(url: str) -> None:
    """Refuse a file that is not there; a server's databases are there or fail to open.

    Raises:
        StoreError: it says what would do.
    """
    parsed = read_url(url)
    file = parsed.database if parsed.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not Path(file).exists():
        raise StoreError(f"no store at {file}; search first, or give one with --store")


def _check_file(path: Path) -> None:
    try:
        if path.exists():
            if path.is_dir():
                raise StoreError(f"{path} is a folder, not a store; give a file in it")
            with path.open("rb") as file:
                # an empty file holds nothing to lose, and may be a store that another process is just making
                if file.read(len(SQLITE_MAGIC)) not in (SQLITE_MAGIC, b""):
                    raise StoreError(f"{path} is not a store (no SQLite database); it was left as it is")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be used as a store: {error.strerror}") from None


def _check(connection: Connection, url: URL) -> bool:
    """Tell whether the database is empty of a store; refuse what is another program's, or newer."""
    tables = set(inspect(connection).get_table_names())
    if SchemaRow.__tablename__ not in tables:
        if tables and url.get_backend_name() == "sqlite":
            some = ", ".join(sorted(tables)[:3])
            raise StoreError(f"{shown(url)} is another program's database (tables {some} ...), not a store")
        return True
    version = connection.execute(select(SchemaRow.version)).scalar()
    if version is None or version > SCHEMA_VERSION:
        raise StoreError(f"{shown(url)} has schema {version}, this lrsearch knows {SCHEMA_VERSION}: update lrsearch")
    return False


def _create(connection: Connection) -> None:
    """Make the tables; whoever comes second waits, and finds them."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATION_LOCK})
    Base.metadata.create_all(connection)
    if connection.execute(select(SchemaRow.version)).scalar() is None:
        connection.execute(SchemaRow.__table__.insert().values(version=SCHEMA_VERSION))  # type: ignore[attr-defined]


@contextmanager
def transaction(engine: Engine, url: URL) -> Iterator[Session]:
    """One short transaction; a failure of the database says which store, never with the password."""
    try:
        with Session(engine) as session, session.begin():
            yield session
    except SQLAlchemyError as error:
        raise StoreError(f"{shown(url)}: {reason(error)}") from None


def insert_new(session: Session, table: type[Base], **values: Any) -> bool:
    """Insert a row unless its key is there already; tell whether it was new. Safe when two do so at once."""
    dialect = session.get_bind().dialect.name
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    new: Any = insert(table).values(**values).on_conflict_do_nothing().returning(literal_column("1"))
    return session.execute(new).first() is not None


def shown(url: URL) -> str:
    """Give a URL for people, without its password."""
    return url.render_as_string(hide_password=True)


def reason(error: SQLAlchemyError) -> str:
    """Give the first line of what the database said."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0][:200] if said else type(error).__name__
