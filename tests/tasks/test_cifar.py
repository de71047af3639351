"""CIFAR: real CIFAR-10, synthetic CIFAR-100, and what augmentation does to a picture."""

import hashlib
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from lrsearch.errors import DataError
from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX, NSTEP
from lrsearch.tasks import SGD, TASKS, Split, Splits
from lrsearch.tasks.cifar import CropFlip, load_cifar
from lrsearch.tasks.models import LocalNorm
from lrsearch.training import Trainer

PARAMETERS = {
    "cifar10-cnn3": 89_578,
    "cifar10-resnet20": 269_722,
    "cifar10-resnet32": 464_154,
    "cifar10-resnet56": 853_018,
    "cifar100-resnet56": 858_868,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_models_have_as_many_parameters_as_published(name):
    assert TASKS[name].parameters == PARAMETERS[name]


def test_the_tasks_have_the_papers_settings():
    cnn3, resnet = TASKS["cifar10-cnn3"], TASKS["cifar10-resnet32"]
    assert (cnn3.batch_size, cnn3.horizon, cnn3.optimizer) == (100, 70_000, SGD(momentum=0.9, weight_decay=0.004))
    assert (resnet.batch_size, resnet.horizon) == (128, 64_000)
    assert resnet.optimizer == SGD(momentum=0.9, weight_decay=0.0001, nesterov=True)
    assert resnet.augment == CropFlip()
    assert "augment" not in cnn3.description
    assert resnet.known == (NSTEP(k0=0.1, gamma=0.1, l=[32_000, 48_000]),)


@pytest.mark.data
def test_real_cifar_is_split_and_normalised(cifar):
    splits = load_cifar("CIFAR-10", cifar)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [45_000, 5000, 10_000]
    assert splits.train.x.mean((0, 2, 3)).abs().max() < 1e-4
    assert splits.train.x.std((0, 2, 3)) == pytest.approx(torch.ones(3), abs=1e-4)
    raw = datasets.CIFAR10(cifar, train=False)
    picture = splits.test.x[7] - splits.test.x[7].amin((1, 2), keepdim=True)
    theirs = torch.tensor(raw.data[7].transpose(2, 0, 1)).float()
    theirs = theirs - theirs.amin((1, 2), keepdim=True)
    scale = theirs.amax((1, 2)) / picture.amax((1, 2))
    assert torch.allclose(picture * scale[:, None, None], theirs, atol=1e-2)
    assert splits.test.y.tolist() == raw.targets
    caffe = load_cifar("CIFAR-10", cifar / "cifar-10-batches-py", mean="image")
    assert caffe.digest == splits.digest
    assert caffe.train.x.mean(0).abs().max() < 0.01
    assert 100 < caffe.train.x.max() <= 255


@pytest.mark.data
def test_a_changed_or_missing_batch_is_refused_before_anything_is_unpickled(cifar, tmp_path):
    """The planted pickle would leave a file behind if it were read."""
    folder = tmp_path / "cifar-10-batches-py"
    shutil.copytree(cifar / "cifar-10-batches-py", folder)
    mark = tmp_path / "was-unpickled"

    class Trap:
        def __reduce__(self):
            return mark.touch, ()

    (folder / "data_batch_3").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"data_batch_3 is broken or another data set's: checksum [0-9a-f]{32}, not"):
        load_cifar("CIFAR-10", tmp_path)
    assert not mark.exists()
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"CIFAR-10: .* lacks data_batch_3; put them there"):
        load_cifar("CIFAR-10", tmp_path)


def test_cifar_100_s_files_are_named_and_checked(tmp_path):
    """The real CIFAR-100 has not been at hand: only that its files are asked for and their checksums held."""
    with pytest.raises(DataError, match=r"CIFAR-100: .*cifar-100-python lacks train, test, meta"):
        load_cifar("CIFAR-100", tmp_path)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for file in ("train", "test", "meta"):
        (folder / file).write_bytes(b"no pickle")
    found = hashlib.md5(b"no pickle", usedforsecurity=False).hexdigest()
    with pytest.raises(DataError, match=f"train is broken .* {found}"):
        load_cifar("CIFAR-100", tmp_path)


def synthetic(classes: int, folder: Path | None) -> Splits:
    """Coloured noise whose mean tells the class, in CIFAR's shape."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        y = torch.tensor(rng.integers(0, classes, n))
        x = torch.tensor(rng.standard_normal((n, 3, 32, 32)), dtype=torch.float32)
        return Split(x + y[:, None, None, None] / classes * 4, y)

    return Splits(split(256), split(64), split(64), digest=f"synthetic-{classes}")


@pytest.mark.parametrize("name", ["cifar10-cnn3", "cifar10-resnet20", "cifar100-resnet56"])
def test_the_models_learn_from_pictures_of_cifar_s_shape(name):
    shipped = TASKS[name]
    task = replace(
        shipped, train_size=256, validation_size=64, batch_size=32, horizon=16, load=partial(synthetic, shipped.classes)
    )
    trainer = Trainer(task, device="cpu")
    lr = 0.00001 if name == "cifar10-cnn3" else 0.02
    run = trainer.train(RunSpec(task, FIX(k0=lr), 16, 0))
    again = trainer.train(RunSpec(task, FIX(k0=lr), 16, 0))
    assert run.state is RunState.FINISHED
    assert run.train_losses == again.train_losses
    if name != "cifar10-cnn3":
        assert run.train_losses[-1] < run.train_losses[0]


def test_a_crop_is_a_shifted_picture_and_a_flip_its_mirror_image():
    x = torch.arange(1.0, 2 * 3 * 8 * 8 + 1).reshape(2, 3, 8, 8).repeat(100, 1, 1, 1)
    changed = CropFlip()(x, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (4,) * 4)
    seen = set()
    for before, after in zip(padded, changed, strict=True):
        places = [
            (top, left, mirrored)
            for top in range(9)
            for left in range(9)
            for mirrored in (False, True)
            if torch.equal(
                before[:, top : top + 8, left : left + 8].flip(2)
                if mirrored
                else before[:, top : top + 8, left : left + 8],
                after,
            )
        ]
        assert places
        if len(places) == 1:
            seen |= {places[0]}
    assert {top for top, _, _ in seen} >= set(range(2, 7))
    assert {left for _, left, _ in seen} >= set(range(2, 7))
    assert {mirrored for _, _, mirrored in seen} == {True, False}
    assert torch.equal(changed, CropFlip()(x, torch.Generator().manual_seed(0)))
    assert not torch.equal(changed, CropFlip()(x, torch.Generator().manual_seed(1)))


def test_local_normalisation_is_caffe_s_formula():
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    y = LocalNorm(size=3, alpha=0.5, beta=0.75)(x)
    padded = torch.nn.functional.pad(x, (1,) * 4)
    for channel in range(2):
        for row in range(5):
            for column in range(5):
                window = padded[0, channel, row : row + 3, column : column + 3]
                scale = 1 + 0.5 * (window**2).sum() / 9
                assert y[0, channel, row, column] == pytest.approx(float(x[0, channel, row, column] * scale**-0.75))
