"""What happens at the ends of cycles: snapshots, ensembles of them, and early stopping."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrsearch import api
from lrsearch.errors import PolicyError, TaskError, UsageError
from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX, HALFCOS, PLATEAU, RAMP, SGDR, TRI, parse
from lrsearch.store import open_store
from lrsearch.tasks import find_task
from lrsearch.training import Trainer, score_ensemble
from lrsearch.training.metrics import score_predictions

MLP = find_task("digits-mlp")
SAW = SGDR(k0=0.2, k1=0, l=50)


@pytest.fixture(scope="module")
def trainer():
    return Trainer(MLP, device="cpu")


@pytest.mark.parametrize(
    ("policy", "steps", "ends"),
    [
        (TRI(k0=0.1, k1=0.5, l=10), 60, (21, 41, 60)),
        (SAW, 200, (50, 100, 150, 200)),
        (SAW, 120, (50, 100, 120)),
        (SGDR(k0=1, k1=0, l=10, growth=2), 70, (10, 30, 70)),
        (HALFCOS(k0=0.1, l=60), 60, (60,)),
        (RAMP(k0=0.1, k1=1, l=60), 60, (60,)),
        (parse("WARMUP(policy=HALFCOS(k0=0.1, l=50), l=10)"), 60, (60,)),
        (parse("COS(k0=0.1, k1=0.5, l=10)"), 45, (11, 31, 45)),
        (parse("CHAIN(policies=[FIX(k0=0.1), FIX(k0=0.2)], at=[30])"), 60, (60,)),
    ],
)
def test_a_cycle_ends_where_the_rate_turns_up_again(policy, steps, ends):
    assert policy.cycle_ends(steps) == ends
    curve = policy.curve(steps + 1)
    for end in ends[:-1]:
        assert curve[end] > curve[end - 1] <= curve[:end].max()


def test_a_controller_has_no_cycles():
    with pytest.raises(PolicyError, match="needs feedback"):
        PLATEAU(k0=0.1, gamma=0.5, patience=0).cycle_ends(10)


def test_snapshots_are_the_weights_at_the_ends_of_cycles(trainer, tmp_path):
    run = trainer.train(RunSpec(MLP, SAW, 150, 0), keep=tmp_path / "final.pt", snapshots=tmp_path / "snaps")
    assert sorted(path.name for path in (tmp_path / "snaps").iterdir()) == ["100.pt", "150.pt", "50.pt"]
    scores = {p.stem: score_ensemble(trainer, [p])["top1"] for p in (tmp_path / "snaps").iterdir()}
    assert scores["150"] == run.score
    first = trainer.train(RunSpec(MLP, SAW, 50, 0), keep=tmp_path / "first.pt")
    assert scores["50"] == first.score


def test_a_folder_that_cannot_be_written_costs_the_snapshots_and_a_controller_has_none(trainer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = trainer.train(RunSpec(MLP, SAW, 100, 0), snapshots=tmp_path / "file")
    assert run.state is RunState.FINISHED
    with pytest.raises(UsageError, match="is a controller: it has no cycles"):
        trainer.train(RunSpec(MLP, PLATEAU(k0=0.1, gamma=0.5, patience=0), 50, 0), snapshots=tmp_path / "s")


def test_a_controller_that_waits_for_a_higher_metric_is_refused_since_it_would_hear_the_loss(trainer):
    with pytest.raises(UsageError, match="better when higher, and this loop reports the validation loss"):
        trainer.train(RunSpec(MLP, PLATEAU(k0=0.1, gamma=0.5, maximize=1), 50, 0))


def test_an_ensemble_is_the_mean_of_its_members_probabilities(trainer, tmp_path):
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"{seed}.pt")
        trainer.train(RunSpec(MLP, SAW, 50, seed), keep=paths[-1])
    found = score_ensemble(trainer, paths)
    each = [torch.softmax(trainer.predict(path, trainer.validation).double(), 1).numpy() for path in paths]
    mean, labels = np.mean(each, 0), trainer.validation.y.numpy()
    for name, value in score_predictions(mean, labels).items():
        assert found[name] == pytest.approx(value, rel=1e-9)
    assert found["loss"] == pytest.approx(-np.log(mean[np.arange(len(labels)), labels]).mean(), rel=1e-9)
    assert score_ensemble(trainer, paths[:1] * 2)["loss"] == pytest.approx(score_ensemble(trainer, paths[:1])["loss"])
    assert score_ensemble(trainer, paths, test=True) != found
    with pytest.raises(UsageError, match="1 member or more"):
        score_ensemble(trainer, [])


def test_a_studys_best_runs_make_an_ensemble(tmp_path):
    result = api.search("digits-mlp", budget=3.25, functions=["SIN2", "TRI"], out=tmp_path)
    found = api.ensemble(result, 2, out=tmp_path)
    scores = [member["score"] for member in found["members"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert found["top1"] > 0.8
    with pytest.raises(UsageError, match="no full run"):
        api.ensemble(result, out=tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="k must be"):
        api.ensemble(result, 0, out=tmp_path)


def test_the_final_test_of_runs_that_were_stopped_early_reads_their_weights(tmp_path):
    task = replace(MLP, patience=1)
    result = api.search(task, budget=3.25, functions=["TRI"], out=tmp_path)
    stopped = [t for t in result.history if t.run and t.run.state is RunState.STOPPED and t.horizon == 1280]
    assert stopped
    found = api.final_test(result, out=tmp_path)
    assert found["best"] > 0.8
    assert found["retrained_steps"] == 0
    for file in (tmp_path / "weights").glob("*.pt"):
        file.unlink()
    with open_store(f"sqlite:///{tmp_path / 'other.db'}") as other:
        other.open_study(result.key, "again", task, {}, {})
        again = api.final_test(result, store=other, out=tmp_path)
    assert again["best"] == found["best"]
    assert 0 < again["retrained_steps"] < 2 * 1280


def test_early_stopping_reads_ends_of_cycles_only():
    """An LR of 3 between cycle ends ruins every other evaluation."""
    task = replace(MLP, patience=2)
    trainer = Trainer(task, device="cpu")
    run = trainer.train(RunSpec(task, SGDR(k0=0.5, k1=0, l=80), 1280, 0))
    assert run.state is RunState.STOPPED
    assert run.steps % 80 == 0
    assert run.steps < 1280
    lows = [p.score for p in run.points if p.step % 80 == 0]
    assert max(lows[-2:]) <= max(lows[:-2])
    assert all(max(lows[n : n + 2]) > max(lows[:n]) for n in range(1, len(lows) - 2))
    assert run.score == run.points[-1].score == run.metrics["end"]["top1"]
    assert run.loss == run.points[-1].loss
    assert run.state.is_final


def test_a_policy_without_cycles_is_stopped_at_any_evaluation():
    task = replace(MLP, patience=1)
    run = Trainer(task, device="cpu").train(RunSpec(task, FIX(k0=1e-9), 1280, 0))
    assert (run.state, run.steps) == (RunState.STOPPED, 256)
    assert [p.step for p in run.points] == [128, 256]


def test_without_patience_nothing_stops_and_keys_stay():
    assert find_task("digits-mlp").key == replace(MLP, patience=None).key
    assert replace(MLP, patience=2).key != MLP.key
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(TaskError, match="patience must be a whole number"):
            replace(MLP, patience=wrong)
