"""The Optuna Dashboard behind a token, read only: it has neither by itself, and a local port is no boundary."""

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from sqlalchemy import URL, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lrsearch.errors import EngineError, UsageError, unknown
from lrsearch.knowledge.database import SQLITE_MAGIC, reason, shown

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from optuna.storages import RDBStorage

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LEAST_TOKEN = 16
METHODS = ("GET", "HEAD")
HEADERS = [("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY")]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own: the page polls while it loads."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Logs nothing: the first address of a session carries the token."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def guarded(app: "WSGIApplication", token: str, hosts: Collection[str] = ()) -> "WSGIApplication":
    """Let through only who reads, knows the token, and asks this host from its own pages.

    The token comes once as `?token=`, which sets a cookie and redirects to the same page without it, or in
    `Authorization: Bearer`. Everything but GET and HEAD is refused: no route is listed by name, so a new one
    of a later version is behind the same wall.

    Args:
        app: the application behind the wall.
        token: the secret, 16 characters or more.
        hosts: names that the Host header may carry besides the loopback ones.

    Raises:
        UsageError: for a token that is missing or short.
    """
    if len(token) < LEAST_TOKEN:
        raise UsageError(f"the dashboard needs a token of at least {LEAST_TOKEN} characters, got {len(token)}")
    allowed = {*LOOPBACK, *(host.strip().lower() for host in hosts if host.strip())}
    name, value = _cookie(token)

    def guard(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        refusal = _foreign(environ, allowed) or _writes(environ)
        if refusal:
            return _answer(start_response, *refusal)
        given = dict(parse_qsl(environ.get("QUERY_STRING", ""))).get("token")
        if given is not None and _same(given, token):
            return _enter(environ, start_response, f"{name}={value}")
        if given is None and _is_known(environ, token, name, value):
            return app(environ, _with_headers(start_response))
        return _answer(start_response, "401 Unauthorized", "the token is missing or wrong: open the address that"
                       " `lrsearch dashboard` printed", ("WWW-Authenticate", "Bearer"))

    return guard


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


def open_server(storage_url: str, port: int, token: str) -> WSGIServer:
    """Open the dashboard's port on 127.0.0.1; `serve_forever` of what it gives answers requests. See `serve`."""
    app = guarded(application(storage_url), token)
    try:
        server = _Server(("127.0.0.1", port), _Quiet)
    except (OSError, OverflowError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise EngineError(f"cannot open port {port} on 127.0.0.1: {said}; give another --port, or 0 for any") from None
    server.set_app(app)
    return server


def application(storage_url: str) -> "WSGIApplication":
    """Give the real dashboard of an Optuna storage, not guarded yet.

    Raises:
        EngineError: if there is no such storage.
    """
    from optuna_dashboard import wsgi

    app: WSGIApplication = wsgi(open_storage(storage_url))
    return app


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
    """Give the number of a study's page: the newest study's where none is named.

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
            f"no Optuna storage at {path}: {error.strerror}; run `lrsearch search` first, or give --out or --storage"
        ) from None
    if magic != SQLITE_MAGIC:
        raise EngineError(f"{path} is not an Optuna storage (no SQLite database)")


def _read_only(connection: Any, record: Any) -> None:
    """Refuse writes in SQLite itself. Unlike mode=ro, this can still read what a killed search left unfinished."""
    connection.execute("PRAGMA query_only = ON")


def _foreign(environ: "WSGIEnvironment", allowed: Collection[str]) -> tuple[str, str] | None:
    """Refuse what another site's page sends through the reader's browser, under this host's name or its own."""
    host = environ.get("HTTP_HOST", "").lower()
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if (name if colon and port.isdecimal() else host) not in allowed:
        return "403 Forbidden", "this host name is not served here"
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and urlsplit(origin).netloc.lower() != host:
        return "403 Forbidden", "requests from other sites are refused"
    if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
        return "403 Forbidden", "requests from other sites are refused"
    return None


def _writes(environ: "WSGIEnvironment") -> tuple[str, str, tuple[str, str]] | None:
    if environ["REQUEST_METHOD"] in METHODS:
        return None
    return "405 Method Not Allowed", "this dashboard is read only", ("Allow", ", ".join(METHODS))


def _is_known(environ: "WSGIEnvironment", token: str, name: str, value: str) -> bool:
    """Tell whether a request carries the token as a bearer, or the cookie made of it."""
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and _same(bearer.strip(), token):
        return True
    pairs = (pair.strip().partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
    return any(key == name and _same(given, value) for key, _, given in pairs)


def _cookie(token: str) -> tuple[str, str]:
    """Give the cookie's name and value.

    Browsers share cookies between the ports of a host, so each token has a name of its own; and the value is
    not the token, so that the browser's files do not hold it.
    """
    value = hmac.new(token.encode(), b"lrsearch dashboard", hashlib.sha256).hexdigest()
    return f"lrsearch_{hashlib.sha256(value.encode()).hexdigest()[:8]}", value


def _enter(environ: "WSGIEnvironment", start_response: "StartResponse", cookie: str) -> Iterable[bytes]:
    """Set the cookie and send the browser to the same page without the token."""
    # One slash only: a path such as //elsewhere would be read as another host.
    path = "/" + quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")).lstrip("/")
    rest = urlencode([(key, text) for key, text in parse_qsl(environ["QUERY_STRING"]) if key != "token"])
    secure = "; Secure" if environ.get("wsgi.url_scheme") == "https" else ""
    headers = [("Location", f"{path}?{rest}" if rest else path), ("Cache-Control", "no-store"),
               ("Set-Cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Strict{secure}")]
    return _answer(start_response, "302 Found", "", *headers)


def _answer(
    start_response: "StartResponse", status: str, text: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))),
                            *HEADERS, *headers])
    return [body]


def _with_headers(start_response: "StartResponse") -> "StartResponse":
    """Add the headers that keep pages out of frames and addresses out of referrers."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        ours = {name.lower() for name, _ in HEADERS}
        kept = [(name, text) for name, text in headers if name.lower() not in ours]
        return start_response(status, [*kept, *HEADERS], exc_info)

    return start


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
