"""Worker processes that train one run after the other: torch is imported once, and all share one copy of the data.

On a CPU this is how all cores are used: one thread each, for several threads of one step wait for each other at every
operation.
"""

import multiprocessing
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import torch

from lrsearch.errors import LRSearchError, OutputError, TaskError, WorkError
from lrsearch.runs import Run, RunSpec
from lrsearch.schedules import parse
from lrsearch.tasks import Split, Splits
from lrsearch.tasks.classification import Classification
from lrsearch.training.groups import Group, Lockstep, Progress, require_workers
from lrsearch.training.loop import Trainer
from lrsearch.training.process import own_process
from lrsearch.training.together import lockstep, train_group
from lrsearch.words import counted

NEWS_EVERY_SECONDS = 0.2
SPLITS = ("train", "validation", "test")
MAPPED_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    line: Connection


class Pool:
    """Trains runs of one task, several at a time, each as `Trainer.train` does in one thread.

    A script that uses one keeps its own work under `if __name__ == "__main__":`, for the workers import it.

    Args:
        task: the task; the workers know its functions by name, so it has no lambda and no function within a function.
        workers: processes, one thread each.
        data_dir: where its data set lies; None for the default place.

    Raises:
        UsageError: if `workers` is not 1 or more.
        TaskError: if the task cannot be handed to another process.
        DataError: if the data set is missing or broken.
        OutputError: if the workers' copy of it cannot be written.
    """

    def __init__(self, task: Classification, workers: int, data_dir: Path | None = None) -> None:
        require_workers(workers)
        self.task, self.workers = task, workers
        self._stop = multiprocessing.get_context("spawn").Event()
        self._open: dict[Connection, list[RunSpec]] = {}
        self._files = tempfile.TemporaryDirectory(prefix="lrsearch-")
        self._workers: list[_Worker] = []
        try:
            trainer = Trainer(task, data_dir, device="cpu")
            self.lockstep: Lockstep = lockstep(trainer)
            self._begin(workers, _in_files(trainer, Path(self._files.name)))
        except BaseException:
            self._end()
            raise

    def _begin(self, workers: int, task: Classification) -> None:
        try:
            self._workers.extend(_start(task, self._stop) for _ in range(workers))
        except OSError as error:
            asked = counted(workers, "worker process", "worker processes")
            raise WorkError(f"{asked} cannot be started: {error.strerror}") from error
        except Exception as error:  # what a task is made of may refuse in its own way
            raise TaskError(f"task {task.name!r} cannot be handed to another process: {error}; define its functions at"
                            " the top of a module") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers; what they train is given up."""
        self.stop()
        self._end()

    @property
    def is_full(self) -> bool:
        """Whether every worker has something to train."""
        return len(self._open) == len(self._workers)

    def train(
        self, ask: Callable[[], Group | None], ended: Callable[[RunSpec, Run], None], *,
        folder: Path | None = None, progress: Progress | None = None,
    ) -> None:
        """Train runs as workers become free, and tell of each that ends.

        Interrupted, or when something fails, it stops what is open, tells of that as well, and raises then; interrupted
        again it raises at once.

        Args:
            ask: gives what to train next; None while what is open must end first, and when nothing is left.
            ended: is told of every run that ends.
            folder: for the weights of full runs and the checkpoints of those in progress; None to keep none.
            progress: as in `Pool.next`.
        """
        failure: BaseException | None = None
        news: tuple[RunSpec, Run] | None = None
        while True:
            try:
                if news is not None:
                    ended(*news)
                    news = None
                while failure is None and not self.is_full and (group := ask()) is not None:
                    self.submit(group, folder)
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

    def submit(self, group: Group, folder: Path | None = None) -> None:
        """Have a group trained by a worker that has nothing to train.

        Args:
            group: the runs.
            folder: for weights of full runs and checkpoints; None to keep none.
        """
        line = next(worker.line for worker in self._workers if worker.line not in self._open)
        asked = [(str(spec.policy), spec.horizon, spec.seed, spec.stop) for spec in group.specs]
        line.send((asked, group.in_lockstep, folder))
        self._open[line] = list(group.specs)

    def next(self, progress: Progress | None = None) -> tuple[RunSpec, Run] | None:
        """Wait for a run to end, and give it; None if none is open.

        Args:
            progress: is told the steps done of a run that is open, every now and then.

        Raises:
            WorkError: if a worker died; its runs are given up.
        """
        while self._open:
            line = next(iter(wait(list(self._open))))
            assert isinstance(line, Connection)
            key, news = self._hear(line)
            spec = next(spec for spec in self._open[line] if spec.key == key)
            if isinstance(news, Run):
                self._open[line].remove(spec)
                if not self._open[line]:
                    del self._open[line]
                return spec, news
            if progress:
                progress(spec, news)
        return None

    def _hear(self, line: Connection) -> tuple[str, Run | int]:
        try:
            key, news = line.recv()
        except (EOFError, OSError):
            lost = self._open.pop(line)
            self._workers = [worker for worker in self._workers if worker.line is not line]
            raise WorkError(
                f"a worker process died with {lost[0].policy} of {self.task.name}: killed, out of memory, or begun by a"
                " script that is not under `if __name__ == \"__main__\":`; what finished is kept"
            ) from None
        return key, Run.from_text(news) if isinstance(news, str) else int(news)

    def stop(self) -> None:
        """Ask what is open to end at its next check; `next` gives it as interrupted."""
        self._stop.set()

    def _end(self) -> None:
        for worker in self._workers:
            worker.line.close()
        for worker in self._workers:
            worker.process.join()
        self._files.cleanup()


@dataclass(frozen=True, slots=True)
class _Mapped:
    """Gives splits that lie in files: what is large is mapped into memory, so that all workers share its pages."""

    folder: Path
    digest: str

    def __call__(self, folder: Path | None) -> Splits:
        train, validation, test = map(self._split, SPLITS)
        return Splits(train, validation, test, self.digest)

    def _split(self, name: str) -> Split:
        return Split(self._tensor(f"{name}-x.npy"), self._tensor(f"{name}-y.npy"))

    def _tensor(self, file: str) -> torch.Tensor:
        path = self.folder / file
        mode: Literal["c"] | None = "c" if path.stat().st_size > MAPPED_BYTES else None
        return torch.from_numpy(np.load(path, mmap_mode=mode))


def _in_files(trainer: Trainer, folder: Path) -> Classification:
    """Give a trainer's task with its data in files of a folder."""
    try:
        for name, split in zip(SPLITS, (trainer.train_split, trainer.validation, trainer.test_split), strict=True):
            np.save(folder / f"{name}-x.npy", split.x.numpy())
            np.save(folder / f"{name}-y.npy", split.y.numpy())
    except OSError as error:
        raise OutputError(f"cannot write the workers' data to {folder}: {error.strerror}; make room there, or name"
                          " another place in TMPDIR") from error
    return replace(trainer.task, load=_Mapped(folder, trainer.digest))


def _start(task: Classification, stop: Event) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(task, theirs, stop), daemon=True)
    with _ignored_interrupts():
        process.start()
    theirs.close()
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


def _work(task: Classification, line: Connection, stop: Event) -> None:
    """Train what comes down the line, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own_process(task, threads=1)
    trainer = Trainer(task)

    with suppress(EOFError, OSError):  # the line was closed, perhaps in the middle of a run
        while True:
            asked, in_lockstep, folder = line.recv()
            specs = tuple(RunSpec(task, parse(policy), horizon, seed, stop) for policy, horizon, seed, stop in asked)
            _train(trainer, Group(specs, in_lockstep), folder, line, stop)


def _train(trainer: Trainer, group: Group, folder: Path | None, line: Connection, stop: Event) -> None:
    """Train a group, and send each run as it ends, and the steps done every now and then."""
    told, waiting = time.monotonic(), [spec.key for spec in group.specs]

    def watch(step: int) -> None:
        nonlocal told
        if stop.is_set():
            raise KeyboardInterrupt
        if time.monotonic() - told > NEWS_EVERY_SECONDS:
            try:
                line.send((waiting[0], step))
            except OSError:  # who asked is gone
                raise KeyboardInterrupt from None
            told = time.monotonic()

    def ended(spec: RunSpec, run: Run) -> None:
        waiting.remove(spec.key)
        line.send((spec.key, run.to_text()))

    train_group(trainer, group, ended, watch, folder)
