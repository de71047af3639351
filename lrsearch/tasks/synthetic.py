"""Samples that are computed, not loaded: the data of the shipped tasks that need no download."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrsearch.tasks.data import load_digits, make_splits
from lrsearch.tasks.splits import Split, Splits

Floats = npt.NDArray[np.float64]

INPUTS, CLASSES = 20, 10
"""Of the teachers' samples."""
TRAIN, VALIDATION, TEST = 32_000, 8000, 8000
"""Samples of each split: a rule, so many that a short training sees each about twice."""
SIDE = 12
"""Pixels on a side of a grating."""


def load_teacher(seed: int, folder: Path | None) -> Splits:
    """Normal inputs of shape (20,), each with the class that a random network of two hidden layers gives the highest
    score.

    Args:
        seed: of the teacher and the samples.
        folder: not used.
    """
    rng = np.random.default_rng(seed)
    widths = (INPUTS, 40, 40, CLASSES)
    layers = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in pairwise(widths)]
    x = rng.normal(size=(TRAIN + VALIDATION + TEST, INPUTS))
    hidden = np.tanh(1.5 * np.tanh(1.5 * x @ layers[0]) @ layers[1])
    return _split(x, (hidden @ layers[2]).argmax(axis=1))


def load_gratings(noise: float, folder: Path | None) -> Splits:
    """Pictures of shape (1, 12, 12): a wave of one of eight directions, its phase and frequency random, with noise.

    Args:
        noise: the standard deviation of each pixel, where the wave's is 0.7.
        folder: not used.
    """
    rng = np.random.default_rng(20_261_130)
    count = TRAIN + VALIDATION + TEST
    y = rng.integers(8, size=count)
    angle = np.pi * (y + rng.uniform(-0.3, 0.3, size=count)) / 8
    frequency, phase = rng.uniform(0.6, 1.2, size=count), rng.uniform(0, 2 * np.pi, size=count)
    row, column = np.mgrid[:SIDE, :SIDE]
    along = np.cos(angle)[:, None, None] * row + np.sin(angle)[:, None, None] * column
    waves = np.sin(frequency[:, None, None] * along + phase[:, None, None])
    return _split((waves + rng.normal(scale=noise, size=waves.shape))[:, None], y)


def load_noisy_digits(wrong: float, folder: Path | None) -> Splits:
    """Scikit-learn's digits, where a share of the training labels is drawn at random; the other labels are right."""
    import torch

    splits = load_digits(folder)
    rng = np.random.default_rng(20_261_130)
    y = splits.train.y.numpy().copy()
    chosen = rng.random(len(y)) < wrong
    y[chosen] = rng.integers(10, size=int(chosen.sum()))
    train = Split(splits.train.x, torch.from_numpy(y))
    return Splits(train, splits.validation, splits.test, f"{splits.digest}-{wrong:g}")


def load_marked(length: int, folder: Path | None) -> Splits:
    """Sequences of shape (length, 2): random numbers, and marks at two of them. The class says which one is larger.

    Source: after the adding problem of Hochreiter and Schmidhuber 1997.
    """
    rng = np.random.default_rng(20_261_130)
    count = TRAIN + VALIDATION + TEST
    numbers = rng.normal(size=(count, length))
    places = np.sort(rng.permuted(np.tile(np.arange(length), (count, 1)), axis=1)[:, :2], axis=1)
    marks = np.zeros((count, length))
    np.put_along_axis(marks, places, 1.0, axis=1)
    first, second = np.take_along_axis(numbers, places, axis=1).T
    return _split(np.stack((numbers, marks), axis=-1), (first > second).astype(np.int64))


def _split(x: Floats, y: npt.NDArray[np.int64]) -> Splits:
    inputs, kept = x.astype(np.float32), TRAIN + VALIDATION
    return make_splits(inputs[:kept], y[:kept], inputs[kept:], y[kept:], validation=VALIDATION)
