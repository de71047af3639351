"""The resources of a call: a writable folder, a store, a space, and the executor or trainer."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from lrsearch.errors import OutputError, TaskError, UsageError, given
from lrsearch.executors.local import LocalExecutor
from lrsearch.runs import Task
from lrsearch.runs.executor import Executor, Limits, TrainerSource
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.store import Store, open_store
from lrsearch.store.store import PAUSES
from lrsearch.tasks import find_classification
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.functions import FunctionSource
from lrsearch.training.groups import require_workers
from lrsearch.training.source import ClassificationSource
from lrsearch.training.user_source import is_user_training, user_source

if TYPE_CHECKING:
    from lrsearch.training import Trainer

DEFAULT_FOLDER = Path("lrsearch-runs")
log = logging.getLogger(__name__)


def raw_space(task: Task, functions: Sequence[str | Policy]) -> Space:
    """The raw space of some LR functions or policies on a task."""
    if isinstance(functions, str):
        raise UsageError(f"functions is a list of LR functions or policies, such as [{functions!r}], got a text")
    if not isinstance(functions, Iterable):
        raise UsageError(f"functions is a list of LR functions or policies, such as ['TRI'], got {given(functions)}")
    return Space.standard(*functions, horizon=task.horizon, epoch=task.epoch, peak=task.lr_range)


def open_trainer(task: Task, data_dir: str | Path | None, is_own_process: bool) -> "Trainer":
    """Make the trainer of a task in this process; lrsearch's own process is set up for training. Torch loads here."""
    from lrsearch.training import Trainer, own_process

    classification = find_classification(task)
    if is_own_process:
        own_process(classification)
    return Trainer(classification, Path(data_dir) if data_dir else None)


def source_of(trains: TaskLike, data_dir: str | Path | None, task: Task | None = None) -> TrainerSource:
    """The source of a task's trainers.

    Args:
        trains: a shipped task's name, a classification, a function under `@lrs.task`, or a program.
        data_dir: the folder of a classification's data set; None for the default one.
        task: the task to train, where it differs from that of `trains`.

    Raises:
        TaskError: for an unknown task, or one that has no trainer.
    """
    if is_user_training(trains):
        source = user_source(trains)
        return source if task is None else source.with_task(task)
    return ClassificationSource(find_classification(task or trains), Path(data_dir) if data_dir else None)


@contextmanager
def open_executor(
    source: TrainerSource, workers: int | None, is_own_process: bool = False, limits: Limits | None = None
) -> Iterator[Executor]:
    """Open an executor: this process, or `workers` others; None for the number that suits the task.

    With a time limit, one worker is another process as well: this one could not end a run that never returns.

    Raises:
        UsageError: if `workers` is not 1 or more.
        TaskError: if there is a time limit and the function cannot be sent to another process.
    """
    if workers is not None:
        require_workers(workers)
    limits = limits or Limits()
    processes = source.default_workers() if workers is None else workers
    if (processes > 1 or limits) and isinstance(source, FunctionSource) and (why := source.why_not_sent()) is not None:
        if limits:
            raise TaskError(f"{why}; a time limit needs a process that can be ended")
        log.warning("%s; it trains in this process, one run at a time", why)
        processes = 1
    if processes == 1 and not limits:
        with closing(source.open(is_own_process=is_own_process)) as trainer:
            yield LocalExecutor(trainer)
        return
    from lrsearch.executors.pool import Pool

    with Pool(source, processes, limits) as pool:
        yield pool


@contextmanager
def readable_store(store: str | Store | None, folder: Path) -> Iterator[Store]:
    """Open a store for reading; an empty one in memory where none is given and none is in the folder."""
    missing = store is None and not (folder / "store.db").exists()
    with opened_store("sqlite:///:memory:" if missing else store, folder, existing=True) as opened:
        yield opened


def writable(folder: str | Path) -> Path:
    """Make a folder, check that files can be written there, and return it.

    Raises:
        UsageError: for anything else than a path or its text.
        OutputError: if files cannot be written.
    """
    if not isinstance(folder, str | Path):
        raise UsageError(f"a folder is a path or its text, got {given(folder)}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; give another folder with --out") from None
    return folder


@contextmanager
def opened_store(store: str | Store | None, folder: Path, *, existing: bool = False) -> Iterator[Store]:
    """Open a store, by default `store.db` in a folder, and close it again unless the caller opened it.

    Args:
        store: an open store, a URL, or None.
        folder: the folder of the default store.
        existing: whether the store must exist.
    """
    if isinstance(store, Store):
        yield store
        return
    url = f"sqlite:///{folder / 'store.db'}" if store is None or store == "" else store
    with open_store(url, existing=existing, pauses=() if existing else PAUSES) as opened:
        yield opened
