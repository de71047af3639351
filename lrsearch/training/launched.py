"""Programs in process groups of their own, which end with the process that started them."""

import json
import os
import select
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


class Starter:
    """Starts programs, one after the other. The last one ends with this object, or this process, however that ends.

    A process between them does the starting: it hears of this one's death, and ends what it started.
    """

    def __init__(self) -> None:
        self._launcher = subprocess.Popen(  # noqa: S603  our own file
            [sys.executable, "-S", "-E", str(LAUNCHER)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.close = weakref.finalize(self, _end, self._launcher)
        self._group: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it can start a program."""
        return self._launcher.poll() is None

    def start(self, argv: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
        """Start a program, and give its process group.

        Args:
            argv: the program and its arguments.
            environment: beside this process's own.
            output: the file to which what it prints is appended.

        Raises:
            WorkError: if it cannot be started.
        """
        asked = json.dumps({"argv": list(argv), "environment": dict(environment), "output": str(output)})
        assert self._launcher.stdin is not None
        with suppress(BrokenPipeError):  # its death is heard of below
            self._launcher.stdin.write(asked.encode() + b"\n")
        news = self._hear(None) or {}
        if "pid" not in news:
            raise WorkError(f"{argv[0]} cannot be started: {news.get('error', 'what starts it has died')}")
        self._group = int(news["pid"])
        return self._group

    def wait(self, seconds: float) -> int | None:
        """The exit code of the program, minus a signal's number where one ended it; None while it runs."""
        news = self._hear(seconds)
        if news == {} and self._group is not None:  # nobody else would end what the launcher has left
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
        return None if news is None else int(news.get("exit", -signal.SIGKILL))

    def _hear(self, seconds: float | None) -> dict[str, Any] | None:
        """What the launcher says; None if it says nothing for so many seconds, empty if it has died."""
        assert self._launcher.stdout is not None
        if not select.select([self._launcher.stdout], [], [], seconds)[0]:
            return None
        line = self._launcher.stdout.readline()
        return json.loads(line) if line else {}


def _end(launcher: "subprocess.Popen[bytes]") -> None:
    """Close its line, upon which it ends what it started, and itself."""
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    with suppress(OSError):
        launcher.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        launcher.wait(END_SECONDS)
    launcher.stdout.close()
