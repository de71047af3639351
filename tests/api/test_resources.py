"""Sources of trainers, and executors: nothing is loaded before it is needed."""

from pathlib import Path

import pytest

import lrsearch as lrs
from lrsearch.api.resources import open_executor, source_of
from lrsearch.errors import TaskError, UsageError
from lrsearch.executors.local import LocalExecutor
from lrsearch.executors.pool import Pool
from lrsearch.runs import Task, minimize
from lrsearch.tasks import find_task
from lrsearch.training.source import ClassificationSource


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "executors")
    import plain_trainer

    return plain_trainer.PlainSource()


def test_a_function_is_trained_by_itself_over_the_horizon_that_is_asked_for():
    @lrs.task("mine", horizon=100, epoch=10, minimize="loss")
    def train(job):
        return 1.0

    assert source_of(train, None).function is train
    shorter = train.task.with_horizon(50)
    assert source_of(train, None, shorter).task == shorter


def test_a_classification_is_trained_by_our_own_loop_as_it_is_asked_for():
    task = find_task("digits-mlp")
    assert source_of("digits-mlp", "data") == source_of(task, "data") == ClassificationSource(task, Path("data"))
    shorter = task.with_horizon(64)
    assert source_of("digits-mlp", None, shorter) == ClassificationSource(shorter)


def test_a_task_that_nothing_here_trains_is_refused():
    task = Task(name="mine", horizon=100, epoch=10, objectives=(minimize("loss"),))
    with pytest.raises(TaskError, match="'mine' is trained by its own function"):
        source_of(task, None)


@pytest.mark.parametrize(("workers", "kind", "slots"), [(1, LocalExecutor, 1), (3, Pool, 3), (None, Pool, 2)])
def test_the_number_of_workers_says_who_trains_and_the_source_where_nobody_does(plain, workers, kind, slots):
    with open_executor(plain, workers) as executor:
        assert type(executor) is kind
        assert executor.slots == slots


@pytest.mark.parametrize("workers", [0, True, "2"])
def test_workers_that_cannot_be_are_refused_before_anything_is_opened(workers):
    with pytest.raises(UsageError, match="workers must be a whole number"), open_executor(None, workers):
        pass
