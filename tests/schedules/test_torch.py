"""A policy as a torch scheduler, against real optimizers."""

import copy
import json

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, SequentialLR

from lrsearch.errors import PolicyError
from lrsearch.schedules import COS, FIX, HALFCOS, STEP, TRI, WARMUP

POLICIES = [TRI(k0=0.001, k1=0.06, l=7), STEP(k0=0.1, gamma=0.3, l=4), WARMUP(policy=HALFCOS(k0=0.3, l=20), l=5)]
EVERY = pytest.mark.parametrize("policy", POLICIES, ids=str)
STEPS = 30


def weights(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(3, generator=generator)) for _ in range(2)]


def train(optimizer, scheduler, steps: int) -> list[float]:
    """Descend a bowl, and give the LR of the first group that each update really used."""
    used = []
    for _ in range(steps):
        optimizer.zero_grad()
        sum((w**2).sum() for group in optimizer.param_groups for w in group["params"]).backward()
        used.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return used


@EVERY
@pytest.mark.parametrize("base", [0.1, 0.3, 1.0, 1e-3])
def test_every_update_uses_the_policy_s_learning_rate_exactly(policy, base):
    optimizer = SGD(weights(), lr=base, momentum=0.9)
    scheduler = policy.scheduler(optimizer)
    assert isinstance(scheduler, LRScheduler)
    assert train(optimizer, scheduler, STEPS) == policy.curve(STEPS).tolist()
    assert scheduler.get_last_lr() == [policy(STEPS)]


@EVERY
def test_training_under_a_policy_equals_setting_the_learning_rate_by_hand(policy):
    ours, by_hand = weights(), weights()
    optimizer, other = Adam(ours, lr=0.01), Adam(by_hand, lr=0.01)
    train(optimizer, policy.scheduler(optimizer), STEPS)
    for rate in policy.curve(STEPS):
        other.param_groups[0]["lr"] = float(rate)
        other.zero_grad()
        sum((w**2).sum() for w in by_hand).backward()
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, by_hand, strict=True))


@EVERY
def test_param_groups_keep_their_ratios_and_the_largest_follows_the_policy(policy):
    first, second = weights()
    optimizer = SGD([{"params": [first], "lr": 0.2}, {"params": [second], "lr": 0.05}, {"params": [], "lr": 0}], lr=1)
    scheduler = policy.scheduler(optimizer)
    for step in range(STEPS):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == [policy(step), policy(step) * 0.25, 0]
        train(optimizer, scheduler, 1)


def test_a_group_that_is_added_later_keeps_its_share():
    first, second = weights()
    optimizer = SGD([first], lr=0.2)
    scheduler = FIX(k0=0.4).scheduler(optimizer)
    optimizer.add_param_group({"params": [second], "lr": 0.1})
    train(optimizer, scheduler, 1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.2])


def test_an_optimizer_without_any_learning_rate_is_refused():
    with pytest.raises(PolicyError, match="every param group starts at LR 0"):
        FIX(k0=0.1).scheduler(SGD(weights(), lr=0))


def test_the_state_is_plain_json():
    optimizer = SGD(weights(), lr=0.2)
    scheduler = POLICIES[0].scheduler(optimizer)
    train(optimizer, scheduler, 5)
    state = scheduler.state_dict()
    assert json.loads(json.dumps(state)) == state == {"policy": str(POLICIES[0]), "last_epoch": 5, "largest": 0.2}


def resumed(policy, states, order: str, base: float):
    """Start anew, as after a crash, and load the two states in an order."""
    ours = weights(seed=9)
    optimizer = SGD([{"params": ours[:1], "lr": base}, {"params": ours[1:], "lr": base / 4}], momentum=0.9)
    if order == "optimizer before the scheduler exists":
        optimizer.load_state_dict(states["optimizer"])
    scheduler = policy.scheduler(optimizer)
    if order == "optimizer first":
        optimizer.load_state_dict(states["optimizer"])
    scheduler.load_state_dict(states["scheduler"])
    if order == "scheduler first":
        optimizer.load_state_dict(states["optimizer"])
    with torch.no_grad():
        for mine, stored in zip(ours, states["weights"], strict=True):
            mine.copy_(stored)
    return ours, optimizer, scheduler


@EVERY
@pytest.mark.parametrize("order", ["optimizer first", "scheduler first", "optimizer before the scheduler exists"])
@pytest.mark.parametrize(("at", "base"), [(0, 0.2), (1, 7.0), (7, 7.0), (29, 0.2)])
def test_a_resumed_training_is_the_undisturbed_one(policy, order, at, base):
    whole = weights()
    optimizer = SGD([{"params": whole[:1], "lr": 0.2}, {"params": whole[1:], "lr": 0.05}], momentum=0.9)
    scheduler = policy.scheduler(optimizer)
    before = train(optimizer, scheduler, at)
    states = copy.deepcopy({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "weights": whole})
    after = train(optimizer, scheduler, STEPS - at)

    ours, second, its_scheduler = resumed(policy, states, order, base)
    assert before + train(second, its_scheduler, STEPS - at) == before + after == policy.curve(STEPS).tolist()
    assert all(torch.equal(a, b) for a, b in zip(ours, whole, strict=True))


@pytest.mark.parametrize("state", [
    {"policy": "FIX(k0=0.2)", "last_epoch": 3, "largest": 0.1}, {"last_epoch": 3, "base_lrs": [0.1]}, {},
])
def test_the_state_of_another_scheduler_is_refused(state):
    scheduler = FIX(k0=0.1).scheduler(SGD(weights(), lr=1.0))
    with pytest.raises(PolicyError, match=r"this state belongs to .+, not to FIX\(k0=0.1\)"):
        scheduler.load_state_dict(state)
    assert scheduler.last_epoch == 0


@EVERY
def test_a_learning_rate_in_a_tensor_is_filled_in_place(policy):
    optimizer = SGD(weights(), lr=torch.tensor(0.1, dtype=torch.float64), foreach=True)
    held = optimizer.param_groups[0]["lr"]
    scheduler = policy.scheduler(optimizer)
    assert train(optimizer, scheduler, STEPS) == policy.curve(STEPS).tolist()
    assert optimizer.param_groups[0]["lr"] is held
    assert json.loads(json.dumps(scheduler.state_dict()))["last_epoch"] == STEPS


@EVERY
def test_a_policy_takes_its_turn_inside_torch_s_sequential_scheduler(policy):
    optimizer = SGD(weights(), lr=0.8)
    first, last = ConstantLR(optimizer, factor=0.5, total_iters=100), policy.scheduler(optimizer)
    both = SequentialLR(optimizer, [first, last], milestones=[6])
    assert train(optimizer, both, 16) == [0.4] * 6 + policy.curve(10).tolist()


def test_two_policies_follow_each_other_inside_torch_s_sequential_scheduler():
    optimizer = SGD(weights(), lr=0.8)
    first, last = POLICIES[0], COS(k0=0.01, k1=0.2, l=5)
    both = SequentialLR(optimizer, [first.scheduler(optimizer), last.scheduler(optimizer)], milestones=[6])
    assert train(optimizer, both, 16) == [*first.curve(6), *last.curve(10)]


def test_an_old_step_can_be_visited_again():
    optimizer = SGD(weights(), lr=0.1)
    scheduler = POLICIES[0].scheduler(optimizer)
    rates = []
    for step in (9, 3, 0, 20):
        scheduler.step(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == POLICIES[0](np.array([9, 3, 0, 20])).tolist()
