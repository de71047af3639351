"""The Optuna Dashboard behind a wall, read only: it has neither by itself, and a local port is no boundary."""

from collections.abc import Callable
from inspect import unwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lrsearch.errors import EngineError, unknown
from lrsearch.report.access import guarded
from lrsearch.report.server import CONNECTIONS, PATIENCE, LoopbackServer
from lrsearch.store.database import SQLITE_MAGIC, reason, shown

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from optuna.storages import RDBStorage


def serve(storage_url: str, port: int, token: str, ready: Callable[[int], None] = lambda port: None) -> None:
    """Serve the dashboard on 127.0.0.1 until interrupted.

    Args:
        storage_url: an Optuna storage that exists; it is opened for reading only.
        port: the port; 0 for any free one.
        token: see `guarded`.
        ready: is called with the port once it is open.

    Raises:
        EngineError: if the port is taken, or there is no such storage.
    """
    with open_server(storage_url, port, token) as server:
        ready(server.server_port)
        server.serve_forever(poll_interval=0.1)


def open_server(
    storage_url: str, port: int, token: str, patience: float = PATIENCE, connections: int = CONNECTIONS
) -> LoopbackServer:
    """Open the dashboard's port on 127.0.0.1; `serve_forever` of what it returns answers requests.

    Args:
        storage_url, port, token: see `serve`.
        patience, connections: see `LoopbackServer`.
    """
    app = guarded(application(storage_url), token)
    try:
        return LoopbackServer(port, app, patience, connections)
    except (OSError, OverflowError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise EngineError(f"cannot open port {port} on 127.0.0.1: {said}; give another --port, or 0 for any") from None


def application(storage_url: str) -> "WSGIApplication":
    """Build the real dashboard of an Optuna storage, not guarded yet.

    Requests for what is not there are answered with the reason; any other failure is raised.

    Raises:
        EngineError: if there is no such storage.
    """
    from optuna_dashboard import wsgi

    app = wsgi(open_storage(storage_url))
    app.catchall = False
    app.install(_with_reasons)
    made: WSGIApplication = app
    return made


def _with_reasons(view: Callable[..., Any]) -> Callable[..., Any]:
    """Answer 404 for a study that is not there, 400 for a value that cannot be, where the dashboard answers 500."""
    from bottle import response

    bare = unwrap(view)  # what Optuna wraps its API's views in turns every exception into a 500

    def answer(**given: Any) -> Any:
        if bare is not view:
            response.content_type = "application/json"
        try:
            return bare(**given)
        except (KeyError, ValueError, OverflowError) as error:
            response.status = 404 if isinstance(error, KeyError) else 400
            return {"reason": f"this cannot be shown: {error}"}

    return answer


def open_storage(storage_url: str) -> "RDBStorage":
    """Open an Optuna storage that exists, so that not even a defect of the dashboard can write to it.

    Raises:
        EngineError: if there is none; none is made.
    """
    from optuna.storages import RDBStorage

    url = _read_url(storage_url)
    is_sqlite = url.get_backend_name() == "sqlite"
    options = {} if is_sqlite else {"connect_args": {"options": "-c default_transaction_read_only=on"}}
    full = url.render_as_string(hide_password=False)
    try:
        storage = RDBStorage(full, engine_kwargs=options, skip_compatibility_check=True, skip_table_creation=True)
        if is_sqlite:
            event.listen(storage.engine, "connect", _read_only)
            storage.engine.dispose()  # connections made before the listener could write
        # Optuna asserts that a version is there; a database of another program has none.
        storage.get_current_version()
    except SQLAlchemyError as error:
        raise EngineError(f"{shown(url)} cannot be opened as an Optuna storage: {reason(error)}") from None
    except Exception as error:
        raise EngineError(f"{shown(url)} cannot be opened as an Optuna storage: {type(error).__name__}") from None
    return storage


def find_study(storage_url: str, name: str | None = None) -> int:
    """The number of a study's page: the newest study's where none is named.

    Raises:
        EngineError: if there is no such storage or study.
    """
    storage = open_storage(storage_url)
    try:
        studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
    finally:
        storage.engine.dispose()
    if not studies:
        raise EngineError(f"no study yet in {shown(_read_url(storage_url))}: run `lrsearch search` first")
    if name is not None and name not in studies:
        raise EngineError(unknown("study", name, studies))
    return max(studies.values()) if name is None else studies[name]


def _read_url(storage_url: str) -> URL:
    """Read a storage's URL; a mistyped SQLite path is refused, where SQLite would make an empty file."""
    try:
        url = make_url(storage_url)
    except ArgumentError:
        raise EngineError("a storage is a URL such as sqlite:///lrsearch-runs/optuna.db") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise EngineError(f"the dashboard reads SQLite and PostgreSQL, not {url.get_backend_name()}")
    if url.get_backend_name() == "sqlite":
        _check_file(Path(url.database or ""))
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(SQLITE_MAGIC))
    except OSError as error:
        raise EngineError(
            f"no Optuna storage at {path}: {error.strerror}; run `lrsearch search` first, or give --out or --optuna"
        ) from None
    if magic != SQLITE_MAGIC:
        raise EngineError(f"{path} is not an Optuna storage (no SQLite database)")


def _read_only(connection: Any, record: Any) -> None:
    """Refuse writes in SQLite itself. Unlike mode=ro, this can still read what a killed search left unfinished."""
    connection.execute("PRAGMA query_only = ON")
