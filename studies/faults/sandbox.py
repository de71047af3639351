"""A fresh folder for one measurement, and an environment by which all processes of it are known."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from oracle import NODE, ORACLE, Oracle

HERE = Path(__file__).parent
MARK = "LRSEARCH_FAULTS_MARK"
LEFT_SECONDS = 40.0
"""For processes to end after those that started them: a rule, twice what Ray's driver allows itself."""
PATIENCE = 900.0
"""For anything that must happen: a rule."""
CLUSTER_PARTS = ("start --", "raylet/raylet", "gcs_server", "ray::", "ray/_private/", "ray/dashboard", "ray/autoscaler")

Process = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs for an executor.

    Args:
        executor: "local", "pool" or "ray".
        runs: horizon and seed of each.
        task: the name of a function in `trainings.py`, or of a shipped task.
        workers: runs at a time.
        address: the Ray cluster.
        seconds_per_run: the time limit of a run.
        wave: so many runs must end before the next are offered; 0 to offer all at once.
    """

    executor: str
    runs: tuple[tuple[int, int], ...]
    task: str = "sleeps"
    workers: int = 2
    address: str = "local"
    seconds_per_run: float | None = None
    wave: int = 0


class Sandbox:
    """Starts processes that are known by a mark in their environment.

    Args:
        folder: a fresh folder. Its path is short, for the names of Ray's sockets end at 107 characters.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary, self.out = folder, folder / "tmp", folder / "out"
        self.temporary.mkdir()
        self.oracle = Oracle(folder / "oracle")
        self._mark = secrets.token_hex(8)
        self._token = secrets.token_hex(32)

    def start(
        self, *command: str, output: Path | None = None, errors: Path | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a marked process, with more of its environment; its output goes to files, or to the log."""
        more = {"TMPDIR": str(self.temporary), MARK: self._mark, ORACLE: str(self.oracle.path), **environment}
        ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token, "RAY_USAGE_STATS_ENABLED": "0"}
        paths = {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
        log = self.folder / "log"
        with (output or log).open("ab") as out, (errors or log).open("ab") as err:
            return subprocess.Popen(
                command, env=os.environ | ray | paths | more, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def start_plan(self, plan: Plan, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process that trains a plan."""
        return self.start(
            sys.executable, str(HERE / "plan.py"), json.dumps(asdict(plan)), str(self.folder), **environment
        )

    def train(self, plan: Plan, **environment: str) -> dict[str, Any]:
        """Train a plan, and return what came of it."""
        self.start_plan(plan, **environment).wait(PATIENCE)
        return self.outcome()

    def outcome(self) -> dict[str, Any]:
        """What came of the plan, as its process wrote it.

        Raises:
            RuntimeError: if it wrote nothing.
        """
        try:
            return json.loads((self.folder / "outcome.json").read_text())
        except OSError:
            raise RuntimeError(f"the plan broke off; the log ends with:\n{self.log()}") from None

    def log(self) -> str:
        """The end of what its processes wrote to stderr; its folder is called SANDBOX."""
        text = (self.folder / "log").read_text(errors="replace")[-3000:]
        for path in (str(self.folder), quote(str(self.folder), safe="")):
            text = text.replace(path, "SANDBOX")
        return text

    def processes(self, **environment: str) -> dict[int, str]:
        """The marked processes that live, with their commands; those alone that have more in their environment."""
        wanted = {f"{name}={value}".encode() for name, value in {MARK: self._mark, **environment}.items()}
        alive = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                    alive[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return alive

    def processes_of(self, node: str) -> dict[int, str]:
        """The processes of a Ray node."""
        return self.processes(**{NODE: node})

    def left(self, *, with_cluster: bool = False) -> dict[str, int]:
        """What is left running or lying in TMPDIR, once it had time to end.

        Args:
            with_cluster: whether a cluster that was started by hand still runs; its own processes do not count.
        """

        def running() -> list[str]:
            commands = self.processes().values()
            return [text for text in commands if not (with_cluster and any(part in text for part in CLUSTER_PARTS))]

        with suppress(TimeoutError):
            wait_until(lambda: not running() and not any(self.temporary.iterdir()), LEFT_SECONDS)
        return {"processes_left": len(running()), "files_left": len(list(self.temporary.iterdir()))}


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Make a sandbox; afterwards its processes are killed and its folder is removed."""
    folder = Path(tempfile.mkdtemp(prefix="lrf-", dir="/tmp"))
    made = Sandbox(folder)
    try:
        yield made
    finally:
        for pid in made.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(TimeoutError):
            wait_until(lambda: not made.processes(), LEFT_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(is_so: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: if it is not by then.
    """
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"it did not happen within {seconds:g} s")
        time.sleep(0.02)
