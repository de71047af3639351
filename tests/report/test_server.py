"""The server on 127.0.0.1 under clients that send nothing, half a request, or what is none."""

import http.client
import socket
import threading
from contextlib import ExitStack, closing, contextmanager, redirect_stderr
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.report.access import guarded
from lrsearch.report.server import LoopbackServer

TOKEN = "a-token-of-this-test-0123456789"  # noqa: S105
WAIT = 30
"""Seconds after which a test gives up; nothing waits so long where the server does what it should."""
HEAD = f"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
HALVES = {"nothing": b"", "half a line": b"GET /dash", "half a head": HEAD.encode()}


class App:
    """Answers small or large, and notes how many threads there are."""

    def __init__(self):
        self.threads = []

    def __call__(self, environ, start_response):
        self.threads.append(threading.active_count())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * (100_000_000 if environ["PATH_INFO"] == "/large" else 1)]


@contextmanager
def served(app, **limits):
    server = LoopbackServer(0, guarded(app, TOKEN), **limits)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def connect(port, sent=b""):
    opened = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
    opened.sendall(sent)
    return opened


def is_closed(opened):
    """Whether the other end closes without a word; waits for it."""
    try:
        return opened.recv(1) == b""
    except ConnectionError:
        return True


def ask(port, path="/small"):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        return connection.getresponse().status


@contextmanager
def dripping(opened):
    """Send a byte now and then, so that no single wait for one is long."""
    ended = threading.Event()

    def drip():
        while not ended.wait(0.02):
            try:
                opened.sendall(b"x")
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_a_connection_without_a_whole_request_is_closed(sent, capsys):
    with served(App(), patience=0.2) as port, closing(connect(port, sent)) as opened:
        assert is_closed(opened)
    assert capsys.readouterr().err == ""


def test_a_request_that_drips_in_has_no_more_time_than_one_that_does_not(capsys):
    with served(App(), patience=0.3) as port, closing(connect(port, b"GET /")) as opened, dripping(opened):
        assert is_closed(opened)
    assert capsys.readouterr().err == ""


def test_more_half_open_connections_than_the_cap_keep_no_proper_request_from_its_answer():
    app, before = App(), threading.active_count()
    with ExitStack() as opened, served(app, patience=0.2, connections=3) as port:
        halves = [opened.enter_context(closing(connect(port, sent))) for sent in [*HALVES.values()] * 4]
        assert ask(port) == 200
        assert all(is_closed(one) for one in halves)
    assert max(app.threads) <= before + 1 + 3  # the accepting thread, and the cap


def test_a_client_that_never_reads_its_answer_is_given_up(capsys):
    large = HEAD.replace("/small", "/large").encode() + b"\r\n"
    with served(App(), patience=0.3, connections=1) as port, closing(connect(port, large)):
        assert ask(port) == 200
    assert capsys.readouterr().err in ("", "lrsearch: a request failed: TimeoutError: timed out\n")


LINES = st.sampled_from(
    [
        "GET / HTTP/1.1",
        "GET /",
        "GET",
        "GET  / HTTP/1.1",
        "GET / HTTP/9.9",
        "GET / HTTP/1.\u00b2",
        "\x00",
        "GET //\x00 HTTP/1.1",
        "POST / HTTP/1.1",
        "GET http://evil/ HTTP/1.1",
        "GET /%ff%00 HTTP/1.1",
        "GET /?token=%ff&token HTTP/1.1",
        "",
        "GET /<long> HTTP/1.1",
    ]
) | st.text(st.characters(max_codepoint=255), max_size=20)
FIELDS = st.sampled_from(
    [
        "Host: 127.0.0.1",
        "Host: [::1",
        "Host",
        ": x",
        "Origin: http://[::1",
        "Content-Length: abc",
        "Cookie: \x00=\xff",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        " folded",
        "X: <long>",
        HEAD.split("\r\n")[2],
    ]
) | st.text(st.characters(max_codepoint=255), max_size=20)


@pytest.fixture(scope="module")
def port():
    with served(App(), patience=WAIT) as opened:
        yield opened


@given(line=LINES, fields=st.lists(FIELDS, max_size=4), end=st.sampled_from(["\r\n\r\n", "\n\n", "\r\n", ""]))
@settings(max_examples=100, deadline=None)
def test_what_is_no_request_is_refused_without_a_traceback(port, line, fields, end):
    said = StringIO()
    with redirect_stderr(said), closing(connect(port)) as opened:
        try:
            sent = "\r\n".join([line, *fields]).replace("<long>", "a" * 70_000)
            opened.sendall(sent.encode("latin-1") + end.encode())
            opened.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: opened.recv(65536), b""))
        except OSError as error:  # refused and closed before all of it was read
            assert not isinstance(error, TimeoutError)
            answer = b""
    assert b" 500 " not in answer.partition(b"\n")[0]
    assert b"Traceback" not in answer
    assert said.getvalue() == ""
