"""Recorded gradient norms: what they are, and that recording changes nothing else."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lrsearch.runs import RunSpec
from lrsearch.schedules import FIX
from lrsearch.tasks import SGD, Adam, RMSprop, find_task
from lrsearch.training import Trainer, checkpoint
from lrsearch.training.loop import batches

MLP = find_task("digits-mlp")


def strip(run):
    return replace(run, seconds=0.0, lost=0, curves={})


@pytest.mark.parametrize(
    ("optimizer", "name", "order"),
    [(SGD(), "grad_norm", 2), (Adam(), "grad_norm_l1", 1), (RMSprop(), "grad_norm", 2)],
    ids=["SGD", "Adam", "RMSprop"],
)
def test_the_norm_is_that_of_all_gradients_at_every_tenth_update(optimizer, name, order):
    task = replace(MLP, optimizer=optimizer)
    trainer, spec = Trainer(task, device="cpu"), RunSpec(task, FIX(k0=0.0), 40, 3)
    [(curve, norms)] = trainer.train(spec, norms=True).curves.items()
    assert (curve, [step for step, _ in norms]) == (name, [10, 20, 30, 40])
    model, split = trainer.new_model(3), trainer.train_split
    order_of = batches(len(split), task.batch_size, 3, trainer.device)
    batch = [next(order_of) for _ in range(20)][-1]
    F.cross_entropy(model(split.x[batch]), split.y[batch]).backward()
    whole = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert norms[1][1] == pytest.approx(float(torch.linalg.vector_norm(whole, order)), rel=1e-5)


def test_recording_norms_changes_nothing_else():
    trainer, spec = Trainer(MLP, device="cpu"), RunSpec(MLP, FIX(k0=0.1), 60, 0)
    plain, recorded = trainer.train(spec), trainer.train(spec, norms=True)
    assert plain.curves == {}
    assert strip(recorded) == strip(plain)


def test_a_resumed_run_has_the_norms_of_before(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)

    def kill(done):
        if done >= 50:
            raise SystemExit

    trainer, spec, path = Trainer(MLP, device="cpu"), RunSpec(MLP, FIX(k0=0.1), 100, 0), tmp_path / "run"
    with pytest.raises(SystemExit):
        trainer.train(spec, kill, checkpoint=path, norms=True)
    assert trainer.train(spec, checkpoint=path, norms=True).curves == trainer.train(spec, norms=True).curves
