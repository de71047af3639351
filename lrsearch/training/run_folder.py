"""The folder of weights and checkpoints, of one process at a time: no two processes write the same files.

Where several processes search with the same `--out`, the first trains in `weights`, the others in `weights-2`,
`weights-3` and so on. A process that ends moves their files to `weights`, and so does the next that begins, for those
of processes that were killed. One that goes on with the run of a killed process moves its files to its own folder
first. The system gives the lock of a killed process back.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import IO

from lrsearch.runs.counter import StepCounter, uncharged_in

if sys.platform != "win32":
    import fcntl

NAME, LOCK = "weights", ".lock"


@contextmanager
def run_folder(out: Path) -> Iterator[Path]:
    """A folder in `out` that no other process uses; the files of ended processes are moved to the first of them.

    Raises:
        OSError: if the folder cannot be made.
    """
    with ExitStack() as stack:
        for number in count(1):
            folder = out / (NAME if number == 1 else f"{NAME}-{number}")
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / LOCK).open("a"))
            if _lock(file) and _is_at(file, folder / LOCK):
                break
        gather(out, folder)
        yield folder
    gather(out)


def gather(out: Path, into: Path | None = None) -> None:
    """Move the files of ended processes to a folder.

    Args:
        out: the parent of all folders.
        into: a folder that this process has locked; None for `weights`, unless another process uses it.
    """
    with ExitStack() as stack:
        if into is None:
            into = out / NAME
            if not into.is_dir() or not _lock(stack.enter_context((into / LOCK).open("a"))):
                return
        for folder in [out / NAME, *sorted(out.glob(f"{NAME}-*"))]:
            if folder != into and folder.is_dir():
                with (folder / LOCK).open("a") as file:
                    if _lock(file):
                        _move(folder, into)


def _move(folder: Path, into: Path) -> None:
    """Move the files of a folder; one that is in the other already is of the same run: its updates alone are kept."""
    for path in sorted(folder.iterdir()):
        if path.name != LOCK and not (into / path.name).exists():
            path.rename(into / path.name)
        elif updates := uncharged_in(path):
            with closing(StepCounter(into / path.name)) as counter:
                counter.count(updates)
    if folder.name != NAME:  # the next process begins there
        shutil.rmtree(folder)


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still at its path: another process may have moved its folder away before the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    """Lock a file as long as it is open. On a file system without locks each process counts as the only one."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
