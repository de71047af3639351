"""Runs the services of compose.yaml without Docker: as processes in namespaces of their own, which root can make.

Each has a root of its own that is read only, the user, mounts, secrets, networks and names that compose.yaml gives it,
no capability, and processes that see only each other. Not here: images, limits of memory and CPU, restarts.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compose import ROOT, image_environment
from namespaces import bind, confined, mount_image, mount_system, mount_temporary, programs, python_path

IMAGE_USER = "10001:10001"
USERS = "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/:/bin/sh\nlrsearch:x:10001:10001::/tmp:/bin/sh\n"
"""The users of the two images: the first of PostgreSQL's, the other of the Dockerfile's."""
OWN = ["setpriv", "--pdeathsig=KILL", "unshare"]
"""The beginning of a command that ends with this process."""
PAUSE = 0.1
"""Seconds between two questions whether something is so."""


@dataclass
class Container:
    """A service that runs.

    Args:
        name: of the container.
        process: the process on this machine whose only child is the first process of the container.
        user: its user and group, as numbers.
        environment: what its processes get.
        root: the folder that is its root, in its own namespace.
        log: the file with what it prints, after what others of its name have printed.
        begin: where its own part of that file begins.
    """

    name: str
    process: subprocess.Popen[bytes]
    user: str
    environment: dict[str, str]
    root: Path
    log: Path
    begin: int

    @property
    def pid(self) -> int:
        """The first process of the container."""
        return child(self.process)

    def words(self, *command: str, **environment: str) -> list[str]:
        """The command that runs a command in the container, as `docker exec` does."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--net", "--pid", "chroot", str(self.root)]
        return [*inside, *confined(self.user, self.environment | environment), *command]

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, and return what came of it."""
        return subprocess.run(self.words(*command, **environment), capture_output=True, text=True, check=False)

    def kill(self) -> None:
        """End all of its processes at once, as `docker kill` does."""
        self.process.kill()
        self.process.wait()

    def printed(self) -> str:
        """What it has printed."""
        return self.log.read_bytes()[self.begin :].decode(errors="replace")


def child(process: subprocess.Popen[bytes]) -> int:
    """The only child of a process."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def until(process: subprocess.Popen[bytes], is_so: Callable[[], object]) -> bool:
    """Wait until something is so or a process has ended, and return whether it is so."""
    while process.poll() is None:
        if is_so():
            return True
        time.sleep(PAUSE)
    return bool(is_so())


@dataclass
class Machine:
    """A machine with containers and the networks between them; it is gone with this process.

    Args:
        folder: for volumes, log files and roots.
        file: the compose file as `compose.compose` reads it.
        secrets: the folder that `secrets.sh` made.
    """

    folder: Path
    file: dict[str, Any]
    secrets: Path
    containers: dict[str, Container] = field(default_factory=dict)
    _names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        bridges = [f"ip link add {name} type bridge; ip link set {name} up" for name in self.file["networks"]]
        script = "; ".join([*bridges, "echo ready", "exec sleep infinity"])
        self._switch = subprocess.Popen([*OWN, "--net", "bash", "-euc", script], stdout=subprocess.PIPE)
        assert self._switch.stdout is not None
        with self._switch.stdout as output:
            assert output.readline() == b"ready\n"

    def close(self) -> None:
        """End all containers."""
        for container in self.containers.values():
            container.kill()
        self._switch.kill()
        self._switch.wait()

    def start(self, service: str, number: int = 1) -> Container:
        """Start a container of a service."""
        given, name = self.file["services"][service], f"{service}-{number}"
        user = given.get("user", IMAGE_USER)
        environment = image_environment() | given.get("environment", {}) | {"PATH": programs()}
        paths = [environment.get("PYTHONPATH", ""), "/app", *map(str, python_path())]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        root, log = self.folder / "roots" / name, self.folder / "logs" / name
        for path in (root, log.parent):
            path.mkdir(parents=True, exist_ok=True)
        words = [*OWN, "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "bash", "-euc"]
        script = self._script(given, name, root, confined(user, environment))
        with log.open("ab") as output:
            begin = output.tell()
            process = subprocess.Popen([*words, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output)
        container = self.containers[name] = Container(name, process, user, environment, root, log, begin)
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            assert process.stdout.readline() == b"ready\n", container.printed()
            self._connect(container, given["networks"])
        return container

    def address(self, name: str, network: str) -> str:
        """The address of a container in a network."""
        if name not in self._names:
            self._names.append(name)
        return f"10.77.{list(self.file['networks']).index(network)}.{10 + self._names.index(name)}"

    def _connect(self, container: Container, networks: Sequence[str]) -> None:
        """Put a link from each network into a container. A network that is not internal is its way to all others."""
        for number, network in enumerate(networks):
            address = self.address(container.name, network)
            outer, inner = f"v{number}-{container.pid}", f"eth{number}"
            link = f"ip link add {outer} type veth peer name {inner} netns {container.pid}"
            _in_network(self._switch.pid, [link, f"ip link set {outer} master {network} up"])
            lines = [f"ip addr add {address}/24 dev {inner}", f"ip link set {inner} up", "ip link set lo up"]
            if not (self.file["networks"][network] or {}).get("internal"):
                lines.append(f"ip route add default via {address.rpartition('.')[0]}.1")
            _in_network(container.pid, lines)

    def _script(self, given: dict[str, Any], name: str, root: Path, confinement: list[str]) -> str:
        """The commands that make the root of a container, and run its command in it once its network is there."""
        command = [*confinement, *given.get("entrypoint", ["lrsearch"]), *given.get("command", [])]
        lines = [f"hostname {name}", f"mount -t tmpfs -o mode=755 tmpfs {root}"]
        lines += mount_system(root) + self._mounts(given, root) + self._etc(given, name, root)
        lines += [f"mount -o remount,ro {root}", "echo ready", "read -r _ || true"]
        # As Docker's init, the first process runs the command and returns its exit code.
        lines += ["exec < /dev/null >&2", f"chroot {root} {shlex.join(command)} & wait $!"]
        return "\n".join(lines)

    def _mounts(self, given: dict[str, Any], root: Path) -> list[str]:
        """The commands that mount what a service names: temporary folders, volumes, configs, secrets."""
        lines = [mount_temporary(root / "dev" / "shm", f"size={given.get('shm_size', '64m')}")]
        for path, _, options in (text.partition(":") for text in given.get("tmpfs", [])):
            lines.append(mount_temporary(root / path[1:], options))
        lines += mount_image(root)
        for volume, _, path in (text.partition(":") for text in given.get("volumes", [])):
            source = self.folder / "volumes" / volume
            source.mkdir(parents=True, exist_ok=True)
            os.chown(source, *map(int, given.get("user", IMAGE_USER).split(":")))
            lines.append(bind(source, root / path[1:], "rw"))
        for config in given.get("configs", []):
            source = ROOT / "docker" / self.file["configs"][config["source"]]["file"]
            lines.append(bind(source, root / config["target"][1:]))
        return lines + [bind(self.secrets / name, root / "run/secrets" / name) for name in given.get("secrets", [])]

    def _etc(self, given: dict[str, Any], name: str, root: Path) -> list[str]:
        """The commands that tell a container its users, itself, and all that share a network with it."""
        hosts = ["127.0.0.1 localhost", f"{self.address(name, given['networks'][0])} {name}"]
        for service, other in self.file["services"].items():
            shared = [network for network in given["networks"] if network in other["networks"]]
            hosts += [f"{self.address(f'{service}-1', network)} {service}" for network in shared]
        files = {"passwd": USERS, "hosts": "\n".join([*hosts, ""]), "resolv.conf": "nameserver 127.0.0.1\n"}
        lines = []
        for file, text in files.items():
            path = self.folder / f"{file}-{name}"
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
            lines.append(f"mount --bind {path} {root}/etc/{file}")
        return lines


def _in_network(pid: int, lines: Sequence[str]) -> None:
    subprocess.run(["nsenter", f"--target={pid}", "--net", "bash", "-euc", "; ".join(lines)], check=True)
