"""Where a process runs: another one of its machine can tell whether it has ended."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

UNKNOWN = "-"
"""In place of what a system does not say."""
ENDED_STATES = "ZXx"
"""States of a process in /proc that has ended, where its parent has not read that yet."""


@dataclass(frozen=True, slots=True)
class Place:
    """The machine and the number of a process.

    Args:
        host: the machine's name.
        machine: its start and its space of process numbers: containers of one machine have their own.
        pid: the number of the process.
        started: the time of its start, in ticks since that of the machine: numbers of processes are used again.
    """

    host: str
    machine: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> Self:
        """The place of this process."""
        pid = os.getpid()
        return cls(socket.gethostname() or UNKNOWN, _machine(), pid, _started(pid) or UNKNOWN)

    @classmethod
    def of(cls, text: str) -> Self:
        """The place of a text that `str` has made.

        >>> Place.of("node1 9f-42 123 77").pid
        123
        """
        host, machine, pid, started = text.split()
        return cls(host, machine, int(pid), started)

    def __str__(self) -> str:
        return f"{self.host} {self.machine} {self.pid} {self.started}"

    @property
    def named(self) -> str:
        """The process in words."""
        return f"process {self.pid} on {self.host}"

    @property
    def has_ended(self) -> bool:
        """Whether the process ran on this machine and has ended; False where that cannot be known."""
        if UNKNOWN in (self.machine, self.started) or self.machine != _machine():
            return False
        return _started(self.pid) != self.started


def _machine() -> str:
    """The start of this machine and its space of process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return UNKNOWN


def _started(pid: int) -> str | None:
    """When a process of this machine started; None where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ENDED_STATES else fields[19]
