"""Spaces: what is in them, what is drawn from them, and how much of them is left."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lrsearch.errors import PolicyError, SpaceError
from lrsearch.schedules import COS, FIX, HALFCOS, NSTEP, RAMP, SIN, STEP, TRI, WARMUP, parse
from lrsearch.spaces import Choice, Fractions, Interval, Space
from lrsearch.spaces.space import FORMS as MAPPED
from lrsearch.spaces.space import STANDARD_FORMS

TABLES = json.loads((Path(__file__).parents[1] / "golden" / "lrbench_policies.json").read_text())["rows"]
STANDARD = Space.standard(horizon=10_000, epoch=600)
FORMS = pytest.mark.parametrize("form", MAPPED)


@pytest.mark.parametrize("row", TABLES, ids=lambda row: f"{row['policy']} {row['horizon']}")
def test_the_standard_space_contains_every_policy_of_lrbench_s_tables(row):
    space = Space.standard(horizon=row["horizon"], epoch=row["epoch"])
    policy = parse(row["policy"])
    assert policy in space
    again = space.build(lambda name, axis: space.values(policy)[name])
    assert np.allclose(again.curve(row["horizon"]), policy.curve(row["horizon"]), rtol=1e-9, atol=0)


def test_the_tables_name_44_policies_of_12_functions():
    assert len(TABLES) == 44
    assert len({row["policy"].partition("(")[0] for row in TABLES}) == 12


@FORMS
def test_every_sample_is_in_the_space_and_names_its_own_values(form):
    space, rng = Space.standard(form, horizon=20_000, epoch=390.625), np.random.default_rng(1)
    for _ in range(200):
        policy = space.sample(rng)
        assert policy.form == form
        assert policy in space
        assert parse(str(policy)) == policy
        values = space.values(policy)
        again = space.build(lambda name, axis, values=values: values[name])
        assert np.allclose(again.curve(2000), policy.curve(2000), rtol=1e-9, atol=0), policy


@FORMS
def test_every_sample_can_be_rounded_and_stays_near_the_space(form):
    space, rng = Space.standard(form, horizon=1000, epoch=100), np.random.default_rng(2)
    for _ in range(300):
        rounded = space.sample(rng).rounded()
        before = space.coordinates(rounded)
        assert before["peak"] <= space.peak.high * 1.001
        assert rounded.rounded() == rounded


def test_all_functions_are_drawn_equally_often():
    rng = np.random.default_rng(3)
    drawn = [STANDARD.sample(rng).form for _ in range(3000)]
    expected = 3000 / len(STANDARD.forms)
    assert all(abs(drawn.count(form) - expected) < 4 * math.sqrt(expected) for form in STANDARD.forms)


def test_the_same_seed_draws_the_same_policies():
    one, two = ([STANDARD.sample(np.random.default_rng(4)) for _ in range(3)] for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("policy", "inside"),
    [
        (TRI(k0=0.006, k1=0.06, l=2000), True),
        (TRI(k0=0, k1=0.06, l=2000), True),
        (TRI(k0=0, k1=11, l=2000), False),
        (TRI(k0=1e-9, k1=0.06, l=2000), False),
        (TRI(k0=0, k1=0.06, l=10_001), False),
        (TRI(k0=0, k1=1, l=49), False),
        (TRI(k0=0, k1=10, l=50), True),
        (FIX(k0=1e-6), True),
        (FIX(k0=9e-7), False),
        (FIX(k0=0), False),
        (HALFCOS(k0=1, l=10_000), True),
        (HALFCOS(k0=1, l=9000), False),
        (RAMP(k0=1e-6, k1=1, l=300), False),
        (WARMUP(policy=HALFCOS(k0=1, l=9500), l=500), True),
        (WARMUP(policy=HALFCOS(k0=1, l=9400), l=500), False),
        (WARMUP(policy=FIX(k0=1), l=500), False),
        (STEP(k0=1, gamma=0.1, l=1000), False),
        (STEP(k0=1, gamma=0.5, l=1000), True),
        (NSTEP(k0=1, gamma=0.9, l=[1, 5000]), False),
        (NSTEP(k0=1, gamma=0.9, l=[1000, 2000, 3000, 4000, 5000, 6000]), True),
        (NSTEP(k0=1, gamma=0.9, l=[1000, 2000, 3000, 4000, 5000, 6000, 7000]), False),
    ],
    ids=str,
)
def test_a_policy_is_in_the_space_exactly_if_its_coordinates_are(policy, inside):
    assert (policy in STANDARD) is inside


def test_a_function_outside_the_space_is_refused_with_the_nearest_name():
    with pytest.raises(SpaceError, match="no LR function to search 'TRIEX'; did you mean 'TRIEXP'"):
        Space.standard("TRIEX", horizon=10, epoch=1)
    with pytest.raises(SpaceError, match="RAMP has no natural coordinates"):
        Space.standard("RAMP", horizon=10, epoch=1)
    small = Space.standard("SIN2", "FIX", horizon=10, epoch=1)
    with pytest.raises(SpaceError, match="no LR function in this space 'SIN'; did you mean 'SIN2'"):
        small.values(SIN(k0=0, k1=1, l=5))


def test_names_are_read_in_any_case_and_once():
    assert Space.standard(" tri", "Tri", "warmup", horizon=10, epoch=1).forms == ("TRI", "WARMUP(HALFCOS)")


@pytest.mark.parametrize("horizon", [0, -5, 1.5, True, "10", None, math.nan])
def test_a_bad_horizon_is_refused(horizon):
    with pytest.raises(SpaceError, match="horizon must be a whole number of steps, 1 or more, got"):
        Space.standard(horizon=horizon, epoch=1)


@pytest.mark.parametrize("epoch", [0, -1, math.nan, math.inf, "10", None, True])
def test_a_bad_epoch_is_refused(epoch):
    with pytest.raises(SpaceError, match="epoch must be a number of steps above 0, got"):
        Space.standard(horizon=10, epoch=epoch)


@pytest.mark.parametrize("peak", [(0, 1), (1, 0.1), (math.nan, 1), (0.1, math.inf), (-1, 1)])
def test_a_bad_range_of_peaks_is_refused(peak):
    with pytest.raises(SpaceError, match="an interval needs finite 0 < low <= high"):
        Space.standard(horizon=10, epoch=1, peak=peak)


def test_the_key_tells_spaces_apart_and_nothing_else():
    spaces = [
        STANDARD,
        replace(STANDARD, horizon=9999),
        replace(STANDARD, epoch=601),
        Space.standard("TRI", horizon=10_000, epoch=600),
        STANDARD.narrowed(STANDARD.peak.within(0.1, 1), STANDARD.ratio, lambda form, name, axis: axis),
        STANDARD.narrowed(STANDARD.peak, STANDARD.ratio, lattice),
    ]
    assert len({space.key for space in spaces}) == len(spaces)
    assert Space.standard(horizon=10_000, epoch=600).key == STANDARD.key


def same(form, name, axis):
    return axis


def lattice(form, name, axis):
    return axis.at([1, 2, 2.5, 5, 7, 1000]) if name == "cycles" else axis


def narrower(form, name, axis):
    if isinstance(axis, Fractions):
        return Fractions(Choice((1, 2, 3)), axis.each.within(0.3, 0.9))
    if isinstance(axis, Interval) and axis.low < axis.high:
        return axis.within(axis.low * 2, axis.high / 2)
    return axis


def narrowest(form, name, axis):
    if isinstance(axis, Fractions):
        return Fractions(Choice((2,)), axis.each.within(0.5, 0.9))
    if isinstance(axis, Choice):
        return Choice((True,))
    if axis.low < axis.high:
        return axis.within(axis.low * 4, axis.high / 4)
    return axis


@pytest.mark.parametrize("own", [same, lattice])
def test_sampled_cycles_lie_on_the_lattice(own):
    space, rng = STANDARD.narrowed(STANDARD.peak, STANDARD.ratio, own), np.random.default_rng(5)
    seen = set()
    for _ in range(600):
        policy = space.sample(rng)
        assert policy in space
        cycles = space.coordinates(policy).get("cycles")
        if cycles is not None:
            seen.add(round(cycles, 9))
    assert (seen == {1, 2, 2.5, 5, 7}) is (own is lattice)
    assert (TRI(k0=0, k1=1, l=2000) in space, TRI(k0=0, k1=1, l=2100) in space) == (True, own is same)


def test_the_raw_space_has_log_volume_0_and_narrowing_never_adds_to_it():
    steps = [
        STANDARD,
        STANDARD.narrowed(STANDARD.peak.within(1e-3, 1), STANDARD.ratio, same),
        STANDARD.narrowed(STANDARD.peak.within(1e-3, 1), STANDARD.ratio.within(1e-3, 0.3), same),
        STANDARD.narrowed(STANDARD.peak.within(1e-3, 1), STANDARD.ratio.within(1e-3, 0.3), narrower),
        STANDARD.narrowed(STANDARD.peak.within(1e-2, 1), STANDARD.ratio.within(1e-2, 0.3), narrowest),
    ]
    volumes = [space.log_volume(STANDARD) for space in steps]
    assert volumes[0] == 0
    assert volumes[1] == pytest.approx(math.log10(3 / 7))
    assert all(before > after for before, after in pairwise(volumes))


def test_fewer_functions_are_less_volume():
    half = replace(STANDARD, branches=STANDARD.branches[: len(STANDARD.branches) // 2])
    assert half.log_volume(STANDARD) == pytest.approx(math.log10(len(half.branches) / len(STANDARD.branches)))
    assert replace(STANDARD, branches=()).log_volume(STANDARD) == -math.inf


@pytest.mark.parametrize("own", [same, narrower, narrowest])
@pytest.mark.parametrize("forms", [("TRI", "FIX"), ("NSTEP",), ("STEP", "INV", "WARMUP"), ()])
def test_the_log_volume_is_the_share_of_raw_samples_that_remain(own, forms):
    raw = Space.standard(*forms, horizon=10_000, epoch=600)
    small = raw.narrowed(raw.peak.within(1e-5, 3), raw.ratio.within(1e-4, 0.5), own)
    rng, n = np.random.default_rng(6), 4000
    result = sum(raw.sample(rng) in small for _ in range(n)) / n
    share = 10 ** small.log_volume(raw)
    assert abs(result - share) < 4 * math.sqrt(share * (1 - share) / n) + 1e-9


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(2, 3, (2, 3)), (0.1, 3, (1, 3)), (3, 99, (3, 10)), (0.1, 99, (1, 10)), (20, 30, (10, 10)), (0.1, 0.2, (1, 1))],
)
def test_an_interval_narrows_to_what_lies_inside_it(low, high, expected):
    inside = Interval(1, 10).within(low, high)
    assert (inside.low, inside.high) == expected


def test_a_mark_is_taken_on_the_interval_s_own_scale():
    marked = Interval(1, 100).at([1, 10, 100])
    assert [marked.snap(value) for value in (3.1, 3.2, 31, 32, 1, 100)] == [1, 10, 10, 100, 1, 100]
    assert Interval(0, 100, log=False).at([0, 10, 100]).snap(54) == 10
    assert Interval(1, 100).snap(31) == 31


def test_marks_outside_are_dropped_and_without_any_the_interval_stays():
    marked = Interval(1, 10).at([0.5, 2, 8, 11])
    assert (marked.low, marked.high, marked.lattice) == (2, 8, (2, 8))
    assert Interval(1, 10).at([0.5, 11]) == Interval(1, 10)


def test_draws_cover_an_interval_evenly_on_its_scale():
    rng = np.random.default_rng(7)
    drawn = np.array([Interval(1e-4, 1).draw(rng) for _ in range(4000)])
    counts, _ = np.histogram(np.log10(drawn), bins=4, range=(-4, 0))
    assert counts.sum() == 4000
    assert np.all(np.abs(counts - 1000) < 4 * math.sqrt(750))


def test_equal_draws_of_milestones_become_one():
    space = Space.standard("NSTEP", horizon=100, epoch=10)
    given = {
        "function": "NSTEP",
        "peak": 1.0,
        "NSTEP.milestones": 3,
        "NSTEP.decay": 0.25,
        "NSTEP.milestones1": 0.5,
        "NSTEP.milestones2": 0.9,
        "NSTEP.milestones3": 0.5,
    }
    assert space.build(lambda name, axis: given[name]) == NSTEP(k0=1, gamma=0.5, l=[50, 90])


def test_cos_is_at_its_floor_after_a_whole_number_of_lengths():
    assert COS(k0=0, k1=1, l=2000).coordinates(10_000)["cycles"] == 2.5
    assert COS(k0=0, k1=1, l=2000)(10_000) == 0


CHAINED = "CHAIN(policies=[TRI(k0=0.01, k1=0.1, l=3ep), FIX(k0=0.01)], at=[0.8dur])"


def test_whole_policies_are_searched_beside_lr_functions_bound_to_the_run():
    space = Space.standard("TRI", CHAINED, "ASLR(k0=0.123456)", horizon=1000, epoch=50)
    chain = parse(CHAINED).bind(horizon=1000, epoch=50)
    aslr = parse("ASLR(k0=0.123456)")
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(60)]
    assert {policy.name for policy in drawn} == {"TRI", "CHAIN", "ASLR"}
    assert {policy for policy in drawn if policy.name != "TRI"} == {chain, aslr}
    for policy in (chain, aslr):
        assert policy in space
        assert space.values(policy) == {"function": str(policy)}
        assert space.rounded(policy) == policy
    assert parse("CHAIN(policies=[FIX(k0=1), FIX(k0=0.01)], at=[800])") not in space
    assert space.narrowed(Interval(0.01, 0.1), space.ratio, lambda form, name, axis: axis).forms == space.forms


def test_a_whole_policy_keeps_its_place_when_the_space_shrinks():
    space = Space.standard("FIX", CHAINED, horizon=1000, epoch=50)
    smaller = space.narrowed(Interval(0.001, 0.01), space.ratio, lambda form, name, axis: axis)
    assert smaller.log_volume(space) == pytest.approx(math.log10((1 / 7 + 1) / 2))


def test_the_standard_space_is_lrbench_s_table_and_the_strong_default():
    assert Space.standard(horizon=10, epoch=5).forms == STANDARD_FORMS
    assert set(STANDARD_FORMS) < set(MAPPED)
    assert {"REX", "LINEAR", "ONECYCLE", "ONECYCLE2", "SGDR", "WSD", "INVSQRT", "COOLDOWN", "FRACTAL"} < set(MAPPED)


@pytest.mark.parametrize("text", ["TRI(k0=0.1)", "FIX(k0=2", "CHAIN(policies=[FIX(k0=1)], at=[5])"])
def test_a_broken_policy_among_the_functions_is_refused_where_it_breaks(text):
    with pytest.raises(PolicyError, match=r"at character \d+ of"):
        Space.standard(text, horizon=1000, epoch=50)


def test_policies_themselves_can_be_given_and_what_cannot_be_searched_by_name_says_how():
    assert Space.standard("TRI", FIX(k0=0.1), horizon=100, epoch=10).forms == ("TRI", "FIX(k0=0.1)")
    with pytest.raises(SpaceError, match=r"CHAIN has no natural coordinates.*give whole policies, such as CHAIN\("):
        Space.standard("chain", horizon=100, epoch=10)
    with pytest.raises(SpaceError, match="SIG has no natural coordinates"):
        Space.standard("SIG", horizon=100, epoch=10)


def test_a_space_as_json_has_every_range_that_its_policies_are_built_of():
    told = STANDARD.to_json()
    assert json.loads(json.dumps(told)) == told
    asked = {}

    def draw(name, axis):
        value = axis.draw(rng)
        asked[name] = axis
        return value

    rng = np.random.default_rng(0)
    for _ in range(500):
        STANDARD.build(draw)
    ranges = told["ranges"]
    listed = {name for name, axis in asked.items() if ranges.get(name) == axis.to_json()}
    fractions = {name for name in asked if ".milestones" in name}
    assert listed | fractions == set(asked)
    assert ranges["NSTEP.milestones"]["each"] == {"low": 0.01, "high": 0.99, "log": False}
    assert told["horizon"] == 10_000
