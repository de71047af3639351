"""A classification's data in files that all workers of a machine map into memory, so that they share the pages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lrsearch.errors import OutputError
from lrsearch.tasks import Split, Splits
from lrsearch.training.loop import Trainer

SPLITS = ("train", "validation", "test")
MAPPED_BYTES = 2**20
"""Rule: a smaller file is read instead of mapped."""


def write_mapped(trainer: Trainer, folder: Path) -> "MappedSplits":
    """Write a trainer's data into files of a folder and return their loader.

    Raises:
        OutputError: if the files cannot be written.
    """
    try:
        for name, split in zip(SPLITS, (trainer.train_split, trainer.validation, trainer.test_split), strict=True):
            np.save(folder / f"{name}-x.npy", split.x.numpy())
            np.save(folder / f"{name}-y.npy", split.y.numpy())
    except OSError as error:
        raise OutputError(
            f"cannot write the workers' data to {folder}: {error.strerror}; make room there, or name"
            " another place in TMPDIR"
        ) from error
    return MappedSplits(folder, trainer.digest)


@dataclass(frozen=True, slots=True)
class MappedSplits:
    """Loads splits from the files of `write_mapped`."""

    folder: Path
    digest: str

    def __call__(self, folder: Path | None) -> Splits:
        """Load the splits; the data folder is ignored."""
        train, validation, test = map(self._split, SPLITS)
        return Splits(train, validation, test, self.digest)

    def _split(self, name: str) -> Split:
        return Split(self._tensor(f"{name}-x.npy"), self._tensor(f"{name}-y.npy"))

    def _tensor(self, file: str) -> torch.Tensor:
        path = self.folder / file
        mode: Literal["c"] | None = "c" if path.stat().st_size > MAPPED_BYTES else None
        return torch.from_numpy(np.load(path, mmap_mode=mode))
