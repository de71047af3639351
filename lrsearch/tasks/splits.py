"""The samples of a task: what it learns from, is chosen by, and is tested on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Split:
    """The samples of one split, in memory: `x` of shape (n, ...), `y` class numbers of shape (n,)."""

    x: "torch.Tensor"
    y: "torch.Tensor"

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: "torch.device") -> "Split":
        """Give the split on a device."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, slots=True)
class Splits:
    """Train to learn, validation to choose, test to be read once. `digest` names the samples of each."""

    train: Split
    validation: Split
    test: Split
    digest: str


@dataclass(frozen=True, slots=True)
class PaperSplits:
    """Gives what the papers learn from and choose by: all training samples, and the test set."""

    load: Callable[[Path | None], Splits]

    def __call__(self, folder: Path | None) -> Splits:
        """Load the splits and put them together so; no test set is left."""
        import torch

        splits = self.load(folder)
        x, y = (torch.cat([splits.train.x, splits.validation.x]), torch.cat([splits.train.y, splits.validation.y]))
        return Splits(Split(x, y), splits.test, Split(splits.test.x[:0], splits.test.y[:0]), f"{splits.digest}-paper")
