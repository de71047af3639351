"""Worker processes that train one run after the other: torch is imported once, the data lie in shared memory.

On a CPU this is how all cores are used: one thread each, for several threads of one step wait for each other at every
operation.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Self

import torch.multiprocessing  # noqa: F401  teaches multiprocessing to hand over tensors in shared memory

from lrsearch.errors import LRSearchError, TaskError, UsageError, WorkError
from lrsearch.schedules import parse
from lrsearch.tasks import Split, Splits, Task
from lrsearch.tasks.own import InMemory
from lrsearch.training.loop import Trainer
from lrsearch.training.prefixes import train_family
from lrsearch.training.process import own_process
from lrsearch.training.run import Run, RunSpec

Progress = Callable[[RunSpec, int], None]
NEWS_EVERY_SECONDS = 0.2


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
    """

    def __init__(self, task: Task, workers: int, data_dir: Path | None = None) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise UsageError(f"workers must be a whole number, 1 or more, got {workers!r}")
        self.task = task
        self._stop = multiprocessing.get_context("spawn").Event()
        self._open: dict[Connection, list[RunSpec]] = {}
        ready = _in_shared_memory(task, data_dir)
        self._workers: list[_Worker] = []
        try:
            self._workers.extend(_start(ready, self._stop) for _ in range(workers))
        except (AttributeError, TypeError, ValueError) as error:
            self._end()
            raise TaskError(f"task {task.name!r} cannot be handed to another process: {error}; define its functions"
                            " at the top of a module") from error

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

    def submit(self, specs: Sequence[RunSpec], folder: Path | None = None) -> None:
        """Have runs trained by a worker that has nothing to train: one, or a family that begins alike.

        Args:
            specs: the runs.
            folder: for weights of full runs and checkpoints; None to keep none.
        """
        line = next(worker.line for worker in self._workers if worker.line not in self._open)
        self._open[line] = list(specs)
        line.send(([(str(spec.policy), spec.horizon, spec.seed) for spec in specs], folder))

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


def train_all(
    pool: Pool, ask: Callable[[], Sequence[RunSpec] | None], ended: Callable[[RunSpec, Run], None], *,
    folder: Path | None = None, progress: Progress | None = None,
) -> None:
    """Train runs as workers become free, and tell of each that ends.

    Interrupted, or when something fails, it stops what is open, tells of that as well, and raises then.

    Args:
        pool: the workers.
        ask: gives what to train next, a run or a family of them; None while what is open must end first, and when
            nothing is left.
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
            while failure is None and not pool.is_full and (specs := ask()) is not None:
                pool.submit(specs, folder)
            if (news := pool.next(progress)) is None:
                break
        except KeyboardInterrupt as error:  # it may have landed in `ended`, which is then told again
            failure = error
            pool.stop()
        except LRSearchError as error:
            failure, news = error, None
            pool.stop()
    if failure:
        raise failure


def _in_shared_memory(task: Task, data_dir: Path | None) -> Task:
    """Give the task with its data in memory that other processes see, checked as a trainer checks them."""
    trainer = Trainer(task, data_dir, device="cpu")
    train, validation, test = map(_shared, (trainer.train_split, trainer.validation, trainer.test_split))
    return replace(task, load=InMemory(Splits(train, validation, test, trainer.digest)))


def _shared(split: Split) -> Split:
    return Split(split.x.share_memory_(), split.y.share_memory_())  # type: ignore[no-untyped-call]


def _start(task: Task, stop: Event) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(task, theirs, stop), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(task: Task, line: Connection, stop: Event) -> None:
    """Train what comes down the line, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asked says when to stop
    own_process(task, threads=1)
    trainer = Trainer(task)

    while True:
        try:
            asked, folder = line.recv()
        except EOFError:
            return
        specs = [RunSpec(task, parse(policy), horizon, seed) for policy, horizon, seed in asked]
        _train(trainer, specs, folder, line, stop)


def _train(trainer: Trainer, specs: list[RunSpec], folder: Path | None, line: Connection, stop: Event) -> None:
    """Train a family, and send each run as it ends, and the steps done every now and then."""
    told, waiting = time.monotonic(), [spec.key for spec in specs]

    def watch(step: int) -> None:
        nonlocal told
        if stop.is_set():
            raise KeyboardInterrupt
        if time.monotonic() - told > NEWS_EVERY_SECONDS:
            line.send((waiting[0], step))
            told = time.monotonic()

    def ended(spec: RunSpec, run: Run) -> None:
        waiting.remove(spec.key)
        line.send((spec.key, run.to_text()))

    train_family(trainer, specs, ended, watch, folder)
