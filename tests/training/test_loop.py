"""The training loop: deterministic, honest about divergence, and without traces."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.errors import PolicyError, TaskError
from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import FIX, HALFCOS, parse
from lrsearch.tasks import find_task
from lrsearch.training import Trainer
from lrsearch.training.loop import batches, evaluate
from lrsearch.training.metrics import score_predictions

MLP = find_task("digits-mlp")


@pytest.fixture(scope="module")
def trainer():
    return Trainer(MLP, device="cpu")


def strip(run):
    return replace(run, seconds=0.0)


def test_the_same_run_again_is_the_same_to_the_bit_and_another_seed_is_not(trainer):
    spec = RunSpec(MLP, HALFCOS(k0=0.1, l=60), 60, 3)
    assert strip(trainer.train(spec)) == strip(trainer.train(spec))
    assert trainer.train(RunSpec(MLP, spec.policy, 60, 4)).loss != trainer.train(spec).loss


def test_a_run_leaves_torchs_random_state_alone(trainer):
    before = torch.random.get_rng_state()
    trainer.train(RunSpec(MLP, FIX(k0=0.1), 30, 0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_run_is_what_a_loop_written_by_hand_gives(trainer):
    """The loop of a textbook, with the policy's rate set before each update."""
    policy, steps = parse("TRI(k0=0.01, k1=0.2, l=20)"), 50
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = MLP.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.0005)
    x, y = trainer.train_split.x, trainer.train_split.y
    order = batches(len(y), 32, 7, torch.device("cpu"))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = policy(step)
        index = next(order)
        optimizer.zero_grad()
        F.cross_entropy(model(x[index]), y[index]).backward()
        optimizer.step()
    loss, score = evaluate(model, trainer.validation)
    run = trainer.train(RunSpec(MLP, policy, steps, 7))
    assert run.loss == pytest.approx(loss, rel=1e-4)
    assert run.score == pytest.approx(score, abs=2 / 384)


def test_a_trained_run_learns(trainer):
    run = trainer.train(RunSpec(MLP, HALFCOS(k0=0.1, l=320), 320, 0))
    assert run.state is RunState.FINISHED
    assert run.score > 0.9
    assert run.steps == 320
    assert run.points[-1].step == 320
    assert len(run.train_losses) == 160


@pytest.mark.parametrize("lr", [1e3, 1e6])
def test_a_rate_that_is_too_large_is_a_diverged_run_and_not_an_error(trainer, lr):
    run = trainer.train(RunSpec(MLP, FIX(k0=lr), 200, 0))
    assert run.state is RunState.DIVERGED
    assert run.score is None
    assert run.loss is None
    assert run.steps < 200
    assert run.error is None


def test_an_exception_in_the_model_is_a_failed_run_with_its_message():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 5:
                raise ValueError("the fifth call")
            return self.layer(x.flatten(1))

    task = replace(MLP, build=Broken)
    run = Trainer(task, device="cpu").train(RunSpec(task, FIX(k0=0.1), 50, 0))
    assert run.state is RunState.FAILED
    assert run.error == "ValueError: the fifth call"
    assert run.steps == 4


def test_an_interrupt_is_an_interrupted_run_that_keeps_its_steps(trainer):
    def interrupt(step):
        if step >= 75:
            raise KeyboardInterrupt

    run = trainer.train(RunSpec(MLP, FIX(k0=0.1), 300, 0), watch=interrupt)
    assert run.state is RunState.INTERRUPTED
    assert run.steps == 75


def test_the_weights_that_are_kept_are_those_of_the_run(trainer, tmp_path):
    run = trainer.train(RunSpec(MLP, HALFCOS(k0=0.1, l=200), 200, 0), keep=tmp_path / "w.pt")
    model = trainer.new_model(0)
    model.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    assert evaluate(model, trainer.validation) == (run.loss, run.score)
    assert trainer.test(tmp_path / "w.pt")["top1"] == pytest.approx(run.score, abs=0.06)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_every_sample_comes_once_in_each_pass_without_a_gap():
    order = batches(10, 4, 0, torch.device("cpu"))
    seen = torch.cat([next(order) for _ in range(5)]).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))


def test_bfloat16_is_another_run_that_learns_as_well():
    task = replace(MLP, precision="bf16")
    spec = RunSpec(task, HALFCOS(k0=0.1, l=200), 200, 0)
    assert spec.key != RunSpec(MLP, spec.policy, 200, 0).key
    assert Trainer(task, device="cpu").train(spec).score > 0.85


def test_a_run_comes_back_from_its_text():
    run = Run(state=RunState.FINISHED, steps=5, seconds=0.5, score=0.1, loss=2.0, train_losses=(1.0, None), stride=3)
    assert Run.from_text(run.to_text()) == run


@pytest.mark.data
def test_real_mnist_trains_under_the_papers_default(data_dir):
    task = find_task("mnist-lenet")
    run = Trainer(task, data_dir, device="cpu").train(RunSpec(task, task.known[0], 60, 0))
    assert run.score > 0.8


def test_a_task_whose_data_have_other_sizes_is_refused():
    with pytest.raises(TaskError, match=r"\(1000, 384\) samples .* has \(1024, 384\)"):
        Trainer(replace(MLP, train_size=1000), device="cpu")


def test_a_momentum_of_the_policy_reaches_the_optimizer(trainer):
    plain = RunSpec(MLP, parse("ONECYCLE(k0=0.02, k1=0.2, l=[25, 50, 60], k2=0.001)"), 60, 1)
    same = RunSpec(MLP, parse(f"CM(policy={plain.policy}, m0=0.9, m1=0.9)"), 60, 1)
    cycled = RunSpec(MLP, parse(f"CM(policy={plain.policy}, m0=0.95, m1=0.5)"), 60, 1)
    assert trainer.train(same).loss == trainer.train(plain).loss
    assert trainer.train(cycled).loss != trainer.train(plain).loss


def test_a_controller_is_fed_the_validation_loss_and_its_learning_rates_are_kept(trainer):
    """With a threshold that nothing satisfies, PLATEAU drops at every report but the first."""
    policy = parse("PLATEAU(k0=0.1, gamma=0.5, patience=0, threshold=1)")
    run = trainer.train(RunSpec(MLP, policy, 200, 0))
    evaluated = [point.step for point in run.points]
    assert run.state is RunState.FINISHED
    assert len(run.lrs) == 200
    assert list(run.lrs) == [0.1 * 0.5 ** max(0, sum(at <= step for at in evaluated) - 1) for step in range(200)]
    assert Run.from_text(run.to_text()) == run
    assert trainer.train(RunSpec(MLP, FIX(k0=0.1), 30, 0)).lrs == ()


def test_a_controller_s_draws_follow_from_the_run_s_seed(trainer):
    policy = parse("ASLR(k0=0.1)")
    one, again, other = (trainer.train(RunSpec(MLP, policy, 40, seed)) for seed in (1, 1, 2))
    assert strip(one) == strip(again)
    assert one.lrs != other.lrs
    assert all(0.05 <= run.lrs[0] < 0.15 for run in (one, other))


def test_a_policy_that_waits_for_its_task_is_refused_with_what_would_do():
    with pytest.raises(PolicyError, match=r"bind\(horizon=60, epoch=32\) it first"):
        RunSpec(MLP, parse("LINEAR(k0=0.1, l=1dur)"), 60, 0)


def test_a_finished_run_carries_the_papers_metrics_at_its_end_and_at_its_best(trainer, tmp_path):
    """A rate that rises until it ruins what was learned puts the best before the end."""
    spec = RunSpec(MLP, parse("RAMP(k0=0.05, k1=20, l=320)"), 320, 0)
    run = trainer.train(spec, keep=tmp_path / "weights.pt")
    assert run.state is RunState.FINISHED
    best = max(run.points, key=lambda point: point.score)
    assert (run.metrics["best"]["step"], run.metrics["best"]["top1"]) == (best.step, best.score)
    assert run.metrics["best"]["loss"] == best.loss
    end = run.metrics["end"]
    assert (end["step"], end["top1"], end["loss"]) == (320, run.score, run.loss)
    assert end["step"] > best.step
    model = trainer.new_model(0)
    model.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        p = model(trainer.validation.x).softmax(1).numpy()
    again = score_predictions(p, trainer.validation.y.numpy())
    assert {name: end[name] for name in again} == pytest.approx(
        {k: None if v != v else v for k, v in again.items()}, abs=1e-6
    )
    assert run.stride == 2  # 16 means of two losses are the last epoch's 32
    assert end["ld"] == pytest.approx(run.loss - sum(run.train_losses[-16:]) / 16, rel=1e-5)
    assert Run.from_text(run.to_text()) == run
    assert trainer.train(RunSpec(MLP, FIX(k0=1e6), 60, 0)).metrics == {}


def test_layers_that_draw_are_seeded_with_the_run():
    layers = nn.Flatten, partial(nn.Linear, 64, 32), partial(nn.Dropout, 0.5), partial(nn.Linear, 32, 10)
    task = replace(MLP, build=lambda: nn.Sequential(*(layer() for layer in layers)))
    dropping = Trainer(task, device="cpu")
    spec = RunSpec(task, FIX(k0=0.05), 60, 3)
    before = torch.random.get_rng_state()
    first = strip(dropping.train(spec))
    torch.manual_seed(99)
    assert strip(dropping.train(spec)) == first
    assert strip(dropping.train(RunSpec(task, FIX(k0=0.05), 60, 4))) != first
    torch.random.set_rng_state(before)


def test_a_run_of_another_task_is_refused(trainer):
    other = MLP.with_horizon(640)
    with pytest.raises(TaskError, match="this trainer holds the data of 'digits-mlp'"):
        trainer.train(RunSpec(other, FIX(k0=0.1), 30, 0))


def test_a_controller_is_told_as_often_over_a_shorter_horizon():
    """An evaluation an epoch of the full run: 40 over 1280 steps of 32, 40 over 320."""
    trainer = Trainer(MLP, device="cpu")
    policy = parse("PLATEAU(k0=0.1, gamma=0.9, patience=0, threshold=1)")
    for horizon in (1280, 320):
        run = trainer.train(RunSpec(MLP, policy.stretch(horizon / 1280), horizon, 0))
        assert len(run.points) == 40
        assert run.lrs[-1] == pytest.approx(0.1 * 0.9**38)
