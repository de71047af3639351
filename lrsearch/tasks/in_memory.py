"""A classification from a function that builds a model, and samples in memory."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lrsearch.errors import TaskError
from lrsearch.runs import Optimizer
from lrsearch.tasks.classification import Classification
from lrsearch.tasks.data import make_splits
from lrsearch.tasks.optimizers import SGD
from lrsearch.tasks.splits import Split, Splits
from lrsearch.words import counted

Samples = Any
"""A pair (x, y) of arrays or tensors, or a torch Dataset of such pairs."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Returns splits that are in memory already."""

    splits: Splits

    def __call__(self, folder: Path | None) -> Splits:
        """Return the splits; the folder is ignored."""
        return self.splits


def classification(
    build: Callable[[], nn.Module],
    train: Samples,
    *,
    name: str,
    batch_size: int,
    horizon: int | None = None,
    epochs: float | None = None,
    validation: Samples = 0.1,
    test: Samples = None,
    optimizer: Optimizer | None = None,
    **more: Any,
) -> Classification:
    """A classification from a function that builds a model, and samples in memory.

    Its key contains a digest of the samples.

    Args:
        build: returns a new model, initialised from torch's random state.
        train: a pair (x, y) of arrays or tensors, x of shape (n, ...), y class numbers of shape (n,); or a torch
            Dataset of (x, class) pairs.
        name: the task's name.
        batch_size: samples of one update.
        horizon, epochs: the length, in steps or in passes over the samples: one of the two.
        validation: the share or number of samples held out for validation, or a pair or Dataset like `train`.
        test: samples that only `--final-test` reads; None for none.
        optimizer: the optimizer; None for SGD with momentum.
        more: `model`, the model's name, to which a digest of its layers is added; the rest as for a `Classification`.

    Raises:
        TaskError: for impossible samples or numbers.

    >>> x, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 2
    >>> task = classification(lambda: nn.Linear(3, 2), (x, y), name="mine", batch_size=20, epochs=5)
    >>> task.horizon, task.epoch, task.classes, task.validation_size
    (45, 9.0, 2, 20)
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise TaskError(f"task {name!r}: batch_size must be a whole number, 1 or more, got {batch_size!r}")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TaskError(
            f"task {name!r}: optimizer is one of lrsearch.tasks, such as SGD() or AdamW(), got {str(optimizer)[:80]}"
        )
    x, y = _tensors(name, train, "train")
    held_out = _held_out(name, validation, len(y))
    if held_out is not None:
        splits = make_splits(x.numpy(), y.numpy(), *_test(name, test, x), validation=held_out)
    else:
        chosen = Split(*_tensors(name, validation, "validation"))
        splits = Splits(Split(x, y), chosen, Split(*map(torch.from_numpy, _test(name, test, x))), digest="")
    if (horizon is None) == (epochs is None):
        raise TaskError(f"task {name!r}: give its length either as horizon=STEPS or as epochs=NUMBER")
    steps = horizon if horizon is not None else _steps(name, epochs, len(splits.train) / batch_size)
    digest = _digest(splits)
    classes = 1 + max(int(split.y.max()) for split in (splits.train, splits.validation))
    settings = {"data": f"{name}-{digest[:8]}", "classes": classes, **more}
    settings["model"] = _model(name, build, x[:2], settings["classes"], more.get("model"))
    return Classification(
        name=name,
        shape=tuple(x.shape[1:]),
        train_size=len(splits.train),
        validation_size=len(splits.validation),
        test_size=len(splits.test),
        batch_size=batch_size,
        horizon=steps,
        optimizer=optimizer or SGD(),
        load=InMemory(Splits(splits.train, splits.validation, splits.test, digest)),
        build=build,
        **settings,
    )


def _steps(name: str, epochs: Any, epoch: float) -> int:
    if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < 1e9:
        raise TaskError(f"task {name!r}: epochs must be a number above 0, got {epochs!r}")
    return round(epochs * epoch)


def _model(name: str, build: Callable[[], nn.Module], x: torch.Tensor, classes: int, named: str | None) -> str:
    """The model's name with a digest of its layers, after a test that it takes the samples."""
    with torch.random.fork_rng(devices=[]):
        try:
            model = build()
            shape = tuple(model(x).shape)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), "without a word")[:200]
            raise TaskError(
                f"task {name!r}: its model does not take samples of shape {tuple(x.shape[1:])} and type"
                f" {x.dtype}: {type(error).__name__}: {reason}"
            ) from error
    if len(shape) != 2 or shape[1] < classes:
        raise TaskError(f"task {name!r}: its model gives {shape} for two samples, not (2, {classes}): a score a class")
    structure = hashlib.sha256(repr(model).encode()).hexdigest()[:8]
    return f"{named or getattr(build, '__name__', type(build).__name__)}-{structure}"


def _held_out(name: str, validation: Samples, n: int) -> int | None:
    """The number of samples held out for validation; None where `validation` is samples."""
    if hasattr(validation, "item") and np.ndim(validation) == 0:
        validation = validation.item()
    if isinstance(validation, bool) or not isinstance(validation, int | float):
        return None
    share = round(validation * n) if 0 < validation < 1 else 0
    count = validation if isinstance(validation, int) else share
    if not 0 < count < n:
        raise TaskError(
            f"task {name!r}: validation is a share of the {counted(n, 'sample')}, a number of them, or"
            f" samples of its own, got {validation!r}"
        )
    return count


def _test(name: str, test: Samples, like: torch.Tensor) -> tuple[Any, Any]:
    if test is None:
        return np.empty((0, *like.shape[1:]), dtype=np.float32), np.empty(0, dtype=np.int64)
    x, y = _tensors(name, test, "test")
    return x.numpy(), y.numpy()


def _tensors(name: str, samples: Samples, which: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples as tensors: inputs as float32, classes as int64."""
    try:
        if isinstance(samples, Sequence) and len(samples) == 2:
            x, y = map(_tensor, samples)
        else:
            pairs = [samples[n] for n in range(len(samples))]
            x = torch.stack([_tensor(sample) for sample, _ in pairs])
            y = torch.tensor([int(label) for _, label in pairs])
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise TaskError(
            f"task {name!r}: {which} is a pair (x, y) of arrays, or a torch Dataset of (x, class) pairs of"
            f" one shape: {reason}"
        ) from error
    if y.is_floating_point() or y.ndim != 1 or len(x) != len(y) or not len(y) or int(y.min()) < 0:
        raise TaskError(
            f"task {name!r}: {which} needs one class number from 0 on for each sample, got"
            f" {counted(len(x), 'sample')} and classes of type {y.dtype} and shape {tuple(y.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise TaskError(f"task {name!r}: {which} has samples that are not finite")
    return x.float(), y.long()


def _tensor(numbers: Any) -> torch.Tensor:
    return numbers.detach() if isinstance(numbers, torch.Tensor) else torch.as_tensor(np.asarray(numbers))


def _digest(splits: Splits) -> str:
    """The digest of every sample and its split: 16 hex digits."""
    digest = hashlib.sha256()
    for split in (splits.train, splits.validation, splits.test):
        for part in (split.x, split.y):
            digest.update(str(tuple(part.shape)).encode() + np.ascontiguousarray(part.numpy()).tobytes())
    return digest.hexdigest()[:16]
