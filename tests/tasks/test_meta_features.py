"""Meta-features of tasks: right by other means, from the training split only, the same in any order."""

import gzip
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneOut, StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from lrsearch.tasks import SGD, Adam, AdamW, MetaFeatures, Split, Splits, Task, features_of, find_task
from lrsearch.tasks.catalogue import CLASSIFICATIONS
from lrsearch.tasks.in_memory import InMemory, classification

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 240)
X = RNG.normal(size=(240, 5)) + Y[:, None]


def of(x, y, **changes) -> Task:
    """A user task whose training split is the samples as given."""

    def linear() -> nn.Module:
        flat = nn.Flatten() if x.ndim > 1 else nn.Unflatten(0, (-1, 1))
        return nn.Sequential(flat, nn.Linear(math.prod(x.shape[1:]), max(2, 1 + int(np.max(y)))))

    given = {"build": linear, "validation": (x[:1], y[:1]), "name": "mine", "batch_size": 10, "horizon": 100}
    return classification(train=(x, y), **given | changes)


def length(x: np.ndarray) -> float:
    """The mean square length of samples about their mean."""
    return float(np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1)))


def marks(features: MetaFeatures) -> np.ndarray:
    found = features.data.landmarks
    return np.array([found.neighbour, found.bayes, found.linear])


def raw_training_split(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The 54,000 training samples, straight from the bytes of the idx files."""
    pixels, labels = (
        gzip.decompress((folder / f"train-{name}-ubyte.gz").read_bytes()) for name in ("images-idx3", "labels-idx1")
    )
    kept = np.random.default_rng(20_260_101).permutation(60_000)[6000:]
    x = np.frombuffer(pixels, np.uint8)[16:].reshape(60_000, 784)[kept]
    return x / 256, np.frombuffer(labels, np.uint8)[8:][kept]


@pytest.mark.data
@pytest.mark.parametrize(("name", "folder"), [("mnist-lenet", "mnist"), ("fashion-mlp", "fashion_mnist")])
def test_the_data_of_an_idx_task_are_what_numpy_and_scikit_learn_find(data_dir, name, folder):
    """Another 1,000 samples give landmarks within their noise, whose standard deviation is about 0.02."""
    features = features_of(name, data_dir)
    x, y = raw_training_split(data_dir / folder)
    assert (features.data.samples, features.data.shape, features.data.channels) == (54_000, (1, 28, 28), 1)
    assert features.data.means == pytest.approx([x.mean()], rel=1e-5)
    assert features.data.deviations == pytest.approx([x.std()], rel=1e-5)
    assert features.data.label_entropy == pytest.approx(entropy(np.bincount(y)), rel=1e-9)
    x, y = x[:1000], y[:1000]
    classifiers = (KNeighborsClassifier(1), GaussianNB(), RidgeClassifier(alpha=length(x)))
    theirs = [cross_val_score(one, x, y, cv=StratifiedKFold(5)).mean() for one in classifiers]
    assert marks(features) == pytest.approx(theirs, abs=0.06)


@pytest.mark.data
def test_cifar_has_three_channels_as_the_model_gets_them(cifar):
    normalised, caffe = features_of("cifar10-resnet20", cifar), features_of("cifar10-cnn3", cifar)
    assert normalised.data.means == pytest.approx((0, 0, 0), abs=1e-4)
    assert normalised.data.deviations == pytest.approx((1, 1, 1), abs=1e-4)
    assert all(55 < deviation < 70 for deviation in caffe.data.deviations)
    assert 0.15 < marks(normalised).min() < marks(normalised).max() < 0.40
    assert marks(normalised) == pytest.approx(marks(caffe), abs=0.08)


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn"])
def test_the_digits_are_what_numpy_finds(name):
    data, train = features_of(name).data, find_task(name).load(None).train
    assert data.means == pytest.approx([train.x.numpy().astype(float).mean()], rel=1e-5)
    assert data.deviations == pytest.approx([train.x.numpy().astype(float).std()], rel=1e-5)
    assert data.label_entropy == pytest.approx(entropy(torch.bincount(train.y).numpy()), rel=1e-9)
    nearest = KNeighborsClassifier(1)
    theirs = cross_val_score(nearest, train.x.flatten(1).numpy(), train.y.numpy(), cv=StratifiedKFold(5)).mean()
    assert data.landmarks.neighbour == pytest.approx(theirs, abs=0.01)


@pytest.mark.parametrize("seed", range(10))
def test_the_landmarks_of_five_samples_are_scikit_learn_s_with_each_left_out(seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation([0, 0, 1, 1, 1])
    x = rng.normal(size=(5, 3)) + 2 * y[:, None]
    classifiers = (KNeighborsClassifier(1), GaussianNB(), RidgeClassifier(alpha=length(x)))
    theirs = [cross_val_score(one, x, y, cv=LeaveOneOut()).mean() for one in classifiers]
    assert marks(features_of(of(x, y))) == pytest.approx(theirs)


def test_the_landmarks_fail_on_different_data():
    optimum = np.tile([[0, 0], [4, 4], [0, 4], [4, 0]], (60, 1))
    checkers = of(optimum + RNG.normal(size=(240, 2)) / 3, np.tile([0, 0, 1, 1], 60))
    found = features_of(checkers).data.landmarks
    assert found.neighbour > 0.98
    assert max(found.bayes, found.linear) < 0.7
    ring = RNG.normal(size=(300, 2)) * np.repeat([[0.2], [3.0]], 150, axis=0)
    found = features_of(of(ring, np.repeat([0, 1], 150))).data.landmarks
    assert found.bayes > 0.95 > found.linear + 0.2


def test_the_same_task_has_the_same_meta_features_and_the_random_states_are_left_alone():
    before, numpys = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert features_of("digits-cnn") == features_of("digits-cnn")
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpys, np.random.get_state()[1])


@pytest.mark.parametrize("samples", [240, 3000])
def test_the_order_of_the_samples_changes_nothing(samples):
    """Not even with more samples than are looked at: the subsample goes by what they are, not by where."""
    y = RNG.integers(0, 4, samples)
    x = np.round(RNG.normal(size=(samples, 3)) + y[:, None], 1)
    order = RNG.permutation(samples)
    one, other = features_of(of(x, y)), features_of(of(x[order], y[order]))
    assert other.data.landmarks == one.data.landmarks
    assert other.data.label_entropy == one.data.label_entropy
    assert other.data.means == pytest.approx(one.data.means, rel=1e-5)
    assert other.data.deviations == pytest.approx(one.data.deviations, rel=1e-5)


def test_other_names_of_the_classes_leave_the_entropy_and_the_landmarks_but_for_noise():
    renamed = np.array([2, 0, 1])[Y]
    one, other = features_of(of(X, Y)), features_of(of(X, renamed))
    assert other.data.label_entropy == pytest.approx(one.data.label_entropy, rel=1e-12)
    assert marks(other) == pytest.approx(marks(one), abs=0.05)


@pytest.mark.parametrize("scale", [1e-20, 7, 1e20])
def test_the_landmarks_do_not_depend_on_the_unit_of_the_inputs(scale):
    assert marks(features_of(of(X * scale, Y))) == pytest.approx(marks(features_of(of(X, Y))), abs=0.03)


def test_the_entropy_is_that_of_unequal_classes():
    found = features_of(of(X, np.repeat([0, 1], [180, 60]))).data.label_entropy
    assert found == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


class Untouchable:
    """Raises on any use: a split that must not be read."""

    def __getattribute__(self, name):
        raise AssertionError(f"{name} of a split that is not to learn from was looked at")


def test_validation_and_test_split_are_not_looked_at():
    task = of(X, Y)
    train = task.load(None).train
    guarded = replace(task, load=InMemory(Splits(train, Untouchable(), Untouchable(), "")))
    assert features_of(guarded) == features_of(task)
    far = Split(train.x[:50] + 1000, torch.zeros(50, dtype=torch.int64))
    assert features_of(replace(task, load=InMemory(Splits(train, far, far, "")))) == features_of(task)
    assert features_of(replace(task, load=InMemory(Splits(far, train, train, "")))).data != features_of(task).data


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (X[:, :1], Y),
        (X[:, 0], Y),
        (np.c_[X[:, :4], np.ones(240)], Y),
        (np.ones((60, 4)), np.arange(60) % 3),
        (np.eye(60)[:, :1], np.arange(60) % 3),
        (RNG.integers(0, 50, (100, 12)), np.arange(100) % 2),
        (RNG.normal(size=(60, 4)), np.arange(60) % 40),
        (RNG.normal(size=(5, 4)), np.array([0, 1, 0, 1, 1])),
        (RNG.normal(size=(2, 4)), np.array([0, 1])),
        (RNG.normal(size=(1, 4)), np.array([1])),
        (RNG.normal(size=(100, 2, 9)), np.arange(100) % 2),
        (RNG.normal(size=(90, 2, 4, 4)), np.arange(90) % 2),
    ],
    ids=[
        "vectors",
        "one input",
        "bare numbers",
        "a constant input",
        "all constant",
        "constant but once",
        "sequences",
        "many classes",
        "five samples",
        "two samples",
        "one sample",
        "signals",
        "pictures",
    ],
)
def test_samples_of_any_kind_have_meta_features_of_numbers(x, y):
    features, axes = features_of(of(x, y)), (0, 2, 3) if x.ndim == 4 else None
    assert features.data.samples == len(x)
    assert features.data.channels == (2 if x.ndim == 4 else 1)
    assert features.data.means == pytest.approx(np.ravel(x.mean(axes)), abs=1e-5)
    assert features.data.deviations == pytest.approx(np.ravel(x.std(axes)), rel=1e-5)
    assert all(0 <= mark <= 1 for mark in marks(features))
    assert all(math.isfinite(number) for group in features.numbers.values() for number in group.values())
    read = json.loads(json.dumps(features.to_json(), allow_nan=False))
    assert read == features.to_json()
    assert MetaFeatures.from_json(read) == features


def test_inputs_that_tell_nothing_give_the_share_of_the_most_frequent_class():
    assert marks(features_of(of(np.ones((80, 4)), np.repeat([0, 1], [60, 20])))) == pytest.approx([0.75] * 3)


def test_a_few_equal_samples_among_many_are_drawn_by_their_share():
    """One sample in 300 copies must be neither all of the subsample nor missing in it."""
    y = np.repeat([0, 1], 1500)
    x = np.where(np.arange(3000) % 5 == 0, 1.0, 0.0)[:, None] * 5 + y[:, None]
    assert marks(features_of(of(x, y)))[0] == 1


@pytest.mark.parametrize(
    ("name", "family", "depth", "norm"),
    [
        ("digits-mlp", "mlp", 2, "none"),
        ("digits-cnn", "cnn", 3, "none"),
        ("mnist-mlp", "mlp", 2, "none"),
        ("mnist-lenet", "cnn", 4, "none"),
        ("fashion-mlp", "mlp", 2, "none"),
        ("fashion-lenet", "cnn", 4, "none"),
        ("cifar10-cnn3", "cnn", 4, "local"),
        ("cifar10-resnet20", "resnet", 20, "batch"),
        ("cifar10-resnet32", "resnet", 32, "batch"),
        ("cifar10-resnet56", "resnet", 56, "batch"),
        ("cifar100-resnet56", "resnet", 56, "batch"),
        ("teacher-ln", "mlp", 10, "layer"),
        ("teacher-deep", "mlp", 12, "layer"),
        ("gratings-bn", "cnn", 4, "batch"),
        ("gratings-cnn", "cnn", 4, "none"),
        ("marked-gru", "rnn", 3, "none"),
        ("digits-noisy", "mlp", 2, "none"),
    ],
)
def test_the_shipped_models_are_what_their_papers_say(name, family, depth, norm):
    task = CLASSIFICATIONS[name]
    few = Split(torch.randn(20, *task.shape), torch.arange(20) % task.classes)
    model = features_of(replace(task, load=InMemory(Splits(few, few, few, "")))).model
    assert (model.family, model.depth, model.norm, model.parameters) == (family, depth, norm, task.parameters)


def test_every_shipped_task_is_in_the_test_above():
    named = test_the_shipped_models_are_what_their_papers_say.pytestmark[0].args[1]
    assert {row[0] for row in named} == set(CLASSIFICATIONS)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.cell, self.last = nn.Embedding(9, 4), nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(self.cell(self.before(x.long()))[0][:, -1])


class Added(nn.Module):
    """A convolution, and what `join` makes of its result and its input."""

    def __init__(self, join) -> None:
        super().__init__()
        self.join, self.one, self.last = join, nn.Conv2d(1, 1, 3, padding=1), nn.Linear(16, 2)
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.last(self.join(self.one(x), x, self.shift).flatten(1))


class ScaleNorm(nn.Module):
    def forward(self, x):
        return x / (1 + x.norm(dim=1, keepdim=True))


class Quadratic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(12, 2))

    def forward(self, x):
        return x**2 @ self.weight


def encoder() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (3, 4)), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(12, 2)
    )


def signals() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(6, 2))


def two_norms() -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm((2, 6)), nn.Flatten(), nn.Linear(12, 4), ScaleNorm(), nn.Linear(4, 4), ScaleNorm(), nn.Linear(4, 2)
    )


@pytest.mark.parametrize(
    ("build", "shape", "family", "depth", "norm"),
    [
        (Recurrent, (12,), "rnn", 4, "none"),
        (encoder, (12,), "transformer", 5, "layer"),
        (signals, (2, 4), "cnn", 2, "group"),
        (two_norms, (2, 6), "mlp", 3, "other"),
        (Quadratic, (12,), "other", 1, "none"),
        (partial(Added, lambda y, x, shift: y + x), (1, 4, 4), "resnet", 2, "none"),
        (partial(Added, lambda y, x, shift: y + shift + 1), (1, 4, 4), "cnn", 2, "none"),
    ],
)
def test_a_model_is_known_by_its_modules(build, shape, family, depth, norm):
    x = RNG.integers(0, 9, (40, *shape))
    model = features_of(of(x, np.arange(40) % 2, build=build)).model
    assert (model.family, model.depth, model.norm) == (family, depth, norm)
    assert model.parameters == sum(parameter.numel() for parameter in build().parameters())


@pytest.mark.parametrize(
    ("optimizer", "family", "momentum", "decay"),
    [
        (SGD(momentum=0.8, weight_decay=0.1), "sgd", 0.8, 0.1),
        (SGD(momentum=0), "sgd", 0, 0.0005),
        (Adam(beta1=0.7), "adam", 0.7, 0),
        (AdamW(), "adam", 0.9, 0.01),
    ],
)
def test_the_training_is_the_task_s(optimizer, family, momentum, decay):
    features = features_of(of(X, Y, optimizer=optimizer, batch_size=16, horizon=300))
    found = features.training
    assert (found.optimizer, found.momentum, found.weight_decay) == (family, momentum, decay)
    assert (found.batch_size, found.horizon, features.epochs) == (16, 300, 20)


def test_a_shortcut_is_seen_where_gradients_are_switched_off():
    task = of(RNG.normal(size=(40, 1, 4, 4)), np.arange(40) % 2, build=partial(Added, lambda y, x, shift: y + x))
    with torch.no_grad():
        assert features_of(task).model.family == "resnet"


def test_the_numbers_differ_by_what_the_tasks_differ_by():
    one = features_of(of(X, Y)).numbers
    longer = features_of(of(X, Y, horizon=1000, batch_size=100)).numbers
    assert longer["data"] == one["data"]
    assert longer["model"] == one["model"]
    assert {name: value - one["training"][name] for name, value in longer["training"].items()} == pytest.approx(
        {"momentum": 0, "weight_decay": 0, "batch_size": 1, "horizon": 1}
    )
    assert one["data"]["samples"] == pytest.approx(math.log10(240))
    assert one["data"]["inputs"] == pytest.approx(math.log10(5))
    assert 0.99 < one["data"]["label_entropy"] <= 1
    assert one["training"]["momentum"] == pytest.approx(1)


def test_meta_features_are_a_value():
    features = features_of("digits-cnn")
    assert {features} == {features_of(find_task("digits-cnn"))}
    with pytest.raises(AttributeError, match="cannot assign"):
        features.data = None


def test_a_table_of_numbers_has_meta_features():
    x, y = load_breast_cancer(return_X_y=True)
    data = features_of(of((x - x.mean(0)) / x.std(0), y)).data
    assert (data.samples, data.shape, data.channels) == (569, (30,), 1)
    assert min(data.landmarks.neighbour, data.landmarks.bayes, data.landmarks.linear) > 0.9
