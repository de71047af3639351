"""A task is a description: plain data, and its digest is its key."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

import lrsearch as lrs
from lrsearch.errors import TaskError
from lrsearch.runs import RunSpec, Stop, Task, maximize, minimize
from lrsearch.tasks import TASKS

GIVEN = {"name": "mine", "horizon": 1200, "epoch": 60, "objectives": (minimize("val_loss"),)}


def made(**changes):
    return Task(**(GIVEN | changes))


def test_whole_floats_are_whole_numbers_in_a_key():
    assert made(facts={"parameters": 1.2e6}).key == made(facts={"parameters": 1_200_000}).key
    assert made(epoch=60.0).key == made(epoch=60).key


def test_a_task_names_its_metric_in_a_word_and_is_the_same_to_the_key():
    short = Task("mine", horizon=1200, epoch=60, minimize="val_loss")
    assert short == made()
    assert short.key == made().key
    assert replace(short, horizon=1300).objectives == short.objectives
    assert Task("mine", horizon=1200, epoch=60, maximize="bleu") == made(objectives=(maximize("bleu"),))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"minimize": "a", "maximize": "b"}, "one metric decides"),
        ({}, "name the metric: minimize='val_loss'"),
        ({"minimize": "a", "objectives": (minimize("b"),)}, "one metric decides"),
        ({"minimize": 3}, "named by its metric"),
    ],
)
def test_a_task_without_one_metric_is_refused(change, match):
    with pytest.raises(TaskError, match=match):
        Task("mine", horizon=1200, epoch=60, **change)


def test_a_classification_is_not_asked_for_another_metric():
    with pytest.raises(TaskError, match="judged by its validation top-1"):
        replace(TASKS["digits-mlp"], minimize="loss")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"horizon": 1201},
        {"epoch": 61},
        {"objectives": (maximize("val_loss"),)},
        {"version": "2"},
        {"objectives": (minimize("other"),)},
        {"facts": {"optimizer": "adamw"}},
        {"settings": {"width": 3}},
        {"facts": {"pretrained": True}},
        {"facts": {"batch_size": 32}},
        {"facts": {"data": "text"}},
    ],
)
def test_what_is_trained_is_in_its_key(change):
    assert made(**change).key != made().key


@pytest.mark.parametrize("change", [{"lr_range": (1e-4, 1)}, {"known": ("FIX(k0=0.1)",)}, {"evaluations": 5}])
def test_what_belongs_to_the_study_is_not_in_its_key(change):
    assert made(**change).key == made().key


@pytest.mark.parametrize(
    ("optimizer", "lr_range", "family"),
    [
        ("AdamW", (1e-7, 1.0), "adam"),
        ("sgd", (1e-6, 10.0), "sgd"),
        ("shampoo", (1e-7, 10.0), "shampoo"),
        ({"name": "adamw", "weight_decay": 0.1}, (1e-7, 1.0), "adam"),
    ],
)
def test_the_optimizer_says_which_learning_rates_are_searched(optimizer, lr_range, family):
    task = made(facts={"optimizer": optimizer})
    assert task.lr_range == lr_range
    assert task.description["optimizer"]["family"] == family


def test_facts_stand_where_those_of_a_classification_stand():
    facts = {"optimizer": "sgd", "batch_size": 32, "parameters": 100, "model": "mlp", "data": "text", "method": "lora"}
    described, shipped = made(facts=facts).description, TASKS["digits-mlp"].description
    for name in ("optimizer", "batch_size", "model", "data", "horizon"):
        assert isinstance(described[name], type(shipped[name]))
    assert described["model"] == {"name": "mlp", "parameters": 100}
    assert described["facts"] == {"method": "lora"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"horizon": 15}, "16 or more"),
        ({"horizon": True}, "whole number"),
        ({"horizon": None}, "whole number"),
        ({"epoch": 0}, "above 0"),
        ({"epoch": float("nan")}, "above 0"),
        ({"objectives": ()}, "name the metric"),
        ({"objectives": "val_loss"}, "lrs.minimize"),
        ({"objectives": (minimize("a"), maximize("a"))}, "twice"),
        ({"facts": {"a": np.float32(1)}}, "plain values"),
        ({"facts": {"a": float("nan")}}, "plain values"),
        ({"settings": [1]}, "mapping"),
        ({"lr_range": (1, 0.1)}, "rising"),
        ({"lr_range": 3}, "rising"),
        ({"name": ""}, "has a name"),
        ({"version": 2}, "version is a text"),
        ({"evaluations": 0}, "1 or more"),
        ({"known": [3]}, "known is a list"),
    ],
)
def test_what_cannot_be_is_refused(change, match):
    with pytest.raises(TaskError, match=match):
        made(**change)


def test_evaluations_are_ten_an_epoch_apart_at_least():
    task = made(horizon=1000, epoch=30)
    assert [task.evaluate_every(n) for n in (1000, 250, 62)] == [100, 30, 30]
    assert [task.evaluate_every(n, is_controller=True) for n in (1000, 250, 62)] == [30, 8, 2]


def test_a_run_that_stops_has_a_key_and_a_task_of_its_own():
    plain, policy = TASKS["digits-mlp"], lrs.parse("FIX(k0=0.1)")
    stopping = RunSpec(plain, policy, 320, 0, Stop(target=0.97))
    older = RunSpec(replace(plain, target=0.97), policy, 320, 0)
    assert (stopping.key, stopping.task_key, stopping.description) == (older.key, older.task_key, older.description)
    assert stopping.key != RunSpec(plain, policy, 320, 0).key


def test_the_older_name_of_classification_works_and_warns():
    x, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 2
    given = {"name": "mine", "batch_size": 20, "epochs": 5}
    with pytest.warns(DeprecationWarning, match=r"lrs\.classification"):
        older = lrs.Task.of(lambda: nn.Linear(3, 2), (x, y), **given)
    assert older.key == lrs.classification(lambda: nn.Linear(3, 2), (x, y), **given).key
