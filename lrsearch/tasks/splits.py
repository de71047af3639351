"""The samples of a task: training, validation and test split."""

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
        """The split on a device."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, slots=True)
class Splits:
    """The splits: validation chooses, test is read once. `digest` identifies the samples of each."""

    train: Split
    validation: Split
    test: Split
    digest: str


@dataclass(frozen=True, slots=True)
class PaperSplits:
    """Loads splits as the papers use them: all training samples, and the test set for validation."""

    load: Callable[[Path | None], Splits]

    def __call__(self, folder: Path | None) -> Splits:
        """Load and regroup the splits; the new test split is empty."""
        import torch

        splits = self.load(folder)
        x, y = (torch.cat([splits.train.x, splits.validation.x]), torch.cat([splits.train.y, splits.validation.y]))
        return Splits(Split(x, y), splits.test, Split(splits.test.x[:0], splits.test.y[:0]), f"{splits.digest}-paper")
