"""The papers' protocol: under its own name, on the test set, the best evaluation."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import lrsearch as lrs
from lrsearch.errors import TaskError
from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX, TRI
from lrsearch.store import open_store
from lrsearch.tasks import find_task
from lrsearch.tasks.catalogue import CLASSIFICATIONS
from lrsearch.tasks.data import load_digits
from lrsearch.tasks.in_memory import classification
from lrsearch.training import Trainer

MLP = find_task("digits-mlp")
PAPER = MLP.in_paper_protocol()


@pytest.mark.parametrize("task", CLASSIFICATIONS.values(), ids=CLASSIFICATIONS)
def test_it_learns_from_all_training_samples_and_is_another_task(task):
    paper = task.in_paper_protocol()
    assert paper.train_size == task.train_size + task.validation_size
    assert paper.name == f"{task.name}-paper"
    assert paper.key != task.key
    assert paper.description["metric"].startswith("test top-1 at its best look")
    assert task.description["metric"] == "validation top-1 at the last step"


def test_stored_runs_of_the_papers_protocol_stay_what_they_are():
    assert find_task("mnist-lenet").in_paper_protocol().key == "ebf69d19be4c8cbf"


def test_what_it_is_judged_on_is_the_test_set_and_none_is_left(tmp_path):
    splits, trainer = load_digits(None), Trainer(PAPER, device="cpu")
    assert torch.equal(trainer.validation.x, splits.test.x)
    assert torch.equal(trainer.validation.y, splits.test.y)
    rows = {bytes(x.numpy()) for x in (*splits.train.x, *splits.validation.x)}
    assert {bytes(x.numpy()) for x in trainer.train_split.x} == rows
    with pytest.raises(TaskError, match="has no test split"):
        trainer.test(tmp_path / "any.pt")


def test_a_score_is_its_best_look_and_the_last_one_stands_beside_it():
    """A learning rate that rises too far makes the last evaluation a bad one."""
    spec = RunSpec(PAPER, TRI(k0=0.01, k1=3.0, l=1280), 1280, 0)
    run = Trainer(PAPER, device="cpu").train(spec)
    scores = {point.step: point.score for point in run.points}
    assert [point.step for point in run.points] == [500, 1000, 1280]
    assert run.score == max(scores.values()) > scores[1280]
    assert run.metrics["best"]["step"] == max(scores, key=lambda step: (scores[step], -step))
    assert run.metrics["end"]["top1"] == scores[1280]
    assert run.loss == run.metrics["best"]["loss"]


def test_a_shorter_run_is_looked_at_as_often():
    run = Trainer(PAPER, device="cpu").train(RunSpec(PAPER, FIX(k0=0.1), 128, 0))
    assert [point.step for point in run.points] == [50, 100, 128]


def test_runs_chosen_on_the_test_set_never_recommend(tmp_path):
    spec = RunSpec(PAPER, FIX(k0=0.1), 1280, 0)
    run = replace(Trainer(PAPER, device="cpu").train(RunSpec(PAPER, FIX(k0=0.1), 50, 0)), score=0.99)
    assert run.state is RunState.FINISHED
    with open_store(f"sqlite:///{tmp_path / 's.db'}") as store:
        store.record(spec, run)
        assert lrs.recommend(MLP, store) == []
        store.record(replace(spec, task=MLP), run)
        assert [r.policy for r in lrs.recommend(MLP, store)] == [FIX(k0=0.1)]


def test_without_a_test_set_or_twice_it_is_refused():
    x, y = torch.randn(60, 3), torch.arange(60) % 2
    mine = classification(lambda: nn.Linear(3, 2), (x, y), name="mine", batch_size=20, horizon=30)
    with pytest.raises(TaskError, match="'mine' has no test split"):
        mine.in_paper_protocol()
    with pytest.raises(TaskError, match="judged so already"):
        PAPER.in_paper_protocol()
    with pytest.raises(TaskError, match="no protocol 'papr'; did you mean 'paper'"):
        replace(MLP, protocol="papr")
