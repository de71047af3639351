"""Reading a range test on curves whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.heuristics import Ramp
from lrsearch.heuristics.evidence import FIRST_RULES
from lrsearch.heuristics.range_test import ceiling, disagree, implausible, range_test_optimum, read_ramp

POINTS = 300
LRS = tuple(np.geomspace(1e-6, 10, POINTS).tolist())


def ramp(losses, run="ramp"):
    return Ramp(run, LRS, tuple(losses))


def valley(lowest: float, blow_up: float = 1.0, noise: float = 0.0, seed: int = 0) -> Ramp:
    """Fall from 2.3 to 0.3 at a learning rate, then rise; past `blow_up` decades more there is nothing finite."""
    x = np.log10(LRS) - math.log10(lowest)
    losses = 0.3 + 2 * (1 - np.exp(-((x / 1.2) ** 2))) + np.random.default_rng(seed).normal(0, noise, POINTS)
    return ramp(np.where(x > blow_up, math.inf, losses))


@pytest.mark.parametrize("lowest", [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_lowest_loss_is_found_within_a_fifth_of_a_decade(lowest, noise):
    for seed in range(5):
        reading = read_ramp(valley(lowest, noise=noise, seed=seed))
        assert abs(math.log10(reading.lowest / lowest)) < 0.2
        assert reading.run == "ramp"
        assert len(reading.smoothed) == POINTS


@pytest.mark.parametrize("lowest", [1e-4, 0.01, 0.1])
def test_the_blow_up_is_the_first_lr_past_the_lowest_at_four_times_its_loss(lowest):
    reading = read_ramp(valley(lowest, blow_up=1.0))
    assert -0.2 < math.log10(reading.blown_up / lowest) - 0.667 < 0.01 or reading.blown_up > lowest
    at = LRS.index(reading.blown_up)
    assert reading.smoothed[at] > 4 * min(reading.smoothed) >= reading.smoothed[at - 1]
    assert reading.blown_up > reading.lowest


def test_a_curve_that_never_rises_has_no_blow_up():
    reading = read_ramp(ramp(np.linspace(2.3, 0.5, POINTS)))
    assert (reading.lowest, reading.blown_up) == (LRS[-1], None)


def test_a_high_loss_before_the_lowest_is_no_blow_up():
    losses = np.concatenate([np.full(100, 9.0), np.linspace(9, 1, 100), np.full(100, 1.5)])
    assert read_ramp(ramp(losses)).blown_up is None


@pytest.mark.parametrize("drop", [0, 0.01, 0.04])
def test_a_flat_curve_gives_nothing(drop):
    reading = read_ramp(ramp(np.linspace(2.3, 2.3 * (1 - drop), POINTS)))
    assert (reading.lowest, reading.blown_up) == (None, None)


def test_a_curve_that_falls_by_a_tenth_is_not_flat():
    assert read_ramp(ramp(np.linspace(2.3, 2.0, POINTS))).lowest is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_counts_as_blown_up(bad):
    losses = list(valley(0.01).losses)
    first = next(n for n, lr in enumerate(LRS) if lr > 0.03)
    losses[first:] = [bad] * (POINTS - first)
    reading = read_ramp(ramp(losses))
    assert reading.lowest == pytest.approx(0.01, rel=0.6)
    assert reading.lowest < reading.blown_up <= LRS[first]
    assert reading.blown_up > 0.02


@pytest.mark.parametrize("losses", [[math.inf] * POINTS, [math.nan] * POINTS, []], ids=["all inf", "all nan", "none"])
def test_a_test_without_a_finite_loss_gives_nothing(losses):
    reading = read_ramp(ramp(losses))
    assert (reading.lowest, reading.blown_up) == (None, None)


def test_the_optimum_is_the_median_on_a_log_axis_of_what_is_not_flat():
    readings = [read_ramp(valley(lowest)) for lowest in (1e-3, 1e-1, 1e-2)]
    flat = read_ramp(ramp([2.3] * POINTS))
    assert range_test_optimum([*readings, flat]) == pytest.approx(readings[2].optimum)
    assert range_test_optimum(readings[:2]) == pytest.approx(math.sqrt(readings[0].optimum * readings[1].optimum))
    assert range_test_optimum([flat]) is None
    assert range_test_optimum([]) is None


def test_the_ceiling_is_the_lowest_lr_that_blew_up_in_any_test():
    readings = [read_ramp(valley(lowest)) for lowest in (0.1, 0.01)]
    assert ceiling(readings) == readings[1].blown_up
    assert ceiling([read_ramp(ramp([2.3] * POINTS))]) is None


def test_repeats_disagree_past_half_a_decade():
    readings = {lowest: read_ramp(valley(lowest)) for lowest in (0.01, 0.02, 0.05)}
    assert not disagree([readings[0.01], readings[0.02]])
    assert disagree([readings[0.01], readings[0.05]])
    assert not disagree([readings[0.01], read_ramp(ramp([2.3] * POINTS))])


def sigmoid_fall(lr: float) -> float:
    """Fall from 2.3 to 0.3, and blow up from 0.5 on; the middle of the bottom is at 0.127."""
    return 2.3 - 2 / (1 + math.exp(-4 * (math.log10(lr) + 2))) + max(0.0, (lr / 0.5) ** 3 - 1)


FALL = [sigmoid_fall(lr) for lr in LRS]


def test_the_undisturbed_case_reads_as_it_should():
    lrs = np.geomspace(1e-5, 10, POINTS).tolist()
    reading = read_ramp(Ramp("case", tuple(lrs), tuple(map(sigmoid_fall, lrs))))
    assert reading.optimum == pytest.approx(0.127, rel=0.001)
    assert reading.left_out == ()


@pytest.mark.parametrize("first", [math.inf, math.nan, -math.inf, 230.0, 1e12, -1e9])
def test_an_absurd_first_loss_does_not_move_the_optimum(first):
    reading = read_ramp(ramp([first, *FALL[1:]]))
    assert abs(math.log10(reading.optimum / 0.127)) < 0.08
    assert reading.left_out == (0,)
    assert reading.blown_up == read_ramp(ramp(FALL)).blown_up


@given(
    st.lists(
        st.tuples(st.integers(0, 170), st.sampled_from([math.inf, math.nan, 1e3, 1e9, -1e9])),
        max_size=8,
        unique_by=lambda one: one[0] // 6,
    ),
    st.integers(0, 9),
)
def test_losses_that_are_far_off_are_left_out_and_counted_wherever_they_come(bad, seed):
    plain = valley(0.03, noise=0.02, seed=seed)
    losses = list(plain.losses)
    for place, loss in bad:
        losses[place] = loss
    reading = read_ramp(ramp(losses))
    assert reading.left_out == tuple(sorted(place for place, _ in bad))
    assert abs(math.log10(reading.optimum / read_ramp(plain).optimum)) < 0.05


def test_a_test_that_begins_with_a_few_infinite_losses_is_read():
    reading = read_ramp(ramp([math.inf] * 12 + FALL[12:]))
    assert abs(math.log10(reading.optimum / 0.127)) < 0.08
    assert len(reading.left_out) == 12


@given(st.floats(-4, 0), st.floats(0, 0.05), st.integers(0, 99))
def test_an_undisturbed_curve_leaves_nothing_out_and_its_optimum_reads_as_it_always_did(where, noise, seed):
    plain = valley(10**where, noise=noise, seed=seed)
    assert implausible(plain.losses) == ()
    now, before = read_ramp(plain), read_ramp(plain, FIRST_RULES)
    assert (now.lowest, now.optimum, now.smoothed) == (before.lowest, before.optimum, before.smoothed)


@given(st.sampled_from([2.0**n for n in range(-30, 31)]), st.floats(0, 0.05), st.integers(0, 99))
def test_a_reading_does_not_depend_on_the_unit_of_the_loss(factor, noise, seed):
    plain = valley(0.03, noise=noise, seed=seed)
    scaled, once = read_ramp(ramp([factor * loss for loss in plain.losses])), read_ramp(plain)
    assert (scaled.lowest, scaled.optimum, scaled.blown_up, scaled.edge) == (
        once.lowest,
        once.optimum,
        once.blown_up,
        once.edge,
    )


@given(st.floats(-20, 20), st.integers(0, 99))
def test_a_constant_that_is_added_to_the_loss_moves_no_optimum(shift, seed):
    plain = valley(0.03, noise=0.01, seed=seed)
    shifted, once = read_ramp(ramp([loss + shift for loss in plain.losses])), read_ramp(plain)
    assert shifted.lowest == once.lowest
    assert shifted.optimum == pytest.approx(once.optimum, rel=0.05)  # a loss at the border may change sides


@given(st.floats(-0.29, 3), st.integers(0, 99))
def test_blown_up_is_never_before_a_quarter_of_the_fall_nor_after_the_start(shift, seed):
    reading = read_ramp(ramp([loss + shift for loss in valley(0.03, noise=0.01, seed=seed).losses]))
    values, at = reading.smoothed, LRS.index(reading.blown_up)
    first, low = np.mean(values[:30]), min(values)
    best = values.index(low)
    assert all(value <= max(4 * low, low + (first - low) / 4) or value <= first for value in values[best:at])
    assert values[at] > low + (first - low) / 4
    assert all(value <= first for value in values[best:at])


def test_a_loss_that_can_fall_only_little_blows_up_where_it_is_back_at_its_start():
    losses = [
        2.3 - 1.5 * math.exp(-((math.log10(lr) + 1) ** 2) * 4) + 20 * max(0.0, math.log10(lr) + 0.5) for lr in LRS
    ]
    reading = read_ramp(ramp(losses))
    at = LRS.index(reading.blown_up)
    assert reading.smoothed[at] > 2.3 >= reading.smoothed[at - 1]
    assert reading.blown_up < read_ramp(ramp(losses), FIRST_RULES).blown_up


def test_a_loss_near_zero_does_not_blow_up_by_its_noise():
    rng = np.random.default_rng(0)
    x = np.log10(LRS)
    squares = 1e-4 + 1 / (1 + np.exp(6 * (x + 2))) + np.abs(rng.normal(0, 1e-3, POINTS)) + np.exp(9 * (x - 0.3))
    reading = read_ramp(ramp(squares))
    assert reading.blown_up > 1 > 0.5 > reading.optimum > 0.05


def test_a_spike_of_a_likelihood_is_no_blow_up_and_a_loss_that_stays_up_is_one():
    losses = np.array(FALL) - 3.0
    spiked = losses.copy()
    place = next(n for n, lr in enumerate(LRS) if lr > 0.15)
    spiked[place : place + 2] = 200.0
    once, again = read_ramp(ramp(losses)), read_ramp(ramp(spiked))
    assert again.blown_up == pytest.approx(once.blown_up, rel=0.1)
    fall = losses[0] - losses.min()
    at = LRS.index(once.blown_up)
    assert once.smoothed[at] > losses.min() + 0.49 * fall
    assert once.smoothed[at - 3] < losses[0]
