"""Controllers: policies that need feedback, as pure states. A report turns one state into the next."""

import math
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrsearch.errors import PolicyError
from lrsearch.schedules import ASLR, CHANGEONPLATEAU, FIX, FUNCTIONS, LINEAR, PLATEAU, TRI, curves

CONTROLLERS = [function for function in FUNCTIONS.values() if function.begin]
EVERY = pytest.mark.parametrize("function", CONTROLLERS, ids=str)


ASKED = (
    lambda policy: policy(3),
    lambda policy: policy.curve(3),
    lambda policy: policy.momentum(3),
    lambda policy: policy.horizon,
    lambda policy: policy.period,
    lambda policy: curves([FIX(k0=1), policy], 3),
)


def noisy_losses(seed: int, count: int) -> list[float]:
    """Falling losses with plateaus, equal values and some that are no number."""
    rng = np.random.default_rng(seed)
    losses = np.round(2 * 0.97 ** np.minimum(np.arange(count), 30) + rng.normal(0, 0.05, count), 2)
    losses[rng.random(count) < 0.1] = rng.choice([math.nan, math.inf])
    return losses.tolist()


def rates_after(state, losses, every: int = 1) -> list[float]:
    """The learning rate after each report, without the chance in it."""
    result = []
    for n, loss in enumerate(losses, 1):
        state = state.after(loss, n * every)
        result.append(state.lr(n * every, 0.5))
    return result


@EVERY
def test_a_controller_is_a_policy_but_no_function_of_the_step(function, policies):
    for policy in policies(51, 5, function):
        assert policy.is_controller
        for ask in ASKED:
            with pytest.raises(PolicyError, match=f"^{function} needs feedback and is no function of the step"):
                ask(policy)


@EVERY
def test_a_state_is_a_value_that_a_report_leaves_as_it_was(function, policies):
    for n, policy in enumerate(policies(52, 30, function)):
        state = policy.begin()
        assert state == policy.begin()
        assert rates_after(state, noisy_losses(n, 60)) == rates_after(state, noisy_losses(n, 60))
        assert state == policy.begin()
        with pytest.raises(AttributeError, match="cannot assign"):
            setattr(state, fields(state)[0].name, 1)


@EVERY
def test_a_controller_s_learning_rate_is_finite_and_not_negative_whatever_is_reported(function, policies):
    metrics = [math.nan, math.inf, -math.inf, -1e308, 1e308, 0, -1, 5e-324, 3, np.float32(2), torch.tensor(1.5)]
    for n, policy in enumerate(policies(53, 30, function)):
        rng, state = np.random.default_rng(n), policy.begin()
        for step in range(200):
            state = state.after(metrics[int(rng.integers(len(metrics)))], step)
            lr = state.lr(step, rng.random())
            assert type(lr) is float
            assert 0 <= lr <= 1e6


def test_a_function_of_the_step_has_no_state():
    with pytest.raises(PolicyError, match="TRI is a function of the step: it needs no feedback"):
        TRI(k0=0, k1=1, l=5).begin()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("seed", range(80))
def test_plateau_does_what_torch_s_reduce_on_plateau_does(seed, mode):
    rng = np.random.default_rng(seed)
    gamma, patience, cooldown = rng.uniform(0.1, 0.9), int(rng.integers(0, 5)), int(rng.integers(0, 4))
    threshold, floor, eps = rng.choice([0, 1e-4, 0.05]), rng.choice([0, 1e-3, 0.05]), rng.choice([0, 1e-8, 0.01])
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = ReduceLROnPlateau(
        optimizer,
        mode=mode,
        threshold_mode="rel",
        factor=gamma,
        patience=patience,
        cooldown=cooldown,
        threshold=threshold,
        min_lr=floor,
        eps=eps,
    )
    policy = PLATEAU(
        k0=0.1,
        gamma=gamma,
        patience=patience,
        cooldown=cooldown,
        threshold=threshold,
        k1=floor,
        eps=eps,
        maximize=int(mode == "max"),
    )
    losses, expected = noisy_losses(seed, 100), []
    if mode == "max":
        losses = [(-loss if rng.random() < 0.1 else 2.5 - loss) if loss < math.inf else -loss for loss in losses]
    for loss in losses:
        theirs.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates_after(policy.begin(), losses) == expected


def test_the_losses_of_the_comparison_make_plateau_drop_more_than_once():
    policy = PLATEAU(k0=0.1, gamma=0.5, patience=2)
    assert all(len(set(rates_after(policy.begin(), noisy_losses(seed, 100)))) > 3 for seed in range(80))


def test_a_metric_that_is_better_when_higher_is_reported_as_it_is():
    policy = PLATEAU(k0=0.1, gamma=0.5, patience=1, threshold=0.01, maximize=1)
    accuracies = [0.900, 0.905, 0.908, 0.9085, 0.909, 0.9095]
    assert rates_after(policy.begin(), accuracies) == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    scheduler = policy.scheduler(SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))
    for accuracy in accuracies:
        scheduler.step(accuracy)
    assert scheduler.get_last_lr() == [0.025]


def test_a_drop_waits_for_the_cooldown_stops_at_the_floor_and_is_not_made_if_tiny():
    same = [1.0] * 7
    assert rates_after(PLATEAU(k0=0.8, gamma=0.5, patience=1).begin(), same) == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.1]
    cooled = PLATEAU(k0=0.8, gamma=0.5, patience=1, cooldown=2)
    assert rates_after(cooled.begin(), same) == [0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.2]
    assert rates_after(PLATEAU(k0=0.8, gamma=0.5, patience=0, k1=0.3).begin(), same) == [0.8, 0.4] + [0.3] * 5
    assert rates_after(PLATEAU(k0=0.8, gamma=0.5, patience=0, eps=0.1).begin(), same) == [0.8, 0.4, 0.2] + [0.2] * 4


def test_the_walk_of_aslr_is_that_of_its_authors_code():
    optima = [0.2, 0.1, 0.09, 0.1, 0.2, 0.3, 0.2, 0.1, 0.09, 0.08, 0.09, 0.1, 0.2, 0.3, 0.4]
    assert rates_after(ASLR(k0=0.1).begin(), [1.0] + [2.0] * 15) == [0.1, *optima]


@pytest.mark.parametrize("worse", [2.0, math.nan, math.inf, 1.0000001])
def test_every_loss_that_is_worse_walks_on_and_a_loss_that_is_no_number_is_worse(worse):
    assert rates_after(ASLR(k0=0.1).begin(), [1.0, worse, worse, worse]) == [0.1, 0.2, 0.1, 0.09]
    assert rates_after(ASLR(k0=0.1).begin(), [math.nan, math.nan, math.nan, 1.0]) == [0.1, 0.2, 0.1, 0.1]


def test_an_equal_loss_changes_nothing_and_a_better_one_begins_a_new_walk_where_it_is():
    state = ASLR(k0=0.1).begin().after(1.0, 0).after(2.0, 1)
    assert state.after(1.0, 2) == state
    assert rates_after(state, [2.0, 2.0, 0.5, 2.0, 2.0, 2.0, 2.0]) == [0.1, 0.09, 0.09, 0.1, 0.09, 0.08, 0.09]


@pytest.mark.parametrize(
    ("k0", "optimum"),
    [
        (0.0003, 0.0003),
        (0.0006, 0.0006),
        (0.25, 0.2),
        (0.026, 0.03),
        (1.5, 2.0),
        (0.95, 0.9),
        (0.96, 1.0),
        (7, 7.0),
        (1e6, 1e6),
        (1e-300, 1e-300),
    ],
)
def test_aslr_starts_at_its_lr_in_one_digit(k0, optimum):
    assert ASLR(k0=k0).begin().lr(0, 0.5) == optimum


def test_draws_stay_within_half_a_digit_and_are_even():
    for k0, digit in [(0.1, 0.1), (0.9, 0.1), (0.0003, 0.0001), (5, 1)]:
        state = ASLR(k0=k0).begin()
        drawn = np.array([state.lr(0, u) for u in np.linspace(0, 1, 101)])
        assert drawn == pytest.approx(np.linspace(k0 - digit / 2, k0 + digit / 2, 101), rel=1e-12)
        assert np.all(drawn > 0)


@pytest.mark.parametrize("k0", [1e-300, 2e-300, 9e-300, 1e-299, 0.1, 9e5, 9.6e5, 1e6])
def test_the_centre_never_leaves_the_possible(k0):
    state, seen = ASLR(k0=k0).begin().after(0.0, 0), []
    for step in range(3000):
        state = state.after(1.0, step)
        seen.append(state.lr(step, 0.5))
        assert state.lr(step, 0) > 0
    assert 1e-300 <= min(seen) < max(seen) <= 1e6
    assert len(set(seen)) > 20


BOLD, PLAIN, CAUTIOUS = FIX(k0=1), TRI(k0=0.1, k1=0.2, l=5), LINEAR(k0=0.05, l=100)
FLAT = [1.0] * 9


def changing(**given):
    usual = {"policies": [BOLD, PLAIN, CAUTIOUS], "l": 1000, "start": 1, "patience": 3, "cooldown": 0}
    return CHANGEONPLATEAU(**usual | given)


def places(policy, losses, every: int = 10) -> list[int]:
    """Which policy is followed after each report."""
    state, result = policy.begin(), []
    for n, loss in enumerate(losses, 1):
        state = state.after(loss, n * every)
        result.append(state.at)
        followed = policy.parts[state.at]
        assert state.lr(n * every + 3, 0.5) == followed(n * every + 3 - state.since)
    return result


def test_on_a_plateau_the_policy_before_takes_over_up_to_a_step_and_the_one_after_it_from_then_on():
    assert places(changing(), FLAT) == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert places(changing(l=40), FLAT) == [1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert places(changing(l=41), FLAT) == [1, 1, 1, 0, 1, 2, 2, 2, 2]


def test_after_a_change_none_is_made_for_a_while():
    assert places(changing(l=41, cooldown=2), FLAT) == [1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_one_report_that_is_better_by_the_threshold_is_no_plateau():
    losses = [2.0, 2.0, 2.0, 1.9, 1.9, 1.9, 1.9]
    assert places(changing(threshold=0.05), losses) == [1, 1, 1, 1, 1, 0, 0]
    assert places(changing(threshold=0.2), losses) == [1, 1, 1, 0, 0, 0, 0]
    assert places(changing(threshold=0), FLAT) == [1] * 9
    assert places(changing(threshold=0), [1.0, 1.1, 1.2, 1.3, 1.4]) == [1, 1, 1, 0, 0]


def test_losses_that_are_no_number_are_a_plateau_and_leaving_them_is_none():
    assert places(changing(), [math.nan] * 5) == [1, 1, 1, 0, 0]
    assert places(changing(), [math.nan, math.nan, math.nan, 1.0, 1.0]) == [1, 1, 1, 1, 1]


def test_a_policy_counts_from_the_step_at_which_it_took_over():
    state = changing(l=40).begin()
    for step in (10, 20, 30, 43):
        assert state.lr(step, 0.5) == PLAIN(step)
        state = state.after(1.0, step)
    assert [state.lr(step, 0.5) for step in (43, 44, 93, 200)] == [CAUTIOUS(step) for step in (0, 1, 50, 157)]


def test_a_policy_that_cannot_be_followed_by_another_goes_on_undisturbed():
    state = changing(start=0).begin()
    for step in range(0, 90, 10):
        state = state.after(1.0, step)
    assert (state.at, state.since) == (0, 0)


@pytest.mark.parametrize("seed", range(40))
def test_change_on_plateau_follows_lrbench_s_rule_report_by_report(seed):
    rng = np.random.default_rng(seed)
    patience, cooldown, threshold = int(rng.integers(2, 6)), int(rng.integers(0, 4)), rng.choice([0.08, 0.1, 0.2])
    losses = [loss for loss in noisy_losses(seed, 100) if math.isfinite(loss)]
    place, wait, seen, expected = 1, 0, [], []
    for n, loss in enumerate(losses, 1):
        seen.append(loss)
        gains = [before - after for before, after in pairwise(seen[-patience:])]
        if len(seen) > patience and max(gains) < threshold and wait == 0:
            place, wait = max(place - 1, 0) if n * 10 < 800 else min(place + 1, 2), cooldown
        else:
            wait = max(wait - 1, 0)
        expected.append(place)
    assert places(changing(l=800, patience=patience, cooldown=cooldown, threshold=threshold), losses) == expected
    assert len(set(expected)) > 1
