"""A classification's data in a file that all workers of a machine map into memory, so that they share the pages.

The file has no name, so that nothing of it stays where the process is killed. On Linux workers open it by the number of
its descriptor in the process that wrote it; on other POSIX systems they are sent the descriptor.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from lrsearch.errors import OutputError
from lrsearch.tasks import Split, Splits
from lrsearch.training.loop import Trainer

ALIGNED = 64
"""Rule: an array begins at a multiple of so many bytes, as in numpy's own files."""
MAPPED_BYTES = 2**20
"""Rule: a smaller array is read instead of mapped."""


@contextmanager
def data_file() -> Iterator[IO[bytes]]:
    """A file for data, which ends with the context: without a name on POSIX, in a folder of its own elsewhere.

    Raises:
        OutputError: if it cannot be made.
    """
    if os.name != "posix":
        with TemporaryDirectory(prefix="lrsearch-") as folder, (Path(folder) / "data").open("w+b") as file:
            yield file
        return
    try:
        unnamed = TemporaryFile(prefix="lrsearch-", buffering=0)  # noqa: SIM115  closed below
    except OSError as error:
        raise _cannot_write(error) from error
    with unnamed:
        yield unnamed


def write_mapped(trainer: Trainer, file: IO[bytes]) -> "MappedSplits":
    """Write a trainer's data into a file and return their loader.

    Raises:
        OutputError: if they cannot be written.
    """
    try:
        splits = [
            (_write(file, split.x.numpy()), _write(file, split.y.numpy()))
            for split in (trainer.train_split, trainer.validation, trainer.test_split)
        ]
        file.flush()
    except OSError as error:
        raise _cannot_write(error) from error
    return MappedSplits(_opened_by_workers(file), tuple(splits), trainer.digest)


@dataclass(frozen=True, slots=True)
class _Place:
    """An array in the file: its type, its shape and the byte where it begins."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    def read(self, path: Path) -> torch.Tensor:
        """The array: mapped into memory copy-on-write where it is large."""
        count = int(np.prod(self.shape))
        if count * np.dtype(self.dtype).itemsize > MAPPED_BYTES:
            return torch.from_numpy(np.memmap(path, self.dtype, "c", self.offset, self.shape))
        return torch.from_numpy(np.fromfile(path, self.dtype, count, offset=self.offset).reshape(self.shape))


@dataclass(frozen=True, slots=True)
class MappedSplits:
    """Loads splits from the file of `write_mapped`, while the process that wrote it lives.

    Args:
        path: the file, or what becomes its path in a worker.
        splits: the places of samples and classes of the training, validation and test splits.
        digest: the digest of the samples.
    """

    path: "Path | _SentFile"
    splits: tuple[tuple[_Place, _Place], ...]
    digest: str

    def __call__(self, folder: Path | None) -> Splits:
        """Load the splits; the data folder is ignored."""
        assert isinstance(self.path, Path)
        path = self.path
        train, validation, test = (Split(x.read(path), y.read(path)) for x, y in self.splits)
        return Splits(train, validation, test, self.digest)


@dataclass(frozen=True, slots=True)
class _SentFile:
    """An open file whose descriptor is sent with it: in the process that receives it, it is a path."""

    descriptor: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.descriptor),)


def _received(sent: Any) -> Path:
    return Path(f"/dev/fd/{sent.detach()}")


def _opened_by_workers(file: IO[bytes]) -> "Path | _SentFile":
    """The file's path for workers, which is its name where it has one."""
    if os.name != "posix":
        return Path(file.name)
    path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
    return path if path.exists() else _SentFile(file.fileno())


def _write(file: IO[bytes], array: npt.NDArray[Any]) -> _Place:
    """Write an array at the next aligned byte."""
    offset = -(-file.tell() // ALIGNED) * ALIGNED
    file.seek(offset)
    content = np.ascontiguousarray(array).reshape(-1).data.cast("B") if array.size else memoryview(b"")
    while content:
        content = content[file.write(content) :]
    return _Place(array.dtype.str, array.shape, offset)


def _cannot_write(error: OSError) -> OutputError:
    place = tempfile.tempdir or "a temporary file"
    return OutputError(
        f"cannot write the workers' data to {place}: {error.strerror}; make room there, or name another place in TMPDIR"
    )
