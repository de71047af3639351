"""A flat space has the policies of its space, in the same parameters in every trial; a grid has each of its leaves."""

import math
from itertools import product

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

import lrsearch as lrs
from lrsearch.errors import SpaceError
from lrsearch.schedules import COS, FIX, NSTEP, SIN2, TRI
from lrsearch.spaces import Choice, Fractions, Interval, Space
from lrsearch.spaces.flat import is_conditional
from lrsearch.spaces.space import FORMS

RAW = Space.standard(*FORMS, horizon=10_000, epoch=600)


def smaller(form, name, axis):
    """Other ranges for each function, as a pruned space has them."""
    if isinstance(axis, Fractions):
        return Fractions(Choice(axis.counts.values[:3]), axis.each.within(0.2, 0.95))
    if name == "cycles" and isinstance(axis, Interval):
        return axis.at([1, 2, 2.5, 5]) if form == "TRI" else axis.within(1, 2 + len(form))
    return axis


SMALL = RAW.narrowed(RAW.peak.within(1e-3, 0.1), RAW.ratio.within(1e-4, 0.3), smaller)
SPACES = pytest.mark.parametrize("space", [RAW, SMALL], ids=["raw", "small"])


@SPACES
@pytest.mark.parametrize("form", FORMS)
def test_a_flat_space_has_the_policies_of_the_space_each_by_values_of_its_own(space, form):
    flat, rng = space.flat(), np.random.default_rng(3)
    own = Space(space.horizon, space.epoch, space.peak, space.ratio, (space.branch(form),))
    for _ in range(20):
        policy = own.sample(rng)
        assert policy in flat
        values = flat.values(policy)
        again = flat.build(lambda name, axis, values=values: values[name])
        assert np.allclose(again.curve(2000), policy.curve(2000), rtol=1e-9, atol=0), policy
        for name, axis in flat.hulls.items():
            assert values[name] in axis


@SPACES
def test_every_policy_of_a_flat_space_is_in_the_space(space):
    flat, rng = space.flat(), np.random.default_rng(4)
    drawn = [flat.sample(rng) for _ in range(600)]
    assert all(policy in space for policy in drawn)
    assert {policy.form for policy in drawn} == set(space.forms)


def test_every_draw_is_of_the_same_parameters():
    rng, flat = np.random.default_rng(5), SMALL.flat()
    names = []
    for _ in range(50):
        seen = []
        flat.build(lambda name, axis, seen=seen: seen.append(name) or axis.draw(rng))
        names.append(tuple(seen))
    assert set(names) == {("function", *flat.hulls)}


def test_a_coordinate_is_a_number_of_its_own_where_all_functions_have_the_same_range():
    flat = Space.standard("TRI", "COS", horizon=1000, epoch=50).flat()
    values = {"function": "COS", "peak": 0.1, "to_zero": 0.2, "ratio": 0.01, "cycles": 2.5}
    assert flat.build(lambda name, axis: values[name]) == COS(k0=0.001, k1=0.1, l=200)
    assert flat.values(COS(k0=0.001, k1=0.1, l=200)) == pytest.approx(values | {"to_zero": 0.25})


def test_a_flat_space_is_another_space_of_the_same_size():
    flat = SMALL.flat()
    assert flat.key != SMALL.key
    assert flat.key != RAW.flat().key
    assert flat.flat() is flat
    assert flat.log_volume(RAW) == SMALL.log_volume(RAW)
    assert set(flat.to_json()["ranges"]) == {"function", *flat.hulls}
    assert (
        flat.narrowed(flat.peak.within(0.01, 0.02), flat.ratio, lambda form, name, axis: axis).flat().peak.low == 0.01
    )


@pytest.mark.filterwarnings("ignore:Fixed parameter")  # one is outside of the ranges
def test_a_native_study_of_a_flat_space_starts_from_policies_and_takes_results(tmp_path):
    flat = Space.standard("SIN2", "NSTEP", "FIX", horizon=1000, epoch=50).flat()
    study = optuna.create_study()
    known = [SIN2(k0=0.001, k1=0.06, l=200), NSTEP(k0=0.1, gamma=0.5, l=[500, 700]), FIX(k0=99)]
    assert lrs.warm_start(study, flat, known) == 4
    suggested = []
    for _ in range(6):
        trial = study.ask()
        suggested.append(flat.suggest(trial))
        study.tell(trial, 1.0)
    assert suggested[:3] == known
    assert {frozenset(trial.params) for trial in study.trials} == {frozenset(["function", *flat.hulls])}
    built = flat.build(lambda name, axis: study.trials[1].params[name])
    assert built.curve(1000) == pytest.approx(known[1].curve(1000))


def test_which_spaces_are_conditional():
    made = {"horizon": 1000, "epoch": 50}
    assert is_conditional(Space.standard(**made))
    assert is_conditional(Space.standard("TRI", **made))  # no ratio where the floor is zero
    assert is_conditional(Space.standard("NSTEP", **made))
    assert not is_conditional(Space.standard("EXP", **made))
    assert not is_conditional(Space.standard("FIX(k0=0.1)", "FIX(k0=0.2)", **made))
    assert is_conditional(Space.standard("FIX(k0=0.1)", "EXP", **made))
    assert not is_conditional(RAW.flat())


# grids


def test_a_grid_has_each_policy_once():
    space = Space.standard("FIX", "TRI", horizon=1000, epoch=50, peak=(0.01, 1))
    grid = space.grid(3)
    peaks, cycles, ratios = (0.01, 0.1, 1), (0.5, math.sqrt(50), 100), (0, 1e-5, math.sqrt(1e-5), 1)
    expected = {FIX(k0=peak) for peak in peaks}
    expected |= {
        TRI(k0=ratio * peak, k1=peak, l=1000 / (2 * cycle)).rounded()
        for peak, cycle, ratio in product(peaks, cycles, ratios)
    }
    assert set(grid.forms) == set(map(str, expected))
    assert len(grid.forms) == 3 + 3 * 3 * 4
    assert grid.grid(5) == grid
    assert Space.standard("EXP", horizon=1000, epoch=50, peak=(0.01, 1)).grid(1).forms == (
        "EXP(k0=0.1, gamma=0.993116)",
    )


def test_an_axis_with_a_lattice_keeps_it():
    space = SMALL.narrowed(Interval(0.1, 0.1), Interval(0.1, 0.1), lambda form, name, axis: axis)
    grid = Space(space.horizon, space.epoch, space.peak, space.ratio, (space.branch("TRI"),)).grid(2)
    assert len(grid.forms) == 4 * 2


@pytest.mark.parametrize("points", [0, -1, 2.5, True, "3", None])
def test_an_impossible_number_of_points_is_refused(points):
    with pytest.raises(SpaceError, match="points is a whole number"):
        RAW.grid(points)


def test_a_grid_that_is_too_large_is_refused():
    with pytest.raises(SpaceError, match=r"1000 policies at most, .* fewer points than 9"):
        RAW.grid(9)


def test_optuna_enumerates_a_grid_and_stops():
    grid = Space.standard("FIX", "EXP", horizon=1000, epoch=50, peak=(0.01, 1)).grid(2)
    study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler(seed=0))
    study.optimize(lambda trial: grid.suggest(trial)(0), n_trials=100)
    assert sorted(trial.user_attrs["lrsearch:policy"] for trial in study.trials) == sorted(grid.forms)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
