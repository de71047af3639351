"""Workers on a Ray cluster, as the process of the study sees them: through the sweep's driver process."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lrsearch.errors import EngineError
from lrsearch.executors.cluster.checks import ClusterCheck
from lrsearch.executors.cluster.sent import pickled
from lrsearch.executors.cluster.settings import CHECKED, END, ORDER, READY, STOP, SweepSettings
from lrsearch.executors.deaths import death_of
from lrsearch.executors.worker_executor import WorkerExecutor
from lrsearch.executors.workers import Gone, Message, Opened, Order, from_json
from lrsearch.runs.executor import Limits, TrainerSource

JOIN_SECONDS = 120.0
"""For Ray to start or to be joined, and for the checks: a rule; on a busy machine Ray alone has taken 30 s."""
END_SECONDS = 20.0
"""For Ray to end its processes: a rule."""
REMOVE_SECONDS = 3.0
"""For Ray's processes to end after their driver: a rule."""
LONGEST_BASE = 30
"""Characters of the folder of temporary files: what Ray appends to it is up to 75 long."""
ONE_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""The environment variable by which Ray listens on loopback only, on any system, where it is 0."""


class RayWorkers:
    """Workers on a Ray cluster.

    Args:
        source: the pickled source.
        settings: the settings of the sweep.
        log: the file for what Ray prints.
        checked: called with what was checked of the cluster.

    Raises:
        EngineError: if the cluster cannot be started or joined, or a check failed.
    """

    def __init__(
        self, source: bytes, settings: SweepSettings, log: Path, checked: Callable[[Sequence[ClusterCheck]], None]
    ) -> None:
        self._log, self._mark = log, Path(settings.mark)
        self._temporary = settings.temporary
        self._trials: dict[int, str] = {}
        """The Tune trial of each worker that has opened the source."""
        self._mark.write_bytes(b"")
        ours, theirs = socket.socketpair()
        with log.open("ab") as output, theirs:
            self._driver = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-m", "lrsearch.executors.cluster.driver", str(theirs.fileno())],
                env=_environment(settings),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        try:
            self._send(settings.to_json())
            self._connection.send_bytes(source)
            self.slots = self._join(checked)
        except BaseException:
            self.close(0.0)
            raise

    def begin(self, worker: int, order: Order) -> None:
        """Send a group to a worker: see `Workers.begin`."""
        self._send({"kind": ORDER, "trial": self._trials[worker], "order": order.to_json()})

    def receive(self, seconds: float) -> Message | None:
        """The next message, or None after some seconds: see `Workers.receive`."""
        values = self._receive(seconds)
        if values is None:
            return None
        trial = values.pop("trial", None)
        message = from_json(values)
        if isinstance(message, Opened):
            self._trials[message.worker] = trial
        return message

    def stop(self) -> None:
        """Stop the open runs: see `Workers.stop`."""
        self._send({"kind": STOP})

    def close(self, seconds: float) -> None:
        """End the driver, and with it the cluster that it started: see `Workers.close`."""
        if self._connection.closed:
            return
        try:
            if seconds:
                self._send({"kind": END})
                with suppress(subprocess.TimeoutExpired):
                    self._driver.wait(END_SECONDS)
        finally:  # also where Ctrl-C ends the wait
            self._kill()

    def _kill(self) -> None:
        """End the driver at once, and remove what it leaves."""
        self._connection.close()
        with suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait()
        self._mark.unlink(missing_ok=True)
        if self._temporary is not None:
            _remove(Path(self._temporary))

    def _join(self, checked: Callable[[Sequence[ClusterCheck]], None]) -> int:
        """Wait for the cluster, and return the number of workers."""
        until = time.monotonic() + JOIN_SECONDS
        while (values := self._receive(until - time.monotonic())) is not None:
            if values["kind"] == READY:
                return int(values["slots"])
            if values["kind"] != CHECKED:
                raise EngineError(values["why"])
            checks = [ClusterCheck(**row) for row in values["rows"]]
            checked(checks)
            wrong = [f"{check.name}: {check.text}" for check in checks if not check.is_right]
            if wrong:
                raise EngineError(f"the cluster cannot train this: {'; '.join(wrong)}")
        raise EngineError(f"Ray did not start or answer within {JOIN_SECONDS:g} s; what it said is in {self._log}")

    def _send(self, values: dict[str, Any]) -> None:
        with suppress(OSError):  # the driver has died, which `receive` notices
            self._connection.send_bytes(json.dumps(values).encode())

    def _receive(self, seconds: float) -> Any:
        """The next values from the driver, or None after some seconds; where it has died, that all workers are gone."""
        try:
            if not self._connection.poll(max(0.0, seconds)):
                return None
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            try:
                death = death_of(self._driver.wait(END_SECONDS))
            except subprocess.TimeoutExpired:
                death = death_of(None)
            return {"kind": Gone.__name__, "why": f"Ray's driver has ended ({death}); what it said is in {self._log}"}


class RayExecutor(WorkerExecutor):
    """Trains groups of runs on the machines of a Ray cluster, as a Ray Tune run.

    Args:
        source: opens the task's trainer in every worker.
        folder: for Ray Tune's files, and the log of what Ray prints.
        address: "local" to start a cluster that ends with the executor; "auto" or host:port to join one. A Ray that
            this process has joined or started is used where it is "local" or "auto".
        workers: runs at a time; None for as many as fit into the cluster.
        cpus, gpus: for each run; `gpus` is a part of one, or several.
        needed: paths of data and programs that every machine must have.
        limits: the time that training may take.
        checked: called with what was checked of the cluster, before anything trains.

    Raises:
        TaskError: if the source cannot be sent.
        EngineError: if the cluster cannot be started or joined, or a check failed.
    """

    def __init__(
        self,
        source: TrainerSource,
        folder: Path,
        *,
        address: str = "local",
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: float | None = None,
        needed: Sequence[Path] = (),
        limits: Limits | None = None,
        checked: Callable[[Sequence[ClusterCheck]], None] = lambda checks: None,
    ) -> None:
        limits = limits or Limits()
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        address = _present_cluster(address)
        data = pickled(source.portable())
        name = f"{source.task.name}-{uuid.uuid4().hex[:6]}"
        settings = SweepSettings(
            address=address,
            workers=workers,
            cpus=cpus,
            gpus=gpus,
            seconds_per_run=limits.seconds_per_run,
            name=name,
            ray_folder=str(folder / "ray"),
            temporary=_new_folder() if address == "local" else None,
            mark=str(folder / f".{name}"),
            needed=tuple(str(path.resolve()) for path in needed),
            source_bytes=len(data),
        )
        on_ray = RayWorkers(data, settings, folder / "ray.log", checked)
        super().__init__(on_ray, source.task, on_ray.slots, limits)


def _present_cluster(address: str) -> str:
    """The address of the cluster that this process has joined or started; else the given one.

    Raises:
        EngineError: for a Ray client.
    """
    ray = sys.modules.get("ray")
    if address.startswith("ray://") or (ray is not None and ray.util.client.ray.is_connected()):
        raise EngineError(
            "a sweep does not run over a Ray client (ray://): start the command on one of the cluster's machines with"
            " --address auto"
        )
    if ray is None or address not in ("local", "auto") or not ray.is_initialized():
        return address
    return str(ray.get_runtime_context().gcs_address)


def _new_folder() -> str:
    """A folder for the files of a cluster. Its path is short, for the names of sockets end at 107 characters."""
    base = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="lrsearch-", dir=base if len(base) <= LONGEST_BASE else "/tmp")  # noqa: S108


def _remove(folder: Path) -> None:
    """Remove a folder, into which processes that are ending may write for a moment."""
    until = time.monotonic() + REMOVE_SECONDS
    while folder.exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


def _environment(settings: SweepSettings) -> dict[str, str]:
    """The environment of the driver. A cluster that it starts wants a token that only its processes have."""
    own = {"RAY_AIR_NEW_OUTPUT": "0", "PYTHONUNBUFFERED": "1"}
    if settings.temporary is not None:
        own[ONE_MACHINE] = "0"
        if "RAY_AUTH_MODE" not in os.environ:
            own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return os.environ | own
