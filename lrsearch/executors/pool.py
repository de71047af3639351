"""Worker processes of this machine as the executor: each opens the source once, and trains one group after the other.

On a CPU this is how all cores are used: one thread each, for several threads of one step wait for each other at every
operation.
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
from lrsearch.executors.worker import ENDED, FAILED, GRACE_SECONDS, OPENED, Place, end_group, work
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
"""What Linux shows in /dev where there is a GPU: NVIDIA's, Jetson's, AMD's, WSL's."""


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    line: Connection

    def end(self, seconds: float) -> None:
        """End it and all that it started; it has so many seconds to end by itself."""
        self.line.close()
        wait([self.process.sentinel], timeout=seconds)
        if self.process.pid is not None and hasattr(os, "killpg"):
            end_group(self.process.pid)  # before it is joined: until then its number is nobody else's
        self.process.kill()
        self.process.join()


class Pool:
    """Trains groups of runs of one task in worker processes, several at a time.

    Each worker leads a process group: it may start processes of its own, such as those of a DataLoader, and they end
    with it. A script that uses a pool keeps its own work under `if __name__ == "__main__":`, for the workers import it.

    Args:
        source: opens the task's trainer in every worker.
        workers: processes.

    Raises:
        UsageError: if `workers` is not 1 or more.
        TaskError: if the source cannot be handed to another process.
        WorkError: if no process can be started, or what the source shares cannot be made.
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
        # Workers are no daemons, for those may start none; so what is left at exit is ended here, or it is waited for.
        self._ending = util.Finalize(self, _end, (self._workers, self._shared), exitpriority=10)
        try:
            self._begin(self._shared.enter_context(source.shared()))
        except BaseException:
            self._ending()
            raise

    def _begin(self, source: TrainerSource) -> None:
        try:
            self._workers.extend(_start(source, self._stop, place) for place in _places(self.slots))
        except LRSearchError:
            raise
        except OSError as error:
            asked = counted(self.slots, "worker process", "worker processes")
            raise WorkError(f"{asked} cannot be started: {error.strerror}") from error
        except Exception as error:  # what a task is made of may refuse in its own way
            raise TaskError(
                f"task {self.task.name!r} cannot be handed to another process: {error}; define its"
                " functions at the top of a module"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers and what they started; what they train is given up."""
        self.stop()
        self._ending()

    @property
    def is_full(self) -> bool:
        """Whether every worker has something to train."""
        return len(self._open) == len(self._workers)

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of its task train in lockstep: the first worker that has opened the source says it.

        Raises:
            WorkError: if none can open it.
        """
        while self._lockstep is None:
            self._hear([worker.line for worker in self._workers], None)
        return self._lockstep

    def train(self, ask: Ask, ended: Ended, *, folder: Path | None = None, progress: Progress | None = None) -> None:
        """Train groups as workers become free, as `Executor` says.

        Interrupted, or when something fails, it stops what is open, tells of that as well, and raises then; interrupted
        again it raises at once.
        """
        failure: BaseException | None = None
        news: tuple[RunSpec, Run] | None = None
        while True:
            try:
                if news is not None:
                    ended(*news)
                    news = None
                if failure is None:
                    self._fill(ask, folder)
                if (news := self.next(progress)) is None:
                    break
            except KeyboardInterrupt as error:  # it may have landed in `ended`, which is told again of what is final
                if isinstance(failure, KeyboardInterrupt):
                    raise
                failure, news = error, news if news and news[1].state.is_final else None
                self.stop()
            except LRSearchError as error:
                failure, news = failure or error, None
                self.stop()
        if failure:
            raise failure

    def _fill(self, ask: Ask, folder: Path | None) -> None:
        """Give every free worker a group, as far as there are any."""
        if not self._workers:
            raise self._nobody()
        while not self.is_full:
            group = ask()
            if group is WAIT and not self._open:
                raise nothing_to_wait_for(self.task)
            if isinstance(group, NoRun):
                return
            self.submit(group, folder)

    def submit(self, group: Group, folder: Path | None = None) -> None:
        """Have a group trained by a worker that has nothing to train.

        Args:
            group: the runs.
            folder: for weights of full runs and checkpoints; None to keep none.
        """
        line = next(worker.line for worker in self._workers if worker.line not in self._open)
        self._open[line] = list(group.specs)
        with suppress(BrokenPipeError):  # it died, which is heard when it is listened to
            line.send(
                (
                    [(str(spec.policy), spec.horizon, spec.seed, spec.stop) for spec in group.specs],
                    group.in_lockstep,
                    folder,
                )
            )

    def next(self, progress: Progress | None = None) -> tuple[RunSpec, Run] | None:
        """Wait for a run to end, and give it; None if none is open.

        Args:
            progress: is told the steps done of a run that is open, every now and then.

        Raises:
            WorkError: if a worker died, or could not open the source; its runs are given up.
        """
        while self._open:
            found = self._hear(list(self._open), progress)
            if found is not None:
                return found
        return None

    def _hear(self, lines: list[Connection], progress: Progress | None) -> tuple[RunSpec, Run] | None:
        """Listen until a worker says something; its run, if that is what it says."""
        line: Any = next(iter(wait(lines)), None)
        if line is None:
            raise self._nobody()
        try:
            kind, *news = line.recv()
        except (EOFError, OSError):
            self._lose(line)
        if kind == OPENED:
            self._opened.add(line)
            self._lockstep = self._lockstep or Lockstep(*news)
            return None
        if kind == FAILED:
            self._open.pop(line, None)
            if line not in self._opened:  # it ends, and whoever asks again hears why
                self._remove(line)
                self._refusal = news[0]
            raise self._cannot(news[0])
        key, said = news
        spec = next(spec for spec in self._open[line] if spec.key == key)
        if kind == ENDED:
            self._close_run(line, spec)
            return spec, Run.from_text(said)
        if progress:
            progress(spec, said)
        return None

    def _close_run(self, line: Connection, spec: RunSpec) -> None:
        self._open[line].remove(spec)
        if not self._open[line]:
            del self._open[line]

    def _lose(self, line: Connection) -> NoReturn:
        """Give up a worker that died."""
        lost = self._open.pop(line, [])
        self._remove(line)
        doing = f" with {lost[0].policy} of" if lost else " before it trained"
        raise WorkError(
            f"a worker process died{doing} {self.task.name}: killed, out of memory, or begun by a script that is not"
            ' under `if __name__ == "__main__":`; what finished is kept'
        ) from None

    def _remove(self, line: Connection) -> None:
        """End a worker that trains nothing any more."""
        worker = next(worker for worker in self._workers if worker.line is line)
        self._workers.remove(worker)
        worker.end(seconds=0)

    def _cannot(self, why: str) -> WorkError:
        return WorkError(f"a worker process cannot train {self.task.name}: {why}")

    def _nobody(self) -> WorkError:
        """The error where no worker is left."""
        if self._refusal is not None:
            return self._cannot(self._refusal)
        return WorkError(f"no worker process is left to train {self.task.name}")

    def stop(self) -> None:
        """Ask what is open to end at its next check; `next` gives it as interrupted."""
        self._stop.set()


def _end(workers: list[_Worker], shared: ExitStack) -> None:
    """End all workers side by side, and what they share after them."""
    for worker in workers:
        worker.line.close()
    latest = time.monotonic() + GRACE_SECONDS
    for worker in workers:
        worker.end(max(0.0, latest - time.monotonic()))
    shared.close()


def _start(source: TrainerSource, stop: Event, place: Place) -> _Worker:
    """Start a worker, and send it the source: where it cannot be read there, the worker can say so."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sent = ForkingPickler.dumps(source)  # before there is a process, for it may refuse; each worker's own, for tensors
    process = context.Process(target=work, args=(theirs, stop, place), daemon=False)
    with _ignored_interrupts():
        process.start()
    theirs.close()
    with suppress(BrokenPipeError):  # it died at once, which is heard when it is listened to
        ours.send_bytes(sent)
    return _Worker(process, ours)


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Have a process that is started now be deaf to Ctrl-C from its first moment; who started it says when to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _places(workers: int) -> list[Place]:
    """The share of the machine that each worker has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus()
    return [Place(max(1, cores // workers), f"cuda:{n % gpus}" if gpus else None) for n in range(workers)]


def _gpus() -> int:
    """How many GPUs torch sees; it is asked only where the machine may have one, for it takes seconds to load."""
    if sys.platform == "linux" and not any(any(Path("/dev").glob(pattern)) for pattern in GPU_FILES):
        return 0
    import torch

    return torch.cuda.device_count()
