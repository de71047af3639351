"""Searches on one axis: laws of what they ask for next."""

import math

import numpy as np
import pytest

from lrsearch.compare.searches import at_random, declared, halved, outside, reaching, tpe, within
from lrsearch.heuristics import Evidence, Probe, prune
from lrsearch.spaces import Interval, Space

AXIS = Interval(1e-5, 1e2)
RAW = Space.standard("FIX", horizon=10_000, epoch=100, peak=(1e-5, 1e2))
PROBES = tuple(Probe(f"p{n}", 10.0 ** (n - 4), 0, loss) for n, loss in enumerate((2.0, 1.0, 0.5, 1.0, 2.0)))
PRUNED = prune(RAW, Evidence(2.3, 100, (), PROBES))


def driven(suggest, score, runs):
    tried = []
    for _ in range(runs):
        lr = suggest(tried)
        tried.append((lr, score(lr)))
    return tried


def bell(best, width=0.5):
    return lambda lr: math.exp(-(((math.log10(lr) - best) / width) ** 2))


def test_a_grid_goes_from_high_to_low():
    assert [lr for lr, _ in driven(declared([1, 2, 3]), lambda lr: 0.0, 3)] == [3, 2, 1]


def test_random_draws_depend_on_seed_and_place_alone_and_cover_the_axis():
    first, again = (driven(at_random(AXIS, 3), bell(0), 300) for _ in range(2))
    assert first == again != driven(at_random(AXIS, 4), bell(0), 300)
    logs = np.log10([lr for lr, _ in first])
    assert -5 <= logs.min() < -4.5 < 1.5 < logs.max() <= 2
    assert np.mean(logs) == pytest.approx(-1.5, abs=0.4)


def test_tpe_repeats_and_starts_where_it_is_told():
    first, again = (driven(tpe(AXIS, 1, first=0.02), bell(-2), 12) for _ in range(2))
    assert first == again
    assert first[0][0] == pytest.approx(0.02)
    assert all(lr in AXIS for lr, _ in first)


@pytest.mark.parametrize("best", [-3.5, 0.5])
def test_tpe_hears_how_its_runs_ended(best):
    last = np.log10([lr for lr, _ in driven(tpe(AXIS, 2), bell(best), 40)[-15:]])
    assert abs(np.median(last) - best) < 0.5


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("best", np.arange(-3.2, -1.8, 0.1))
def test_a_best_in_the_range_is_found_within_a_fifth_of_a_decade_in_six_runs(best, seed):
    tried = driven(within(PRUNED, seed), bell(best), 6)
    assert tried[0][0] == PRUNED.forecast.lr
    assert abs(math.log10(max(tried, key=lambda one: one[1])[0]) - best) < 0.2


@pytest.mark.parametrize("best", [-5.0, -4.2, -1.2, -0.4, 1.0])
def test_a_best_outside_of_the_range_is_found_in_the_end(best):
    assert 10**best not in PRUNED.space.peak
    tried = driven(within(PRUNED, 0), bell(best), 24)
    assert abs(math.log10(max(tried, key=lambda one: one[1])[0]) - best) < 0.3


def test_every_eighth_run_comes_from_outside():
    tried = driven(within(PRUNED, 0), bell(PRUNED.forecast.log10_lr), 24)
    assert [n for n, (lr, _) in enumerate(tried) if lr not in PRUNED.space.peak] == [7, 15, 23]


def test_at_most_two_stored_lrs_inside_the_range_come_after_the_forecast():
    peak = PRUNED.space.peak
    stored = (peak.high * 10, peak.low * 1.1, peak.high / 1.1, peak.low * 1.2)
    tried = driven(within(PRUNED, 0, stored), bell(-2), 4)
    assert [lr for lr, _ in tried[:3]] == [PRUNED.forecast.lr, stored[1], stored[2]]
    assert tried[3][0] not in stored


def test_a_refusal_searches_the_whole_axis_from_its_middle():
    refused = prune(RAW, Evidence(2.3, 100))
    assert refused.refusal
    tried = driven(within(refused, 0), bell(1.0), 20)
    assert tried[0][0] == pytest.approx(10**-1.5)
    assert abs(math.log10(max(tried, key=lambda one: one[1])[0]) - 1.0) < 0.3


def test_no_lr_is_suggested_twice():
    for best in (-2.5, -1.0, -4.0):
        lrs = [round(math.log10(lr), 6) for lr, _ in driven(within(PRUNED, 1), bell(best), 40)]
        assert len(set(lrs)) == 40


def test_of_equal_gaps_an_even_seed_goes_down_and_an_odd_one_up():
    tried = [(0.1, 1.0)]
    assert halved(tried, Interval(0.001, 10), 0) == pytest.approx(0.01)
    assert halved(tried, Interval(0.001, 10), 1) == pytest.approx(1.0)


def test_a_best_at_the_edge_of_what_was_tried_is_extended_before_it_is_refined():
    assert halved([(0.01, 0.5), (1.0, 0.9)], Interval(0.001, 3.0), 0) == pytest.approx(math.sqrt(3.0))
    assert halved([(0.01, 0.9), (1.0, 0.5)], Interval(0.001, 3.0), 0) == pytest.approx(math.sqrt(1e-5))
    within_noise = [(0.01, 0.9), (1.0, 0.896)]
    assert halved(within_noise, Interval(0.005, 30.0), 0) == pytest.approx(math.sqrt(30))


def test_outside_never_is_inside():
    rng, peak = np.random.default_rng(0), Interval(0.001, 0.1)
    for _ in range(100):
        tried = [(10**at, 0.0) for at in rng.uniform(-5, 2, rng.integers(0, 9))]
        assert outside(tried, peak, AXIS, 0) not in peak
        assert outside(tried, peak, AXIS, 0) in AXIS


def test_a_range_reaches_beyond_the_end_that_the_best_leans_on_and_never_beyond_the_axis():
    peak = Interval(0.001, 0.1)
    assert reaching([(0.09, 1.0)], peak, AXIS).high == pytest.approx(0.09 * 10**0.8)
    assert reaching([(0.0011, 1.0)], peak, AXIS).low == pytest.approx(0.0011 / 10**0.8)
    assert reaching([(0.01, 1.0), (0.09, 0.5)], peak, AXIS) == peak
    assert reaching([(50.0, 1.0)], peak, AXIS).high == 100
    assert reaching([], peak, AXIS) == peak
