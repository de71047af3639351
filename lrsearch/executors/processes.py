"""Workers as processes of this machine. A process that dies or hangs is replaced, and its death is reported."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from lrsearch.errors import WorkError
from lrsearch.executors.deaths import death_of, memory_kills, memory_of
from lrsearch.executors.worker import ENDED, FAILED, GRACE_SECONDS, OPENED, MachineShare, kill_group, work
from lrsearch.executors.workers import Died, Failed, Message, Opened, Order, Refused, RunEnded, Stepped
from lrsearch.runs import Run
from lrsearch.runs.executor import Lockstep
from lrsearch.runs.lost import Cause, Death
from lrsearch.words import counted

SAMPLE_SECONDS = 1.0
"""Between two samples of a worker's memory, and between two checks of its time limit: a rule."""
STARTS = 3
"""Starts of a worker that dies before it has opened the source: a rule."""
NOT_MAIN = 1
"""Exit code of a process that the user's script, imported without `if __name__ == "__main__":`, breaks off."""

MAIN_HINT = '; a script that searches with workers keeps its own work under `if __name__ == "__main__":`'


class ProcessWorkers:
    """Worker processes of this machine, each with its share.

    Each worker leads a process group: its child processes, such as those of a DataLoader, end with it. The processes
    import the script that uses them, so it keeps its own work under `if __name__ == "__main__":`.

    Args:
        pickled: returns the pickled source, which opens the task's trainer; called for each process, as data may be
            sent by file descriptor.
        shares: the share of the machine of each worker.
        seconds_per_run: a process whose run takes longer is ended; None for no limit. A group in lockstep has as much
            time as its runs have together.
        shared: what the processes share; it is closed after they have ended.

    Raises:
        WorkError: if no process can be started.
    """

    def __init__(
        self,
        pickled: Callable[[], bytes],
        shares: Sequence[MachineShare],
        seconds_per_run: float | None = None,
        shared: ExitStack | None = None,
    ) -> None:
        self._pickled, self._seconds_per_run = pickled, seconds_per_run
        self._context = multiprocessing.get_context("spawn")
        self._is_stopping = self._context.RawValue("b", 0)  # without a lock: a killed process cannot keep it
        self._messages: deque[Message] = deque()
        self._shared = shared or ExitStack()
        self._processes: dict[int, _WorkerProcess] = {}
        self._kills = memory_kills()
        # Workers are no daemons, which may not start processes. So the exit of Python ends them here, or it would wait.
        self._ending = util.Finalize(self, _end, (self._processes, self._shared, GRACE_SECONDS), exitpriority=10)
        try:
            for number, share in enumerate(shares):
                self._processes[number] = self._start(share)
        except OSError as error:
            self._ending()
            workers = counted(len(shares), "worker process", "worker processes")
            raise WorkError(f"{workers} cannot be started: {error.strerror}") from error
        except BaseException:
            self._ending()
            raise

    def begin(self, worker: int, order: Order) -> None:
        """Send a group to a worker: see `Workers.begin`."""
        process = self._processes[worker]
        process.begin(order, self._seconds_per_run)
        with suppress(OSError):  # the worker died, which `receive` notices
            process.connection.send(order)

    def receive(self, seconds: float) -> Message | None:
        """The next message, or None after some seconds: see `Workers.receive`."""
        until = time.monotonic() + seconds
        while not self._messages:
            self._see_limits()
            now = time.monotonic()
            connections = {process.connection: worker for worker, process in self._processes.items()}
            for connection in wait(connections, max(0.0, min(SAMPLE_SECONDS, until - now))):
                self._read(connections[connection])  # type: ignore[index]
            if not self._messages and time.monotonic() >= until:
                return None
        return self._messages.popleft()

    def stop(self) -> None:
        """Stop the open runs: see `Workers.stop`."""
        self._is_stopping.value = 1

    def close(self, seconds: float) -> None:
        """End all workers, and then the data that they share: see `Workers.close`."""
        self.stop()
        if self._ending.still_active():
            self._ending.cancel()
            _end(self._processes, self._shared, seconds)

    @property
    def pids(self) -> dict[int, int]:
        """The process of each worker."""
        return {worker: process.pid for worker, process in self._processes.items()}

    def _start(self, share: MachineShare, starts: int = 0) -> "_WorkerProcess":
        """Start a worker and send it the source. A worker that cannot read the source sends the reason."""
        ours, theirs = self._context.Pipe()
        sent = self._pickled()  # before the process starts, for pickling may raise
        process = self._context.Process(target=work, args=(theirs, self._is_stopping, share), daemon=False)
        with _ignored_interrupts():
            process.start()
        theirs.close()
        with suppress(BrokenPipeError):  # the worker died at once, which `receive` notices
            ours.send_bytes(sent)
        return _WorkerProcess(process, ours, share, starts + 1)

    def _read(self, worker: int) -> None:
        """Read a message of a worker, or notice that it is dead."""
        process = self._processes[worker]
        try:
            kind, *content = process.connection.recv()
        except (EOFError, OSError):
            self._replace_dead(worker)
            return
        if kind == OPENED:
            process.is_open = True
            self._messages.append(Opened(worker, Lockstep(*content)))
        elif kind == FAILED:
            failed = Failed if process.is_open else Refused
            self._messages.append(failed(worker, content[0]))
            process.keys.clear()
            if not process.is_open:
                self._processes.pop(worker).end(seconds=0)
        elif kind == ENDED:
            process.run_ended(content[0])
            self._messages.append(RunEnded(worker, content[0], Run.from_text(content[1])))
        else:
            self._messages.append(Stepped(worker, *content))

    def _replace_dead(self, worker: int) -> None:
        """Report a worker's death, and start another in its place unless all stop."""
        process = self._processes.pop(worker)
        process.end(seconds=GRACE_SECONDS)  # its connection closes a moment before it ends
        kills, before = memory_kills(), self._kills
        self._kills = kills
        death = process.death or death_of(process.code, kills - before, process.memory)
        if not process.is_open and (process.starts >= STARTS or process.code == NOT_MAIN):
            hint = MAIN_HINT if process.code == NOT_MAIN else ""
            self._messages.append(Refused(worker, f"its process ended before it could train: {death}{hint}"))
            return
        self._messages.append(Died(worker, death))
        if not self._is_stopping.value:
            self._processes[worker] = self._start(process.share, 0 if process.is_open else process.starts)

    def _see_limits(self) -> None:
        """Sample the memory of the workers that train, and end those whose run takes too long."""
        for process in self._processes.values():
            if process.keys and time.monotonic() - process.sampled_at >= SAMPLE_SECONDS:
                process.sample()
            if process.keys and process.ends_by is not None and time.monotonic() > process.ends_by:
                process.death = Death(Cause.HUNG, f"{self._seconds_per_run:g} s")
                process.ends_by = None
                kill_group(process.pid)


class _WorkerProcess:
    """A worker's process, and what it trains."""

    def __init__(self, process: BaseProcess, connection: Connection, share: MachineShare, starts: int) -> None:
        self.process, self.connection, self.share, self.starts = process, connection, share, starts
        self.is_open = False
        self.keys: list[str] = []
        self.death: Death | None = None
        self.memory: int | None = None
        self.sampled_at = 0.0
        self.ends_by: float | None = None
        self._allowed: float | None = None

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self.process.exitcode

    def begin(self, order: Order, seconds_per_run: float | None) -> None:
        self.keys = list(order.keys)
        rows = len(order.keys) if order.in_lockstep else 1
        self._allowed = None if seconds_per_run is None else seconds_per_run * rows
        self._allow()
        self.sample()

    def run_ended(self, key: str) -> None:
        self.keys.remove(key)
        self._allow()

    def sample(self) -> None:
        """Note the memory that it holds."""
        self.memory, self.sampled_at = memory_of(self.pid) or self.memory, time.monotonic()

    def end(self, seconds: float) -> None:
        """End it and its child processes, after some seconds in which it may end by itself."""
        self.connection.close()
        wait([self.process.sentinel], timeout=seconds)
        if hasattr(os, "killpg"):
            kill_group(self.pid)  # before it is joined: until then no other process gets its pid
        self.process.kill()
        self.process.join()

    def _allow(self) -> None:
        self.ends_by = None if self._allowed is None else time.monotonic() + self._allowed


def _end(processes: dict[int, _WorkerProcess], shared: ExitStack, seconds: float) -> None:
    """End all workers at the same time, and then the data that they share."""
    for process in processes.values():
        process.connection.close()
    latest = time.monotonic() + seconds
    for process in processes.values():
        process.end(max(0.0, latest - time.monotonic()))
    processes.clear()
    shared.close()


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Let processes that start now ignore Ctrl-C from the first moment: this process stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
