"""Param groups under a policy's scheduler: each has policy(t) x its ratio at every update, a late one too."""

import copy
import gc
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, SequentialLR

from lrsearch.errors import PolicyError
from lrsearch.schedules import ASLR, CM, EXP, FIX, HALFCOS, ONECYCLE, PLATEAU, TRI, WARMUP


def weight() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(2))


def lrs(optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


class Watched(SGD):
    """Keeps the LRs that its updates really used."""

    def step(self, closure=None):
        self.__dict__.setdefault("used", []).append(lrs(self))
        return super().step(closure)


def update(optimizer, scheduler, times: int = 1) -> None:
    for _ in range(times):
        optimizer.step()
        scheduler.step()


CYCLE = CM(policy=ONECYCLE(k0=0.1, k1=1, l=[10, 20, 25], k2=0.001), m0=0.95, m1=0.85)
LATE = [FIX(k0=0.01), EXP(k0=0.1, gamma=0.9), TRI(k0=0.001, k1=0.06, l=7), CYCLE]
EVERY = pytest.mark.parametrize("policy", LATE, ids=str)


@EVERY
@pytest.mark.parametrize("at", [0, 1, 10])
@pytest.mark.parametrize("moment", ["before the update", "between the update and the scheduler's step"])
def test_an_unfrozen_group_has_the_policy_s_lr_from_its_first_update_on(policy, at, moment):
    optimizer = Watched([weight()], lr=1.0, momentum=0.9)
    scheduler = policy.scheduler(optimizer)
    update(optimizer, scheduler, at)
    if moment == "before the update":
        optimizer.add_param_group({"params": [weight()]})
        update(optimizer, scheduler)
    else:
        optimizer.step()
        optimizer.add_param_group({"params": [weight()]})
        scheduler.step()
    update(optimizer, scheduler, 3)
    late = [used for used in optimizer.used if len(used) == 2]
    assert late == [[policy(t)] * 2 for t in range(at + 4 - len(late), at + 4)]
    if policy.has_momentum:
        assert [group["momentum"] for group in optimizer.param_groups] == [policy.momentum(at + 4)] * 2


def test_a_group_at_a_tenth_of_the_present_lr_stays_at_a_tenth():
    policy = EXP(k0=0.1, gamma=0.9)
    optimizer = SGD([weight()], lr=1.0)
    scheduler = policy.scheduler(optimizer)
    update(optimizer, scheduler, 10)
    optimizer.add_param_group({"params": [weight()], "lr": optimizer.param_groups[0]["lr"] / 10})
    update(optimizer, scheduler, 50)
    head, body = lrs(optimizer)
    assert body / head == pytest.approx(0.1, rel=1e-12)


def test_an_lr_of_its_own_is_meant_as_a_present_one_before_the_first_update_too():
    optimizer = Watched([weight()], lr=0.2)
    scheduler = FIX(k0=0.4).scheduler(optimizer)
    optimizer.add_param_group({"params": [weight()], "lr": 0.1})
    update(optimizer, scheduler, 2)
    assert optimizer.used == [[0.4, 0.1]] * 2


def test_the_optimizer_s_default_is_measured_by_the_largest_lr_at_first():
    optimizer = Watched([{"params": [weight()], "lr": 0.4}, {"params": [weight()], "lr": 0.05}], lr=0.1)
    scheduler = EXP(k0=0.8, gamma=0.5).scheduler(optimizer)
    update(optimizer, scheduler, 2)
    optimizer.add_param_group({"params": [weight()]})
    update(optimizer, scheduler)
    assert optimizer.used[-1] == [0.2, 0.025, 0.05]


def test_an_lr_of_its_own_that_equals_the_default_is_the_default():
    optimizer = Watched([weight()], lr=0.125)
    scheduler = FIX(k0=0.5).scheduler(optimizer)
    update(optimizer, scheduler)
    optimizer.add_param_group({"params": [weight()], "lr": float("0.125")})
    optimizer.step()
    assert optimizer.used[-1] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("policy", "lr"),
    [(FIX(k0=0.01), 0.5), (FIX(k0=0.01), 0.0101), (FIX(k0=0), 0.1), (WARMUP(policy=HALFCOS(k0=0.1, l=9), l=5), 1e-9)],
    ids=str,
)
def test_a_ratio_above_1_that_only_results_is_refused_and_so_is_one_over_an_lr_of_0(policy, lr):
    optimizer = SGD([weight()], lr=1.0)
    policy.scheduler(optimizer)
    scheduler = policy.scheduler(optimizer)
    optimizer.add_param_group({"params": [weight()], "lr": lr})
    for way in (optimizer.step, scheduler.step, scheduler.get_lr):
        with pytest.raises(
            PolicyError,
            match=r"param group 1 .* above 1\. Add it by"
            r" scheduler\.add_param_group\(group, ratio=\.\.\.\)",
        ):
            way()
    assert "initial_lr" not in optimizer.param_groups[1]


def test_a_default_above_the_largest_initial_lr_is_refused():
    optimizer = SGD([{"params": [weight()], "lr": 0.2}], lr=1.0)
    FIX(k0=0.01).scheduler(optimizer)
    scheduler = FIX(k0=0.01).scheduler(optimizer)
    optimizer.add_param_group({"params": [weight()]})
    with pytest.raises(PolicyError, match=r"LR 1, the optimizer's default, over 0\.2, .*: the ratio 5"):
        update(optimizer, scheduler)


def test_a_warm_up_from_0_takes_a_group_without_an_lr_of_its_own_and_a_frozen_one():
    policy = WARMUP(policy=HALFCOS(k0=0.5, l=20), l=4)
    optimizer = Watched([weight()], lr=1.0)
    scheduler = policy.scheduler(optimizer)
    optimizer.add_param_group({"params": [weight()]})
    optimizer.add_param_group({"params": [weight()], "lr": 0})
    update(optimizer, scheduler, 9)
    assert optimizer.used == [[policy(t), policy(t), 0] for t in range(9)]


@pytest.mark.parametrize(
    "policy", [*LATE, WARMUP(policy=HALFCOS(k0=0.1, l=9), l=5), PLATEAU(k0=0.5, gamma=0.5)], ids=str
)
@pytest.mark.parametrize("ratio", [0, 0.25, 1, 4])
def test_add_param_group_takes_the_ratio_whatever_the_present_lr_is(policy, ratio):
    optimizer = Watched([weight()], lr=0.2, momentum=0.9)
    scheduler = policy.scheduler(optimizer)
    update(optimizer, scheduler, 3)
    given = {"params": [weight()]}
    scheduler.add_param_group(given, ratio=ratio)
    assert set(given) == {"params"}
    update(optimizer, scheduler, 5)
    for head, body in optimizer.used[3:]:
        assert body == head * ratio
    assert len(scheduler.get_last_lr()) == 2


@pytest.mark.parametrize(
    ("group", "ratio", "why"),
    [
        ({}, -0.1, "a finite number, 0 or more, got -0.1"),
        ({}, float("nan"), "a finite number, 0 or more, got nan"),
        ({}, "1", "a finite number, 0 or more, got 1"),
        ({}, True, "a finite number, 0 or more, got True"),
        ({}, float("inf"), "a finite number, 0 or more, got inf"),
        ({"lr": 0.1}, 1, "leave out its lr"),
    ],
)
def test_a_ratio_that_is_none_or_stands_beside_an_lr_is_refused(group, ratio, why):
    optimizer = SGD([weight()], lr=0.2)
    scheduler = FIX(k0=0.1).scheduler(optimizer)
    with pytest.raises(PolicyError, match=why):
        scheduler.add_param_group({"params": [weight()]} | group, ratio=ratio)
    assert len(optimizer.param_groups) == 1


def test_a_late_group_without_a_place_for_the_momentum_is_refused():
    optimizer = torch.optim.RMSprop([weight()], lr=1.0, momentum=0.9)
    scheduler = CYCLE.scheduler(optimizer)
    with pytest.raises(PolicyError, match="RMSprop with a momentum above 0"):
        scheduler.add_param_group({"params": [weight()], "momentum": 0}, ratio=1)
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [weight()], "momentum": 0})
    with pytest.raises(PolicyError, match="RMSprop with a momentum above 0"):
        optimizer.step()


def test_the_first_beta_of_a_late_group_is_set_at_once():
    optimizer = Adam([weight()], lr=1.0, betas=(0.5, 0.99))
    scheduler = CYCLE.scheduler(optimizer)
    update(optimizer, scheduler, 6)
    optimizer.add_param_group({"params": [weight()]})
    optimizer.step()
    assert [group["betas"] for group in optimizer.param_groups] == [(CYCLE.momentum(6), 0.99)] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own", [None, 0.125])
def test_a_late_group_does_not_share_the_tensor_that_holds_the_others_lr(dtype, own):
    optimizer = SGD([weight()], lr=torch.tensor(0.5, dtype=dtype), foreach=True)
    held = optimizer.param_groups[0]["lr"]
    scheduler = FIX(k0=0.25).scheduler(optimizer)
    update(optimizer, scheduler, 2)
    optimizer.add_param_group({"params": [weight()]} | ({"lr": torch.tensor(own, dtype=dtype)} if own else {}))
    update(optimizer, scheduler)
    assert lrs(optimizer) == [0.25, own or 0.25]
    assert optimizer.param_groups[0]["lr"] is held
    assert optimizer.param_groups[1]["lr"] is not held


@pytest.mark.parametrize("policy", [PLATEAU(k0=0.5, gamma=0.5, patience=0), ASLR(k0=0.5)], ids=str)
def test_a_late_group_follows_a_controller_from_its_first_update_on(policy):
    optimizer = Watched([weight()], lr=1.0)
    scheduler = policy.scheduler(optimizer, seed=3)
    update(optimizer, scheduler, 2)
    optimizer.add_param_group({"params": [weight()], "lr": lrs(optimizer)[0] / 4})
    optimizer.step()
    head, body = optimizer.used[-1]
    assert 0.25 / 4 <= body <= 0.75 / 4
    if policy.name == "PLATEAU":
        assert (head, body) == (0.5, 0.125)
        for loss in (1.0, 2.0, 2.0):
            scheduler.step(loss)
        assert lrs(optimizer) == [0.125, 0.03125]


def test_a_late_group_follows_whose_turn_it_is_in_a_sequence():
    optimizer = Watched([weight()], lr=1.0)
    first, second = FIX(k0=0.5), FIX(k0=0.25)
    both = SequentialLR(optimizer, [p.scheduler(optimizer) for p in (first, second)], milestones=[4])
    update(optimizer, both, 2)
    optimizer.add_param_group({"params": [weight()]})
    optimizer.add_param_group({"params": [weight()], "lr": 0.125})
    update(optimizer, both, 4)
    assert optimizer.used[2:] == [[0.5, 0.5, 0.125]] * 2 + [[0.25, 0.25, 0.0625]] * 2


def test_a_new_scheduler_takes_a_group_that_was_added_under_the_one_before_at_its_present_ratio():
    optimizer = Watched([weight()], lr=1.0)
    before = EXP(k0=0.5, gamma=0.5).scheduler(optimizer)
    update(optimizer, before, 3)
    del before
    optimizer.add_param_group({"params": [weight()], "lr": 0.0625 / 4})
    optimizer.add_param_group({"params": [weight()]})
    scheduler = FIX(k0=0.5).scheduler(optimizer)
    update(optimizer, scheduler)
    assert optimizer.used[-1] == [0.5, 0.125, 0.5]


def test_a_loaded_group_without_its_initial_lr_keeps_the_ratio_of_its_place():
    plain = SGD([{"params": [weight()]}, {"params": [weight()]}], lr=0.05)
    optimizer = SGD([{"params": [weight()], "lr": 0.2}, {"params": [weight()], "lr": 0.05}], lr=1.0)
    scheduler = FIX(k0=0.5).scheduler(optimizer)
    optimizer.load_state_dict(plain.state_dict())
    update(optimizer, scheduler)
    assert lrs(optimizer) == [0.5, 0.125]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])  # noqa: S301
def test_a_copied_scheduler_takes_in_a_late_group_of_its_own_optimizer(how):
    optimizer = SGD([weight()], lr=1.0)
    original = FIX(k0=0.25).scheduler(optimizer)
    update(optimizer, original)
    other, scheduler = how((optimizer, original))
    other.add_param_group({"params": [weight()]})
    other.step()
    assert (lrs(other), lrs(optimizer)) == ([0.25] * 2, [0.25])
    assert scheduler.optimizer is other


def test_a_scheduler_that_is_gone_leaves_no_hook_on_the_optimizer():
    optimizer = SGD([weight()], lr=1.0)
    scheduler, controller = FIX(k0=0.25).scheduler(optimizer), PLATEAU(k0=0.1, gamma=0.5).scheduler(optimizer)
    assert len(optimizer._optimizer_step_pre_hooks) == 2
    del scheduler, controller
    gc.collect()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


class Wrapped(torch.optim.Optimizer):
    """As Accelerate's: it never initialises the base class, and so has no hooks of its own."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    param_groups = property(lambda self: self.optimizer.param_groups)
    defaults = property(lambda self: self.optimizer.defaults)

    def add_param_group(self, param_group):
        self.optimizer.add_param_group(param_group)

    def step(self, closure=None):
        return self.optimizer.step(closure)


def test_a_late_group_of_an_optimizer_in_a_wrapper_without_hooks_is_followed():
    inner = Watched([weight()], lr=1.0)
    optimizer = Wrapped(inner)
    scheduler = FIX(k0=0.25).scheduler(optimizer)
    update(optimizer, scheduler, 3)
    optimizer.add_param_group({"params": [weight()]})
    scheduler.add_param_group({"params": [weight()]}, ratio=0.5)
    update(optimizer, scheduler)
    assert inner.used[-1] == [0.25, 0.25, 0.125]


SCALES = [0.27, 0.42, 0.65, 1.0]


def scaled(lr_of, base: float = 0.1):
    return SGD([{"params": [weight()], "lr_scale": scale} | lr_of(scale) for scale in SCALES], lr=base)


@pytest.mark.parametrize("lr_of", [lambda scale: {}, lambda scale: {"lr": 0.3 * scale}], ids=["timm", "OpenMMLab"])
@pytest.mark.parametrize("policy", [TRI(k0=0.001, k1=0.06, l=7), PLATEAU(k0=0.5, gamma=0.5)], ids=str)
def test_lr_scale_is_the_ratio_of_a_group_and_counts_once(policy, lr_of):
    optimizer = scaled(lr_of)
    scheduler = policy.scheduler(optimizer)
    for t in range(9):
        lr = 0.5 if policy.is_controller else policy(t)
        assert lrs(optimizer) == pytest.approx([lr * scale for scale in SCALES], rel=1e-12)
        update(optimizer, scheduler)


def test_lr_scale_multiplies_lrs_that_differ_in_another_way():
    optimizer = SGD(
        [
            {"params": [weight()], "lr": 0.4, "lr_scale": 0.5},
            {"params": [weight()], "lr": 0.2},
            {"params": [weight()], "lr": 0.1, "lr_scale": 0.25},
        ],
        lr=1.0,
    )
    FIX(k0=0.8).scheduler(optimizer)
    assert lrs(optimizer) == [0.4, 0.4, 0.05]


def test_a_late_group_s_lr_scale_is_honoured_and_a_shared_lr_tensor_parted():
    optimizer = SGD([{"params": [weight()], "lr_scale": scale} for scale in (0.5, 1.0)], lr=torch.tensor(0.1))
    scheduler = FIX(k0=0.5).scheduler(optimizer)
    update(optimizer, scheduler)
    optimizer.add_param_group({"params": [weight()], "lr_scale": 0.25})
    optimizer.step()
    assert lrs(optimizer) == [0.25, 0.5, 0.125]


@pytest.mark.parametrize("order", ["optimizer first", "scheduler first", "optimizer before the scheduler exists"])
@pytest.mark.parametrize("lr_of", [lambda scale: {}, lambda scale: {"lr": 0.3 * scale}], ids=["timm", "OpenMMLab"])
def test_lr_scale_survives_a_resume_in_every_order_with_a_late_group(order, lr_of):
    policy = TRI(k0=0.001, k1=0.06, l=7)

    def made(late, state=None):
        optimizer = scaled(lr_of)
        if state is not None and order == "optimizer before the scheduler exists":
            optimizer.add_param_group({"params": [weight()]})
            optimizer.load_state_dict(state)
        scheduler = policy.scheduler(optimizer)
        if late:
            update(optimizer, scheduler, 4)
            scheduler.add_param_group({"params": [weight()]}, ratio=0.5)
        elif len(optimizer.param_groups) == len(SCALES):
            optimizer.add_param_group({"params": [weight()]})
        return optimizer, scheduler

    optimizer, scheduler = made(late=True)
    update(optimizer, scheduler, 2)
    states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    second, again = made(late=False, state=states[0])
    for name in ["optimizer", "scheduler"] if order == "optimizer first" else ["scheduler", "optimizer"]:
        second.load_state_dict(states[0]) if name == "optimizer" else again.load_state_dict(states[1])
    for _ in range(9):
        assert lrs(second) == lrs(optimizer)
        update(optimizer, scheduler)
        update(second, again)


@pytest.mark.parametrize("scale", [-1, float("nan"), "a half", None], ids=str)
def test_an_lr_scale_that_is_no_number_is_refused(scale):
    with pytest.raises(PolicyError, match="lr_scale of a param group is a finite number, 0 or more, got"):
        FIX(k0=0.1).scheduler(SGD([{"params": [weight()], "lr_scale": scale}], lr=0.1))


@pytest.mark.parametrize("make", [lambda o: LambdaLR(o, lambda t: 0.5), lambda o: ConstantLR(o, factor=0.5)])
def test_the_initial_lrs_that_another_scheduler_left_are_the_ratios(make):
    optimizer = SGD([{"params": [weight()], "lr": 0.4}, {"params": [weight()], "lr": 0.1}], lr=1.0)
    make(optimizer)
    FIX(k0=0.8).scheduler(optimizer)
    assert lrs(optimizer) == [0.8, 0.2]


STEPS = st.lists(
    st.sampled_from(["update", "update", "default", "own", "ratio", "save", "load", "load late", "copy"]), max_size=14
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(STEPS, st.sampled_from([*LATE, WARMUP(policy=HALFCOS(k0=0.5, l=16), l=4)]), st.sampled_from([1.0, 0.25]))
def test_every_update_uses_the_policy_s_lr_times_each_group_s_ratio(steps, policy, base):
    """Whatever is added, saved and loaded in between, and when."""
    optimizer = Watched([{"params": [weight()], "lr": 2 * base}, {"params": [weight()]}], lr=base, momentum=0.9)
    scheduler, ratios, t, saved = policy.scheduler(optimizer), [1.0, 0.5], 0, None
    for step in [*steps, "update"]:
        if step == "update":
            optimizer.step()
            assert optimizer.used[-1] == pytest.approx([policy(t) * ratio for ratio in ratios], rel=1e-12, abs=0)
            exact = [float(group["initial_lr"]) / (2 * base) for group in optimizer.param_groups]
            assert optimizer.used[-1] == [policy(t) * ratio for ratio in exact]
            scheduler.step()
            t += 1
        elif step == "default":
            optimizer.add_param_group({"params": [weight()]})
            ratios.append(0.5)
        elif step == "own" and policy(t) > 0:
            optimizer.add_param_group({"params": [weight()], "lr": policy(t) * 0.1})
            ratios.append(0.1)
        elif step == "ratio":
            scheduler.add_param_group({"params": [weight()]}, ratio=4)
            ratios.append(4)
        elif step == "save":
            scheduler.get_lr()
            saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict(), t, len(ratios)))
        elif step == "copy":
            used = optimizer.used if "used" in vars(optimizer) else []
            optimizer, scheduler = copy.deepcopy((optimizer, scheduler))
            optimizer.used = list(used)
        elif step.startswith("load") and saved is not None:
            scheduler.get_lr()
            if step == "load" and saved[3] == len(ratios):
                optimizer.load_state_dict(saved[0])
            scheduler.load_state_dict(saved[1])
            t = saved[2]
