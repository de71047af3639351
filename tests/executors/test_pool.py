"""Worker processes: each run is the one that a trainer gives, and nothing that finished is lost."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from lrsearch.errors import OutputError, TaskError, UsageError, WorkError
from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX, HALFCOS
from lrsearch.tasks import find_task
from lrsearch.tasks.own import classification
from lrsearch.training import Pool, Trainer
from lrsearch.training.fused import fuse
from lrsearch.training.groups import Group

MLP, CNN = find_task("digits-mlp"), find_task("digits-cnn")
LONG = 200_000


def strip(run):
    return replace(run, seconds=0.0)


def test_a_pools_runs_are_the_trainers_to_the_bit(tmp_path):
    task = CNN
    specs = [RunSpec(task, policy, 60, seed) for policy in (FIX(k0=0.05), HALFCOS(k0=0.1, l=60)) for seed in (0, 1)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = Trainer(task, device="cpu")
        alone = {spec.key: strip(trainer.train(spec)) for spec in specs}
    finally:
        torch.set_num_threads(threads)
    together = {}
    with Pool(task, 2) as pool:
        waiting = iter([Group((spec,)) for spec in specs])
        pool.train(lambda: next(waiting, None), lambda spec, run: together.update({spec.key: strip(run)}))
        full = RunSpec(task, HALFCOS(k0=0.1, l=1280), task.horizon, 0)
        pool.submit(Group((full,)), tmp_path)
        assert not pool.is_full
        spec, run = pool.next()
        assert pool.next() is None
    assert together == alone
    assert spec == full
    assert trainer.test(tmp_path / f"{full.key}.pt")["top1"] == pytest.approx(run.score, abs=0.06)


def test_a_group_in_lockstep_is_the_one_of_this_process_to_the_bit():
    specs = tuple(RunSpec(MLP, FIX(k0=k0), 40, 0) for k0 in (0.01, 0.1, 1e6, 0.3))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = [strip(run) for run in fuse(Trainer(MLP, device="cpu"), specs)]
    finally:
        torch.set_num_threads(threads)
    there = []
    with Pool(MLP, 2) as pool:
        waiting = iter([Group(specs[:2], in_lockstep=True), Group(specs[2:], in_lockstep=True)])
        pool.train(lambda: next(waiting, None), lambda spec, run: there.append((specs.index(spec), strip(run))))
    assert [run for _, run in sorted(there, key=lambda found: found[0])] == here


@pytest.mark.parametrize("where", ["waiting", "telling"])
def test_an_interrupt_tells_of_what_is_open_and_loses_nothing(monkeypatch, where):
    """It may land while a run is waited for, or while the one that ended is being recorded."""
    told, landed = [], []

    def land_once():
        if not landed:
            landed.append(where)
            raise KeyboardInterrupt

    with Pool(MLP, 1) as pool:
        real = pool.next
        if where == "waiting":
            monkeypatch.setattr(pool, "next", lambda progress: land_once() or real(progress))

        def ended(spec, run):
            if where == "telling":
                land_once()
            told.append((spec.seed, run.state))

        steps = LONG if where == "waiting" else 20
        with pytest.raises(KeyboardInterrupt):
            waiting = (Group((RunSpec(MLP, FIX(k0=0.1), steps, seed),)) for seed in range(9))
            pool.train(lambda: next(waiting, None), ended)
    assert landed == [where]
    assert told == [(0, RunState.INTERRUPTED if where == "waiting" else RunState.FINISHED)]


def test_a_second_interrupt_ends_it_at_once(monkeypatch):
    with Pool(MLP, 1) as pool:
        monkeypatch.setattr(pool, "next", lambda progress: (_ for _ in ()).throw(KeyboardInterrupt))
        waiting = iter([Group((RunSpec(MLP, FIX(k0=0.1), LONG, 0),))])
        with pytest.raises(KeyboardInterrupt):
            pool.train(lambda: next(waiting, None), lambda spec, run: None)


def test_a_worker_that_is_killed_is_said_to_have_died():
    with Pool(MLP, 1) as pool:
        pool.submit(Group((RunSpec(MLP, FIX(k0=0.1), LONG, 0),)))
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        with pytest.raises(WorkError, match="a worker process died with FIX"):
            pool.next()


def test_a_lambda_is_refused_in_words():
    x, y = torch.randn(60, 3), torch.arange(60) % 2
    task = classification(lambda: nn.Linear(3, 2), (x, y), name="mine", batch_size=20, horizon=30)
    with pytest.raises(TaskError, match="'mine' cannot be handed to another process"):
        Pool(task, 1)


def test_a_full_disk_is_said_and_leaves_nothing_behind(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lrsearch.training.pool.np.save", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=r"No space left on device; make room there, or name another place in TMPDIR"):
        Pool(MLP, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_workers_are_a_whole_number(workers):
    with pytest.raises(UsageError, match="workers must be a whole number"):
        Pool(MLP, workers)
