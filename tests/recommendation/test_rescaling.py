"""Rescaling: what moves a learning rate from task to task, by how much, and how sure that is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.recommendation.rescaling import applying, corrections, uncertainty_of
from lrsearch.tasks import TASKS

MNIST = TASKS["mnist-lenet"].description
SIZES = st.integers(1, 10**6)


def changed(**optimizer):
    return MNIST | {"optimizer": MNIST["optimizer"] | optimizer}


def moved(a, b, constant=False):
    return sum(one.decades for one in corrections(a, b, constant))


def test_the_same_training_needs_no_correction_and_has_no_uncertainty():
    assert corrections(MNIST, MNIST) == ()
    assert uncertainty_of(()) == 0


@given(SIZES, SIZES, SIZES, st.booleans())
def test_there_and_back_is_as_before_and_two_steps_are_one(a, b, c, constant):
    one, two, three = (MNIST | {"horizon": n, "batch_size": n % 977 + 1} for n in (a, b, c))
    assert moved(one, two, constant) == pytest.approx(-moved(two, one, constant))
    assert moved(one, three, constant) == pytest.approx(moved(one, two, constant) + moved(two, three, constant))


@pytest.mark.parametrize(("constant", "exponent", "uncertainty"), [(True, 0.25, 0.10), (False, 0.15, 0.15)])
def test_ten_times_the_steps_want_a_lower_lr(constant, exponent, uncertainty):
    (result,) = corrections(MNIST, MNIST | {"horizon": 100_000}, constant)
    assert (result.name, result.decades, result.uncertainty) == (
        "horizon",
        pytest.approx(-exponent),
        pytest.approx(uncertainty),
    )


@pytest.mark.parametrize(("family", "exponent"), [("sgd", 1), ("adam", 0.5), ("rmsprop", 0.5)])
def test_the_batch_size_scales_by_the_optimizer(family, exponent):
    task = MNIST | {"optimizer": {"family": family}}
    (result,) = corrections(task, task | {"batch_size": 400})
    assert result.name == "batch size"
    assert 10**result.decades == pytest.approx(4**exponent)
    assert 0 < result.uncertainty < abs(result.decades)


def test_momentum_keeps_the_effective_lr():
    (result,) = corrections(MNIST, changed(momentum=0.99))
    assert result.name == "momentum"
    assert 0.05 * 10**result.decades / (1 - 0.99) == pytest.approx(0.05 / (1 - 0.9))


def test_another_optimizer_or_task_only_adds_uncertainty_and_without_a_probe_half_a_decade_more():
    adam, rmsprop = MNIST | {"optimizer": {"family": "adam"}}, MNIST | {"optimizer": {"family": "rmsprop"}}
    (one,) = corrections(adam, rmsprop)
    assert (one.name, one.decades) == ("optimizer", 0)
    result = corrections(TASKS["fashion-lenet"].description, MNIST)
    assert [(one.name, one.decades) for one in result] == [("another task", 0), ("no probe", 0)]
    with_probe, without = (uncertainty_of(applying(result, probed)) for probed in (True, False))
    assert without**2 == pytest.approx(with_probe**2 + 0.5**2)


def test_range_tests_on_both_sides_leave_the_horizon_alone():
    far = changed(momentum=0.5) | {"horizon": 1000, "batch_size": 10}
    result = corrections(MNIST, far)
    assert [one.name for one in result] == ["horizon", "batch size", "momentum"]
    assert [one.name for one in applying(result, probed=True)] == ["horizon"]
    assert applying(result, probed=False) == result
    assert uncertainty_of(result) == pytest.approx(math.sqrt(sum(one.uncertainty**2 for one in result)))


def test_what_is_not_known_moves_nothing():
    result = corrections({"name": "x", "batch_size": 3}, MNIST)
    assert [one.name for one in result] == ["batch size", "another task", "no probe"]
    assert corrections({"name": "mnist-lenet"}, MNIST) == ()
