"""Refined policies: the closed form of Defazio et al. 2023, on norms of every kind."""

import math

import numpy as np
import pytest

import lrsearch as lrs
from lrsearch.errors import PolicyError, UsageError
from lrsearch.heuristics.refinement import refined


def closed_form(norms, power):
    """lr(t) = w_t (w_{t+1} + ... + w_T), scaled to a peak of 1, by a loop."""
    weights = [norm**-power for norm in norms]
    lrs_ = [weight * sum(weights[t + 1 :]) for t, weight in enumerate(weights)]
    return np.array(lrs_) / max(lrs_)


def test_constant_norms_give_a_line_to_zero():
    policy = refined([3.0] * 500, horizon=1000, peak=0.2)
    assert np.allclose(policy.curve(1000), 0.2 * (1 - np.arange(1000) / 1000), atol=1e-4)


@pytest.mark.parametrize(("norm", "power"), [("l2", 2), ("l1", 1)])
def test_it_is_the_closed_form_of_the_paper(norm, power):
    steps = np.arange(640)
    norms = 1 + 4 * np.exp(-steps / 60) - 0.5 * steps / 640
    policy = refined(norms, horizon=640, peak=0.1, norm=norm, smoothing=0)
    assert np.abs(policy.curve(640) - 0.1 * closed_form(norms, power)).max() < 0.1 * 0.02


def test_norms_that_fall_first_give_a_warm_up_and_norms_that_grow_at_the_end_a_steeper_end():
    steps = np.linspace(0, 1, 1000)
    falling = refined(1 + 9 * np.exp(-steps / 0.1), horizon=1000, peak=1)
    assert falling(0) < 0.1
    assert 200 < falling.curve(1000).argmax() < 500
    growing = refined(np.where(steps < 0.7, 1, 1 + 5 * (steps - 0.7)), horizon=1000, peak=1)
    assert growing(900) < 0.1 * 0.6 < growing(500)


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e8])
def test_the_unit_of_the_norms_does_not_matter(factor):
    norms = np.random.default_rng(0).uniform(1, 2, 300)
    assert refined(norms * factor, horizon=300, peak=0.1) == refined(norms, horizon=300, peak=0.1)


def test_single_odd_norms_are_smoothed_away():
    norms = np.ones(500)
    norms[20::50] = 1e6
    assert refined(norms, horizon=500, peak=0.1) == refined(np.ones(500), horizon=500, peak=0.1)


def test_logged_pairs_are_read_and_values_that_are_not_finite_are_left_out():
    pairs = [(step, 2.0) for step in range(10, 1001, 10)]
    line = refined([2.0] * 100, horizon=1000, peak=0.1)
    assert refined(pairs, horizon=1000, peak=0.1) == line
    assert refined([*pairs[:50], (505, math.inf), *pairs[50:]], horizon=1000, peak=0.1) == line


def test_a_long_record_gives_the_policy_of_a_short_one():
    def norms(count):
        return 1 + 3 * np.exp(-np.linspace(0, 1, count) / 0.2)

    short, long = (refined(norms(count), horizon=900, peak=0.1).curve(900) for count in (400, 90_000))
    assert np.abs(short - long).max() < 0.1 * 0.02


@pytest.mark.parametrize(
    "norms", [[], [1.0], [1.0, 0.0], [1.0, -1.0], [[1, 2, 3]], "norms", None, [(2, 1.0), (1, 1.0)], [math.nan] * 5]
)
def test_impossible_norms_are_refused(norms):
    with pytest.raises(UsageError, match="norms"):
        refined(norms, horizon=100, peak=0.1)


def test_an_impossible_norm_smoothing_peak_or_horizon_is_refused():
    with pytest.raises(UsageError, match='norm is "l2" or "l1", got'):
        refined([1, 2], horizon=100, peak=0.1, norm="l3")
    for smoothing in (-0.1, 0.6, True, "0.1"):
        with pytest.raises(UsageError, match=r"smoothing is a share of the run, from 0 to 0\.5, got"):
            refined([1, 2], horizon=100, peak=0.1, smoothing=smoothing)
    with pytest.raises(PolicyError, match="REFINED: k0 must be a learning rate"):
        refined([1, 2], horizon=100, peak=-1)
    with pytest.raises(PolicyError, match="REFINED: l must be a number of steps"):
        refined([1, 2], horizon=0, peak=1)


def test_it_is_public_and_takes_the_curve_of_a_run():
    @lrs.task("norms", horizon=100, epoch=10, minimize="loss")
    def norms(job):
        for step in range(1, 1 + job.horizon):
            job.log(step, grad_norm=1 + 9 * math.exp(-step / 10))
        return 0.5

    run = lrs.train(norms, "FIX(k0=0.1)")
    policy = lrs.refined(run.curves["grad_norm"], horizon=100, peak=0.1)
    assert (policy.name, max(policy.curve(100))) == ("REFINED", pytest.approx(0.1, rel=0.05))
    assert policy(0) < 0.02
