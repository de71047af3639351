"""What trainings did, as they wrote it themselves: a line for the begin, each update and the end of every run.

Each line is written at once by `os.write` to a file that is opened to append, so that a killed process loses none and
lines of several processes do not mix. lrsearch neither writes nor reads this file.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ORACLE, NODE = "LRSEARCH_FAULTS_ORACLE", "LRSEARCH_FAULTS_NODE"
"""Environment variables: the file, and the name of the Ray node on which a process runs."""
BEGIN, STEP, FAULT, END = "begin", "step", "fault", "end"


@dataclass(frozen=True, slots=True)
class Line:
    """What a process did, and when by the machine's monotonic clock."""

    what: str
    key: str
    horizon: int
    pid: int
    node: str
    at: float


def writer(key: str, horizon: int) -> Callable[[str], None]:
    """What writes the lines of a run in this process."""
    file = os.open(os.environ[ORACLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    pid, node = os.getpid(), os.environ.get(NODE, "-")

    def write(what: str) -> None:
        os.write(file, f"{what} {key} {horizon} {pid} {node} {time.monotonic()}\n".encode())

    return write


class Oracle:
    """Reads the lines as they are appended.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lines, self._read = path, list[Line](), 0

    def lines(self) -> list[Line]:
        """All lines so far."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for what, key, horizon, pid, node, at in (line.split() for line in whole.decode().splitlines()):
                self._lines.append(Line(what, key, int(horizon), int(pid), node, float(at)))
        return self._lines


def count(lines: Iterable[Line], what: str) -> int:
    """The number of lines of a kind."""
    return sum(line.what == what for line in lines)


def open_runs(lines: Iterable[Line]) -> dict[str, Line]:
    """The runs that have begun and not ended, each with the line of its last begin."""
    runs: dict[str, Line] = {}
    for line in lines:
        if line.what == BEGIN:
            runs[line.key] = line
        elif line.what == END:
            runs.pop(line.key, None)
    return runs


def spans(lines: Iterable[Line]) -> list[tuple[float, float, int]]:
    """The begin, the end and the process of every attempt; an attempt without an end lasts until its last line."""
    attempts: dict[tuple[str, int], list[float]] = {}
    for line in lines:
        attempts.setdefault((line.key, line.pid), []).append(line.at)
    return sorted((times[0], times[-1], pid) for (_, pid), times in attempts.items())


def training_share(lines: list[Line], workers: int) -> float:
    """The share of the time in which so many distinct processes trained.

    The time is from the first begin in the last of the processes, to the moment at which fewer runs were left than
    workers. Where fewer processes trained, it is from the first begin of all, and the share is 0.
    """
    first: dict[int, float] = {}
    for line in lines:
        if line.what == BEGIN:
            first.setdefault(line.pid, line.at)
    opened = sorted(first.values())
    ends = sorted(line.at for line in lines if line.what == END)
    begin = opened[workers - 1] if len(opened) >= workers else opened[0]
    until = ends[len(ends) - workers]
    if until <= begin:
        raise ValueError(f"the runs are too few to see {workers} workers train: {len(ends)}")
    return _together(spans(lines), workers, begin, until) / (until - begin)


def _together(attempts: list[tuple[float, float, int]], workers: int, begin: float, until: float) -> float:
    """The seconds in which so many distinct processes trained."""
    moments = sorted({begin, until, *(at for span in attempts for at in span[:2] if begin < at < until)})
    seconds = 0.0
    for start, stop in pairwise(moments):
        at_work = {pid for first, last, pid in attempts if first <= start and last >= stop}
        seconds += (stop - start) * (len(at_work) >= workers)
    return seconds


def gaps(lines: Iterable[Line]) -> list[float]:
    """The seconds between the end of a run and the begin of the next in the same process."""
    ended: dict[int, float] = {}
    waited = []
    for line in lines:
        if line.what == BEGIN and line.pid in ended:
            waited.append(line.at - ended.pop(line.pid))
        elif line.what == END:
            ended[line.pid] = line.at
    return waited
