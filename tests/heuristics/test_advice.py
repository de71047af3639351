"""What range tests advise: every rule reads what it says, and scatters as it says."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.heuristics import Ramp
from lrsearch.heuristics.advice import SUGGESTING, advise
from lrsearch.heuristics.range_test import read_ramp

LRS = tuple(10 ** np.linspace(-6, 1, 300))


def valley(optimum=-1.0, noise=0.0, seed=0):
    """A curve that is flat, falls to its lowest at a decade, and blows up."""
    rng, decades = np.random.default_rng(seed), np.log10(LRS)
    losses = (
        2.3 - 1.6 / (1 + np.exp(-5 * (decades - optimum + 1))) + np.exp(np.minimum(9 * (decades - optimum - 0.3), 6))
    )
    return Ramp(f"run {seed}", LRS, tuple(losses + noise * rng.normal(size=len(LRS))))


def by_rule(advice):
    return {one.rule: one for one in advice.suggestions}


@given(optimum=st.floats(-3, 0), noise=st.floats(0, 0.05), seed=st.integers(0, 99))
def test_suggestions_move_with_the_curve_and_keep_their_ratios(optimum, noise, seed):
    result = by_rule(advise([valley(optimum, noise, seed)]))
    assert abs(math.log10(result["minimum"].lr) - optimum) < 0.5
    assert abs(math.log10(result["bottom"].lr) - optimum) < 0.5
    assert result["minimum / 10"].lr == pytest.approx(result["minimum"].lr / 10, rel=0.01)
    for rule, factor in (
        ("bottom / 5", 5),
        ("base, 1/3", 3),
        ("base, 1/4", 4),
        ("start, 1/10", 10),
        ("start, 1/20", 20),
    ):
        assert result[rule].lr == pytest.approx(result["bottom"].lr / factor, rel=0.01)
    for one in result.values():
        assert 0 < one.low <= one.lr <= one.high


def test_the_steepest_place_lies_on_the_descent_and_the_valley_before_the_minimum():
    result = by_rule(advise([valley()]))
    assert abs(math.log10(result["steepest"].lr) - -2) < 0.2
    assert result["valley"].lr < result["minimum"].lr
    assert result["slide"].lr > result["steepest"].lr


def test_the_default_is_the_rule_that_scatters_least():
    assert advise([valley()]).default.rule == "bottom"
    assert min(SUGGESTING, key=lambda rule: rule.scatter).name == "bottom"


def test_from_three_repeats_on_the_interval_is_that_of_the_repeats():
    apart = [valley(-1.1, seed=0), valley(-1.0, seed=1), valley(-0.9, seed=2)]
    three = advise(apart).default
    decades = [math.log10(reading.optimum) for reading in advise(apart).readings]
    assert three.lr == pytest.approx(10 ** np.median(decades), rel=0.01)
    assert math.log10(three.high / three.lr) == pytest.approx(2 * np.std(decades, ddof=1), abs=0.01)
    one = advise(apart[:1]).default
    assert math.log10(one.high / one.lr) == pytest.approx(0.16, abs=0.01)


def test_repeats_far_apart_are_said_to_disagree_and_flat_ones_are_left_out():
    assert advise([valley(-2), valley(-1)]).verdict == "disagree"
    flat = Ramp("flat", LRS, (2.3,) * len(LRS))
    mixed = advise([flat, valley(-1)])
    assert (mixed.verdict, mixed.readings[0].lowest) == ("found", None)
    assert mixed.default == advise([valley(-1)]).default
    nothing = advise([flat, Ramp("none", (), ()), Ramp("nan", LRS, (math.inf,) * len(LRS))])
    assert (nothing.verdict, nothing.suggestions, nothing.default) == ("flat", (), None)


@pytest.mark.parametrize("points", range(7))
def test_curves_of_no_point_or_a_few_have_a_smoothed_loss_for_each(points):
    ramp = Ramp("few", LRS[:points], tuple(range(9, 9 - points, -1)))
    result = advise([ramp])
    assert len(result.readings[0].smoothed) == points
    assert result.verdict in ("found", "edge", "flat")


def test_curves_of_a_few_points_and_of_ones_that_end_in_inf_are_read():
    short = Ramp("short", (0.01, 0.1, 1.0), (2.0, 1.0, 5.0))
    assert advise([short]).verdict in ("found", "edge", "flat")
    ended = Ramp("ended", LRS[:270], (*valley().losses[:269], math.inf))
    json.dumps(advise([ended]).to_json(), allow_nan=False)
    assert advise([ended]).verdict == "found"


def cut(ramp: Ramp, first: int, last: int) -> Ramp:
    return Ramp(ramp.run, ramp.lrs[first:last], ramp.losses[first:last])


def test_a_range_that_ends_before_the_loss_turns_is_an_edge_and_says_which_end_to_move():
    whole = valley()
    turned = read_ramp(whole).lowest
    for last in range(150, LRS.index(turned) - 10, 5):
        advice = advise([cut(whole, 0, last)])
        assert advice.verdict in ("edge", "flat"), LRS[last]
        assert advice.suggestions == ()
    assert advice.edge == "high"
    assert advice.notes[0].endswith(f"at the last learning rate, {LRS[last - 1]:.2g}: move the high end up")
    assert advice.to_json()["edge"] == "high"


def test_a_range_that_begins_past_the_optimum_is_an_edge_at_its_low_end():
    whole = valley()
    begin = next(n for n, lr in enumerate(LRS) if lr > 0.25)
    advice = advise([cut(whole, begin, 300)])
    assert (advice.verdict, advice.edge, advice.suggestions) == ("edge", "low", ())
    assert "move the low end down" in advice.notes[0]


@pytest.mark.parametrize("level", [0.0, 1e-9, 2.3, 1e6, -5.0])
def test_losses_that_are_all_equal_are_flat(level):
    advice = advise([Ramp("equal", LRS, (level,) * len(LRS))])
    assert (advice.verdict, advice.edge, advice.notes) == ("flat", None, ())


def test_a_curve_that_stays_at_chance_and_then_blows_up_is_flat_and_no_edge():
    losses = tuple(2.3 if lr < 0.5 else 50.0 for lr in LRS)
    assert advise([Ramp("chance", LRS, losses)]).verdict == "flat"


def test_a_repeat_that_had_not_turned_does_not_pull_the_suggestion():
    whole, ended = valley(), cut(valley(0.5), 0, 235)
    advice = advise([whole, ended])
    assert advice.readings[1].edge == "high"
    assert advice.default == advise([whole]).default
    assert len(advice.notes) == 1


def test_noise_around_a_level_is_flat_whatever_the_level():
    verdicts = []
    for seed in range(100):
        noise = np.random.default_rng(seed).normal(size=len(LRS))
        verdicts += [advise([Ramp("noise", LRS, tuple(level + noise))]).verdict for level in (0.0, 3.0, -3.0)]
    assert verdicts.count("flat") >= 0.98 * len(verdicts)


@pytest.mark.parametrize("level", [0.0, 3.0, -3.0])
def test_a_fall_that_scatter_hides_is_flat_and_the_note_says_what_would_do(level):
    """Squared errors of one sample: they scatter by more than they are."""
    squares = np.random.default_rng(0).normal(size=len(LRS)) ** 2
    falling = 3.0 - 2.0 / (1 + np.exp(-5 * (np.log10(LRS) + 2)))
    advice = advise([Ramp("noisy", LRS, tuple(level + falling * squares))])
    assert advice.verdict == "flat"
    assert advice.notes[0].startswith("the losses scatter too much to tell a fall of ")
    assert advice.notes[0].endswith("make the test longer, or take each loss over more samples")
    average = falling * (1 + 0.02 * squares)
    assert advise([Ramp("averaged", LRS, tuple(level + average))]).notes != advice.notes


def test_a_curve_that_stays_where_it_is_has_no_fall_to_be_hidden():
    for noise in (0.0, 0.02):
        losses = 2.3 + noise * np.random.default_rng(1).normal(size=len(LRS))
        assert advise([Ramp("chance", LRS, tuple(losses))]).notes == ()


def test_a_training_that_logs_no_train_loss_suggests_nothing_and_says_why():
    advice = advise([Ramp("silent", (), ()), Ramp("silent", (), ())])
    assert (advice.verdict, advice.suggestions, advice.edge) == ("flat", (), None)
    assert set(advice.notes) == {"the training logs no train_loss, so a range test shows nothing"}
