"""Access to a WSGI application: a token, the right host, reading only, and headers that keep pages private."""

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from lrsearch.errors import UsageError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LEAST_TOKEN = 16
METHODS = ("GET", "HEAD")
POLICY = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATIC, KEPT = "/static/", "private, no-cache"
"""The pages' scripts say nothing of a study: a browser may keep them, and asks each time whether they changed."""
PASSED = ("HTTP_HOST", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH")
GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)


def guarded(app: "WSGIApplication", token: str, hosts: Collection[str] = ()) -> "WSGIApplication":
    """Pass on only requests that read, carry the token, name this host, and come from its own pages.

    The token comes once as `?token=`, which sets a cookie and redirects to the same page without it, or in
    `Authorization: Bearer`. Everything but GET and HEAD is refused: no route is listed by name, so a new one
    of a later version is protected as well.

    Args:
        app: the application.
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
            return _ask(app, _passed_on(environ), start_response)
        return _answer(
            start_response,
            "401 Unauthorized",
            "the token is missing or wrong: open the address that `lrsearch dashboard` printed",
            ("WWW-Authenticate", "Bearer"),
        )

    return guard


def _foreign(environ: "WSGIEnvironment", allowed: Collection[str]) -> tuple[str, str] | None:
    """Refuse what another site's page sends through the reader's browser, under this host's name or its own."""
    host = environ.get("HTTP_HOST", "").lower()
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if (name if colon and port.isdecimal() else host) not in allowed:
        return "403 Forbidden", "this host name is not served here"
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        return "403 Forbidden", "requests from other sites are refused"
    if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
        return "403 Forbidden", "requests from other sites are refused"
    return None


def _writes(environ: "WSGIEnvironment") -> tuple[str, str, tuple[str, str]] | None:
    if environ["REQUEST_METHOD"] in METHODS:
        return None
    return "405 Method Not Allowed", "this dashboard is read only", ("Allow", ", ".join(METHODS))


def _is_known(environ: "WSGIEnvironment", token: str, name: str, value: str) -> bool:
    """Whether a request carries the token as a bearer, or the cookie made of it."""
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and _same(bearer.strip(), token):
        return True
    pairs = (pair.strip().partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
    return any(key == name and _same(given, value) for key, _, given in pairs)


def _cookie(token: str) -> tuple[str, str]:
    """The cookie's name and value.

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
    headers = [
        ("Location", f"{path}?{rest}" if rest else path),
        ("Set-Cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Strict{secure}"),
    ]
    return _answer(start_response, "302 Found", "", *headers)


def _passed_on(environ: "WSGIEnvironment") -> "WSGIEnvironment":
    """Reduce a request to what an application that only shows pages reads: no body, no token, few headers.

    Optuna's dashboard fails without Accept-Encoding, and on headers that it reads but cannot decode.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("HTTP_") or name in PASSED}
    encoding = "gzip" if GZIP.search(environ.get("HTTP_ACCEPT_ENCODING", "")) else ""
    return kept | {"HTTP_ACCEPT_ENCODING": encoding, "CONTENT_LENGTH": "", "CONTENT_TYPE": "", "wsgi.input": BytesIO()}


def _ask(app: "WSGIApplication", environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Let the application answer; a failure is reported to the reader, and to the log in one line."""
    try:
        return app(environ, _with_headers(environ, start_response))
    except Exception as error:  # whatever it is, the next request may do
        environ["wsgi.errors"].write(f"{type(error).__name__}: {str(error)!a}\n")
        return _answer(start_response, "500 Internal Server Error", f"the dashboard failed: {type(error).__name__}")


def _answer(start_response: "StartResponse", status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    start_response(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            *HEADERS.items(),
            ("Content-Security-Policy", f"default-src 'none'; {POLICY}"),
            *headers,
        ],
    )
    return [body]


def _with_headers(environ: "WSGIEnvironment", start_response: "StartResponse") -> "StartResponse":
    """Add the headers that keep pages out of frames and caches, and addresses out of referrers.

    The policy is a header of its own beside the application's: a browser holds to both.
    """
    is_static = environ.get("PATH_INFO", "").startswith(STATIC)
    ours = HEADERS | {"Cache-Control": KEPT} if is_static else HEADERS
    replaced = {name.lower() for name in ours}

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        kept = [(name, text) for name, text in headers if name.lower() not in replaced]
        return start_response(status, [*kept, *ours.items(), ("Content-Security-Policy", POLICY)], exc_info)

    return start


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
