"""Which runs train together: a rule that reads the task, and groups that leave nothing out."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrsearch.runs import RunSpec, RunState
from lrsearch.runs.executor import Group
from lrsearch.schedules import ASLR, FIX, NSTEP
from lrsearch.tasks import Adam, Task, find_task
from lrsearch.tasks.in_memory import classification
from lrsearch.training import Trainer
from lrsearch.training.groups import LEAST_ROWS, groups
from lrsearch.training.together import MOST_ROWS, lockstep, train_group

MLP = find_task("digits-mlp")
GIB = 2**30


def wide() -> Task:
    """A task whose model is too large for lockstep to pay."""
    x, y = torch.randn(120, 3000), torch.arange(120) % 2
    return classification(lambda: nn.Linear(3000, 200), (x, y), name="wide", batch_size=20, horizon=30)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (replace(MLP, optimizer=Adam()), "its optimizer is Adam"),
        (wide(), "a batch takes its model 24 million operations, and it pays up to 10"),
    ],
)
def test_what_gains_nothing_trains_one_by_one_and_the_reason_is_said(task, says):
    found = lockstep(Trainer(task, device="cpu"))
    assert found.rows == 0
    assert found.reason.startswith(says)


def test_small_models_train_in_lockstep_as_many_as_memory_bears(monkeypatch):
    trainer = Trainer(MLP, device="cpu")
    monkeypatch.setattr("lrsearch.training.together._free_bytes", lambda device: GIB)
    assert lockstep(trainer).rows == MOST_ROWS
    monkeypatch.setattr("lrsearch.training.together._free_bytes", lambda device: 2 * 10**6)
    assert LEAST_ROWS < lockstep(trainer).rows < MOST_ROWS
    monkeypatch.setattr("lrsearch.training.together._free_bytes", lambda device: 0)
    assert lockstep(trainer).rows == LEAST_ROWS  # whether it is done follows from the task alone
    monkeypatch.setattr("lrsearch.training.together.CACHED_BYTES", 10**6 // 2)
    assert lockstep(trainer).rows == 0
    assert "it pays while 4 fit into" in lockstep(trainer).reason


def test_asking_for_the_reason_trains_nothing_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    lockstep(Trainer(MLP, device="cpu"))
    assert torch.equal(torch.get_rng_state(), before)


DROPS = [NSTEP(k0=0.3, gamma=gamma, l=[20]) for gamma in (0.1, 0.5)]
POLICIES = st.sampled_from([FIX(k0=0.1), FIX(k0=0.2), *DROPS, ASLR(k0=0.1)])
SPECS = st.lists(
    st.builds(RunSpec, st.just(MLP), POLICIES, st.sampled_from([40, 80]), st.integers(0, 3)), unique=True, max_size=30
)


@given(specs=SPECS, short=st.integers(0, 30), rows=st.sampled_from([0, 4, 7, 16]), workers=st.integers(1, 5))
def test_every_run_is_in_one_group_and_lockstep_is_kept_to_what_can(specs, short, rows, workers):
    found = groups(specs, specs[:short], rows, workers)
    assert sorted(spec.key for group in found for spec in group.specs) == sorted(spec.key for spec in specs)
    for group in found:
        if group.in_lockstep:
            assert len(group.specs) <= rows
            assert len({(spec.horizon, spec.seed) for spec in group.specs}) == 1
            assert all(spec in specs[:short] and not spec.policy.is_controller for spec in group.specs)
    if rows == 0:
        assert not any(group.in_lockstep for group in found)


def test_a_batch_is_shared_among_workers():
    specs = [RunSpec(MLP, FIX(k0=k / 100), 40, 0) for k in range(1, 9)]
    assert [len(group.specs) for group in groups(specs, specs, 16, workers=1)] == [8]
    assert [len(group.specs) for group in groups(specs, specs, 16, workers=2)] == [4, 4]
    assert [len(group.specs) for group in groups(specs, specs, 16, workers=8)] == [4, 4]


def test_runs_in_lockstep_cost_what_each_trained():
    trainer, told = Trainer(MLP, device="cpu"), []
    specs = tuple(RunSpec(MLP, FIX(k0=k0), 40, 0) for k0 in (0.05, 1e6))
    train_group(trainer, Group(specs, in_lockstep=True), lambda spec, run: told.append((spec, run)))
    assert [spec for spec, _ in told] == list(specs[::-1])  # as they end
    assert [run.state for _, run in told] == [RunState.DIVERGED, RunState.FINISHED]
    assert 0 < told[0][1].trained < told[1][1].trained == 40


class Speechless(nn.Module):
    """It fails without a word."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def test_a_model_that_fails_without_a_word_trains_one_by_one():
    task = replace(MLP, build=Speechless)
    assert lockstep(Trainer(task, device="cpu")).reason.endswith("mapped over rows: NotImplementedError")
