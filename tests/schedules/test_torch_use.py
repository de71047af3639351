"""A scheduler that is used otherwise than it says is told of it once; and going on under another policy."""

import copy
import json
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, ExponentialLR, SequentialLR

from lrsearch.errors import PolicyError, SchedulerWarning
from lrsearch.schedules import ASLR, CM, FIX, HALFCOS, ONECYCLE, PLATEAU, TRI, WARMUP

POLICY = WARMUP(policy=HALFCOS(k0=0.3, l=20), l=5)


def made(policy=POLICY, optimizer=SGD, lr=1.0, **how):
    made = optimizer([torch.nn.Parameter(torch.ones(2))], lr=lr, **how)
    return made, policy.scheduler(made)


def lr_of(optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def train(optimizer, scheduler, steps: int, every: int = 1) -> list[float]:
    used = []
    for step in range(1, steps + 1):
        used.append(lr_of(optimizer))
        optimizer.step()
        if step % every == 0:
            scheduler.step()
    return used


def told(work) -> list[str]:
    """What is told of a scheduler meanwhile."""
    with warnings.catch_warnings(record=True) as result:
        warnings.simplefilter("always")
        work()
    assert all(issubclass(one.category, SchedulerWarning) and one.filename == __file__ for one in result)
    return [str(one.message) for one in result]


def test_a_step_before_the_first_update_is_told_once():
    optimizer, scheduler = made(FIX(k0=0.25))

    def old_order():
        for _ in range(4):
            scheduler.step()
            optimizer.step()

    (message,) = told(old_order)
    assert message.startswith("scheduler.step() was called before the first optimizer.step(): the LR of step 0, 0.25,")


def test_a_step_between_backward_and_update_is_told_though_gradients_are_there():
    optimizer, scheduler = made()
    optimizer.param_groups[0]["params"][0].sum().backward()
    with pytest.warns(SchedulerWarning, match="before the first optimizer"):
        scheduler.step()


@pytest.mark.parametrize("cleared", [None, True, False])
def test_an_update_that_a_gradient_scaler_skipped_is_no_mistake(cleared):
    optimizer, scheduler = made()
    scaler = torch.amp.GradScaler("cpu")
    for factor in (float("inf"), float("inf"), 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale((optimizer.param_groups[0]["params"][0] * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        if cleared is not None:
            optimizer.zero_grad(set_to_none=cleared)
        scheduler.step()
    assert scheduler.last_epoch == 4


def test_an_update_that_was_skipped_by_hand_for_a_loss_that_is_no_number_is_no_mistake():
    optimizer, scheduler = made()
    (optimizer.param_groups[0]["params"][0] * float("nan")).sum().backward()
    scheduler.step()
    train(optimizer, scheduler, 3)


@pytest.mark.parametrize("every", [3, 5, 100])
@pytest.mark.parametrize("policy", [POLICY, CM(policy=TRI(k0=0.1, k1=0.2, l=9), m0=0.9, m1=0.8)], ids=str)
def test_a_scheduler_that_is_stepped_once_an_epoch_is_told_how_many_updates_ran_at_one_lr(policy, every):
    optimizer, scheduler = made(policy, momentum=0.9)
    (message,) = told(lambda: train(optimizer, scheduler, 4 * every, every))
    assert message.startswith(f"{every} optimizer updates ran at one LR")
    assert "interval='step'" in message
    assert "warnings.filterwarnings('ignore', category=lrsearch.SchedulerWarning)" in message


def test_two_updates_to_a_step_are_told_the_second_time_for_one_more_at_first_is_usual():
    optimizer, scheduler = made()
    optimizer.step()
    assert told(lambda: train(optimizer, scheduler, 5)) == []
    (message,) = told(lambda: train(optimizer, scheduler, 6, every=2))
    assert message.startswith("2 optimizer updates ran at one LR")


def test_a_scheduler_that_nobody_steps_is_told_in_the_middle_of_the_epoch():
    optimizer, scheduler = made()
    (message,) = told(lambda: train(optimizer, scheduler, 1100, every=1099))
    assert message.startswith("1000 optimizer updates ran at one LR, and scheduler.step() was not called")


def test_a_user_who_means_it_can_silence_it():
    optimizer, scheduler = made()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=SchedulerWarning)
        train(optimizer, scheduler, 20, every=5)
    assert lr_of(optimizer) == POLICY(4)


class Nested(SGD):
    def step(self, closure=None):
        return super().step(closure)


@pytest.mark.parametrize("optimizer", [SGD, Adam, Nested])
def test_accumulated_gradients_a_closure_and_a_class_over_another_are_one_update(optimizer):
    SGD([torch.ones(1)], lr=1.0)  # torch puts its hooks into a class when the first object of it is made
    optimizer, scheduler = made(optimizer=optimizer)
    weight = optimizer.param_groups[0]["params"][0]

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    for _ in range(4):
        for _ in range(3):
            (weight**2).sum().backward()
        optimizer.step()
        scheduler.step()
    for _ in range(4):
        optimizer.step(closure)
        scheduler.step()
    assert scheduler.last_epoch == 8


@pytest.mark.parametrize("optimizer", [SGD, Adam, Nested])
@pytest.mark.parametrize("policy", [POLICY, ASLR(k0=0.1)], ids=str)
def test_a_scheduler_that_steps_by_itself_is_one_that_is_stepped_after_each_update(policy, optimizer):
    SGD([torch.ones(1)], lr=1.0)
    by_hand, scheduler = made(policy, optimizer)
    used = train(by_hand, scheduler, 12)
    by_itself = optimizer([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    auto = policy.scheduler(by_itself, auto_step=True)
    found = []

    def work():
        for _ in range(12):
            found.append(lr_of(by_itself))
            by_itself.step()

    assert told(work) == []
    assert (found, auto.last_epoch) == (used, 12)
    with pytest.raises(PolicyError, match="steps by itself after each update"):
        auto.step()


def test_a_scheduler_that_steps_by_itself_counts_no_update_that_was_skipped_and_none_that_raised():
    optimizer = Adam([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    scheduler = POLICY.scheduler(optimizer, auto_step=True)
    scaler = torch.amp.GradScaler("cpu")
    weight = optimizer.param_groups[0]["params"][0]
    for factor in (1.0, math.inf, 1.0):
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert (scheduler.last_epoch, lr_of(optimizer)) == (2, POLICY(2))

    def fails():
        raise ValueError("a broken batch")

    with pytest.raises(ValueError, match="a broken batch"):
        optimizer.step(fails)
    assert (scheduler.last_epoch, lr_of(optimizer)) == (2, POLICY(2))


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda pair: pickle.loads(pickle.dumps(pair)),  # noqa: S301
    ],
)
def test_a_copy_of_a_scheduler_that_steps_by_itself_does_so_and_goes_on_from_a_state(copied):
    optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    scheduler = POLICY.scheduler(optimizer, auto_step=True)
    for _ in range(3):
        optimizer.step()
    (other, its) = copied((optimizer, scheduler))
    other.step()
    assert (its.last_epoch, scheduler.last_epoch) == (4, 3)
    its.load_state_dict(scheduler.state_dict())
    other.step()
    assert (its.last_epoch, lr_of(other)) == (4, POLICY(4))


def test_an_optimizer_without_hooks_cannot_have_a_scheduler_that_steps_by_itself():
    optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    del optimizer._optimizer_step_pre_hooks
    with pytest.raises(PolicyError, match="auto_step needs torch's step hooks, which SGD does not have"):
        POLICY.scheduler(optimizer, auto_step=True)


def test_an_update_that_raises_is_none():
    optimizer, scheduler = made(optimizer=Adam)
    train(optimizer, scheduler, 2)

    def fails():
        raise ValueError("a broken batch")

    for _ in range(3):
        with pytest.raises(ValueError, match="a broken batch"):
            optimizer.step(fails)
    assert told(lambda: train(optimizer, scheduler, 3)) == []


@pytest.mark.parametrize("policy", [POLICY, PLATEAU(k0=0.3, gamma=0.5)], ids=lambda policy: policy.name)
@pytest.mark.parametrize("lr", [1.0, torch.tensor(1.0)], ids=["float", "tensor"])
def test_another_scheduler_that_was_left_on_is_told_once_with_both_lrs(policy, lr):
    optimizer, scheduler = made(policy, lr=lr)
    other = ExponentialLR(optimizer, gamma=0.5)

    def both():
        for _ in range(4):
            optimizer.step()
            scheduler.step()
            other.step()

    (message,) = told(both)
    was = policy(1) if not policy.is_controller else 0.3
    assert message.startswith(f"a param group has LR {was * 0.5:g}, and this scheduler had set {was:g}: something else")


def test_a_scheduler_in_a_chain_with_another_that_scales_it_is_told():
    optimizer, scheduler = made()
    chain = ChainedScheduler([scheduler, ExponentialLR(optimizer, gamma=0.5)])
    with warnings.catch_warnings(record=True) as result:
        warnings.simplefilter("always")
        train(optimizer, chain, 4)
    assert ["something else sets it too" in str(one.message) for one in result] == [True]


@pytest.mark.parametrize("lr", [1.0, torch.tensor(1.0)], ids=["float", "tensor"])
def test_an_optimizer_s_loaded_state_and_an_lr_that_was_put_back_are_no_other_hand(lr):
    optimizer, scheduler = made(lr=lr)
    train(optimizer, scheduler, 3)
    state, held = copy.deepcopy(optimizer.state_dict()), lr_of(optimizer)
    train(optimizer, scheduler, 3)
    optimizer.load_state_dict(state)
    train(optimizer, scheduler, 3)
    held, group = lr_of(optimizer), optimizer.param_groups[0]
    for value in (0.0, held):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value
    train(optimizer, scheduler, 3)
    assert lr_of(optimizer) == pytest.approx(POLICY(12), rel=1e-6)


def test_turns_in_a_sequence_and_steps_that_are_given_are_no_mistake():
    optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    parts = [ConstantLR(optimizer, factor=0.5), POLICY.scheduler(optimizer), FIX(k0=0.1).scheduler(optimizer)]
    train(optimizer, SequentialLR(optimizer, parts, milestones=[4, 9]), 15)
    other, scheduler = made()
    for step in (3, 1, 9):
        scheduler.step(step)
    train(other, scheduler, 3)


def longer(policy=POLICY):
    return policy.stretch(2)


def resumed(policy, states, order, adopt=True, **how):
    optimizer = SGD(
        [
            {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 4.0},
            {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 1.0},
        ],
        lr=4.0,
        **how,
    )
    if order == "optimizer before the scheduler exists":
        optimizer.load_state_dict(states[0])
    scheduler = policy.scheduler(optimizer, adopt=adopt)
    if order == "optimizer first":
        optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    if order == "scheduler first":
        optimizer.load_state_dict(states[0])
    return optimizer, scheduler


def trained(policy=POLICY, steps=7, **how):
    optimizer = SGD(
        [
            {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.2},
            {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1},
        ],
        lr=0.2,
        **how,
    )
    scheduler = policy.scheduler(optimizer)
    train(optimizer, scheduler, steps)
    return copy.deepcopy(optimizer.state_dict()), json.loads(json.dumps(scheduler.state_dict()))


ORDERS = pytest.mark.parametrize(
    "order", ["optimizer first", "scheduler first", "optimizer before the scheduler exists"]
)


@ORDERS
@pytest.mark.parametrize("steps", [0, 7, 26])
def test_a_training_goes_on_under_a_longer_policy_at_the_step_it_had_reached(order, steps):
    states = trained(steps=steps)
    with pytest.warns(SchedulerWarning) as result:
        optimizer, scheduler = resumed(longer(), states, order)
    assert [str(one.message) for one in result] == [
        f"adopted at step {steps}: {POLICY} was followed up to here, and {longer()} is from here on"
    ]
    for t in range(steps, steps + 30):
        optimizer.step()
        assert [group["lr"] for group in optimizer.param_groups] == [longer()(t), longer()(t) * 0.5]
        scheduler.step()
    assert scheduler.state_dict() == {"policy": str(longer()), "last_epoch": steps + 30, "largest": 0.2}


@ORDERS
def test_adopting_the_state_of_the_same_policy_is_an_ordinary_resume(order):
    optimizer, scheduler = resumed(POLICY, trained(), order)
    assert train(optimizer, scheduler, 9) == POLICY(np.arange(7, 16)).tolist()


def test_a_longer_policy_s_state_is_refused_without_adopt_and_the_error_names_it():
    with pytest.raises(PolicyError, match=r"not to WARMUP.*policy\.scheduler\(optimizer, adopt=True\) takes its step"):
        resumed(longer(), trained(), "optimizer first", adopt=False)


@ORDERS
def test_a_momentum_follows_the_adopting_policy_or_is_told_to_stay(order):
    cycle = CM(policy=ONECYCLE(k0=0.1, k1=1, l=[10, 20, 25], k2=0.001), m0=0.95, m1=0.85)
    states = trained(cycle, momentum=0.9)
    with pytest.warns(SchedulerWarning, match=r"from here on$"):
        optimizer, _ = resumed(longer(cycle), states, order, momentum=0.9)
    optimizer.step()
    assert optimizer.param_groups[0]["momentum"] == longer(cycle).momentum(7)
    with pytest.warns(SchedulerWarning, match=r"The momentum stays at 0\.88$"):
        resumed(POLICY, states, order, momentum=0.9)


@ORDERS
def test_the_state_of_a_controller_can_be_adopted_at_the_updates_it_counted(order):
    states = trained(PLATEAU(k0=0.25, gamma=0.5))
    with pytest.warns(SchedulerWarning, match=r"adopted at step 7: PLATEAU\(k0=0\.25, gamma=0\.5\) was followed"):
        optimizer, _ = resumed(POLICY, states, order)
    optimizer.step()
    assert lr_of(optimizer) == POLICY(7)


@pytest.mark.parametrize("policy", [PLATEAU(k0=0.1, gamma=0.5), ASLR(k0=0.1)], ids=lambda policy: policy.name)
def test_a_controller_adopts_nothing_and_says_why(policy):
    optimizer, _ = made()
    with pytest.raises(PolicyError, match=f"{policy.name} needs feedback: its LR follows from the losses it was told"):
        policy.scheduler(optimizer, adopt=True)


def test_a_torch_scheduler_s_state_is_not_adopted_for_its_steps_may_be_epochs():
    optimizer, _ = made()
    state = ConstantLR(optimizer).state_dict()
    with pytest.raises(PolicyError, match=r"whose steps may be epochs: scheduler\.step\(n\) goes to the n-th update"):
        POLICY.scheduler(optimizer, adopt=True).load_state_dict(state)
    with pytest.raises(PolicyError, match="this state belongs to another scheduler"):
        POLICY.scheduler(optimizer).load_state_dict(state)


def test_an_adopting_part_of_a_sequence_waits_for_its_turn():
    def sequence(second, adopt):
        optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
        parts = [FIX(k0=0.5).scheduler(optimizer), second.scheduler(optimizer, adopt=adopt)]
        return optimizer, SequentialLR(optimizer, parts, milestones=[6])

    optimizer, both = sequence(POLICY, adopt=False)
    train(optimizer, both, 3)
    states = copy.deepcopy((optimizer.state_dict(), both.state_dict()))
    again, rest = sequence(longer(), adopt=True)
    again.load_state_dict(states[0])
    with pytest.warns(SchedulerWarning, match="adopted"):
        rest.load_state_dict(states[1])
    assert train(again, rest, 8) == [0.5] * 3 + longer().curve(5).tolist()


def test_a_state_of_before_still_loads():
    """As version 0.1.0 wrote it."""
    optimizer, scheduler = made(FIX(k0=0.25))
    optimizer.load_state_dict(
        {"state": {}, "param_groups": [optimizer.state_dict()["param_groups"][0] | {"lr": 0.25, "initial_lr": 0.5}]}
    )
    scheduler.load_state_dict({"policy": "FIX(k0=0.25)", "last_epoch": 5, "largest": 0.5})
    assert train(optimizer, scheduler, 2) == [0.25, 0.25]
