"""Tasks of users: any model, any samples in memory."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import lrsearch as lrs
from lrsearch.errors import TaskError, UsageError
from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX, TRI
from lrsearch.tasks import Adam
from lrsearch.tasks.in_memory import classification
from lrsearch.training import Trainer

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 300)
X = RNG.normal(size=(300, 5)) + Y[:, None]


def small() -> nn.Module:
    return nn.Linear(5, 3)


GIVEN = {"name": "mine", "batch_size": 10, "epochs": 2}


def made(**changes):
    train = changes.pop("train", (X, Y))
    return classification(small, train, **(GIVEN | changes))


def test_arrays_tensors_and_a_dataset_make_the_same_task():
    tensors = (torch.tensor(X, dtype=torch.float32), torch.tensor(Y))
    tasks = [made(train=(X.astype(np.float32), Y)), made(train=tensors), made(train=TensorDataset(*tensors))]
    assert {task.key for task in tasks} == {tasks[0].key}
    assert (tasks[0].train_size, tasks[0].validation_size, tasks[0].horizon, tasks[0].classes) == (270, 30, 54, 3)


def test_other_samples_make_another_key():
    changed = X.copy()
    changed[7, 2] += 1e-3
    assert len({made().key, made(train=(changed, Y)).key, made(train=(X, np.roll(Y, 1))).key}) == 3
    assert made().key == made().key


def test_the_validation_samples_are_held_out_or_given():
    task = made(validation=50)
    splits = task.load(None)
    everything = torch.cat([splits.train.x, splits.validation.x])
    assert len(splits.validation) == 50
    assert len(torch.unique(everything, dim=0)) == 300
    given = made(validation=(X[:20] + 1, Y[:20]), test=(X[:7], Y[:7])).load(None)
    assert (len(given.train), len(given.validation), len(given.test)) == (300, 20, 7)


def test_a_task_of_one_s_own_is_trained_and_searched(tmp_path):
    task = made(epochs=8, optimizer=Adam(), test=(X[:50], Y[:50]))
    run = Trainer(task, device="cpu").train(RunSpec(task, FIX(k0=0.05), task.horizon, 0))
    assert run.state is RunState.FINISHED
    assert run.score > 0.6
    result = lrs.search(task, budget=3, functions=["LINEAR"], out=tmp_path)
    assert result.cost <= 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": (X, Y[:5])}, "one class number from 0 on for each sample, got 300 samples"),
        ({"train": (X, Y + 0.5)}, "classes of type torch.float64"),
        ({"train": (X, -Y)}, "one class number from 0 on"),
        ({"train": ([], np.array([], dtype=int))}, "got 0 samples"),
        ({"train": 5}, "train is a pair"),
        ({"train": [("a", 1), ("b", 2), ("c", 3)]}, "train is a pair"),
        ({"validation": 300}, "validation is a share of the 300 samples"),
        ({"validation": 0.0}, "validation is a share"),
        ({"epochs": None}, "horizon=STEPS or as epochs=NUMBER"),
        ({"horizon": 100}, "horizon=STEPS or as epochs=NUMBER"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"batch_size": 2.5}, "batch_size must be a whole"),
        ({"epochs": float("nan")}, "epochs must be a number above 0"),
        ({"epochs": "2"}, "epochs must be a number above"),
        ({"validation": 1.0}, "validation is a share"),
        ({"validation": 2.7}, "validation is a share"),
        ({"validation": float("nan")}, "validation is a share"),
        ({"optimizer": "adam"}, "optimizer is one of"),
        ({"train": (X * np.nan, Y)}, "not finite"),
        ({"train": (X, Y + 5)}, "its model gives"),
        ({"train": (X[:, :3], Y)}, "its model does not take samples of shape"),
        ({"epochs": 0.01}, "horizon must be a whole number, 16 or more"),
    ],
)
def test_samples_and_numbers_that_cannot_be_are_refused_with_the_reason(changes, says):
    with pytest.raises(TaskError, match=says):
        made(**changes)


def test_models_of_other_layers_have_other_keys_whatever_their_names():
    one = classification(lambda: nn.Sequential(nn.Linear(5, 3), nn.ReLU()), (X, Y), **GIVEN)
    other = classification(lambda: nn.Sequential(nn.Linear(5, 3), nn.Identity()), (X, Y), **GIVEN)
    assert one.parameters == other.parameters
    assert one.key != other.key


@pytest.mark.parametrize(
    "known",
    [
        "TRI(k0=0.1, k1=1, l=27)",
        TRI(k0=0.1, k1=1, l=27),
        ["TRI(k0=0.1, k1=1, l=0.5dur)"],
        (TRI(k0=0.1, k1=1, l="1ep"),),
    ],
    ids=str,
)
def test_known_policies_are_read_from_texts_and_bound_to_the_task(known):
    assert made(known=known).known == (TRI(k0=0.1, k1=1, l=27),)
    assert made(known=known).key == made().key


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (5, "known is a list of policies or their texts"),
        ([5], "known is a list"),
        (None, "known is a list"),
        ({TRI}, "known is a list"),
        ("TRI(k0=0.1)", "missing k1, l"),
    ],
)
def test_what_are_no_known_policies_is_refused_when_the_task_is_made(known, says):
    with pytest.raises(UsageError, match=says):
        made(known=known)


def test_numbers_of_numpy_are_numbers():
    assert made(validation=np.int64(30)).validation_size == 30
    assert made(validation=np.float32(0.2)).validation_size == 60
