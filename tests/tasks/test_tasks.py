"""Tasks and their data: what is learned from, chosen by, and tested on."""

import gzip
import pickle
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from lrsearch.errors import DataError, TaskError
from lrsearch.tasks import SGD, TASKS, Classification, find_task
from lrsearch.tasks.catalogue import CLASSIFICATIONS
from lrsearch.tasks.data import load_digits, load_idx
from lrsearch.tasks.in_memory import classification

MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@pytest.mark.parametrize("task", CLASSIFICATIONS.values(), ids=CLASSIFICATIONS)
def test_a_shipped_classification_is_described_by_what_its_model_takes_and_gives(task):
    model = task.build()
    assert model(torch.zeros(2, *task.shape)).shape == (2, task.classes)
    assert task.parameters == sum(p.numel() for p in model.parameters())
    assert task.description["horizon"] == task.horizon
    assert len(task.key) == 16


def test_shipped_tasks_have_keys_of_their_own():
    assert len({task.key for task in TASKS.values()}) == len(TASKS)


def test_mnist_lenet_has_the_papers_settings():
    task = find_task("mnist-lenet")
    assert (task.batch_size, task.horizon) == (100, 10_000)
    assert task.optimizer == SGD(momentum=0.9, weight_decay=0.0005)
    assert task.parameters == 431_080
    assert [policy.name for policy in task.known] == ["INV", "NSTEP"]


def test_building_a_task_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    find_task("digits-cnn").with_horizon(320)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_task_counts_its_model_once_and_its_variants_build_none():
    built = []

    def build():
        built.append(1)
        return nn.Linear(3, 2)

    x, y = torch.zeros(40, 3), torch.arange(40) % 2
    task = classification(build, (x, y), name="mine", batch_size=4, epochs=5, test=(x, y))
    made = len(built)
    variants = [task.with_horizon(100), task.in_paper_protocol(), replace(task, precision="bf16")]
    assert [variant.parameters for variant in variants] == [8, 8, 8]
    assert len(built) == made


def test_a_task_with_another_model_counts_that():
    lenet = find_task("mnist-lenet")
    other = replace(lenet, build=lambda: nn.Linear(784, 10))
    assert (other.parameters, replace(other, build=lenet.build).parameters) == (7850, lenet.parameters)
    assert other.key != lenet.key


def test_a_pickled_task_builds_no_model_when_it_is_changed():
    task = replace(find_task("digits-mlp"), parameters=7)
    assert pickle.loads(pickle.dumps(task)).with_horizon(100).parameters == 7  # noqa: S301  our own


@pytest.mark.parametrize("parameters", [-1, 2.5, True, "7"])
def test_a_number_of_parameters_that_cannot_be_is_refused(parameters):
    with pytest.raises(TaskError, match="parameters must be a whole number, 0 or more, or left out to be counted"):
        replace(find_task("digits-mlp"), parameters=parameters)


def test_the_splits_of_digits_share_no_sample_and_never_change():
    splits = load_digits(None)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [1024, 384, 389]
    pictures = torch.cat([s.x.flatten(1) for s in (splits.train, splits.validation, splits.test)])
    assert len(torch.unique(pictures, dim=0)) == 1797
    assert splits.digest == load_digits(None).digest == "2b01a45b626090ab"


def test_a_shorter_horizon_stretches_the_known_policies_along():
    task = find_task("mnist-lenet").with_horizon(1000)
    assert task.known[1].params["l"] == (500, 700, 800, 900, 950)
    assert task.key != find_task("mnist-lenet").key


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"horizon": 3}, "horizon"),
        ({"batch_size": 0}, "batch_size"),
        ({"classes": 1}, "classes"),
        ({"horizon": 2.5}, "horizon"),
        ({"precision": "fp23"}, "fp32"),
        ({"build": lambda: nn.Linear(-1, 2)}, "cannot be built"),
    ],
)
def test_an_impossible_task_is_refused_by_name(change, says):
    given = {
        "name": "mine",
        "data": "d",
        "model": "m",
        "classes": 2,
        "shape": (3,),
        "train_size": 10,
        "validation_size": 10,
        "batch_size": 5,
        "horizon": 100,
        "optimizer": SGD(),
        "load": load_digits,
        "build": lambda: nn.Linear(3, 2),
    }
    with pytest.raises(TaskError, match=says):
        Classification(**given | change)


def test_a_misspelt_task_gets_the_nearest_name():
    with pytest.raises(TaskError, match="did you mean 'mnist-lenet'"):
        find_task("mnist-lennet")


@pytest.mark.data
@pytest.mark.parametrize(("name", "folder"), [("MNIST", "mnist"), ("FashionMNIST", "fashion_mnist")])
def test_real_idx_files_are_read_from_their_folder_or_from_above(data_dir, name, folder):
    splits = load_idx(name, data_dir)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [54_000, 6000, 10_000]
    assert splits.train.x.shape == (54_000, 1, 28, 28)
    assert splits.train.x.dtype == torch.float32
    assert 0 <= splits.train.x.min() < splits.train.x.max() < 1
    counts = torch.bincount(splits.validation.y, minlength=10)
    assert counts.min() > 500
    assert load_idx(name, data_dir / folder).digest == splits.digest


@pytest.mark.data
def test_a_broken_a_missing_and_a_mistaken_file_get_one_clear_line(data_dir, tmp_path):
    for file in MNIST_FILES:
        shutil.copy(data_dir / "mnist" / file, tmp_path / file)
    (tmp_path / MNIST_FILES[1]).chmod(0o644)
    whole = (tmp_path / MNIST_FILES[1]).read_bytes()
    (tmp_path / MNIST_FILES[1]).write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"train-labels.* is broken"):
        load_idx("MNIST", tmp_path)
    (tmp_path / MNIST_FILES[1]).unlink()
    with pytest.raises(DataError, match=r"lacks train-labels-idx1-ubyte\.gz"):
        load_idx("MNIST", tmp_path)
    with pytest.raises(DataError, match="another data set's"):
        load_idx("MNIST", data_dir / "fashion_mnist")


def test_a_folder_without_data_says_what_to_put_there(tmp_path):
    with pytest.raises(DataError, match="put them there, or leave --data-dir out"):
        load_idx("MNIST", tmp_path)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    from torchvision import datasets

    from lrsearch.tasks import data

    monkeypatch.setattr(data, "CACHE", tmp_path)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:1/"])
    with pytest.raises(DataError, match=r"could not be downloaded .* give their folder with --data-dir"):
        load_idx("MNIST", None)


def test_idx_bytes_are_read_as_they_are_written(tmp_path):
    from lrsearch.tasks.data import _read_idx

    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])))
    assert _read_idx(path).tolist() == [7, 8, 9]
