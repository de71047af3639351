"""Range tests of any trainer that has a task and `train_ramp`."""

import math

import pytest
import torch

from lrsearch.errors import WorkError
from lrsearch.heuristics.evidence import Evaluation
from lrsearch.report.range_test import draw_range_tests
from lrsearch.runs import Run, RunState, Task, minimize
from lrsearch.store import open_store
from lrsearch.study.range_tests import make_range_tests
from lrsearch.tasks import find_task
from lrsearch.training import Trainer
from lrsearch.training.ramps import ramp

TASK = Task(name="regression", horizon=800, epoch=40, objectives=(minimize("mse", unit="euro^2"),), lr_range=(1e-6, 10))


class Regression:
    """A linear regression in thousands, trained by a loop of its own."""

    task = TASK

    def __init__(self, logs_train_loss=True, breaks=False):
        self.logs_train_loss, self.breaks = logs_train_loss, breaks

    def train_ramp(self, spec):
        if self.breaks:
            return Run(state=RunState.FAILED, steps=0, seconds=0.0, error="OSError: no space left"), ()
        torch.manual_seed(spec.seed)
        model = torch.nn.Linear(8, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        scheduler, losses, evaluations = spec.policy.scheduler(optimizer), [], []
        truth = torch.arange(8.0)
        for step in range(spec.horizon):
            x = torch.randn(32, 8)
            loss = ((model(x)[:, 0] - 1000 * (x @ truth)) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            value = float(loss.detach())
            losses.append(value if math.isfinite(value) else None)
            if losses[-1] is not None and step % 50 == 0:
                evaluations.append(Evaluation(spec.policy(step), losses[-1], losses[-1]))
        told = tuple(losses) if self.logs_train_loss else ()
        return Run(state=RunState.DIVERGED, steps=spec.horizon, seconds=0.0, train_losses=told), tuple(evaluations)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store.db"))


def make(trainer, store, **how):
    return make_range_tests(trainer, store, ramp(1e-6, 10, 200), 200, [0, 1], **how)


def test_a_users_trainer_is_tested_recorded_and_drawn(store, tmp_path):
    heard = []
    tested = make(Regression(), store, ended=lambda spec, shown: heard.append(spec.seed))
    assert (tested.task, tested.steps, heard) == (TASK, 200, [0, 1])
    assert tested.advice.verdict == "found"
    assert 0.01 < tested.advice.default.lr < 1
    assert len(store.runs(task="regression")) == 2
    assert tested.weight_decay is None
    assert draw_range_tests([tested], tmp_path / "tests.png").stat().st_size > 10_000


def test_one_without_a_train_loss_suggests_nothing_and_says_so(store):
    tested = make(Regression(logs_train_loss=False), store)
    assert tested.advice.suggestions == ()
    assert tested.to_json()["notes"][0] == "the training logs no train_loss, so a range test shows nothing"


def test_one_that_breaks_is_an_error_with_its_own_words(store):
    with pytest.raises(WorkError, match=r"RAMP.* on regression failed: OSError: no space left"):
        make(Regression(breaks=True), store)


def test_a_classification_is_tested_by_the_same_call(store):
    tested = make_range_tests(Trainer(find_task("digits-mlp"), device="cpu"), store, ramp(1e-6, 10, 60), 60, [0])
    assert tested.weight_decay == find_task("digits-mlp").optimizer.weight_decay
    assert len(tested.ramps[0].evaluations) > 20
