"""How many cores a task's runs are given."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lrsearch.tasks import find_task
from lrsearch.training.process import default_workers, is_small


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits-mlp", True),
        ("digits-cnn", True),
        ("mnist-mlp", True),
        ("mnist-lenet", False),
        ("cifar10-cnn3", False),
        ("cifar10-resnet32", False),
    ],
)
def test_a_task_is_small_by_its_parameters_and_by_what_a_batch_takes(name, expected, monkeypatch):
    task = find_task(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("lrsearch.training.process.os.sched_getaffinity", lambda process: set(range(3)), raising=False)
    assert is_small(task) is expected
    assert default_workers(task) == (1 if expected else 3)


class Wordy(nn.Module):
    """A model that takes no float numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.words(x).mean(1)


def test_a_model_that_will_not_be_counted_goes_by_its_parameters():
    assert is_small(replace(find_task("digits-mlp"), build=Wordy))


def test_counting_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    is_small(find_task("cifar10-cnn3"))
    assert torch.equal(torch.get_rng_state(), before)
