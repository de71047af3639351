"""A momentum that goes against the learning rate."""

import math

import numpy as np
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from lrsearch.errors import PolicyError
from lrsearch.schedules import CHAIN, CM, FIX, LINEAR, NSTEP, ONECYCLE, ONECYCLE2, SAMPLED, TRI, TRI2, WARMUP

CYCLE = ONECYCLE(k0=0.1, k1=1, l=[450, 900, 1000], k2=0.001)
STEPS = np.arange(2000)


def test_momentum_falls_while_the_learning_rate_rises_comes_back_and_is_held():
    momentum = CM(policy=CYCLE, m0=0.95, m1=0.85).momentum
    assert [momentum(t) for t in (0, 225, 450, 675, 900)] == pytest.approx([0.95, 0.9, 0.85, 0.9, 0.95], rel=1e-12)
    assert np.all(momentum(np.arange(900, 3000)) == 0.95)


def test_momentum_mirrors_a_wave_also_when_its_height_halves():
    times = np.array([0, 50, 100, 150, 200, 250, 300])
    same = CM(policy=TRI(k0=0.1, k1=1, l=100), m0=0.95, m1=0.85).momentum(times)
    half = CM(policy=TRI2(k0=0.1, k1=1, l=100), m0=0.95, m1=0.85).momentum(times)
    assert same == pytest.approx([0.95, 0.9, 0.85, 0.9, 0.95, 0.9, 0.85], rel=1e-12)
    assert half == pytest.approx([0.95, 0.9, 0.85, 0.9, 0.95, 0.925, 0.9], rel=1e-12)


def test_in_two_phases_momentum_is_back_at_the_end_as_torch_has_it():
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1, momentum=0.9)
    theirs = OneCycleLR(optimizer, max_lr=1, total_steps=1000, base_momentum=0.85, max_momentum=0.95)
    expected = []
    for _ in range(999):
        expected.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        theirs.step()
    policy = CM(policy=ONECYCLE2(k0=0.04, k1=1, l=[299, 999], k2=4e-6), m0=0.95, m1=0.85)
    lrs, momenta = np.array(expected).T
    assert policy.curve(999) == pytest.approx(lrs, rel=1e-9)
    assert policy.momentum(np.arange(999)) == pytest.approx(momenta, rel=1e-9)
    assert policy.momentum(np.array([999, 5000])).tolist() == [0.95, 0.95]


def test_the_order_of_the_two_momenta_is_free_and_a_constant_lr_is_a_peak():
    assert CM(policy=TRI(k0=0.1, k1=1, l=100), m0=0.8, m1=0.9).momentum(100) == 0.9
    assert CM(policy=FIX(k0=0.1), m0=0.95, m1=0.85).momentum(7) == 0.85


def test_a_momentum_belongs_to_the_step_as_the_learning_rate_does():
    policy = CM(policy=CYCLE, m0=0.95, m1=0.85)
    one = policy.momentum(225)
    assert type(one) is float
    assert policy.momentum(np.array([[225, 0], [900, 225]])).tolist() == [[one, 0.95], [policy.momentum(900), one]]
    with pytest.raises(PolicyError, match="a step is a finite number, 0 or more"):
        policy.momentum(-1)


def test_a_momentum_leaves_the_learning_rate_alone_and_stays_between_its_bounds(policies):
    for policy in policies(41, 300, CM):
        inner, m0, m1 = policy.values
        assert np.array_equal(policy(STEPS), inner(STEPS))
        momenta = policy.momentum(STEPS)
        assert np.all((momenta >= min(m0, m1) * (1 - 1e-12)) & (momenta <= max(m0, m1) * (1 + 1e-12))), policy
        assert [policy.momentum(int(t)) for t in STEPS[::199]] == momenta[::199].tolist()
        assert (policy.horizon, policy.period) == (inner.horizon, inner.period)


def test_a_momentum_is_lower_where_the_learning_rate_is_higher(policies):
    for policy in policies(42, 200, CM):
        policy = CM(policy=policy.params["policy"], m0=0.95, m1=0.85)
        lrs, momenta = policy(STEPS), policy.momentum(STEPS)
        if policy.form.replace("FROM(", "").rstrip(")") not in ("CM(ONECYCLE", "CM(ONECYCLE2"):
            rising = np.diff(momenta[np.argsort(lrs, kind="stable")])
            assert np.all(rising <= 1e-12), policy


@pytest.mark.parametrize("r", [2, 1 / 2, 0.37, math.pi])
def test_a_stretched_momentum_has_the_same_shape_and_scaling_leaves_it_alone(r, policies):
    for policy in [CM(policy=CYCLE, m0=0.95, m1=0.85), WARMUP(policy=CM(policy=CYCLE, m0=0.9, m1=0.8), l=100)]:
        assert policy.stretch(r).momentum(STEPS * r) == pytest.approx(policy.momentum(STEPS), rel=1e-9)
        assert policy.scale(r).momentum(STEPS) == pytest.approx(policy.momentum(STEPS), rel=1e-9)


INNER = CM(policy=CYCLE, m0=0.95, m1=0.85)
OTHER = CM(policy=TRI(k0=0, k1=1, l=10), m0=0.9, m1=0.8)


def test_momentum_waits_at_its_start_during_a_warm_up():
    policy = WARMUP(policy=INNER, l=100)
    assert np.all(policy.momentum(np.arange(100)) == 0.95)
    assert np.array_equal(policy.momentum(STEPS[100:]), INNER.momentum(STEPS[:-100]))


def test_momentum_counts_from_the_start_of_its_policy_in_a_chain():
    policy = CHAIN(policies=[INNER, OTHER], at=[500])
    assert np.array_equal(policy.momentum(STEPS[:500]), INNER.momentum(STEPS[:500]))
    assert np.array_equal(policy.momentum(STEPS[500:]), OTHER.momentum(STEPS[:-500]))


def test_momentum_is_sampled_with_the_learning_rate():
    listed = np.select([STEPS < 450, STEPS < 700], [0, 450], 700)
    for every, looked in [(100, STEPS // 100 * 100), ([450, 700], listed)]:
        policy = SAMPLED(policy=INNER, every=every)
        assert np.array_equal(policy.momentum(STEPS), INNER.momentum(looked))
        assert np.array_equal(policy(STEPS), INNER(looked))


def test_a_momentum_in_a_momentum_is_refused_however_deep():
    chained = CHAIN(policies=[INNER, OTHER], at=[5])
    for inner in (INNER, WARMUP(policy=INNER, l=5), SAMPLED(policy=INNER, every=5), chained):
        with pytest.raises(PolicyError, match=r"^CM: the policy carries a momentum already$"):
            CM(policy=inner, m0=0.9, m1=0.8)


def test_in_a_chain_all_policies_carry_a_momentum_or_none_does():
    for mixed in ([INNER, FIX(k0=1)], [FIX(k0=1), WARMUP(policy=INNER, l=5)]):
        with pytest.raises(PolicyError, match=r"^CHAIN: all policies carry a momentum, or none does$"):
            CHAIN(policies=mixed, at=[5])
    assert CHAIN(policies=[INNER, WARMUP(policy=INNER, l=5)], at=[5]).has_momentum


@pytest.mark.parametrize(
    "policy",
    [
        FIX(k0=1),
        CYCLE,
        WARMUP(policy=CYCLE, l=5),
        CHAIN(policies=[FIX(k0=1), NSTEP(k0=1, gamma=1, l=[3])], at=[5]),
        SAMPLED(policy=LINEAR(k0=1, l=5), every=2),
    ],
    ids=str,
)
def test_a_policy_without_a_momentum_gives_none(policy):
    assert not policy.has_momentum
    assert policy.momentum(3) is policy.momentum(STEPS) is None
