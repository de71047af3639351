"""Starts programs for the process that started it, and ends all of them when that process dies.

It is run as a file and imports nothing of lrsearch. A line on stdin is a JSON object: `argv`, `environment`, `output`.
The first line on stdout is `{"queue": "/tmp/..."}`, a folder for the next jobs of programs, which ends with the
launcher. Other lines are `{"pid": 12}` or `{"error": ...}`, and once the program has ended `{"exit": 0}`, or minus a
signal's number. Each program leads a process group. Its children end with it; on Linux also those that left the group.
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
from tempfile import TemporaryDirectory
from typing import Any

GRACE_SECONDS = 2.0
"""Rule: seconds between SIGTERM and SIGKILL."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Linux, prctl(2): a signal at the parent's death; an orphaned descendant becomes a child, so that it can be ended."""


class Launcher:
    """Starts one program after the other."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.lock = threading.Lock()

    def run(self) -> None:
        """Start the program of each line, until stdin closes."""
        with TemporaryDirectory(prefix="lrsearch-program-") as queue:
            self._send(queue=queue)
            self._start_programs()

    def _start_programs(self) -> None:
        for line in sys.stdin:
            try:
                process = self._start(json.loads(line))
            except OSError as error:
                self._send(error=error.strerror or str(error))
                continue
            self._send(pid=process.pid)
            threading.Thread(target=self._wait, args=(process,), daemon=True).start()
        self._end()

    def _start(self, request: dict[str, Any]) -> "subprocess.Popen[bytes]":
        with self.lock, Path(request["output"]).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  the user's own command, without a shell
                request["argv"],
                env=os.environ | request["environment"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_launcher,
            )
            self.pid = process.pid
            return process

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        if hasattr(os, "waitid"):  # until it is reaped, no other process gets its pid
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()
        with self.lock:
            self._kill_all(process.pid)
            self.pid = None
        self._send(exit=process.wait())

    def _end(self) -> None:
        """End the running program: by SIGTERM, and by SIGKILL after the grace."""
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
            for pid in left:  # orphans that became children of this process
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.002)

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the parent process is gone
            os.write(1, (json.dumps(message) + "\n").encode())


def _kill_group(leader: int | None, number: int) -> None:
    if leader is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)


def _descendants(pid: int) -> Iterator[int]:
    """All descendants of a process; none where there is no /proc."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text().split()):
                yield child
                yield from _descendants(child)


def _end_with_launcher() -> None:
    """Be killed where the launcher is, also before it has reported the program's pid: nobody else knows it then."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _adopt_orphans() -> None:
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGUSR1"):  # of a whole job: whoever reads our messages ends us by closing stdin
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: None)  # not ignored, for programs would inherit that
    _adopt_orphans()
    Launcher().run()
