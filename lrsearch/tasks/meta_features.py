"""The meta-features of a task: what is known before any training, to find similar tasks.

The description tells tasks apart; the meta-features measure how similar they are. They use the training split only, and
do not depend on the order of the samples.
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
"""Rule: samples of the landmarks, so that they take seconds."""
FOLDS = 5
"""Rule: folds of the landmarks' cross-validation."""
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
    """The cross-validated accuracies of three simple classifiers, in [0, 1].

    They are cheap and fail on different data. A decision tree is not used, because on CIFAR-10 it takes three times as
    long as the others together (measured).

    Args:
        neighbour: 1-nearest neighbour: high where samples of a class lie together, in any shape.
        bayes: Gaussian naive Bayes: high where single inputs separate the classes.
        linear: ridge regression on the classes: high where a weighted sum of the inputs separates them.
    """

    neighbour: float
    bayes: float
    linear: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFeatures:
    """The training split as the model receives it: normalised as in the task, not augmented.

    Args:
        samples: samples of the training split, 1 or more.
        classes: the task's classes, 2 or more.
        shape: the shape of one sample.
        means: each channel's mean. Channels are the first dimension of samples that have three or more, such as
            pictures; all other samples are one channel.
        deviations: each channel's standard deviation, 0 or more.
        label_entropy: entropy of the classes in nats, from 0 to ln(classes).
        landmarks: the accuracies of simple classifiers.
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
        """The number of channels of a sample, 1 or more."""
        return len(self.means)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFeatures:
    """The model, described by its modules.

    Args:
        family: "transformer" if a module's type has "attention" in its name; else "rnn" with a recurrent one; else with
            convolutions "resnet" where two values that depend on the input are added, and "cnn" where not; else "mlp"
            with linear layers; else "other". Additions are not detected where the input is cast to integers first.
        parameters: the number of parameters.
        depth: weights of two or more dimensions outside of norms: 20 for ResNet-20. Parallel layers all count.
        norm: the most frequent kind of normalising module, such as "batch"; "other" for one that is recognised by its
            name only; "none" without such modules.
    """

    family: str
    parameters: int
    depth: int
    norm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFeatures:
    """The training settings.

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
    """The meta-features of a task: see `features_of`."""

    data: DataFeatures
    model: ModelFeatures
    training: TrainingFeatures

    @property
    def epochs(self) -> float:
        """Passes over the training split in a full run."""
        return self.training.horizon * self.training.batch_size / self.data.samples

    @property
    def numbers(self) -> dict[str, dict[str, float]]:
        """The numeric meta-features by group, on scales where equal differences have equal meaning.

        Sizes are decimal logarithms. Means and deviations are asinh(x) / ln(10), a logarithm that is defined at 0.
        Momentum is log10(1 / (1 - momentum)), weight decay log10(1 + decay / 0.0001), the entropy a share of its
        maximum. Family, norm and optimizer are names, which are compared for equality.
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
        """The meta-features as plain JSON values."""
        return asdict(self, dict_factory=_with_lists)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MetaFeatures":
        """Read the values of `to_json`."""
        data: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["data"].items()
        }
        return cls(
            data=DataFeatures(**data | {"landmarks": Landmarks(**data["landmarks"])}),
            model=ModelFeatures(**values["model"]),
            training=TrainingFeatures(**values["training"]),
        )


def features_of(task: TaskLike, data_dir: Path | None = None) -> MetaFeatures:
    """The meta-features of a task; the validation and the test split are not used.

    Args:
        task: a shipped task's name, or a task.
        data_dir: the folder of the data set; None for a cache, filled by download.

    Raises:
        TaskError: for an unknown name.
        DataError: if the data set is missing or broken.

    >>> features = features_of("digits-cnn")
    >>> features.data.samples, features.data.shape, features.model.family, features.model.depth
    (1024, (1, 8, 8), 'cnn', 3)
    >>> MetaFeatures.from_json(features.to_json()) == features
    True
    """
    classification = find_classification(task)
    return MetaFeatures(
        data=_data_features(classification.load(data_dir).train, classification.classes),
        model=_model_features(classification),
        training=_training_features(classification),
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
        # scikit-learn warns where classes could be the values of a regression
        warnings.filterwarnings("ignore", "The number of unique classes")
        return Landmarks(
            neighbour=_accuracy(KNeighborsClassifier(1), x, y),
            bayes=_accuracy(GaussianNB(), x, y),
            linear=_accuracy(RidgeClassifier(), x, y),
        )


def _subsample(train: Split) -> tuple[Floats, Ints]:
    """At most 1,000 samples, stratified by class, centred and scaled to mean square length 1.

    They are drawn evenly from the samples sorted by class and digest, which is random but independent of their order.
    So every fifth sample makes a stratified fold.
    """
    rows, y = np.ascontiguousarray(train.x.reshape(len(train), -1).numpy()), train.y.numpy()
    digests = np.array([hashlib.sha256(row).digest()[:8] for row in rows], dtype="S8")
    size = min(SAMPLES, len(rows))
    chosen = np.lexsort((digests, y))[np.arange(size) * len(rows) // size]
    x = rows[chosen].astype(np.float64)
    x -= x.mean(axis=0)
    return x / (math.sqrt(np.mean(np.sum(x**2, axis=1))) or 1.0), y[chosen]


def _accuracy(classifier: Any, x: Floats, y: Ints) -> float:
    """The cross-validated accuracy: each sample is predicted from the other folds."""
    fold = np.arange(len(y)) % FOLDS
    correct = sum(
        np.sum(_predict(classifier, x[fold != n], y[fold != n], x[fold == n]) == y[fold == n])
        for n in range(min(FOLDS, len(y)))
    )
    return float(correct / len(y))


def _predict(classifier: Any, x: Floats, y: Ints, queries: Floats) -> Ints:
    """Fit samples and predict the queries; the most frequent class where classes or inputs are all equal."""
    if len(np.unique(y)) < 2 or not np.ptp(x, axis=0).any():
        return np.full(len(queries), np.bincount(y, minlength=1).argmax())
    predicted: Ints = classifier.fit(x, y).predict(queries)
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
    """Whether the model adds two values that both depend on the input."""
    x = torch.zeros(2, *shape, requires_grad=True)
    with torch.enable_grad():
        scores = model.requires_grad_(False)(x)
    return any(node.name() == "AddBackward0" and all(parents) for node, parents in _graph(scores.grad_fn))


def _graph(last: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield each node of autograd's graph once, with its inputs; None for a constant input."""
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
    norms = Counter(norm for module in model.modules() if (norm := _norm_of(module)))
    return norms.most_common(1)[0][0] if norms else "none"


def _norm_of(module: nn.Module) -> str | None:
    """The kind of a normalising module; None for other modules."""
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


def _with_lists(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs}
