"""A Ray cluster on this machine, started by hand as its user would: a head without CPUs, and nodes of one CPU."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oracle import NODE
from sandbox import Sandbox, wait_until

START_SECONDS = 90.0
"""For a node to start: a rule, as a busy machine has taken 20 s."""
STARTED = "will now block"
"""The end of what `ray start --block` prints once it has started, of Ray 2.60."""
COMMON = (
    *("--node-ip-address", "127.0.0.1", "--min-worker-port", "0", "--max-worker-port", "0"),
    *("--object-store-memory", "100000000", "--block"),
)


class Cluster:
    """A Ray cluster, whose nodes can be killed and added.

    Args:
        sandbox: starts its processes.
        nodes: nodes of one CPU.
    """

    def __init__(self, sandbox: Sandbox, nodes: int) -> None:
        self._sandbox, self._started = sandbox, dict[str, subprocess.Popen[bytes]]()
        self.address = f"127.0.0.1:{_free_port()}"
        self.nodes: list[str] = []
        port, files = self.address.split(":")[1], sandbox.folder / "ray"
        head = ("--head", "--port", port, "--num-cpus", "0", "--include-dashboard", "false", "--temp-dir", str(files))
        self._start("head", head)
        for _ in range(nodes):
            self.add()

    def add(self) -> float:
        """Add a node, and return the seconds that it took to join."""
        began = time.monotonic()
        name = f"node-{len(self._started)}"
        self._start(name, ("--address", self.address, "--num-cpus", "1"))
        self.nodes.append(name)
        return time.monotonic() - began

    def kill(self, node: str) -> None:
        """Kill a node's raylet by SIGKILL; all other processes of the node must end by themselves.

        Raises:
            RuntimeError: if it has none, so that the fault hits nothing.
        """
        raylets = [pid for pid, command in self._sandbox.processes_of(node).items() if "raylet/raylet" in command]
        if len(raylets) != 1:
            raise RuntimeError(f"{node} has {len(raylets)} raylets, so none was killed")
        os.kill(raylets[0], signal.SIGKILL)
        self.nodes.remove(node)

    def close(self) -> None:
        """End all nodes by SIGTERM, the head last."""
        head, *nodes = self._started.values()
        for processes in (nodes, [head]):
            for process in processes:
                process.terminate()
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(START_SECONDS)

    def _start(self, name: str, options: tuple[str, ...]) -> None:
        """Start a node, and wait until it has started. Two that start at once take the same socket."""
        log = self._sandbox.folder / f"{name}.log"
        command = (str(Path(sys.executable).with_name("ray")), "start", *options, *COMMON)
        environment = {NODE: name, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}  # nothing trains where it is closed
        process = self._sandbox.start(*command, output=log, errors=log, **environment)
        self._started[name] = process
        wait_until(lambda: STARTED in log.read_text() or process.poll() is not None, START_SECONDS)
        if process.poll() is not None:
            raise RuntimeError(f"{name} did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def cluster(sandbox: Sandbox, nodes: int) -> Iterator[Cluster]:
    """Start a cluster, and end it afterwards."""
    made = Cluster(sandbox, nodes)
    try:
        yield made
    finally:
        made.close()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
