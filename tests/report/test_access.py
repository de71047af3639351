"""The wall before the dashboard, asked what no browser asks: own form and deployed form answer alike."""

import gzip
import io
import runpy
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.report.access import guarded
from lrsearch.report.dashboard import application

TOKEN = "a-token-of-this-test-0123456789"  # noqa: S105
BEARER = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
WSGI = Path(__file__).parents[2] / "dashboards" / "wsgi.py"
HEADERS = (
    "HTTP_ORIGIN",
    "HTTP_HOST",
    "HTTP_COOKIE",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_RANGE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_TRANSFER_ENCODING",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
)
ODD = st.text(st.characters(max_codepoint=255), max_size=30) | st.sampled_from(
    [
        "http://[::1",
        "http://[::1]:80]",
        "http://127.0.0.1:99999999",
        "[",
        "]:[",
        "null",
        "\x00",
        "\xff gzip",
        "gzip;q=0",
        "bytes=9-1",
        "9" * 5000,
        "multipart/form-data",
        "chunked",
        "Mon, 99 Zzz 99999999 1:1:1",
        "lrsearch_=;;==\x00",
    ]
)
PARTS = st.sampled_from(
    [
        "",
        ".",
        "..",
        "api",
        "studies",
        "dashboard",
        "static",
        "bundle.js",
        "csv",
        "artifacts",
        "plot",
        "edf",
        "zz",
        "1",
        "-1",
        "99",
        "9" * 25,
        "9" * 5000,
        "\u0661".encode().decode("latin-1"),
        "param_importances",
        "favicon.ico",
        "meta",
    ]
) | st.text(st.characters(max_codepoint=255), max_size=8)
PATHS = st.lists(PARTS, max_size=6).map(lambda parts: "/" + "/".join(parts)) | st.tuples(
    st.sampled_from(["/api/studies/{}", "/api/studies/{}/plot/edf", "/csv/{}", "/static/{}", "/artifacts/{}/1"]), PARTS
).map(lambda pair: pair[0].format(pair[1]))
QUERIES = st.sampled_from(
    ["after=abc", "after=", "after=%ff", "after=-1", "after=" + "9" * 5000, "token", "&&=&", ""]
) | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


def ask(app, path="/dashboard", query="", method="GET", **headers):
    """Status, headers, body and log of one request."""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": "127.0.0.1:8080",
        "wsgi.errors": io.StringIO(),
        **headers,
    }
    setup_testing_defaults(environ)
    started = []
    answer = app(environ, lambda status, found, exc_info=None: started.append((status, found)))
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    ((status, found),) = started
    return int(status.split()[0]), found, body, environ["wsgi.errors"].getvalue()


def values(found, name):
    return [text for key, text in found if key.lower() == name.lower()]


@pytest.fixture(scope="module")
def forms(searched):
    """The dashboard behind the wall, as `lrsearch dashboard` serves it and as it is deployed."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LRSEARCH_OPTUNA", searched.storage)
        environment.setenv("LRSEARCH_TOKEN", TOKEN)
        environment.delenv("LRSEARCH_TOKEN_FILE", raising=False)
        deployed = runpy.run_path(str(WSGI))["application"]
    return {"own": guarded(application(searched.storage), TOKEN), "deployed": deployed}


@pytest.fixture(scope="module", params=["own", "deployed"])
def app(request, forms):
    return forms[request.param]


@given(path=PATHS, query=QUERIES, headers=st.dictionaries(st.sampled_from(HEADERS), ODD, max_size=4))
@settings(max_examples=100, deadline=None)
def test_no_request_however_odd_makes_the_wall_or_the_dashboard_fail(forms, path, query, headers):
    for who in ({}, BEARER):
        status, _, body, log = ask(forms["deployed"], path, query, **who | headers)
        assert status < 500 if who else status in (401, 403), (path, query, headers, status, body[:300])
        assert (b"Traceback" in body, log) == (False, "")


@pytest.mark.parametrize(
    "origin",
    [
        "http://[::1",
        "http://]",
        "//",
        "",
        "127.0.0.1:8080",
        "http://127.0.0.1:8080/",
        "ftp://127.0.0.1:8080",
        "http://a@127.0.0.1:8080",
    ],
)
def test_an_origin_that_is_no_page_of_this_host_is_refused(app, origin):
    for headers in ({}, BEARER):
        assert ask(app, HTTP_ORIGIN=origin, **headers)[0] == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "https://127.0.0.1:8080", "HTTP://127.0.0.1:8080"])
def test_an_origin_of_this_host_is_served(app, origin):
    assert ask(app, HTTP_ORIGIN=origin, **BEARER)[0] == 200


@pytest.mark.parametrize("path", ["/static/bundle.js", "/favicon.ico"])
def test_static_files_come_whatever_encodings_a_client_accepts(app, path):
    plain = ask(app, path, **BEARER)[2]
    assert len(plain) > 1000
    for encoding in ("", "identity", "\xff", "br", "gzip;q=0", "gzip; q=0.0, br"):
        status, found, body, _ = ask(app, path, HTTP_ACCEPT_ENCODING=encoding, **BEARER)
        assert (status, values(found, "Content-Encoding"), body == plain) == (200, [], True), encoding
    for encoding in ("gzip", "br, GZIP;q=0.5"):
        status, found, body, _ = ask(app, path, HTTP_ACCEPT_ENCODING=encoding, **BEARER)
        assert (status, gzip.decompress(body) == plain) == (200, True), encoding


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/api/studies/1", "after=abc", 400),
        ("/api/studies/1", "after=-1", 400),
        ("/api/studies/99", "", 404),
        ("/api/studies/99/plot/edf", "", 404),
        ("/api/studies/1/plot/pareto_front", "", 400),
        (f"/api/studies/{'9' * 25}/param_importances", "", 400),
        (f"/csv/{'9' * 25}", "", 400),
        ("/csv/99", "", 404),
    ],
)
def test_what_is_not_there_is_the_readers_mistake_and_told(app, path, query, status):
    answered, found, body, log = ask(app, path, query, **BEARER)
    assert (answered, values(found, "Content-Type"), log) == (status, ["application/json"], "")
    assert b'"reason"' in body


def test_every_answer_is_kept_out_of_caches_frames_and_other_sites(app):
    requests = {
        "page": ("/dashboard", BEARER),
        "API": ("/api/studies", BEARER),
        "table": ("/csv/1", BEARER),
        "no such page": ("/nothing", BEARER),
        "no token": ("/dashboard", {}),
        "script, no token": ("/static/bundle.js", {}),
        "other host": ("/dashboard", BEARER | {"HTTP_HOST": "evil"}),
        "redirect": ("/", BEARER),
        "entered": ("/dashboard", {"QUERY_STRING": f"token={TOKEN}"}),
        "write": ("/", {"REQUEST_METHOD": "POST"}),
        "script": ("/static/bundle.js", BEARER),
    }
    for what, (path, headers) in requests.items():
        found = ask(app, path, **headers)[1]
        kept = "private, no-cache" if what == "script" else "no-store"
        for name, text in (
            ("Cache-Control", kept),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            assert values(found, name) == [text], (what, name)
        ours = values(found, "Content-Security-Policy")[-1]
        for directive in ("base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"):
            assert directive in ours, what
    theirs, _ = values(ask(app, **BEARER)[1], "Content-Security-Policy")
    assert "script-src 'self'" in theirs


def test_a_script_that_did_not_change_is_not_sent_again(app):
    (tag,) = values(ask(app, "/static/bundle.js", **BEARER)[1], "Etag")
    status, found, body, _ = ask(app, "/static/bundle.js", HTTP_IF_NONE_MATCH=tag, **BEARER)
    assert (status, body, values(found, "Cache-Control")) == (304, b"", ["private, no-cache"])


def test_a_failure_behind_the_wall_is_one_line_in_the_log_without_the_token():
    def fails(environ, start_response):
        raise RuntimeError(f"broken\n{sorted(environ.items())}")

    status, found, body, log = ask(guarded(fails, TOKEN), HTTP_COOKIE="a=b", **BEARER)
    assert (status, body, log.count("\n")) == (500, b"the dashboard failed: RuntimeError\n", 1)
    assert log.startswith("RuntimeError: ")
    assert TOKEN not in log
    assert values(found, "Cache-Control") == ["no-store"]


def test_what_is_let_through_has_no_body_and_no_token():
    seen = []

    def records(environ, start_response):
        seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"yes"]

    given = {
        "wsgi.input": io.BytesIO(b"x" * 100),
        "CONTENT_LENGTH": "100",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "HTTP_COOKIE": "a=b",
        "HTTP_X_FORWARDED_HOST": "evil",
        "HTTP_ORIGIN": "http://127.0.0.1:8080",
    }
    assert ask(guarded(records, TOKEN), **BEARER | given)[0] == 200
    (passed,) = seen
    assert {name for name in passed if name.startswith("HTTP_")} == {"HTTP_HOST", "HTTP_ACCEPT_ENCODING"}
    assert (passed["CONTENT_LENGTH"], passed["wsgi.input"].read()) == ("", b"")
