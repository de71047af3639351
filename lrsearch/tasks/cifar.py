"""CIFAR-10 and CIFAR-100, read by torchvision from their python batches, and their data augmentation.

The batches are pickles. They are read only after every file has its published checksum. lrsearch unpickles no other
files.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import numpy as np

from lrsearch.errors import DataError
from lrsearch.tasks.data import CACHE, make_splits
from lrsearch.tasks.splits import Splits

if TYPE_CHECKING:
    import torch

NAMES = {"CIFAR-10": "CIFAR10", "CIFAR-100": "CIFAR100"}
PADDING = 4
"""Source: He et al. 2016, section 4.2."""


def load_cifar(name: str, folder: Path | None, mean: str = "channels", validation: int = 5000) -> Splits:
    """Load CIFAR-10 or CIFAR-100.

    Args:
        name: "CIFAR-10" or "CIFAR-100".
        folder: the folder of python batches, or its parent; None to download once to a cache.
        mean: the mean that is subtracted, of the training split. "channels": the mean of each channel, and pixels are
            divided by its standard deviation. "image": the mean image, from pixels of 0 to 255, as in Caffe.
        validation: how many of the 50,000 training samples are held out for validation.

    Raises:
        DataError: if a file is missing, or its checksum is not the published one.
    """
    kind = _kind(name)
    root = _root(name, kind, folder) if folder else _download(name, kind)
    for file, md5 in _files(kind):
        path = root / kind.base_folder / file
        checksum = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if checksum != md5:
            raise DataError(f"{path} is broken or another data set's: checksum {checksum}, not {md5}")
    train, test = kind(root, train=True), kind(root, train=False)
    images, test_images = (np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)) for data in (train, test))
    labels, test_labels = (np.asarray(data.targets, dtype=np.int64) for data in (train, test))
    prepare = {"channels": _standardised, "image": _without_mean_image}[mean]
    return make_splits(images, labels, test_images, test_labels, validation, prepare)


def _without_mean_image(training: Any) -> Any:
    mean = training.mean(axis=0, dtype=np.float64).astype(np.float32)
    return lambda images: images.astype(np.float32) - mean


def _standardised(training: Any) -> Any:
    mean = training.mean(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    deviation = training.std(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    return lambda images: (images.astype(np.float32) - mean) / deviation


def _kind(name: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, NAMES[name])


def _files(kind: Any) -> list[tuple[str, str]]:
    """All files with their published checksums."""
    return [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]


def _root(name: str, kind: Any, folder: Path) -> Path:
    """The folder above the batches."""
    root = folder.parent if folder.name == kind.base_folder else folder
    missing = [file for file, _ in _files(kind) if not (root / kind.base_folder / file).is_file()]
    if missing:
        raise DataError(
            f"{name}: {root / kind.base_folder} lacks {', '.join(missing)}; put them there, or leave"
            " --data-dir out to download"
        )
    return root


def _download(name: str, kind: Any) -> Path:
    if not all((CACHE / kind.base_folder / file).is_file() for file, _ in _files(kind)):
        try:
            kind(CACHE, download=True)
        except (RuntimeError, OSError, URLError) as error:
            raise DataError(
                f"{name} could not be downloaded to {CACHE} ({str(error).splitlines()[0][:120]}); fetch its python"
                f" version by hand, unpack it, and give the folder above {kind.base_folder} with --data-dir"
            ) from None
    return CACHE


@dataclass(frozen=True, slots=True)
class CropFlip:
    """A random crop of the picture padded by 4 pixels of zeros, mirrored half of the time (He et al. 2016)."""

    name: str = "crop and flip"

    def __call__(self, x: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        """Crop and flip a batch of shape (n, channels, h, w), at random from the generator.

        >>> import torch
        >>> x = torch.arange(32.0).reshape(1, 2, 4, 4)
        >>> CropFlip()(x, torch.Generator().manual_seed(0)).shape
        torch.Size([1, 2, 4, 4])
        """
        import torch

        n, _, height, width = x.shape
        draws = torch.randint(0, 2 * PADDING + 1, (2, n), generator=generator)
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(x.device)
        top, left = draws[0].to(x.device), draws[1].to(x.device)
        rows = top[:, None] + torch.arange(height, device=x.device)
        across = torch.arange(width, device=x.device).expand(n, width)
        columns = left[:, None] + torch.where(mirrored[:, None], width - 1 - across, across)
        padded = torch.nn.functional.pad(x, (PADDING,) * 4).permute(0, 2, 3, 1)
        which = torch.arange(n, device=x.device)[:, None, None]
        return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
