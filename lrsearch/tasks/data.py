"""Loading of samples: scikit-learn's digits, and the idx files of MNIST and Fashion-MNIST."""

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import numpy.typing as npt

from lrsearch.errors import DataError
from lrsearch.tasks.splits import Split, Splits

SPLIT_SEED = 20_260_101
"""The seed of all validation splits; another one would change the runs of stores."""
CACHE = Path.home() / ".cache" / "lrsearch"
IDX_HEADER = {3: 16, 1: 8}
FOLDERS = {"MNIST": ("mnist", "MNIST/raw"), "FashionMNIST": ("fashion_mnist", "FashionMNIST/raw")}


def load_digits(folder: Path | None) -> Splits:
    """Load scikit-learn's own 1,797 digits: 1,024 to train, 384 to validate, 389 to test. No download, no folder."""
    from sklearn.datasets import load_digits as sklearn_digits

    bunch = sklearn_digits()
    images = (np.asarray(bunch.images)[:, None] / 16).astype(np.float32)
    labels = np.asarray(bunch.target, dtype=np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    train, test = order[:1408], order[1408:]
    return make_splits(images[train], labels[train], images[test], labels[test], validation=384)


def load_idx(name: str, folder: Path | None, validation: int = 6000) -> Splits:
    """Load MNIST or Fashion-MNIST from their four idx files, pixels in [0, 1).

    Args:
        name: "MNIST" or "FashionMNIST".
        folder: the folder of the `.gz` files, or one above it; None to download once to a cache folder.
        validation: how many of the 60,000 training samples are held out for validation.

    Raises:
        DataError: if a file is missing, or its checksum is not the published one.
    """
    root = _find(name, folder) if folder else _download(name)
    files = dict(_resources(name))
    for file, md5 in files.items():
        checksum = hashlib.md5(_read(root / file), usedforsecurity=False).hexdigest()
        if checksum != md5:
            raise DataError(f"{root / file} is broken or another data set's: checksum {checksum}, not {md5}")
    images, labels, test_images, test_labels = (_read_idx(root / file) for file in files)
    scale = np.float32(1 / 256)
    return make_splits(
        (images[:, None] * scale).astype(np.float32),
        labels.astype(np.int64),
        (test_images[:, None] * scale).astype(np.float32),
        test_labels.astype(np.int64),
        validation,
    )


def make_splits(
    images: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    test_images: npt.NDArray[Any],
    test_labels: npt.NDArray[np.int64],
    validation: int,
    prepare: Callable[[npt.NDArray[Any]], Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]] | None = None,
) -> Splits:
    """Hold out a fixed, seeded validation split; the digest identifies the samples of each split.

    Args:
        images, labels: the training set, shapes (n, ...) and (n,).
        test_images, test_labels: the test set.
        validation: how many training samples are held out.
        prepare: takes the images of the training split and returns a function that converts images of any split;
            None where the images are the inputs.
    """
    from torch import from_numpy

    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    chosen, remaining = np.sort(order[:validation]), np.sort(order[validation:])
    digest = hashlib.sha256(chosen.astype("<i8").tobytes() + labels.astype("<i8").tobytes()).hexdigest()[:16]

    convert = prepare(images[remaining]) if prepare else np.asarray

    def split(x: npt.NDArray[Any], y: npt.NDArray[np.int64]) -> Split:
        return Split(from_numpy(np.ascontiguousarray(convert(x))), from_numpy(np.ascontiguousarray(y)))

    train, validation_split = split(images[remaining], labels[remaining]), split(images[chosen], labels[chosen])
    return Splits(train, validation_split, split(test_images, test_labels), digest)


def _resources(name: str) -> list[tuple[str, str]]:
    """The four files with their published checksums: training images and labels, test images and labels."""
    from torchvision import datasets

    files: list[tuple[str, str]] = getattr(datasets, name).resources
    return files


def _find(name: str, folder: Path) -> Path:
    files = [file for file, _ in _resources(name)]
    candidates = [folder / below for below in (*FOLDERS[name], ".")]
    for candidate in candidates:
        if all((candidate / file).is_file() for file in files):
            return candidate
    nearest = next((path for path in candidates if any((path / file).is_file() for file in files)), folder)
    missing = ", ".join(file for file in files if not (nearest / file).is_file())
    raise DataError(f"{name}: {nearest} lacks {missing}; put them there, or leave --data-dir out to download")


def _download(name: str) -> Path:
    from torchvision import datasets

    root = CACHE / FOLDERS[name][1]
    if not all((root / file).is_file() for file, _ in _resources(name)):
        try:
            getattr(datasets, name)(CACHE, download=True)
        except (RuntimeError, OSError, URLError) as error:
            raise DataError(
                f"{name} could not be downloaded to {CACHE} ({str(error).splitlines()[0][:120]}); "
                "fetch its four .gz files by hand and give their folder with --data-dir"
            ) from None
    return root


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read an idx file of bytes: two zeros, 8, the number of dimensions, each size, the values."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file: {error}") from None
    dimensions = raw[3]
    shape = np.frombuffer(raw, ">i4", count=dimensions, offset=4)
    return np.frombuffer(raw, np.uint8, offset=IDX_HEADER[dimensions]).reshape(tuple(shape))
