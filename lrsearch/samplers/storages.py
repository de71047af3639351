"""Optuna storages that many processes open at once: a lock over all of them, and tables that are made once.

Optuna makes its tables without a lock: of 12 processes that open a new database together, several crash.
"""

import fcntl
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import URL, Connection, NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from lrsearch.errors import EngineError, UsageError, given
from lrsearch.store.database import BUSY_SECONDS, file_of, reason, shown
from lrsearch.store.mounts import ON_NETWORK, refused_type

NUMBER = 7_022_119_305_451_883_776
"""The number of the advisory lock in a PostgreSQL database: a constant, as each database has its own locks (a rule)."""
NOT_AVAILABLE = "55P03"
"""PostgreSQL's code of a lock that was not got in time."""
PAUSE_SECONDS = 0.02
"""The pause between two tries at a file's lock, which the system has no time limit for (a rule)."""
LONGEST_MS = 2**31 - 1
"""The longest time limit that PostgreSQL takes."""
MEMORY = ("", ":memory:")


@contextmanager
def storage_lock(url: str, patience: float) -> Iterator[bool]:
    """Hold a lock over all processes that open the same Optuna storage, as far as it is got in time.

    PostgreSQL has it as an advisory lock of a connection, SQLite as a lock on `<file>.lock`, a journal as one on
    `<file>.lrsearch-lock`: the system releases them where a process dies. Whoever holds it and asks for it again waits
    for itself. A server that restarts releases it, too, and a pooler that shares connections between sessions does not
    keep it. Other storages have no lock.

    Args:
        url: of the storage.
        patience: seconds to wait for the lock; 0 tries once.

    Yields:
        Whether the lock is held; True for other storages.

    Raises:
        UsageError: for a text that is no URL.
        EngineError: if the server cannot be reached, or the file not written.

    >>> with storage_lock("sqlite:///:memory:", patience=0) as held:
    ...     held
    True
    """
    parsed = storage_url(url)
    file = file_of(parsed)
    if parsed.get_backend_name() == "postgresql":
        with _server_lock(parsed, patience) as held:
            yield held
    elif file is not None:
        with _file_lock(file.resolve(), patience, ".lock") as held:
            yield held
    elif parsed.drivername == "journal" and parsed.database:
        with _file_lock(
            Path(parsed.database).resolve(), patience, ".lrsearch-lock"
        ) as held:  # Optuna has its own .lock
            yield held
    else:
        yield True


def open_storage(url: str, heartbeat: float | None = None) -> BaseStorage:
    """Open an Optuna storage; its tables are made once, however many processes open it at the same time.

    Args:
        url: of the storage: `sqlite:///optuna.db`, `postgresql://user@host/optuna`, `journal:///optuna.log` (four
            slashes before an absolute path), or `sqlite:///:memory:`.
        heartbeat: seconds between the heartbeats of a running trial, rounded up to whole ones; a trial without any for
            twice that time is stale. None for no heartbeats.

    Returns:
        The storage, for `optuna.create_study(storage=...)`.

    Raises:
        UsageError: for a text that is no URL, or heartbeats that the storage cannot record.
        EngineError: if it cannot be opened, or is an SQLite file on a network file system.

    >>> type(open_storage("sqlite:///:memory:")).__name__
    'InMemoryStorage'
    """
    parsed = storage_url(url)
    _check_heartbeat(parsed, heartbeat)
    if _is_in_memory(parsed):
        return InMemoryStorage()
    if parsed.drivername == "journal":
        return _journal(parsed)
    _check_mount(parsed)
    with storage_lock(url, BUSY_SECONDS) as held:
        if not held:
            raise EngineError(f"{shown(parsed)} is locked by another process, for {BUSY_SECONDS} seconds: try again")
        return _database(parsed, heartbeat)


def storage_url(url: str) -> URL:
    """Read the URL of an Optuna storage.

    Raises:
        UsageError: for anything else.
    """
    example = "an Optuna storage is a URL such as sqlite:///optuna.db or postgresql://user@host/optuna"
    if not isinstance(url, str):
        raise UsageError(f"{example}, got {given(url)}")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError(f"{example}, got a text that is none") from None  # it may have a password: not shown
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _check_mount(url: URL) -> None:
    """Refuse an SQLite file on a network file system, whose locks do not keep two processes apart."""
    file = file_of(url)
    kind = refused_type(file) if file else None
    if kind is not None:
        raise EngineError(
            f"{file} lies on a network file system ({kind}), where SQLite's locks cannot be trusted: take a local disk,"
            f" PostgreSQL, or a journal (journal:///{file}.log). With {ON_NETWORK}=1 it is opened all the same, for one"
            " process at a time"
        )


def _is_in_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and (url.database or "") in MEMORY


def _check_heartbeat(url: URL, heartbeat: float | None) -> None:
    if heartbeat is None:
        return
    if isinstance(heartbeat, bool) or not isinstance(heartbeat, int | float) or not 0 < heartbeat < math.inf:
        raise UsageError(f"heartbeat is a number of seconds above 0, got {given(heartbeat)}")
    if url.drivername == "journal" or _is_in_memory(url):
        raise UsageError("Optuna records heartbeats in databases alone: give a URL of SQLite or PostgreSQL, or none")


def _journal(url: URL) -> JournalStorage:
    """The journal file of a URL. Its lock file is the one that Optuna knows to work on NFS too."""
    path = url.database or ""
    try:
        return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
    except OSError as error:
        raise EngineError(f"the journal {path!r} cannot be opened: {error.strerror}; give another file") from None


def _database(url: URL, heartbeat: float | None) -> RDBStorage:
    """The storage of a database, whose tables are made where it has none."""
    is_file = url.get_backend_name() == "sqlite"
    options = {"connect_args": {"timeout": BUSY_SECONDS}} if is_file else {"pool_pre_ping": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                url.render_as_string(hide_password=False),
                options,
                heartbeat_interval=None if heartbeat is None else math.ceil(heartbeat),
            )
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        raise EngineError(f"{shown(url)} cannot be opened as an Optuna storage: {reason(error)}") from None


@contextmanager
def _file_lock(file: Path, patience: float, suffix: str) -> Iterator[bool]:
    lock = file.with_name(f"{file.name}{suffix}")
    try:
        opened = lock.open("a")
    except OSError as error:
        raise EngineError(f"cannot write {lock}: {error.strerror}; give a storage in another folder") from None
    with opened:
        until, held = time.monotonic() + patience, _try_file(opened.fileno())
        while not held and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
            held = _try_file(opened.fileno())
        try:
            yield held
        finally:
            if held:
                fcntl.flock(opened, fcntl.LOCK_UN)  # a process that was forked meanwhile has the same open file


def _try_file(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _server_lock(url: URL, patience: float) -> Iterator[bool]:
    """Hold the advisory lock of a database by a connection of its own, which ends with it."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except (SQLAlchemyError, ImportError) as error:
        raise EngineError(f"{shown(url)} cannot be opened as an Optuna storage: {reason(error)}") from None
    held = False
    try:
        held = _try_server(connection, url, patience)
        yield held
    finally:
        if held:  # the server notices the end of a connection a moment later only
            with suppress(SQLAlchemyError):
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": NUMBER})
        connection.close()


def _try_server(connection: Connection, url: URL, patience: float) -> bool:
    wait = min(round(1000 * patience), LONGEST_MS)
    try:
        if wait <= 0:
            return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": NUMBER}))
        connection.execute(text(f"SET lock_timeout = {wait:d}"))
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": NUMBER})
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == NOT_AVAILABLE:
            return False
        raise EngineError(f"{shown(url)} was lost while waiting for its lock: {reason(error)}") from None
    return True
