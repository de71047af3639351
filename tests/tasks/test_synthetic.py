"""Tasks whose samples are computed or come with Python: the same everywhere, learnable, and not too easy."""

from functools import partial

import numpy as np
import pytest
import torch

import lrsearch as lrs
from lrsearch.errors import DataError
from lrsearch.runs import RunSpec, RunState
from lrsearch.tasks import TASKS, texts
from lrsearch.tasks.data import load_digits
from lrsearch.tasks.functions import FUNCTION_TASKS
from lrsearch.tasks.synthetic import load_gratings, load_marked, load_noisy_digits, load_teacher
from lrsearch.tasks.texts import LENGTH, TEXTS, read_text, text_digest
from lrsearch.training import Trainer
from lrsearch.training.shipped import FUNCTIONS, GPT, KINDS, characters, regression_data, regression_model

LOADERS = {
    "teacher": (partial(load_teacher, 1), (20,), 10),
    "gratings": (partial(load_gratings, 1.5), (1, 12, 12), 8),
    "marked": (partial(load_marked, 24), (24, 2), 2),
}
COMPUTED = ("teacher-ln", "teacher-deep", "gratings-bn", "gratings-cnn", "marked-gru", "digits-noisy")
"""Classifications, and a peak at which each learns something in a quarter of its horizon."""
PEAKS = {"gratings-bn": 0.1, "digits-noisy": 0.05}


@pytest.mark.parametrize("name", LOADERS)
def test_the_samples_are_the_same_each_time_and_all_classes_are_there(name):
    load, shape, classes = LOADERS[name]
    first, again = load(None), load(None)
    assert first.digest == again.digest
    for split, size in ((first.train, 32_000), (first.validation, 8000), (first.test, 8000)):
        assert (tuple(split.x.shape), split.x.dtype) == ((size, *shape), torch.float32)
        counts = torch.bincount(split.y, minlength=classes)
        assert len(counts) == classes
        assert counts.min() > 0.2 * size / classes
    assert torch.equal(first.train.x, again.train.x)


def test_two_teachers_differ():
    first, second = load_teacher(1, None), load_teacher(2, None)
    assert first.digest != second.digest
    assert not torch.equal(first.train.x, second.train.x)


def test_a_share_of_the_training_labels_is_wrong_and_no_other_is():
    right, wrong = load_digits(None), load_noisy_digits(0.3, None)
    changed = float((right.train.y != wrong.train.y).float().mean())
    assert 0.2 < changed < 0.3  # a tenth of the drawn labels is right by chance
    assert torch.equal(right.validation.y, wrong.validation.y)
    assert torch.equal(right.test.y, wrong.test.y)
    assert wrong.digest != right.digest


@pytest.mark.parametrize("name", COMPUTED)
def test_a_quarter_of_the_horizon_teaches_more_than_chance_and_not_all(name):
    task = TASKS[name]
    steps = task.horizon // 4
    peak = PEAKS.get(name, 0.01)
    policy = lrs.parse(f"HALFCOS(k0={peak}, l={steps})")
    run = Trainer(task, device="cpu").train(RunSpec(task, policy, steps, 0))
    assert run.state is RunState.FINISHED
    assert 1.5 / task.classes < run.score < 0.99 or (task.classes == 2 and 0.5 < run.score < 0.99)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_comes_with_python_and_its_digest_is_in_the_key(name):
    assert len(read_text(name)) == LENGTH
    [task] = [task for task in FUNCTION_TASKS.values() if task.settings.get("text") == name]
    assert task.description["data"]["name"] == f"python-{name}-{text_digest(name)}"
    train, validation, test = characters(name)
    assert [len(part) for part in (train, validation, test)] == [int(LENGTH * share) for share in (0.8, 0.1, 0.1)]
    assert 0 <= int(train.min()) <= int(train.max()) < KINDS


def test_a_python_without_its_texts_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(texts, "MODULES", ("no_such_module",))
    with pytest.raises(DataError, match="this Python lacks the code that comes with it"):
        texts.read_text.__wrapped__("code")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_task_of_a_function_is_described_by_its_model_and_trains_by_its_name(name):
    task = TASKS[name]
    settings = task.settings
    model = (
        GPT(settings["width"], settings["layers"], settings["context"])
        if "text" in settings
        else regression_model(settings["data"])
    )
    assert task.description["model"]["parameters"] == sum(p.numel() for p in model.parameters())
    run = lrs.train(name, "FIX(k0=0.003)", horizon=40)
    assert (run.state, run.applied) == (RunState.FINISHED, "yes")
    assert sum(run.train_losses[20:]) < sum(run.train_losses[:20])
    assert [key for key in run.scores if key.startswith("test_")] != []
    assert [step for step, _ in run.curves["grad_norm_l1"]] == [10, 20, 30]
    assert "grad_norm_l1" not in run.scores
    again = lrs.train(name, "FIX(k0=0.003)", horizon=40)
    assert (again.score, again.train_losses) == (run.score, run.train_losses)


def test_every_shipped_task_of_a_function_has_one():
    assert set(FUNCTIONS) == set(FUNCTION_TASKS)


def test_regressions_have_targets_that_a_mean_does_not_explain():
    for name in ("waves", "digits"):
        for x, y in regression_data(name):
            assert len(x) == len(y)
            assert y.shape[1] == regression_model(name)[-1].out_features
            assert float(y.var()) > 0.05
    assert not np.array_equal(*(part[0].numpy()[:384] for part in regression_data("waves")[:2]))


def test_a_shipped_task_of_a_function_is_searched_by_its_name(tmp_path):
    result = lrs.search(TASKS["waves-mlp"].with_horizon(64), budget=4, out=tmp_path)
    assert result.best is not None
    assert result.setup.task.objective.name == "val_mse"
