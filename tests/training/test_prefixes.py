"""Shared prefixes: trained once, forked where policies differ, and the same runs to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from lrsearch.runs import RunSpec, RunState
from lrsearch.schedules import FIX, NSTEP, PLATEAU, STEP, WSD, parse
from lrsearch.tasks import SLS, Adam, find_task
from lrsearch.tasks.cifar import CropFlip
from lrsearch.tasks.in_memory import classification
from lrsearch.training import Trainer
from lrsearch.training.charges import settle
from lrsearch.training.groups import prefix_groups
from lrsearch.training.prefixes import train_prefix_group

MLP = find_task("digits-mlp")
N = 200


def drops(*lengths, k0=0.1):
    return [NSTEP(k0=k0, gamma=0.1, l=list(at)) for at in lengths]


def dropping():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(256, 10)
    )


def rich():
    """A task with everything that has a state of its own."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(240, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, 240)
    return classification(dropping, (x, y), name="rich", batch_size=20, horizon=N, augment=CropFlip())


def specs(task, policies, seed=3):
    return [RunSpec(task, policy, N, seed) for policy in policies]


def strip(run):
    return replace(run, seconds=0.0, shared=0)


def together(trainer, wanted, folder=None, **how):
    found = {}

    def ended(spec, run):
        found[spec.key] = run
        settle(folder, spec, run)

    train_prefix_group(trainer, wanted, ended, folder=folder, **how)
    return found


CASES = {
    "drops": (MLP, [*drops([50], [100], [100, 150], [100, 175]), FIX(k0=0.1)]),
    "everything with a state": (rich(), [*drops([50], [120]), FIX(k0=0.1)]),
    "momentum": (
        MLP,
        [
            parse(f"CM(policy=CHAIN(policies=[TRI(k0=0.01, k1=0.2, l=50), FIX(k0={k0})], at=[120]), m0=0.8, m1=0.95)")
            for k0 in (0.01, 0.02)
        ],
    ),
    "Adam": (replace(MLP, optimizer=Adam()), drops([60], [110], k0=0.01)),
    "a warm-up": (MLP, [parse(f"WARMUP(policy={inner}, l=60)") for inner in ("FIX(k0=0.1)", "HALFCOS(k0=0.1, l=140)")]),
    "to nothing": (MLP, [WSD(k0=0.1, l=[20, 100, 200]), WSD(k0=0.1, l=[20, 150, 200])]),
}


@pytest.mark.parametrize("case", CASES)
def test_runs_with_a_shared_prefix_equal_single_runs_to_the_bit(case):
    task, policies = CASES[case]
    trainer, wanted = Trainer(task, device="cpu"), specs(task, policies)
    assert prefix_groups(wanted) == [wanted]
    found = together(trainer, wanted)
    assert {key: strip(run) for key, run in found.items()} == {s.key: strip(trainer.train(s)) for s in wanted}
    runs = [found[spec.key] for spec in wanted]
    assert runs[0].shared == 0
    for n, run in enumerate(runs[1:], 1):
        curves = [spec.policy.curve(N) for spec in wanted]
        begun = max(int(np.argmax(np.append(curves[n] != other, True))) for other in curves[:n])
        assert run.shared == begun
    assert sum(run.trained for run in runs) < 0.9 * N * len(runs)


def test_prefix_groups_have_one_seed_and_a_long_enough_prefix():
    one, two, other = drops([50], [100])[0], drops([50], [100])[1], FIX(k0=0.3)
    short = NSTEP(k0=0.1, gamma=0.1, l=[9])
    wanted = [*specs(MLP, [one, other, two, short]), *specs(MLP, [two], seed=4)]
    assert prefix_groups(wanted) == [[wanted[0], wanted[2]], [wanted[1]], [wanted[3]], [wanted[4]]]


@pytest.mark.parametrize(
    ("task", "policy"),
    [
        (MLP, PLATEAU(k0=0.1, gamma=0.5, patience=0)),
        (replace(MLP, optimizer=SLS()), FIX(k0=1)),
        (replace(MLP, patience=2), FIX(k0=0.1)),
    ],
)
def test_what_is_not_known_ahead_is_trained_alone(task, policy):
    wanted = specs(task, [policy, policy])
    assert [len(group) for group in prefix_groups(wanted)] == [1, 1]


def test_a_group_that_diverges_before_its_fork_diverges_as_a_whole():
    trainer, wanted = Trainer(MLP, device="cpu"), specs(MLP, drops([150], [180], k0=500))
    found = together(trainer, wanted)
    alone = trainer.train(wanted[1])
    assert alone.state is RunState.DIVERGED
    assert [strip(found[spec.key]) for spec in wanted] == [strip(trainer.train(wanted[0])), strip(alone)]
    assert [found[spec.key].trained for spec in wanted] == [alone.steps, 0]


def test_an_interrupt_tells_of_every_run_and_the_next_start_ends_like_one_that_was_not_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("lrsearch.training.checkpoint.EVERY_SECONDS", 0.0)
    trainer, wanted = Trainer(MLP, device="cpu"), specs(MLP, drops([100], [150], [175]))

    def stop(step):
        if step >= 125:
            raise KeyboardInterrupt

    cut = together(trainer, wanted, watch=stop, folder=tmp_path)
    assert [cut[spec.key].state for spec in wanted] == [RunState.INTERRUPTED] * 3
    assert [cut[spec.key].trained for spec in wanted] == [25, 0, 0]  # kept at 100, stopped at 125
    again = together(trainer, wanted, folder=tmp_path)
    assert {key: strip(run) for key, run in again.items()} == {s.key: strip(trainer.train(s)) for s in wanted}
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_fork_that_goes_on_from_its_own_checkpoint_still_knows_what_it_shares(tmp_path, monkeypatch):
    monkeypatch.setattr("lrsearch.training.checkpoint.EVERY_SECONDS", 0.0)
    trainer, wanted = Trainer(MLP, device="cpu"), specs(MLP, drops([100], [150]))
    seen = []

    def stop_in_the_fork(step):
        seen.append(step)
        if len(seen) > 8 and step >= 150:  # the first run's own steps are 25, 50 ... 175
            raise KeyboardInterrupt

    first = together(trainer, wanted, watch=stop_in_the_fork, folder=tmp_path)
    states = [first[spec.key].state for spec in wanted]
    assert states == [RunState.FINISHED, RunState.INTERRUPTED]
    done = together(trainer, wanted[1:], folder=tmp_path)[wanted[1].key]
    assert (done.steps, done.shared) == (N, 100)
    assert strip(done) == strip(trainer.train(wanted[1]))
    lost = first[wanted[1].key].trained
    assert first[wanted[0].key].trained + lost + done.trained == N + (N - 100) + lost
    assert 0 < lost < N - 100


def test_a_model_that_cannot_be_built_fails_its_group_and_says_why(monkeypatch):
    trainer, wanted = Trainer(MLP, device="cpu"), specs(MLP, drops([100], [150]))
    monkeypatch.setattr(trainer, "new_model", lambda seed: 1 / 0)
    found = together(trainer, wanted)
    assert [found[spec.key].error for spec in wanted] == ["ZeroDivisionError: division by zero"] * 2
    assert trainer.train(wanted[0]).state is RunState.FAILED


def test_a_group_costs_the_steps_that_are_not_shared():
    """STEP with three step sizes from one k0, as in the LRBench paper's Table IIIb."""
    wanted = specs(MLP, [STEP(k0=0.1, gamma=0.85, l=size) for size in (20, 50, 100)])
    found = together(Trainer(MLP, device="cpu"), wanted)
    assert [found[spec.key].shared for spec in wanted] == [0, 20, 50]
