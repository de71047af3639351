"""Functions as tasks: what is refused, how they are found, sent, seeded and trained."""

import pickle
import random
import sys
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import lrsearch as lrs
from lrsearch.errors import LRSearchError, TaskError, UsageError, WorkError
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.job import Job
from lrsearch.tasks import find_task
from lrsearch.training import Trainer
from lrsearch.training.function_places import load_function, place_of
from lrsearch.training.function_trainer import FunctionTrainer
from lrsearch.training.functions import function_source
from lrsearch.training.groups import Group
from lrsearch.training.loop import batches, evaluate

N = 40
GIVEN = {"horizon": N, "epoch": 8, "minimize": "val_loss"}


def made(function, **changes):
    return lrs.task(changes.pop("name", "toy"), **(GIVEN | changes))(function)


def constant(job):
    """A training that trains nothing."""
    return 1.0


def drawn(job):
    """Draw from every source of randomness."""
    return {"val_loss": random.random(), "numpy": float(np.random.rand()), "torch": float(torch.rand(()))}


def spec(function, policy="FIX(k0=0.1)", horizon=N, seed=0):
    return RunSpec(function.task, lrs.parse(policy), horizon, seed)


def test_the_decorator_gives_the_function_itself_with_its_description():
    function = made(constant, optimizer="adamw", batch_size=32, parameters=1.2e6, data="text", facts={"method": "lora"})
    assert function is constant
    assert function(None) == 1.0
    assert function.task.facts == {
        "optimizer": "adamw",
        "batch_size": 32,
        "parameters": 1_200_000,
        "data": "text",
        "method": "lora",
    }


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"name": constant}, "a task has a name and a length"),
        ({"horizon": None}, "either as horizon=UPDATES or as epochs"),
        ({"epochs": 3}, "either as horizon"),
        ({"minimize": None}, "minimize='val_loss' or maximize"),
        ({"maximize": "bleu"}, "one metric is asked for"),
        ({"minimise": "val_loss"}, "did you mean 'minimize'"),
        ({"batchsize": 3}, "did you mean 'batch_size'"),
        ({"pretrained": True}, r"other facts go into facts=\{\.\.\.\}"),
        ({"minimize": "test_loss"}, "test metric"),
        ({"horizon": 8}, "16 or more"),
        ({"horizon": None, "epochs": 3, "epoch": None}, "needs epoch=UPDATES"),
        ({"objectives": [lrs.minimize("a")]}, "one metric is asked for"),
        ({"horizon": "many"}, "whole number"),
    ],
)
def test_a_description_that_cannot_be_is_refused(given, match):
    with pytest.raises(TaskError, match=match):
        made(constant, **given)


def test_epochs_stand_in_the_place_of_the_horizon():
    task = made(constant, horizon=None, epochs=5, epoch=20).task
    assert (task.horizon, task.epoch) == (100, 20)
    assert made(constant, epoch=None).task.epoch == 2


@pytest.mark.parametrize(
    "function", [lambda: 1.0, lambda job, other: 1.0, (job for job in ()), 3, "train", lambda *, job: 1.0]
)
def test_what_takes_no_job_is_refused(function):
    with pytest.raises(TaskError, match=r"takes one argument, the job|stands above a function"):
        made(function)


def test_a_generator_is_refused():
    def steps(job):
        yield 1.0

    with pytest.raises(TaskError, match="generator or a coroutine"):
        made(steps)


def test_a_version_may_follow_the_source():
    def one(job):
        return 1.0

    def other(job):
        return 2.0

    keys = [made(function, version="auto").task.key for function in (one, other, one)]
    assert keys[0] == keys[2] != keys[1]
    assert made(one).task.key == made(other).task.key


FILE = """
    import lrsearch as lrs

    SEEN = []

    @lrs.task("from-file", horizon=40, epoch=8, minimize="val_loss")
    def train(job):
        SEEN.append(job.seed)
        return float(job.seed)

    def plain(job):
        return 1.0

    if __name__ == "__main__":
        raise SystemExit("this is not to run")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_training.py"
    path.write_text(textwrap.dedent(FILE))
    yield path
    for name in [name for name in sys.modules if "my_training" in name]:
        del sys.modules[name]
    sys.path.remove(str(tmp_path))


def test_a_function_is_taken_out_of_a_file_and_runs_nothing_else(file):
    named = load_function(f"{file}:train")
    assert named.task.name == "from-file"
    assert load_function(str(file)) is named
    assert place_of(named)[1] == "train"


@pytest.mark.parametrize(
    ("name", "match"), [(":plain", "is no task: put @lrs.task"), (":nothing", "is not in it; tasks in it: train")]
)
def test_a_function_that_is_not_there_is_named(file, name, match):
    with pytest.raises(UsageError, match=match):
        load_function(f"{file}{name}")


@pytest.mark.parametrize("name", ["", ":train"])
def test_a_file_without_a_task_says_what_makes_one(file, name):
    file.write_text("def train():\n    pass\n")
    with pytest.raises(UsageError, match=r"has no task: put @lrs\.task"):
        load_function(f"{file}{name}")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        load_function(f"{tmp_path}/nothing.py:train")


def test_a_function_reaches_another_process_by_its_file_or_as_code(file):
    weight = 3.0
    for function, score in ((load_function(f"{file}:train"), 5.0), (made(lambda job: weight * job.seed), 15.0)):
        again = pickle.loads(pickle.dumps(function_source(function)))  # noqa: S301  as a worker does
        assert again.task == function.task
        assert again.open().train(RunSpec(again.task, lrs.parse("FIX(k0=0.1)"), N, 5)).score == score


def test_what_no_process_can_have_is_refused_with_the_way_out(tmp_path):
    handle = (tmp_path / "log").open("w")

    def train(job):
        handle.write("a")
        return 1.0

    with pytest.raises(TaskError, match="open files and connections inside of it"):
        pickle.dumps(function_source(made(train)))
    handle.close()


def test_random_numpy_and_torch_are_seeded_and_put_back():
    function = made(drawn)
    trainer = function_source(function).open()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first, again, other = (trainer.train(spec(function, seed=seed)) for seed in (3, 3, 4))
    assert (first.score, first.scores) == (again.score, again.scores)
    assert not {first.score, *first.scores.values()} & {other.score, *other.scores.values()}
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_a_failed_run_keeps_its_error_and_a_full_run_its_folder(tmp_path):
    def train(job):
        (job.folder / "weights").write_text("w")
        if job.seed:
            raise ValueError("no such column")
        return 1.0

    trainer = function_source(made(train)).open()
    asked = {"full": spec(made(train)), "short": spec(made(train), horizon=20), "failed": spec(made(train), seed=1)}
    runs = {name: trainer.train(one, folder=tmp_path) for name, one in asked.items()}
    kept = {name: sorted(path.name for path in (tmp_path / one.key).glob("*")) for name, one in asked.items()}
    assert kept == {"full": ["weights"], "short": [], "failed": ["error.txt", "steps", "weights"]}
    assert "no such column" in (tmp_path / asked["failed"].key / "error.txt").read_text()
    assert "ValueError: no such column" in runs["failed"].error


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(["killed", "interrupted", "failed"]), st.integers(0, N), st.integers(1, N)),
        max_size=4,
    ),
    st.integers(0, N),
)
def test_whatever_ends_its_attempts_a_run_is_charged_what_was_trained(attempts, last_from):
    """Every attempt goes on from any update that was reached, and makes some more."""
    reached = updates = 0
    with tempfile.TemporaryDirectory() as folder, lrs.open_store("sqlite:///:memory:") as store:
        for how, back, further in (*attempts, ("finished", last_from, N)):
            begin = min(back, reached)
            end = N if how == "finished" else min(N - 1, begin + further)

            def train(job, how=how, begin=begin, end=end):
                scheduler = job.scheduler(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0), last_step=begin)
                for _ in range(begin, end):
                    scheduler.optimizer.step()
                    scheduler.step()
                if how in ("interrupted", "failed"):
                    raise KeyboardInterrupt if how == "interrupted" else ValueError(how)
                return 1.0

            one = spec(made(train))
            if how == "killed":
                train(Job(one, folder=Path(folder) / one.key))
            else:
                store.record(one, function_source(made(train)).open().train(one, folder=Path(folder)))
            reached, updates = end, updates + end - begin
        stored = store.find(one.key)
    assert stored.run.steps + stored.lost_steps == updates


def test_an_interruption_leaves_the_others_of_its_group_interrupted():
    def train(job):
        if job.seed == 1:
            raise KeyboardInterrupt
        return 1.0

    function, ended = made(train), []
    group = Group(tuple(spec(function, seed=seed) for seed in (0, 1, 2)))
    function_source(function).open().train_group(group, lambda one, run: ended.append((one.seed, run.state)))
    assert ended == [(0, RunState.FINISHED), (1, RunState.INTERRUPTED), (2, RunState.INTERRUPTED)]


def test_each_run_says_what_source_trained_it():
    function = made(constant)
    run = function_source(function).open().train(spec(function))
    assert len(run.source) == 16
    assert Run.from_text(run.to_text()) == run


def test_check_shows_what_two_updates_and_one_evaluation_do():
    def train(job):
        one = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        scheduler = job.scheduler(one)
        for step in range(1, 1 + job.horizon):
            one.step()
            scheduler.step()
            job.log(step, train_loss=1.0)
        return {"val_loss": 2.0, "ppl": 7.4}

    told = str(lrs.check(made(train)))
    for line in (
        "2 updates and one evaluation",
        "val_loss, which a search will minimize: 2",
        "other metrics: ppl 7.4",
        "logged: train_loss",
        "policy applied: yes",
        "as code",
    ):
        assert line in told
    assert lrs.check(made(constant)).notes == (
        "It did not ask for job.scheduler(optimizer): whether a policy is applied is not checked.",
        "It logs no train_loss: range tests tell nothing, and constant LRs are tried instead.",
    )


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda job: None, "neither returned nor logged"),
        (lambda job: {"val_loss": "good"}, "is a number"),
        (lambda job: 1 / 0, "ZeroDivisionError"),
        (lambda job: float("nan"), "diverged within 2 updates"),
    ],
)
def test_check_says_what_is_wrong(function, match):
    with pytest.raises(WorkError, match=match):
        lrs.check(made(function))


@pytest.mark.parametrize("asked", [None, "digits-mlp", constant.__name__, 3, find_task("digits-mlp")])
def test_check_and_train_take_functions_only(asked):
    for call in (lrs.check, lambda one: lrs.train(one, "FIX(k0=0.1)")):
        with pytest.raises(UsageError, match=r"a function with @lrs\.task"):
            call(asked)


def test_train_trains_once_and_keeps_the_run_where_it_is_asked_to(tmp_path):
    function, url = made(constant), f"sqlite:///{tmp_path / 'store.db'}"
    run = lrs.train(function, "WARMUP(policy=HALFCOS(k0=0.1, l=0.9dur), l=0.1dur)", seed=7, store=url)
    with lrs.open_store(url) as store:
        (stored,) = store.runs()
    assert (stored.run.score, stored.seed, str(stored.policy)) == (
        run.score,
        7,
        "WARMUP(policy=HALFCOS(k0=0.1, l=36), l=4)",
    )


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": 0.5}, {"horizon": 0}, {"policy": 3}, {"policy": "FIX(k=1)"}])
def test_train_refuses_what_cannot_be(change):
    with pytest.raises(LRSearchError, match=r"the seed is|horizon is|a policy is|FIX takes"):
        lrs.train(made(constant), change.pop("policy", "FIX(k0=0.1)"), **change)


BUILT_IN = find_task("digits-cnn")


def as_a_function(trainer: Trainer):
    """The built-in training as somebody would write it as a function, over the same samples."""
    split, task = trainer.train_split, trainer.task

    @lrs.task(
        "digits-cnn-by-hand",
        horizon=task.horizon,
        epoch=task.epoch,
        maximize="top1",
        samples=task.validation_size,
        optimizer="sgd",
    )
    def train(job):
        model = task.build().to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.0005, fused=True)
        scheduler = job.scheduler(optimizer)
        order = batches(len(split), task.batch_size, job.seed, trainer.device)
        for step in range(1, 1 + job.horizon):
            batch = next(order)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(split.x[batch]), split.y[batch])
            loss.backward()
            optimizer.step()
            scheduler.step()
            job.log(step, train_loss=loss)
            if job.is_evaluation_due(step):
                val_loss, top1 = evaluate(model, trainer.validation)
                job.log(step, top1=top1, val_loss=val_loss)
            if job.should_stop:
                return

    return train


@pytest.mark.parametrize(
    "policy",
    [
        "WARMUP(policy=HALFCOS(k0=0.0951, l=1216), l=64)",
        "SIN2(k0=0.06559, k1=0.2288, l=64)",
        "FIX(k0=0.01)",
        "RAMP(k0=1e-6, k1=10, l=1279)",
    ],
)
def test_a_function_that_trains_as_the_built_in_loop_does_gives_the_same_runs(policy):
    trainer = Trainer(BUILT_IN, device="cpu")
    function = as_a_function(trainer)
    by_hand = FunctionTrainer(function, function.task, "cpu")
    for horizon, seed in ((80, 0), (320, 3)):
        one = lrs.parse(policy).stretch(horizon / BUILT_IN.horizon)
        built_in = trainer.train(RunSpec(BUILT_IN, one, horizon, seed))
        own = by_hand.train(RunSpec(function.task, one, horizon, seed))
        assert own.train_losses == pytest.approx(built_in.train_losses, rel=1e-6)
        if "RAMP" not in policy:
            assert own.score == built_in.score
            assert [(point.step, point.score) for point in own.points] == [
                (point.step, point.score) for point in built_in.points
            ]
            assert own.curves["val_loss"][-1][1] == pytest.approx(built_in.loss, rel=1e-6)


def test_a_longer_horizon_is_another_task_of_the_same_function():
    function = made(constant)
    longer = function_source(function).with_task(function.task.with_horizon(80))
    assert replace(longer.task, horizon=N).key == function.task.key
    assert longer.open().train(RunSpec(longer.task, lrs.parse("FIX(k0=0.1)"), 80, 0)).steps == 80


def test_a_function_of_an_importable_module_is_found_by_its_name_and_no_other_is(file):
    assert place_of(load_function(f"{file}:train")) == (file, "train")
    assert place_of(batches) == (None, "batches")
    assert place_of(lambda job: 1.0) is None
