"""Updates of killed attempts are charged before anything else is proposed, and their counts go with their runs."""

import struct
from dataclasses import replace

import pytest

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.counter import StepCounter, counted_in, has_ended, lost_in, uncharged_in
from lrsearch.schedules import FIX
from lrsearch.tasks import find_task
from lrsearch.training import Trainer, checkpoint
from lrsearch.training.charges import settle, unreported
from lrsearch.training.lockstep import run_lockstep

MLP = find_task("digits-mlp")
SPEC = RunSpec(MLP, FIX(k0=0.1), 100, 0)


class Killed(BaseException):
    """What a kill is like: nothing in the run catches it."""


def at(steps):
    def watch(done):
        if done >= steps:
            raise Killed

    return watch


@pytest.fixture(scope="module")
def trainer():
    return Trainer(MLP, device="cpu")


def train(trainer, folder, watch=None):
    return trainer.train(SPEC, watch, None, folder / f"{SPEC.key}.checkpoint")


def interrupted(steps):
    return Run(state=RunState.INTERRUPTED, steps=steps, seconds=0.0)


def test_a_killed_run_is_reported_once_as_an_interrupted_one(trainer, tmp_path):
    assert unreported(tmp_path, SPEC, 0) is None
    with pytest.raises(Killed):
        train(trainer, tmp_path, at(50))
    run = unreported(tmp_path, SPEC, 0)
    assert (run.state, run.steps, run.lost) == (RunState.INTERRUPTED, 50, 0)
    settle(tmp_path, SPEC, run)
    assert unreported(tmp_path, SPEC, 0) is None
    done = train(trainer, tmp_path)
    assert (done.trained, done.lost) == (100, 0)
    settle(tmp_path, SPEC, done)
    assert not list(tmp_path.iterdir())


def test_what_nobody_reported_is_lost_by_the_run_that_ends(trainer, tmp_path):
    with pytest.raises(Killed):
        train(trainer, tmp_path, at(50))
    assert train(trainer, tmp_path).lost == 50


def test_updates_before_the_checkpoint_are_charged_once(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    with pytest.raises(Killed):
        train(trainer, tmp_path, at(75))
    assert (counted_in(tmp_path / SPEC.key), lost_in(tmp_path / SPEC.key)) == (75, 25)
    run = unreported(tmp_path, SPEC, 0)
    assert run.steps == 25
    settle(tmp_path, SPEC, run)
    done = train(trainer, tmp_path)
    assert run.steps + done.lost + done.trained == 75 + 50


def test_a_broken_checkpoint_hides_no_update(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    with pytest.raises(Killed):
        train(trainer, tmp_path, at(75))
    settle(tmp_path, SPEC, unreported(tmp_path, SPEC, 0))
    (tmp_path / f"{SPEC.key}.checkpoint").write_bytes(b"torn")
    done = train(trainer, tmp_path)
    assert 25 + done.lost + done.trained == 75 + 100


def test_a_checkpoint_that_was_not_counted_costs_what_its_run_trained(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    with pytest.raises(Killed):
        train(trainer, tmp_path, at(75))
    (tmp_path / SPEC.key / "steps").write_bytes(struct.pack("<qq", 75, 0))  # as an earlier version wrote it
    done = train(trainer, tmp_path)
    assert (done.trained, done.lost) == (100, 0)


def test_runs_in_lockstep_are_counted_one_by_one(trainer, tmp_path):
    specs = [replace(SPEC, seed=0, policy=FIX(k0=k0)) for k0 in (0.01, 0.1, 0.2, 0.3)]
    with pytest.raises(Killed):
        run_lockstep(trainer, specs, at(50), tmp_path)
    assert [counted_in(tmp_path / spec.key) for spec in specs] == [50] * 4


def test_one_run_in_lockstep_is_counted_once(trainer, tmp_path):
    with pytest.raises(Killed):
        run_lockstep(trainer, [SPEC], at(50), tmp_path)
    assert counted_in(tmp_path / SPEC.key) == 50


def test_what_still_trains_is_not_charged_by_another(tmp_path):
    counter = StepCounter(tmp_path / SPEC.key)
    counter.count(30)
    assert not has_ended(tmp_path / SPEC.key, latest=0)
    assert unreported(tmp_path, SPEC, latest=0) is None
    counter.close()
    assert unreported(tmp_path, SPEC, latest=0).steps == 30


def test_a_run_that_never_began_settles_nothing(tmp_path):
    StepCounter(tmp_path / SPEC.key).count(30)
    settle(tmp_path, SPEC, interrupted(0))
    assert uncharged_in(tmp_path / SPEC.key) == 30
    settle(tmp_path, SPEC, interrupted(50))  # more than was counted
    assert uncharged_in(tmp_path / SPEC.key) == 0


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 1000])
def test_a_torn_count_is_none(tmp_path, content):
    (tmp_path / "steps").write_bytes(content)
    assert (counted_in(tmp_path), lost_in(tmp_path)) == (0, 0)
    counter = StepCounter(tmp_path)
    counter.count(3)
    assert counted_in(tmp_path) == 3
