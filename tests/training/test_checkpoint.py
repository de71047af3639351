"""Runs that go on from their checkpoint: to the bit, whatever they are made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX, HALFCOS, PLATEAU, parse
from lrsearch.tasks import L4, SLS, Adam, find_task
from lrsearch.tasks.cifar import CropFlip
from lrsearch.tasks.in_memory import classification
from lrsearch.training import Trainer, checkpoint

MLP = find_task("digits-mlp")


def dropping():
    """A net with everything that has a state of its own: dropout's draws, batch norm's statistics."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(256, 10)
    )


def rich(**more):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(240, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, 240)
    return classification(dropping, (x, y), name="rich", batch_size=20, horizon=200, augment=CropFlip(), **more)


class Killed(BaseException):
    """What a kill is like: nothing in the run catches it."""


def at(steps, error):
    def watch(done):
        if done >= steps:
            raise error

    return watch


@pytest.fixture
def always(monkeypatch):
    """A checkpoint at every check, in the place of twice a minute."""
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)


def strip(run):
    return replace(run, seconds=0.0, lost=0)


CASES = {
    "everything": (rich(), parse("SGDR(k0=0.05, k1=0, l=40)")),
    "a controller": (rich(), PLATEAU(k0=0.05, gamma=0.5, patience=0)),
    "a controller that draws": (rich(), parse("ASLR(k0=0.05)")),
    "momentum": (MLP, parse("CM(policy=TRI(k0=0.01, k1=0.2, l=50), m0=0.8, m1=0.95)")),
    "Adam": (replace(MLP, optimizer=Adam()), HALFCOS(k0=0.01, l=200)),
    "SLS": (replace(MLP, optimizer=SLS()), FIX(k0=10)),
    "L4": (replace(MLP, optimizer=L4()), FIX(k0=0.15)),
    "bf16": (replace(MLP, precision="bf16"), FIX(k0=0.1)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("always")
def test_a_killed_run_ends_like_one_that_was_not(tmp_path, case):
    task, policy = CASES[case]
    trainer, path = Trainer(task, device="cpu"), tmp_path / "run.checkpoint"
    spec = RunSpec(task, policy, 200, 3)
    whole = trainer.train(spec, keep=tmp_path / "whole.pt")
    assert whole.state is RunState.FINISHED
    for steps in (50, 125):
        with pytest.raises(Killed):
            trainer.train(spec, at(steps, Killed), None, path)
        assert path.is_file()
    resumed = trainer.train(spec, keep=tmp_path / "resumed.pt", checkpoint=path)
    assert strip(resumed) == strip(whole)
    assert (whole.lost, resumed.lost) == (0, 25 + 25)  # kept at 25 and at 100
    assert not list(tmp_path.glob("run.*"))
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "resumed"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.usefixtures("always")
def test_resumed_runs_skip_what_was_done_and_interrupted_ones_count_what_is_lost(tmp_path):
    trainer, path = Trainer(MLP, device="cpu"), tmp_path / "c"
    spec, seen = RunSpec(MLP, FIX(k0=0.1), 200, 0), []
    assert trainer.train(spec, at(75, KeyboardInterrupt), None, path).steps == 25  # kept at 50, stopped at 75
    assert trainer.train(spec, at(150, KeyboardInterrupt), None, path).steps == 25  # went on to 125, stopped at 150
    done = trainer.train(spec, seen.append, None, path)
    assert seen[0] == 150
    assert (done.state, done.steps) == (RunState.FINISHED, 200)


@pytest.mark.usefixtures("always")
def test_a_run_that_fails_counts_all_its_steps_and_leaves_no_checkpoint(tmp_path):
    trainer, path = Trainer(MLP, device="cpu"), tmp_path / "c"
    spec = RunSpec(MLP, FIX(k0=0.1), 200, 0)
    assert trainer.train(spec, at(75, KeyboardInterrupt), None, path).steps == 25
    failed = trainer.train(spec, at(125, RuntimeError("out of luck")), None, path)
    assert (failed.state, failed.steps, failed.error) == (RunState.FAILED, 125, "RuntimeError: out of luck")
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"not a file of torch's", None])
def test_a_broken_checkpoint_or_anothers_is_as_good_as_none(tmp_path, content):
    trainer, path = Trainer(MLP, device="cpu"), tmp_path / "c"
    spec = RunSpec(MLP, FIX(k0=0.1), 60, 0)
    if content is None:
        checkpoint.replace_file(path, {"key": "another", "steps": 50, "parts": {}, "draws": []})
    else:
        path.write_bytes(content)
    assert strip(trainer.train(spec, checkpoint=path)) == strip(trainer.train(spec))


@pytest.mark.usefixtures("always")
def test_a_folder_that_cannot_be_written_costs_the_checkpoint_and_not_the_run(tmp_path):
    run = Trainer(MLP, device="cpu").train(RunSpec(MLP, FIX(k0=0.1), 60, 0), checkpoint=tmp_path / "no" / "c")
    assert run.state is RunState.FINISHED


def test_without_half_a_minute_there_is_no_checkpoint(tmp_path):
    with pytest.raises(Killed):
        Trainer(MLP, device="cpu").train(RunSpec(MLP, FIX(k0=0.1), 60, 0), at(50, Killed), None, tmp_path / "c")
    assert not (tmp_path / "c").exists()
