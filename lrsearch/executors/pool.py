"""The executor of worker processes on this machine: each opens the source once, and trains one group after the other.

On a CPU each worker has one thread. Several threads of one training step wait for each other at every operation, so
several processes use the cores better.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from lrsearch.errors import LRSearchError, TaskError, WorkError
from lrsearch.executors.worker import ENDED, FAILED, GRACE_SECONDS, OPENED, MachineShare, kill_group, work
from lrsearch.runs import Run, RunSpec
from lrsearch.runs.executor import (
    WAIT,
    Ask,
    Ended,
    Group,
    Lockstep,
    NoRun,
    Progress,
    TrainerSource,
    nothing_to_wait_for,
)
from lrsearch.training.groups import require_workers
from lrsearch.words import counted

GPU_FILES = ("nvidia[0-9]*", "nvhost-gpu", "kfd", "dxg")
"""Device files in /dev of Linux where there is a GPU: NVIDIA's, Jetson's, AMD's, WSL's."""


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection

    def end(self, seconds: float) -> None:
        """End the worker and its child processes, after some seconds in which it may end by itself."""
        self.connection.close()
        wait([self.process.sentinel], timeout=seconds)
        if self.process.pid is not None and hasattr(os, "killpg"):
            kill_group(self.process.pid)  # before it is joined: until then no other process gets its pid
        self.process.kill()
        self.process.join()


class Pool:
    """Trains groups of runs of one task in worker processes, several at a time.

    Each worker leads a process group: its child processes, such as those of a DataLoader, end with it. A script that
    uses a pool keeps its own work under `if __name__ == "__main__":`, for the workers import it.

    Args:
        source: opens the task's trainer in every worker.
        workers: processes.

    Raises:
        UsageError: if `workers` is not 1 or more.
        TaskError: if the source cannot be sent to another process.
        WorkError: if no process can be started, or the source cannot share its data.
    """

    def __init__(self, source: TrainerSource, workers: int) -> None:
        require_workers(workers)
        self.task, self.slots = source.task, workers
        self._stop = multiprocessing.get_context("spawn").Event()
        self._open: dict[Connection, list[RunSpec]] = {}
        self._workers: list[_Worker] = []
        self._lockstep: Lockstep | None = None
        self._opened = set[Connection]()
        self._refusal: str | None = None
        self._shared = ExitStack()
        # Workers are no daemons, which may not start processes. So the exit of Python ends them here, or it would wait.
        self._ending = util.Finalize(self, _end, (self._workers, self._shared), exitpriority=10)
        try:
            self._begin(self._shared.enter_context(source.shared()))
        except BaseException:
            self._ending()
            raise

    def _begin(self, source: TrainerSource) -> None:
        try:
            self._workers.extend(_start(source, self._stop, share) for share in _machine_shares(self.slots))
        except LRSearchError:
            raise
        except OSError as error:
            workers = counted(self.slots, "worker process", "worker processes")
            raise WorkError(f"{workers} cannot be started: {error.strerror}") from error
        except Exception as error:  # the parts of a task may refuse to be pickled with any error
            raise TaskError(
                f"task {self.task.name!r} cannot be handed to another process: {error}; define its"
                " functions at the top of a module"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers and their child processes, in the middle of a run if need be."""
        self.stop()
        self._ending()

    @property
    def is_full(self) -> bool:
        """Whether every worker has something to train."""
        return len(self._open) == len(self._workers)

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of its task train in lockstep: from the first worker that has opened the source.

        Raises:
            WorkError: if no worker can open it.
        """
        while self._lockstep is None:
            self._receive([worker.connection for worker in self._workers], None)
        return self._lockstep

    def train(self, ask: Ask, ended: Ended, *, folder: Path | None = None, progress: Progress | None = None) -> None:
        """Train groups as workers become free: see `Executor.train`.

        When interrupted, or when a run fails, it stops the open runs, reports them as well, and then raises. When
        interrupted again, it raises at once.
        """
        failure: BaseException | None = None
        last: tuple[RunSpec, Run] | None = None
        while True:
            try:
                if last is not None:
                    ended(*last)
                    last = None
                if failure is None:
                    self._fill(ask, folder)
                if (last := self.next(progress)) is None:
                    break
            except KeyboardInterrupt as error:  # it may have interrupted `ended`, which gets a final run once more
                if isinstance(failure, KeyboardInterrupt):
                    raise
                failure, last = error, last if last and last[1].state.is_final else None
                self.stop()
            except LRSearchError as error:
                failure, last = failure or error, None
                self.stop()
        if failure:
            raise failure

    def _fill(self, ask: Ask, folder: Path | None) -> None:
        """Submit a group to every free worker, as long as `ask` returns groups."""
        if not self._workers:
            raise self._no_worker_left()
        while not self.is_full:
            group = ask()
            if group is WAIT and not self._open:
                raise nothing_to_wait_for(self.task)
            if isinstance(group, NoRun):
                return
            self.submit(group, folder)

    def submit(self, group: Group, folder: Path | None = None) -> None:
        """Send a group to a free worker.

        Args:
            group: the runs.
            folder: for weights of full runs and checkpoints; None to keep none.
        """
        connection = next(worker.connection for worker in self._workers if worker.connection not in self._open)
        self._open[connection] = list(group.specs)
        runs = [(str(spec.policy), spec.horizon, spec.seed, spec.stop) for spec in group.specs]
        with suppress(BrokenPipeError):  # the worker died, which `_receive` notices
            connection.send((runs, group.in_lockstep, folder))

    def next(self, progress: Progress | None = None) -> tuple[RunSpec, Run] | None:
        """Wait for a run to end, and return it; None if no run is open.

        Args:
            progress: called with an open run and its steps done, every few steps.

        Raises:
            WorkError: if a worker died, or could not open the source; its runs are lost.
        """
        while self._open:
            ended = self._receive(list(self._open), progress)
            if ended is not None:
                return ended
        return None

    def _receive(self, connections: list[Connection], progress: Progress | None) -> tuple[RunSpec, Run] | None:
        """Wait for a message of a worker, and handle it. Returns the run if the message is an ended run."""
        connection: Any = next(iter(wait(connections)), None)
        if connection is None:
            raise self._no_worker_left()
        try:
            kind, *content = connection.recv()
        except (EOFError, OSError):
            self._remove_dead(connection)
        if kind == OPENED:
            self._opened.add(connection)
            self._lockstep = self._lockstep or Lockstep(*content)
            return None
        if kind == FAILED:
            self._open.pop(connection, None)
            if connection not in self._opened:  # the worker ends; its reason is kept for later errors
                self._remove(connection)
                self._refusal = content[0]
            raise self._cannot_train(content[0])
        key, value = content
        spec = next(spec for spec in self._open[connection] if spec.key == key)
        if kind == ENDED:
            self._close_run(connection, spec)
            return spec, Run.from_text(value)
        if progress:
            progress(spec, value)
        return None

    def _close_run(self, connection: Connection, spec: RunSpec) -> None:
        self._open[connection].remove(spec)
        if not self._open[connection]:
            del self._open[connection]

    def _remove_dead(self, connection: Connection) -> NoReturn:
        """Remove a worker that died, and raise."""
        lost = self._open.pop(connection, [])
        self._remove(connection)
        doing = f" with {lost[0].policy} of" if lost else " before it trained"
        raise WorkError(
            f"a worker process died{doing} {self.task.name}: killed, out of memory, or begun by a script that is not"
            ' under `if __name__ == "__main__":`; what finished is kept'
        ) from None

    def _remove(self, connection: Connection) -> None:
        """End a worker, and remove it."""
        worker = next(worker for worker in self._workers if worker.connection is connection)
        self._workers.remove(worker)
        worker.end(seconds=0)

    def _cannot_train(self, why: str) -> WorkError:
        return WorkError(f"a worker process cannot train {self.task.name}: {why}")

    def _no_worker_left(self) -> WorkError:
        """The error where no worker is left."""
        if self._refusal is not None:
            return self._cannot_train(self._refusal)
        return WorkError(f"no worker process is left to train {self.task.name}")

    def stop(self) -> None:
        """Stop the open runs at their next check; `next` returns them as interrupted."""
        self._stop.set()


def _end(workers: list[_Worker], shared: ExitStack) -> None:
    """End all workers at the same time, and then the data that they share."""
    for worker in workers:
        worker.connection.close()
    latest = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        worker.end(max(0.0, latest - time.monotonic()))
    shared.close()


def _start(source: TrainerSource, stop: Event, share: MachineShare) -> _Worker:
    """Start a worker and send it the source. A worker that cannot read the source sends the reason."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Before the process starts, for pickling may raise. For each worker anew, as tensors are shared by file descriptor.
    sent = ForkingPickler.dumps(source)
    process = context.Process(target=work, args=(theirs, stop, share), daemon=False)
    with _ignored_interrupts():
        process.start()
    theirs.close()
    with suppress(BrokenPipeError):  # the worker died at once, which `_receive` notices
        ours.send_bytes(sent)
    return _Worker(process, ours)


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


def _machine_shares(workers: int) -> list[MachineShare]:
    """The share of the machine for each worker."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus()
    threads = max(1, cores // workers)
    return [MachineShare(threads, f"cuda:{n % gpus}" if gpus else None) for n in range(workers)]


def _gpus() -> int:
    """The number of GPUs. Torch, which takes seconds to load, counts them only where the machine may have one."""
    if sys.platform == "linux" and not any(any(Path("/dev").glob(pattern)) for pattern in GPU_FILES):
        return 0
    import torch

    return torch.cuda.device_count()
