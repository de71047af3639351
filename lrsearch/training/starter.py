"""Starts programs in process groups of their own, which end with the process that started them."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lrsearch.errors import WorkError

LAUNCHER = Path(__file__).with_name("launcher.py")
END_SECONDS = 5.0
"""Rule: seconds for the launcher to end its programs; above its own grace of 2 s."""


class Starter:
    """Starts programs, one after the other. The last one ends with this object, or with this process.

    A launcher process starts them. When this process dies, the launcher's stdin closes, and it ends its programs.
    `queue` is a folder for the next jobs of programs. The launcher removes it, because it survives a kill of this
    process.

    Raises:
        WorkError: if the launcher cannot make the folder.
    """

    def __init__(self) -> None:
        self._launcher = subprocess.Popen(  # noqa: S603  our own file
            [sys.executable, "-S", "-E", str(LAUNCHER)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._group: int | None = None
        message = self._read_message(None) or {}
        if "queue" not in message:
            _end(self._launcher)
            raise WorkError("programs cannot be started: no folder can be made for their jobs; name a place in TMPDIR")
        self.queue = Path(message["queue"])
        self.close = weakref.finalize(self, _end, self._launcher, self.queue)

    @property
    def is_alive(self) -> bool:
        """Whether the launcher process runs."""
        return self._launcher.poll() is None

    def start(self, argv: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
        """Start a program and return its process group.

        Args:
            argv: the program and its arguments.
            environment: variables added to this process's own.
            output: the file to which the program's output is appended.

        Raises:
            WorkError: if the program cannot be started.
        """
        request = json.dumps({"argv": list(argv), "environment": dict(environment), "output": str(output)})
        assert self._launcher.stdin is not None
        with suppress(BrokenPipeError):  # `_read_message` notices that the launcher died
            self._launcher.stdin.write(request.encode() + b"\n")
        message = self._read_message(None) or {}
        if "pid" not in message:
            raise WorkError(f"{argv[0]} cannot be started: {message.get('error', 'what starts it has died')}")
        self._group = int(message["pid"])
        return self._group

    def wait(self, seconds: float) -> int | None:
        """The exit code of the program, minus a signal's number where a signal ended it; None while it runs."""
        message = self._read_message(seconds)
        if message == {} and self._group is not None:  # the launcher died without ending its program
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
        return None if message is None else int(message.get("exit", -signal.SIGKILL))

    def _read_message(self, seconds: float | None) -> dict[str, Any] | None:
        """The launcher's next message; None where none came within `seconds`, empty where the launcher died."""
        assert self._launcher.stdout is not None
        if not select.select([self._launcher.stdout], [], [], seconds)[0]:
            return None
        if line := self._launcher.stdout.readline():
            message: dict[str, Any] = json.loads(line)
            return message
        with suppress(subprocess.TimeoutExpired):  # its files close a moment before it counts as dead
            self._launcher.wait(END_SECONDS)
        return {}


def _end(launcher: "subprocess.Popen[bytes]", queue: Path | None = None) -> None:
    """Close the launcher's stdin, upon which it ends its programs and itself; remove the queue of a killed one."""
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    with suppress(OSError):
        launcher.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        launcher.wait(END_SECONDS)
    launcher.stdout.close()
    if queue is not None:
        shutil.rmtree(queue, ignore_errors=True)
