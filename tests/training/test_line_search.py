"""The loop drives line searches: the same batch, masks and statistics at every call within an update."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.schedules import CM, FIX, HALFCOS, ONECYCLE
from lrsearch.tasks import L4, SGD, SLS, find_task
from lrsearch.training import Trainer
from lrsearch.training.batch_loss import BatchLoss
from lrsearch.training.lockstep import run_lockstep, why_not
from lrsearch.training.loop import batches

MLP = find_task("digits-mlp")
SEARCHES = {"SLS": (SLS(), FIX(k0=10)), "L4": (L4(), FIX(k0=0.15))}


def task(search, build=MLP.build, **changes):
    return replace(MLP, optimizer=search, build=build, **changes)


def train(of, policy, steps=60, seed=3):
    return Trainer(of, device="cpu").train(RunSpec(of, policy, steps, seed))


def strip(run):
    return replace(run, seconds=0.0)


def drawing():
    """Statistics, and masks."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10)
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_line_search_learns_with_its_paper_s_settings(name, precision):
    search, policy = SEARCHES[name]
    run = train(task(search, precision=precision), policy, 320, 0)
    assert run.state is RunState.FINISHED
    assert run.score > 0.9


@pytest.mark.parametrize("name", SEARCHES)
def test_a_run_follows_from_its_seed_also_where_the_model_draws(name):
    search, policy = SEARCHES[name]
    drawn = task(search, drawing)
    first = train(drawn, policy)
    torch.manual_seed(99)
    assert strip(train(drawn, policy)) == strip(first)
    assert train(drawn, policy, seed=4).loss != first.loss


def test_a_run_keeps_the_steps_that_were_taken_and_counts_the_extra_forward_passes():
    run = train(task(SLS()), HALFCOS(k0=2, l=60))
    assert len(run.lrs) == 60
    shares = [lr / cap for lr, cap in zip(run.lrs, HALFCOS(k0=2, l=60).curve(60), strict=True)]
    assert 0 < min(shares) < 0.5 < max(shares) <= 1
    assert 60 < run.evaluations < 60 * 5
    assert Run.from_text(run.to_text()) == run
    assert train(task(L4()), FIX(k0=0.15)).evaluations == 0
    assert train(MLP, FIX(k0=0.1)).evaluations == 0


def test_a_run_that_was_stored_before_there_were_line_searches_is_read():
    run = Run(state=RunState.FINISHED, steps=5, seconds=0.5, score=0.1, loss=2.0)
    old = {name: value for name, value in run.to_json().items() if name != "evaluations"}
    assert Run.from_json(old, state="finished", steps=5, seconds=0.5, score=0.1, loss=2.0) == run


def test_a_search_that_accepts_its_first_step_is_gradient_descent_masks_and_statistics_included():
    """So the extra calls draw nothing, and move no statistics."""
    plain = train(task(SGD(momentum=0, weight_decay=0), drawing), FIX(k0=0.01), 150)
    searched = train(task(SLS(c=0.0), drawing), FIX(k0=0.01), 150)
    assert set(searched.lrs) == {0.01}
    assert searched.evaluations == 150
    assert [p.loss for p in searched.points] == pytest.approx([p.loss for p in plain.points], rel=1e-5)
    assert searched.train_losses == pytest.approx(plain.train_losses, rel=1e-5)


@pytest.mark.parametrize("name", SEARCHES)
def test_statistics_are_noted_once_an_update(name, tmp_path):
    search, policy = SEARCHES[name]
    of = task(search, drawing)
    Trainer(of, device="cpu").train(RunSpec(of, policy, 40, 0), keep=tmp_path / "w.pt")
    assert torch.load(tmp_path / "w.pt", weights_only=True)["2.num_batches_tracked"] == 40


def test_the_loss_of_a_batch_is_a_function_of_the_parameters_alone():
    torch.manual_seed(0)
    model, x, y = drawing(), torch.randn(16, 64), torch.randint(10, (16,))
    closure = BatchLoss(model, lambda forward: F.cross_entropy(forward(x), y))
    first = closure()
    draws, statistics = torch.get_rng_state(), model[2].running_mean.clone()
    assert closure() == closure() == first
    with torch.no_grad():
        model[5].bias[0] += 1
        assert closure() != first
        model[5].bias[0] -= 1
    assert closure().item() == pytest.approx(first.item(), rel=1e-5)
    assert torch.equal(torch.get_rng_state(), draws)
    assert torch.equal(model[2].running_mean, statistics)
    assert model[2].num_batches_tracked == 1
    assert closure.calls == 5


class Power(nn.Module):
    """A model whose buffer decides its output, and moves with every forward pass: as spectral norm does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.layer(x.flatten(1)) * self.count.clone()


def test_buffers_that_decide_the_loss_are_as_they_were_at_the_first_call():
    model, x, y = Power(), torch.randn(16, 64), torch.randint(10, (16,))
    closure = BatchLoss(model, lambda forward: F.cross_entropy(forward(x), y))
    assert closure() == closure() == closure()
    assert model.count == 1


class Sampling(nn.Module):
    """Draws the more often the larger its weights are."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        noise = torch.randn(1 + int(self.layer.weight.abs().max() > 1)).mean()
        return self.layer(x.flatten(1)) + noise


def test_later_calls_draw_nothing_that_an_update_after_them_would_miss():
    model, x, y = Sampling(), torch.randn(16, 64), torch.randint(10, (16,))
    closure = BatchLoss(model, lambda forward: F.cross_entropy(forward(x), y))
    closure()
    draws = torch.get_rng_state()
    with torch.no_grad():
        model.layer.weight.fill_(2)
    closure()
    assert torch.equal(torch.get_rng_state(), draws)


def test_in_bfloat16_the_closure_sees_the_parameters_that_are_tried():
    """Autocast keeps casted weights: not from one call to the next."""
    of = task(SLS(), precision="bf16")
    trainer = Trainer(of, device="cpu")
    model, x, y = trainer.new_model(0), trainer.train_split.x[:32], trainer.train_split.y[:32]
    closure = BatchLoss(model, lambda forward: trainer.loss(forward, x, y))
    first = closure()
    assert first != Trainer(task(SLS()), device="cpu").loss(model, x, y)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
        assert abs(closure() - first) > 0.01


class Flip:
    """Turns some pictures of a batch around."""

    name = "flip"

    def __call__(self, x, generator):
        chosen = torch.rand(len(x), generator=generator) < 0.5
        return torch.where(chosen.view(-1, 1, 1, 1), x.flip(-1), x)


def test_all_calls_of_an_update_see_the_batch_that_was_augmented_once():
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            if self.training:
                seen.append(x.clone())
            return self.layer(x.flatten(1))

    of = task(SLS(), Watched, augment=Flip())
    run = train(of, FIX(k0=10), 20, 5)
    split, generator = of.load(None).train, torch.Generator().manual_seed(5)
    order = batches(len(split), of.batch_size, 5, torch.device("cpu"))
    wanted = [Flip()(split.x[next(order)], generator) for _ in range(20)]
    calls = [next(n for n, batch in enumerate(wanted) if torch.equal(batch, x)) for x in seen]
    assert calls == sorted(calls)
    assert set(calls) == set(range(20))
    assert len(calls) == 20 + run.evaluations
    assert max(map(calls.count, calls)) > 2


class Breaks(nn.Module):
    """Its scores are not a number from some call on."""

    calls = 0

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        Breaks.calls += self.training
        return self.layer(x.flatten(1)) * (float("nan") if Breaks.calls > 30 else 1)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_loss_that_is_not_a_number_ends_as_diverged_and_soon(name):
    Breaks.calls = 0
    search, policy = SEARCHES[name]
    run = train(task(search, Breaks), policy, 200)
    assert run.state is RunState.DIVERGED
    assert run.steps <= 50
    assert Breaks.calls < 250


def test_too_large_an_alpha_is_a_diverged_run_and_no_error():
    run = train(task(L4()), FIX(k0=1000), 200)
    assert run.state is RunState.DIVERGED
    assert run.error is None


def test_a_policy_s_momentum_reaches_l4_and_is_refused_by_sls():
    cycled = CM(policy=ONECYCLE(k0=0.05, k1=0.2, l=[25, 50, 60], k2=0.01), m0=0.95, m1=0.5)
    assert train(task(L4()), cycled).loss != train(task(L4()), cycled.params["policy"]).loss
    assert "SLS has none to set" in train(task(SLS()), cycled).error


@pytest.mark.parametrize("name", SEARCHES)
def test_line_searches_train_one_by_one(name):
    search, policy = SEARCHES[name]
    trainer = Trainer(task(search), device="cpu")
    specs = [RunSpec(trainer.task, policy, 20, seed) for seed in (0, 1)]
    assert why_not(trainer, specs) == f"its optimizer is {name}, and only SGD has a column of learning rates here"
    assert [strip(run) for run in run_lockstep(trainer, specs)] == [strip(trainer.train(spec)) for spec in specs]
