"""Starts programs for the process that started it, and ends all of them when that process dies.

It is run as a file, and needs nothing of lrsearch. A line in is a JSON object: `argv`, `environment`, `output`. Lines
out are `{"pid": 12}` or `{"error": ...}`, and once the program has ended `{"exit": 0}`, or minus a signal's number.
Each program leads a process group. Nothing that it started outlives it, also what has left the group, on Linux.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRACE_SECONDS = 2.0
PR_SET_CHILD_SUBREAPER = 36
"""Of Linux: a process that has lost its parent becomes a child of this one, so that it is found."""


class Launcher:
    """Starts one program after the other."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.lock = threading.Lock()

    def run(self) -> None:
        """Start what each line says, until whoever says it is gone."""
        for line in sys.stdin:
            try:
                process = self._start(json.loads(line))
            except OSError as error:
                self._say(error=error.strerror or str(error))
                continue
            self._say(pid=process.pid)
            threading.Thread(target=self._wait, args=(process,), daemon=True).start()
        self._end()

    def _start(self, asked: dict[str, Any]) -> "subprocess.Popen[bytes]":
        with self.lock, Path(asked["output"]).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  the user's own command, without a shell
                asked["argv"],
                env=os.environ | asked["environment"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.pid = process.pid
            return process

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        if hasattr(os, "waitid"):  # before it is reaped its number is nobody else's
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        with self.lock:
            self._kill_all(process.pid)
            self.pid = None
        self._say(exit=process.wait())

    def _end(self) -> None:
        """End what runs, in good order if it can be had."""
        with self.lock:
            _kill_group(self.pid, signal.SIGTERM)
        latest = time.monotonic() + GRACE_SECONDS
        while self.pid is not None and time.monotonic() < latest:
            time.sleep(0.02)
        with self.lock:
            self._kill_all(self.pid)

    def _kill_all(self, leader: int | None) -> None:
        _kill_group(leader, signal.SIGKILL)
        while left := [pid for pid in _descendants(os.getpid()) if pid != leader]:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:  # those that are children of this process by now
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.002)

    def _say(self, **news: Any) -> None:
        with contextlib.suppress(OSError):  # who started this is gone
            os.write(1, (json.dumps(news) + "\n").encode())


def _kill_group(leader: int | None, number: int) -> None:
    if leader is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)


def _descendants(pid: int) -> Iterator[int]:
    """All processes that a process started, and that those started, as far as the system tells."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text().split()):
                yield child
                yield from _descendants(child)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt_orphans()
    Launcher().run()
