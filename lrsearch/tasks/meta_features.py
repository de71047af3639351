"""A task's meta-features: what is known of it before any training, so that tasks like it can be found.

It stands beside the description: the description tells tasks apart, the meta-features says how alike they are. It is
drawn from the training split only, and is the same whatever the order of the samples.
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lrsearch.runs import Optimizer
from lrsearch.tasks.catalogue import TaskLike, find_classification
from lrsearch.tasks.classification import Classification
from lrsearch.tasks.models import LocalNorm
from lrsearch.tasks.splits import Split

SAMPLES = 1000
FOLDS = 5
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS: dict[str, tuple[type[nn.Module], ...]] = {
    "batch": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    "instance": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    "group": (nn.GroupNorm,),
    "layer": (nn.LayerNorm,),
    "rms": (nn.RMSNorm,),
    "local": (nn.LocalResponseNorm, LocalNorm),
}

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """How well three simple classifiers do: accuracy in [0, 1], each sample predicted from the other folds.

    They are cheap and fail on different data. A decision tree is not among them: on CIFAR-10 it takes three times as
    long as the others together.

    Args:
        neighbour: the nearest neighbour's class: high where classes hold together, whatever their form.
        bayes: Gaussian naive Bayes: high where every input tells something by itself.
        linear: ridge regression on the classes: high where a weighted sum of the inputs tells them apart.
    """

    neighbour: float
    bayes: float
    linear: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFeatures:
    """The training split, as the model gets it: centred and scaled as the task does, not augmented.

    Args:
        samples: samples of the training split, 1 or more.
        classes: the task's classes, 2 or more.
        shape: the shape of one sample.
        means: each channel's mean. Channels are the first dimension of samples that have three or more, such as
            pictures; all other samples are one channel.
        deviations: each channel's standard deviation, 0 or more.
        label_entropy: entropy of the classes in nats, from 0 to ln(classes): the loss of knowing their shares only.
        landmarks: what simple classifiers make of it.
    """

    samples: int
    classes: int
    shape: tuple[int, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    label_entropy: float
    landmarks: Landmarks

    @property
    def channels(self) -> int:
        """How many channels a sample has, 1 or more."""
        return len(self.means)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFeatures:
    """The model, as far as its modules show it.

    Args:
        family: "transformer" if a module's type has "attention" in its name; else "rnn" with a recurrent one; else with
            convolutions "resnet" where two values that come from the input are added on the way, and "cnn" where not;
            else "mlp" with linear layers; else "other". Where inputs are made whole numbers first, additions are not
            seen.
        parameters: how many numbers it learns.
        depth: weights of two or more dimensions outside of norms: 20 for ResNet-20. Parallel ones count each.
        norm: the most frequent kind of normalising module, such as "batch"; "other" for one that is known by its name
            only; "none" where there is no module for it.
    """

    family: str
    parameters: int
    depth: int
    norm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFeatures:
    """How it is trained.

    Args:
        optimizer: the optimizer's family.
        momentum: its momentum, or Adam's beta1, in [0, 1); 0 without.
        weight_decay: 0 or more.
        batch_size: samples of one update.
        horizon: updates of a full run.
    """

    optimizer: str
    momentum: float
    weight_decay: float
    batch_size: int
    horizon: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaFeatures:
    """What is known of a task before any training: see `features_of`."""

    data: DataFeatures
    model: ModelFeatures
    training: TrainingFeatures

    @property
    def epochs(self) -> float:
        """Passes over the training split of a full run."""
        return self.training.horizon * self.training.batch_size / self.data.samples

    @property
    def numbers(self) -> dict[str, dict[str, float]]:
        """What can be measured, by group, on scales where a difference means the same everywhere.

        Sizes are decimal logarithms; means and deviations are asinh(number) / ln(10), a logarithm that goes through
        0; momentum is the logarithm of the steps it remembers, weight decay that of 1 + decay / 0.0001; the entropy
        is a share of the most it can be. Family, norm and optimizer are names: compare them as they are.
        """
        data, model, training = self.data, self.model, self.training
        return {
            "data": {
                "samples": math.log10(data.samples),
                "classes": math.log10(data.classes),
                "inputs": _decades(math.prod(data.shape)),
                "channels": _decades(data.channels),
                "mean": _decades_around_zero(float(np.mean(data.means))),
                "deviation": _decades_around_zero(float(np.mean(data.deviations))),
                "label_entropy": data.label_entropy / math.log(data.classes),
                **asdict(data.landmarks),
            },
            "model": {"parameters": _decades(model.parameters), "depth": _decades(model.depth)},
            "training": {
                "momentum": -math.log10(1 - training.momentum),
                "weight_decay": math.log10(1 + training.weight_decay / 0.0001),
                "batch_size": math.log10(training.batch_size),
                "horizon": math.log10(training.horizon),
            },
        }

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self, dict_factory=_plain)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MetaFeatures":
        """Read it back."""
        data: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["data"].items()
        }
        return cls(
            data=DataFeatures(**data | {"landmarks": Landmarks(**data["landmarks"])}),
            model=ModelFeatures(**values["model"]),
            training=TrainingFeatures(**values["training"]),
        )


def features_of(task: TaskLike, data_dir: Path | None = None) -> MetaFeatures:
    """Give a task's meta-features; the validation and the test split are not looked at.

    Args:
        task: a shipped task's name, or a task.
        data_dir: where the data set lies; None for a cache, filled by download.

    Raises:
        TaskError: if there is no task of that name.
        DataError: if the data set is missing or broken.

    >>> features = features_of("digits-cnn")
    >>> features.data.samples, features.data.shape, features.model.family, features.model.depth
    (1024, (1, 8, 8), 'cnn', 3)
    >>> MetaFeatures.from_json(features.to_json()) == features
    True
    """
    found = find_classification(task)
    return MetaFeatures(
        data=_data_features(found.load(data_dir).train, found.classes),
        model=_model_features(found),
        training=_training_features(found),
    )


def _data_features(train: Split, classes: int) -> DataFeatures:
    shape = tuple(train.x.shape[1:])
    channels = shape[0] if len(shape) > 2 else 1
    deviations, means = torch.std_mean(train.x.reshape(len(train), channels, -1), dim=(0, 2), correction=0)
    shares = np.bincount(train.y.numpy()) / len(train)
    return DataFeatures(
        samples=len(train),
        classes=classes,
        shape=shape,
        means=tuple(means.tolist()),
        deviations=tuple(deviations.tolist()),
        label_entropy=float(sum(share * math.log(1 / share) for share in shares if share)),
        landmarks=_landmarks(train),
    )


def _landmarks(train: Split) -> Landmarks:
    from sklearn.linear_model import RidgeClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _subsample(train)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # many classes are no mistake
        return Landmarks(
            neighbour=_accuracy(KNeighborsClassifier(1), x, y),
            bayes=_accuracy(GaussianNB(), x, y),
            linear=_accuracy(RidgeClassifier(), x, y),
        )


def _subsample(train: Split) -> tuple[Floats, Ints]:
    """Give at most 1,000 samples, every class by its share, centred and of mean square length 1.

    They are drawn evenly from the samples sorted by class and digest: random, but without regard to their order. So
    sorted, every fifth sample is a fold with every class by its share.
    """
    rows, y = np.ascontiguousarray(train.x.reshape(len(train), -1).numpy()), train.y.numpy()
    digests = np.array([hashlib.sha256(row).digest()[:8] for row in rows], dtype="S8")
    size = min(SAMPLES, len(rows))
    chosen = np.lexsort((digests, y))[np.arange(size) * len(rows) // size]
    x = rows[chosen].astype(np.float64)
    x -= x.mean(axis=0)
    return x / (math.sqrt(np.mean(np.sum(x**2, axis=1))) or 1.0), y[chosen]


def _accuracy(classifier: Any, x: Floats, y: Ints) -> float:
    """Give the share of samples whose class is predicted right from the other folds."""
    fold = np.arange(len(y)) % FOLDS
    right = sum(
        np.sum(_predict(classifier, x[fold != n], y[fold != n], x[fold == n]) == y[fold == n])
        for n in range(min(FOLDS, len(y)))
    )
    return float(right / len(y))


def _predict(classifier: Any, x: Floats, y: Ints, asked: Floats) -> Ints:
    """Learn from samples and predict others; the most frequent class where there is nothing to tell apart."""
    if len(np.unique(y)) < 2 or not np.ptp(x, axis=0).any():
        return np.full(len(asked), np.bincount(y, minlength=1).argmax())
    predicted: Ints = classifier.fit(x, y).predict(asked)
    return predicted


def _model_features(task: Classification) -> ModelFeatures:
    with torch.random.fork_rng(devices=[]):
        model = task.build().eval()
        return ModelFeatures(
            family=_family(model, task.shape), parameters=task.parameters, depth=_depth(model), norm=_norm(model)
        )


def _family(model: nn.Module, shape: tuple[int, ...]) -> str:
    modules = list(model.modules())
    if any("attention" in type(module).__name__.lower() for module in modules):
        return "transformer"
    if any(isinstance(module, nn.RNNBase | nn.RNNCellBase) for module in modules):
        return "rnn"
    if any(isinstance(module, CONVOLUTIONS) for module in modules):
        return "resnet" if _has_shortcut(model, shape) else "cnn"
    return "mlp" if any(isinstance(module, nn.Linear) for module in modules) else "other"


def _has_shortcut(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether two values that both come from the input are added on the way to the scores."""
    x = torch.zeros(2, *shape, requires_grad=True)
    with torch.enable_grad():
        scores = model.requires_grad_(False)(x)
    return any(node.name() == "AddBackward0" and all(parents) for node, parents in _graph(scores.grad_fn))


def _graph(last: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Give each node of autograd's graph once, with those that it was computed from; None for a constant."""
    open_nodes, seen = [last], {None}
    while open_nodes:
        node = open_nodes.pop()
        if node not in seen:
            seen.add(node)
            parents = [parent for parent, _ in node.next_functions]
            open_nodes += parents
            yield node, parents


def _depth(model: nn.Module) -> int:
    return sum(
        parameter.ndim > 1
        for module in model.modules()
        if not _norm_of(module)
        for parameter in module.parameters(recurse=False)
    )


def _norm(model: nn.Module) -> str:
    found = Counter(norm for module in model.modules() if (norm := _norm_of(module)))
    return found.most_common(1)[0][0] if found else "none"


def _norm_of(module: nn.Module) -> str | None:
    """Give the kind of normalising module that this is; None if it is none."""
    for norm, kinds in NORMS.items():
        if isinstance(module, kinds):
            return norm
    return "other" if type(module).__name__.lower().endswith("norm") else None


def _training_features(task: Classification) -> TrainingFeatures:
    return TrainingFeatures(
        optimizer=task.optimizer.family,
        momentum=_momentum(task.optimizer),
        weight_decay=task.optimizer.weight_decay,
        batch_size=task.batch_size,
        horizon=task.horizon,
    )


def _momentum(optimizer: Optimizer) -> float:
    return float(getattr(optimizer, "momentum", getattr(optimizer, "beta1", 0.0)))


def _decades(size: int) -> float:
    return math.log10(max(1, size))


def _decades_around_zero(number: float) -> float:
    return math.asinh(number) / math.log(10)


def _plain(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs}
