"""What a policy may be asked, and what it refuses to answer."""

import math

import numpy as np
import pytest
import torch

import lrsearch as lrs
from lrsearch.errors import PolicyError, UsageError
from lrsearch.schedules import CHANGEONPLATEAU, CM, FIX, SGDR, TRI

POLICY = TRI(k0=0, k1=1, l=5)


NO_STEPS = ["abc", "3", b"3", 10**400, 1j, object(), [1, "a"], {}, torch.ones(1, requires_grad=True)]


@pytest.mark.parametrize("step", NO_STEPS, ids=lambda step: type(step).__name__)
def test_a_step_of_another_kind_is_refused_in_words(step):
    with pytest.raises(PolicyError, match="a step is a finite number, 0 or more"):
        POLICY(step)


@pytest.mark.parametrize("steps", [-5, 2.5, math.nan, 10**13, "3", None, True], ids=str)
def test_a_curve_has_a_whole_number_of_steps(steps):
    for ask in (lambda: POLICY.curve(steps), lambda: lrs.curves([POLICY], steps)):
        with pytest.raises(PolicyError, match="a curve has a whole number of steps"):
            ask()


def test_curves_take_any_iterable_and_nothing():
    assert lrs.curves((FIX(k0=k) for k in (1, 2)), 3).tolist() == [[1, 1, 1], [2, 2, 2]]
    assert lrs.curves([], 3).shape == (0, 3)
    assert lrs.curves([POLICY], 0).shape == (1, 0)


def test_a_policy_is_bound_to_numbers_of_any_kind():
    waiting = lrs.parse("LINEAR(k0=0.1, l=0.5dur)")
    for horizon in (100, 100.0, np.int64(100), np.float32(100), torch.tensor(100)):
        assert waiting.bind(horizon=horizon) == lrs.parse("LINEAR(k0=0.1, l=50)")
    with pytest.raises(PolicyError, match="the horizon must be a finite number above 0"):
        waiting.bind(horizon="100")


@pytest.mark.parametrize("more", [1e-15, 1e-12, 1e-9, -1e-9, -1e-15])
def test_restarts_that_hardly_grow_are_those_that_do_not(more):
    t = np.arange(0, 1000, 7) + 0.5
    assert np.allclose(SGDR(k0=0, k1=1, l=100, growth=1 + more)(t), SGDR(k0=0, k1=1, l=100)(t), atol=1e-6)


def test_a_controller_of_policies_with_momentum_is_refused():
    cycled = CM(policy=POLICY, m0=0.9, m1=0.8)
    with pytest.raises(PolicyError, match="its policies carry no momentum"):
        CHANGEONPLATEAU(policies=[cycled, cycled], l=5)


def test_functions_given_as_one_text_are_refused_with_what_would_do():
    with pytest.raises(UsageError, match=r"such as \['TRI'\]"):
        lrs.search("digits-mlp", functions="TRI")
