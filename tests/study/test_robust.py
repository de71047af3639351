"""Probing of misleading networks and data: it refuses with the reason, or narrows to learning rates that train."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrsearch import api
from lrsearch.errors import TaskError
from lrsearch.runs import RunSpec
from lrsearch.schedules import FIX
from lrsearch.tasks import SGD, Adagrad, Adam
from lrsearch.tasks.in_memory import classification
from lrsearch.training import Trainer

STEPS = 640


def blobs(n: int = 600, noise: float = 0.0, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples around as many centres as there are classes; a share of the labels is drawn anew."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    x = 2 * F.one_hot(y, 12).float() + torch.randn(n, 12, generator=generator)
    redrawn = torch.rand(n, generator=generator) < noise
    return x, torch.where(redrawn, torch.randint(classes, (n,), generator=generator), y)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 4))


def normed() -> nn.Module:
    """Without a bias or a scale after its norms, its outputs are bounded, whatever the learning rate."""
    return nn.Sequential(
        nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 4, bias=False), nn.BatchNorm1d(4, affine=False)
    )


class Nan(nn.Module):
    """Its outputs are NaN from the first step on."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) * torch.nan


class Blind(nn.Module):
    """It does not look at its input."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.zeros_like(x))


class Restless(nn.Module):
    """Every model of the process begins elsewhere, so that equal runs end otherwise."""

    born = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.body, self.shift = plain(), float(next(Restless.born) % 17)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x + self.shift)


def probed(tmp_path, build=plain, data=None, optimizer=None, functions=()):
    task = classification(
        build, data or blobs(), name="mine", batch_size=20, horizon=STEPS, optimizer=optimizer or SGD()
    )
    return api.prune(task, 12, out=tmp_path, functions=functions), task


def good(task, rates=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)):
    """The constant learning rates that are as good as the best, within two standard errors."""
    trainer = Trainer(task, device="cpu")
    scores = {lr: trainer.train(RunSpec(task, FIX(k0=lr), STEPS, 0)).score or 0.0 for lr in rates}
    best = max(scores.values())
    error = math.sqrt(2 * best * (1 - best) / task.validation_size)
    return [lr for lr, score in scores.items() if score >= best - 2 * error]


def test_a_network_of_norms_that_never_diverges_is_narrowed_to_what_trains(tmp_path):
    found, task = probed(tmp_path, normed, functions=["FIX"])
    assert found.pruned.refusal is None
    assert any(lr in found.space.peak for lr in good(task))
    assert 1e-5 not in good(task)


@pytest.mark.parametrize("optimizer", [Adam(), Adagrad()])
def test_adaptive_optimizers_have_ranges_of_their_own(tmp_path, optimizer):
    found, _ = probed(tmp_path, optimizer=optimizer)
    peak = found.space.peak
    assert found.pruned.refusal is None
    assert optimizer.lr_range[0] <= peak.low < 0.1
    assert peak.high <= optimizer.lr_range[1]
    assert found.pruned.log_volume < 0


def test_noisy_labels_do_not_mislead_it_to_rates_that_do_not_train(tmp_path):
    found, task = probed(tmp_path, data=blobs(noise=0.5), functions=["FIX"])
    assert found.pruned.refusal or any(lr in found.space.peak for lr in good(task))


@pytest.mark.parametrize(
    ("build", "data", "codes"),
    [
        (Nan, None, {"all-diverged"}),
        (Blind, None, {"chance", "flat"}),
        (plain, (torch.randn(600, 12, generator=torch.Generator().manual_seed(1)), blobs()[1]), {"chance", "flat"}),
    ],
)
def test_what_teaches_nothing_is_refused_with_its_code_and_the_raw_range_stays(tmp_path, build, data, codes):
    found, _ = probed(tmp_path, build, data)
    assert found.pruned.refusal.split(":")[0] in codes
    assert (found.space.peak.low, found.space.peak.high) == SGD().lr_range


def test_a_single_class_is_refused_before_anything_is_trained():
    x, _ = blobs()
    with pytest.raises(TaskError, match="class"):
        classification(plain, (x, torch.zeros(600, dtype=torch.int64)), name="mine", batch_size=20, horizon=STEPS)


def test_a_model_that_begins_elsewhere_each_time_gives_a_range_or_a_reason_and_never_an_exception(tmp_path):
    found, _ = probed(tmp_path, Restless)
    assert found.pruned.refusal is None or ":" in found.pruned.refusal
    assert found.space.peak.low < found.space.peak.high
