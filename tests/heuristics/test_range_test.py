"""Reading a range test on curves whose truth is known."""

import math

import numpy as np
import pytest

from lrsearch.heuristics import Ramp
from lrsearch.heuristics.range_test import ceiling, centre, disagree, read_ramp

POINTS = 300
RATES = tuple(np.geomspace(1e-6, 10, POINTS).tolist())


def ramp(losses, run="ramp"):
    return Ramp(run, RATES, tuple(losses))


def valley(lowest: float, blow_up: float = 1.0, noise: float = 0.0, seed: int = 0) -> Ramp:
    """Fall from 2.3 to 0.3 at a learning rate, then rise; past `blow_up` decades more there is nothing finite."""
    x = np.log10(RATES) - math.log10(lowest)
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
def test_the_blow_up_is_the_first_rate_past_the_lowest_at_four_times_its_loss(lowest):
    reading = read_ramp(valley(lowest, blow_up=1.0))
    assert -0.2 < math.log10(reading.blown_up / lowest) - 0.667 < 0.01 or reading.blown_up > lowest
    at = RATES.index(reading.blown_up)
    assert reading.smoothed[at] > 4 * min(reading.smoothed) >= reading.smoothed[at - 1]
    assert reading.blown_up > reading.lowest


def test_a_curve_that_never_rises_has_no_blow_up():
    reading = read_ramp(ramp(np.linspace(2.3, 0.5, POINTS)))
    assert (reading.lowest, reading.blown_up) == (RATES[-1], None)


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
    first = next(n for n, rate in enumerate(RATES) if rate > 0.03)
    losses[first:] = [bad] * (POINTS - first)
    reading = read_ramp(ramp(losses))
    assert reading.lowest == pytest.approx(0.01, rel=0.6)
    assert reading.lowest < reading.blown_up <= RATES[first]
    assert reading.blown_up > 0.02


@pytest.mark.parametrize("losses", [[math.inf] * POINTS, [math.nan] * POINTS, []], ids=["all inf", "all nan", "none"])
def test_a_test_without_a_finite_loss_gives_nothing(losses):
    reading = read_ramp(ramp(losses))
    assert (reading.lowest, reading.blown_up) == (None, None)


def test_the_centre_is_the_median_on_a_log_axis_of_what_is_not_flat():
    readings = [read_ramp(valley(lowest)) for lowest in (1e-3, 1e-1, 1e-2)]
    flat = read_ramp(ramp([2.3] * POINTS))
    assert centre([*readings, flat]) == pytest.approx(readings[2].bottom)
    assert centre(readings[:2]) == pytest.approx(math.sqrt(readings[0].bottom * readings[1].bottom))
    assert centre([flat]) is None
    assert centre([]) is None


def test_the_ceiling_is_the_lowest_rate_that_blew_up_in_any_test():
    readings = [read_ramp(valley(lowest)) for lowest in (0.1, 0.01)]
    assert ceiling(readings) == readings[1].blown_up
    assert ceiling([read_ramp(ramp([2.3] * POINTS))]) is None


def test_repeats_disagree_past_half_a_decade():
    readings = {lowest: read_ramp(valley(lowest)) for lowest in (0.01, 0.02, 0.05)}
    assert not disagree([readings[0.01], readings[0.02]])
    assert disagree([readings[0.01], readings[0.05]])
    assert not disagree([readings[0.01], read_ramp(ramp([2.3] * POINTS))])
