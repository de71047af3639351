"""A WSGI server on 127.0.0.1 that clients who send nothing, or only half a request, cannot hold up."""

import io
import socket
import sys
import time
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from _typeshed import WriteableBuffer

PATIENCE = 15.0
"""Seconds. A browser on the same machine sends its request in milliseconds, but may open connections ahead."""
CONNECTIONS = 64
"""At once, each in a thread; a browser opens at most 6 to a host."""


class LoopbackServer(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread of its own: the page polls while it loads.

    Args:
        port: the port on 127.0.0.1; 0 for any free one.
        app: what answers.
        patience: seconds that a client may take to send the head of its request, and again to read the answer.
        connections: connections at a time; others wait in the system's queue until one of these ends.

    Raises:
        OSError, OverflowError: if the port cannot be opened.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, port: int, app: "WSGIApplication", patience: float = PATIENCE, connections: int = CONNECTIONS
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.set_app(app)
        self.patience = patience
        self._free = BoundedSemaphore(connections)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait until fewer connections than the cap are open, and answer this one in a thread."""
        self._free.acquire()
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer in this thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log in one line what failed; a client that was late or went away is no failure."""
        error = sys.exc_info()[1]
        if not isinstance(error, TimeoutError | ConnectionError):
            _log(type(error).__name__)


class _Handler(WSGIRequestHandler):
    """Reads the head of a request within the server's patience, and logs nothing: the first address has the token."""

    server: LoopbackServer

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Until(self.connection, time.monotonic() + self.server.patience))
        self.errors = io.StringIO()

    def parse_request(self) -> bool:
        is_whole = super().parse_request()
        self.connection.settimeout(self.server.patience)  # what is left of the deadline is no measure for the answer
        return is_whole

    def get_stderr(self) -> Any:
        return self.errors

    def finish(self) -> None:
        """Put the last line of what the application logged on stderr, not the traceback before it."""
        super().finish()
        if said := self.errors.getvalue().split("\n")[-2:-1]:
            _log(said[0])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


class _Until(io.RawIOBase):
    """Reads a socket until a moment. A timeout of the socket alone begins anew with every byte that drips in."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self.connection, self.end = connection, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


def _log(reason: str) -> None:
    print(f"lrsearch: a request failed: {reason}", file=sys.stderr)
