"""A policy as a torch scheduler, against real optimizers."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.optim import SGD, Adagrad, Adam
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from lrsearch.errors import PolicyError
from lrsearch.schedules import (
    ASLR,
    CHANGEONPLATEAU,
    CM,
    COS,
    FIX,
    HALFCOS,
    LINEAR,
    ONECYCLE,
    PLATEAU,
    STEP,
    TRI,
    WARMUP,
)

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
    for lr in policy.curve(STEPS):
        other.param_groups[0]["lr"] = float(lr)
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
        lrs = [group["lr"] for group in optimizer.param_groups]
        assert lrs == [policy(step), policy(step) * 0.25, 0]
        train(optimizer, scheduler, 1)


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


@pytest.mark.parametrize(
    "state", [{"policy": "FIX(k0=0.2)", "last_epoch": 3, "largest": 0.1}, {"last_epoch": 3, "base_lrs": [0.1]}, {}]
)
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
    lrs = []
    for step in (9, 3, 0, 20):
        scheduler.step(step)
        lrs.append(optimizer.param_groups[0]["lr"])
    assert lrs == POLICIES[0](np.array([9, 3, 0, 20])).tolist()


def test_a_run_longer_than_what_is_computed_at_once_follows_the_policy():
    optimizer = SGD(weights(), lr=0.1)
    policy = TRI(k0=0.001, k1=0.06, l=777)
    scheduler = policy.scheduler(optimizer)
    optimizer.step()
    lrs = []
    for _ in range(10_000):
        lrs.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert lrs == policy.curve(10_000).tolist()


def test_a_scheduler_that_is_set_to_a_step_goes_on_from_there():
    optimizer = SGD(weights(), lr=0.1)
    scheduler = POLICIES[0].scheduler(optimizer)
    scheduler.step(9000)
    assert train(optimizer, scheduler, 5) == POLICIES[0](np.arange(9000, 9005)).tolist()


CYCLE = CM(policy=ONECYCLE(k0=0.1, k1=1, l=[10, 20, 25], k2=0.001), m0=0.95, m1=0.85)


def test_momentum_cycles_against_the_learning_rate_in_sgd():
    optimizer = SGD([{"params": [w]} for w in weights()], lr=0.1, momentum=0.9)
    scheduler = CYCLE.scheduler(optimizer)
    for step in range(STEPS):
        assert [(g["lr"], g["momentum"]) for g in optimizer.param_groups] == [(CYCLE(step), CYCLE.momentum(step))] * 2
        train(optimizer, scheduler, 1)


def test_momentum_is_the_first_beta_of_adam_and_the_second_stays():
    optimizer = Adam(weights(), lr=0.1, betas=(0.9, 0.99))
    scheduler = WARMUP(policy=CYCLE, l=4).scheduler(optimizer)
    for step in range(STEPS):
        assert optimizer.param_groups[0]["betas"] == (WARMUP(policy=CYCLE, l=4).momentum(step), 0.99)
        train(optimizer, scheduler, 1)


def test_a_momentum_survives_a_resume_and_takes_its_turn_in_a_sequence():
    optimizer = SGD(weights(), lr=0.1, momentum=0.5)
    scheduler = CYCLE.scheduler(optimizer)
    train(optimizer, scheduler, 7)
    again = SGD(weights(), lr=0.1, momentum=0.5)
    second = CYCLE.scheduler(again)
    second.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
    assert (again.param_groups[0]["lr"], again.param_groups[0]["momentum"]) == (CYCLE(7), CYCLE.momentum(7))
    third = SGD(weights(), lr=0.1, momentum=0.5)
    both = SequentialLR(third, [FIX(k0=0.2).scheduler(third), CYCLE.scheduler(third)], milestones=[3])
    train(third, both, 3 + 7)
    assert third.param_groups[0]["momentum"] == CYCLE.momentum(7)


def test_a_momentum_needs_an_optimizer_that_has_one():
    with pytest.raises(PolicyError, match="CM carries a momentum, and Adagrad has none to set"):
        CYCLE.scheduler(Adagrad(weights(), lr=0.1))


def test_lengths_that_wait_for_a_task_are_refused():
    with pytest.raises(PolicyError, match="bind"):
        HALFCOS(k0=0.1, l="1dur").scheduler(SGD(weights(), lr=0.1))


def test_an_optimizer_whose_state_is_loaded_in_the_middle_is_followed():
    optimizer = SGD(weights(), lr=0.2, momentum=0.9)
    scheduler = POLICIES[0].scheduler(optimizer)
    train(optimizer, scheduler, 5)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(optimizer, scheduler, 5) == POLICIES[0](np.arange(5, 10)).tolist()


def test_a_whole_learning_rate_is_replaced_by_the_policy_s():
    optimizer = SGD(weights(), lr=1)
    assert train(optimizer, POLICIES[0].scheduler(optimizer), 8) == POLICIES[0].curve(8).tolist()


def test_a_learning_rate_in_a_tensor_causes_no_recompilation():
    counter = CompileCounter()
    optimizer = SGD(weights(), lr=torch.tensor(0.1), momentum=0.9, foreach=False)
    scheduler = TRI(k0=0.001, k1=0.06, l=7).scheduler(optimizer)
    for w in optimizer.param_groups[0]["params"]:
        w.grad = torch.ones_like(w)
    optimizer.step()
    compiled = torch.compile(lambda: type(optimizer).step(optimizer), backend=counter)
    used = []
    for _ in range(6):
        used.append(float(optimizer.param_groups[0]["lr"]))
        compiled()
        scheduler.step()
    assert len(set(used)) == 6
    assert counter.frame_count == 1


def test_a_policy_is_a_plain_function_for_torch_s_own_lambda_scheduler():
    optimizer = SGD(weights(), lr=1.0)
    policy = POLICIES[2]
    assert train(optimizer, LambdaLR(optimizer, policy.__call__), STEPS) == policy.curve(STEPS).tolist()


LOSSES = [1.0, 0.9, 0.91, 0.92, math.nan, 0.95, 0.5, 0.5, 0.5, 0.5, 0.49, 0.6, 0.6, 0.6, 0.6]
CONTROLLERS = [
    PLATEAU(k0=0.1, gamma=0.5, patience=1, cooldown=1, k1=0.02),
    ASLR(k0=0.1),
    CHANGEONPLATEAU(policies=[TRI(k0=0.1, k1=0.2, l=5), LINEAR(k0=0.1, l=9)], l=20, start=1, patience=2, cooldown=1),
]


def feed(scheduler, losses, every: int = 3) -> list[list[float]]:
    """Go `every` updates on before each report, and give what the groups were set to."""
    seen = []
    for loss in losses:
        for _ in range(every):
            scheduler.optimizer.step()
            scheduler.step()
            seen.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
        scheduler.step(loss)
        seen.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
    return seen


def groups(policy, seed=0):
    first, second = weights()
    return policy.scheduler(SGD([{"params": [first], "lr": 0.4}, {"params": [second], "lr": 0.1}]), seed=seed)


@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("threshold", [0, 1e-4, 0.05])
def test_plateau_is_torch_s_reduce_on_plateau(patience, cooldown, threshold):
    losses = np.random.default_rng(patience).choice([1.0, 0.99, 0.98, 0.9, 0.5], 60) * np.linspace(1, 0.8, 60)
    theirs = SGD(weights(), lr=0.1)
    other = ReduceLROnPlateau(
        theirs, factor=0.3, patience=patience, cooldown=cooldown, threshold=threshold, min_lr=1e-4, eps=0
    )
    policy = PLATEAU(k0=0.1, gamma=0.3, patience=patience, cooldown=cooldown, threshold=threshold, k1=1e-4)
    optimizer = SGD(weights(), lr=0.1)
    scheduler = policy.scheduler(optimizer)
    assert isinstance(scheduler, ReduceLROnPlateau)
    for loss in losses:
        other.step(loss)
        scheduler.step(torch.tensor(loss))
        assert optimizer.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
        assert scheduler.get_last_lr() == other.get_last_lr()


@pytest.mark.parametrize("policy", CONTROLLERS, ids=lambda policy: policy.name)
def test_a_controller_goes_on_after_a_resume_as_if_nothing_had_happened(policy):
    scheduler = groups(policy, seed=5)
    whole = feed(scheduler, LOSSES)
    for at in (0, 4, 7, 12):
        first = groups(policy, seed=5)
        before = feed(first, LOSSES[:at])
        second = groups(policy, seed=99)
        second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        assert before + feed(second, LOSSES[at:]) == whole
    assert len({lrs[0] for lrs in whole}) > 2


def test_aslr_draws_for_each_group_and_update_from_its_own_generator():
    torch.manual_seed(1)
    one = np.array(feed(groups(ASLR(k0=0.1), seed=3), LOSSES))
    torch.manual_seed(2)
    assert np.array_equal(one, feed(groups(ASLR(k0=0.1), seed=3), LOSSES))
    other = np.array(feed(groups(ASLR(k0=0.1), seed=4), LOSSES))
    assert not np.any(one == other)
    assert len(np.unique(one[:3, 0])) == 3
    assert not np.any(one[:, 0] == 4 * one[:, 1])
    assert np.all((one[:3, 0] >= 0.05) & (one[:3, 0] <= 0.15))


@pytest.mark.parametrize("policy", CONTROLLERS, ids=lambda policy: policy.name)
def test_a_controller_is_no_function_of_the_step_and_says_so(policy):
    for ask in (lambda: policy(3), lambda: policy.curve(3), lambda: policy.horizon, lambda: policy.momentum(0)):
        with pytest.raises(PolicyError, match=f"{policy.name} needs feedback and is no function of the step"):
            ask()
    with pytest.raises(PolicyError, match=f"not to {policy.name}"):
        groups(policy).load_state_dict({"policy": "PLATEAU(k0=1, gamma=1)", "state": {}})


def test_a_controller_fills_a_tensor_in_place():
    optimizer = SGD(weights(), lr=torch.tensor(0.1, dtype=torch.float64))
    held = optimizer.param_groups[0]["lr"]
    scheduler = PLATEAU(k0=0.2, gamma=0.5, patience=0).scheduler(optimizer)
    scheduler.step(1.0)
    scheduler.step(1.0)
    assert (optimizer.param_groups[0]["lr"] is held, float(held)) == (True, 0.1)


@pytest.mark.parametrize("at", [3, 9])
@pytest.mark.parametrize("order", ["optimizer first", "scheduler first"])
@pytest.mark.parametrize("policies", [(FIX(k0=0.2), FIX(k0=0.5)), (POLICIES[0], COS(k0=0.01, k1=0.2, l=5))])
def test_a_sequence_of_two_policies_is_resumed_in_either_load_order(policies, order, at):
    def made():
        optimizer = SGD(weights(), lr=0.8)
        return optimizer, SequentialLR(optimizer, [p.scheduler(optimizer) for p in policies], milestones=[6])

    optimizer, both = made()
    whole = train(optimizer, both, at)
    states = copy.deepcopy((optimizer.state_dict(), both.state_dict()))
    whole += train(optimizer, both, 16 - at)
    second, again = made()
    for load in ["optimizer", "scheduler"] if order == "optimizer first" else ["scheduler", "optimizer"]:
        second.load_state_dict(states[0]) if load == "optimizer" else again.load_state_dict(states[1])
    assert whole[:at] + train(second, again, 16 - at) == whole


@pytest.mark.parametrize("step", [-3, 2.5, math.nan, "3", True, None], ids=str)
def test_a_step_that_is_none_is_refused_by_the_scheduler(step):
    scheduler = POLICIES[0].scheduler(SGD(weights(), lr=0.1))
    if step is None:
        scheduler.optimizer.step()
        scheduler.step(step)
        return
    with pytest.raises(PolicyError, match="a step of a scheduler is a whole number, 0 or more"):
        scheduler.step(step)


def test_a_numpy_step_leaves_a_state_of_plain_json():
    optimizer = SGD(weights(), lr=0.1)
    scheduler = POLICIES[0].scheduler(optimizer)
    scheduler.step(np.int64(2))
    assert json.loads(json.dumps(scheduler.state_dict()))["last_epoch"] == 2
    scheduler.step(2.0)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == POLICIES[0](3)


@pytest.mark.parametrize("policy", [POLICIES[0], PLATEAU(k0=0.1, gamma=0.5)], ids=lambda policy: policy.name)
@pytest.mark.parametrize("state", [{}, {"policy": None}, None, {"last_epoch": -5}], ids=str)
def test_a_broken_state_is_refused_with_what_it_lacks(policy, state):
    scheduler = policy.scheduler(SGD(weights(), lr=0.1))
    with pytest.raises(PolicyError, match="belongs to"):
        scheduler.load_state_dict(state)
    with pytest.raises(PolicyError, match="lacks"):
        scheduler.load_state_dict({"policy": str(policy)})
    if not policy.is_controller:
        with pytest.raises(PolicyError, match="last_epoch of a scheduler is a whole number, -1 or more"):
            scheduler.load_state_dict({"policy": str(policy), "largest": 1, "last_epoch": -50})


def test_a_group_that_takes_another_s_place_is_followed():
    first, second = weights()
    optimizer = SGD([{"params": [first]}, {"params": [second]}], lr=0.1)
    scheduler = POLICIES[0].scheduler(optimizer)
    train(optimizer, scheduler, 3)
    optimizer.param_groups.pop()
    optimizer.add_param_group({"params": [second], "lr": 0.1})
    train(optimizer, scheduler, 1)
    assert [group["lr"] for group in optimizer.param_groups] == [POLICIES[0](4)] * 2


def test_a_whole_number_tensor_cannot_hold_a_learning_rate():
    with pytest.raises(PolicyError, match=r"an LR tensor of type torch.int64 cannot hold the policy's rates"):
        FIX(k0=0.1).scheduler(SGD(weights(), lr=torch.tensor(1)))


def test_rmsprop_needs_a_place_for_the_momentum_from_the_start():
    with pytest.raises(PolicyError, match="RMSprop with a momentum above 0"):
        CYCLE.scheduler(torch.optim.RMSprop(weights(), lr=0.1))
    optimizer = torch.optim.RMSprop(weights(), lr=0.1, momentum=0.5)
    train(optimizer, CYCLE.scheduler(optimizer), 12)
    assert optimizer.param_groups[0]["momentum"] == CYCLE.momentum(12)


@pytest.mark.parametrize("policy", [*CONTROLLERS, *POLICIES], ids=str)
def test_schedulers_functions_and_states_survive_pickling(policy):
    optimizer = SGD(weights(), lr=0.1)
    scheduler = policy.scheduler(optimizer)
    again = pickle.loads(pickle.dumps(scheduler))  # noqa: S301
    for one in (scheduler, again):
        one.optimizer.step()
        one.step()
    assert again.get_last_lr() == scheduler.get_last_lr()
    assert pickle.loads(pickle.dumps(policy.function)) is policy.function  # noqa: S301
    assert copy.deepcopy(policy.function) is policy.function
    if policy.is_controller:
        assert pickle.loads(pickle.dumps(policy.begin())) == policy.begin()  # noqa: S301
