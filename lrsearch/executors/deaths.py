"""The cause of a process's death: by its signal, its exit code, and what the kernel says of the memory."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lrsearch.runs.lost import Cause, Death

KERNEL_COUNTS = (
    Path("/proc/vmstat"),
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)
"""Files of Linux that count the processes which were killed for want of memory, in a line `oom_kill N`."""


def memory_kills() -> int:
    """How many processes the kernel has killed for want of memory, in all; 0 where it does not say."""
    return sum(_counts())


def memory_of(pid: int) -> int | None:
    """The bytes that a process holds in memory; None where it has ended or the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return None


def death_of(code: int | None, kills: int = 0, memory: int | None = None) -> Death:
    """The end of a process, from its exit code.

    Args:
        code: the exit code, minus the signal's number where a signal ended it; None where it is not known.
        kills: processes that the kernel has killed for want of memory since this one was seen alive.
        memory: the bytes that it held when it was last seen.

    >>> print(death_of(-9), death_of(-9, kills=1, memory=3 << 30), death_of(-11), death_of(5), sep="; ")
    killed: by SIGKILL; out of memory: by SIGKILL, it held 3,072 MiB; crashed: by SIGSEGV; exited: with code 5
    """
    if code is None:
        return Death(Cause.KILLED, "for an unknown reason")
    if code >= 0:
        return Death(Cause.EXITED, f"with code {code}")
    name = {number.value: number.name for number in signal.Signals}.get(-code, f"signal {-code}")
    held = "" if memory is None else f", it held {memory / 2**20:,.0f} MiB"
    if name == "SIGKILL":
        return Death(Cause.MEMORY if kills else Cause.KILLED, f"by {name}{held}")
    if name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGXCPU"):
        return Death(Cause.TERMINATED, f"by {name}")
    return Death(Cause.CRASHED, f"by {name}{held}")


def _counts() -> Iterator[int]:
    for path in KERNEL_COUNTS:
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    yield int(count)
