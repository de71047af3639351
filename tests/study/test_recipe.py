"""The recipe of the 1cycle report: the values it tries, those it chooses, and its refusals."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lrsearch.errors import TaskError, WorkError
from lrsearch.runs import Task, minimize
from lrsearch.store import open_store
from lrsearch.study.recipe import DECAYS, MOMENTA, Tried, _between, _chosen, follow, onecycle
from lrsearch.tasks import SLS, Adam, find_task


class Broken(nn.Module):
    """It cannot be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of luck")


MLP = find_task("digits-mlp").with_horizon(400)


def tried(losses):
    return [Tried(value, 50, loss, None if loss is None else 0.5, str(value)) for value, loss in losses.items()]


@pytest.fixture
def store(tmp_path):
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Steps take as long at every batch size."""
    monkeypatch.setattr("lrsearch.study.recipe._clocked", lambda trainer, spec: 0.001)


def test_it_goes_from_step_to_step_and_every_run_is_recorded(store):
    lines = []
    found = follow(MLP, store, MLP.load(None), log=lines.append)
    assert [step.setting for step in found.steps] == ["batch size", "momentum", "weight decay"]
    batch, momentum, decay = found.steps
    assert [one.value for one in batch.tried] == [16, 32, 64]
    assert {one.value for one in momentum.tried} == {*MOMENTA}
    assert {0.0005, *DECAYS} <= {one.value for one in decay.tried}
    assert len(decay.tried) == 7
    assert found.chosen.batch_size == batch.chosen
    assert (found.chosen.optimizer.momentum, found.chosen.optimizer.weight_decay) == (momentum.chosen, decay.chosen)
    assert found.policy.horizon == found.chosen.horizon == round(400 * 32 / batch.chosen)
    known = {stored.key for stored in store.runs()}
    assert {one.run for step in found.steps for one in step.tried} <= known
    assert "TRI" not in str(found.policy)
    assert found.score > 0.8
    assert 3 < found.cost < 7
    assert lines
    again = follow(MLP, store, MLP.load(None))
    assert again == found


def test_an_optimizer_without_momentum_keeps_its_own(store):
    task = replace(MLP, optimizer=Adam())
    found = follow(task, store, task.load(None))
    assert found.steps[1].tried == ()
    assert "Adam without a momentum of its own is left as it is" in found.steps[1].reason


def test_a_line_search_takes_no_weight_decay(store):
    task = replace(MLP, optimizer=SLS())
    assert follow(task, store, task.load(None)).steps[2].reason.startswith("SLS searches along its own loss")


def test_what_fails_ends_it_with_what_it_said(store):
    task = replace(MLP, build=Broken)
    with pytest.raises(WorkError, match="on digits-mlp failed: RuntimeError: out of luck"):
        follow(task, store, task.load(None))


def test_flat_range_tests_end_it_with_the_reason(store):
    task = replace(MLP, optimizer=replace(MLP.optimizer, lr_range=(1e-9, 1e-8)))
    with pytest.raises(WorkError, match="the range tests of digits-mlp are flat"):
        follow(task, store, task.load(None))


def test_the_lowest_loss_wins_and_a_tie_goes_to_what_the_task_has():
    assert _chosen("momentum", 0.9, tried({0.9: 1.0, 0.95: 0.5})).chosen == 0.95
    tie = _chosen("momentum", 0.9, tried({0.9: 1.0, 0.95: 0.97}))
    assert (tie.chosen, tie.reason) == (0.9, "0.9 is the task's, and a tie with 0.95")
    assert _chosen("momentum", 0.9, tried({0.9: None, 0.95: 0.97})).reason.endswith(
        "at divergence; it is the highest that was tried, so the best may lie beyond"
    )
    assert _chosen("momentum", 0.9, tried({0.9: None, 0.95: None})).chosen == 0.9


def test_bisection_goes_to_the_middle_exponent_beside_the_best():
    assert _between(tried({1e-3: 2.0, 1e-4: 1.0, 1e-5: 1.5, 0.0: 0.1})) == pytest.approx(10**-4.5, rel=0.05)
    assert _between(tried({1e-3: 1.0, 1e-4: 2.0})) == pytest.approx(10**-3.5, rel=0.05)
    assert _between(tried({1e-3: None, 1e-4: None})) is None
    assert _between(tried({0.0: 1.0})) is None


@pytest.mark.parametrize("steps", [50, 640, 10_000])
def test_the_short_policy_is_a_whole_cycle(steps):
    policy = onecycle(0.3, steps)
    curve = policy.curve(steps)
    assert policy.horizon == steps
    assert curve.max() == pytest.approx(0.3, rel=0.05)
    assert curve[0] == pytest.approx(0.03)
    assert math.isclose(policy(steps), 0.0003)


def test_a_task_that_its_own_function_trains_is_refused_with_the_reason(store):
    with pytest.raises(TaskError, match="task 'my-lm' is trained by its own function"):
        follow(Task(name="my-lm", horizon=320, epoch=32, objectives=(minimize("val_loss"),)), store, None)
