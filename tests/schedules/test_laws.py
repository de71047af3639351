"""Laws that hold for every LR function in the table, also for the next one that is added."""

import copy
import doctest
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from lrsearch.errors import PolicyError
from lrsearch.schedules import (
    ASLR,
    CHAIN,
    CHANGEONPLATEAU,
    CM,
    COOLCOS,
    COSRSW,
    EXP,
    EXPRANGE,
    FIX,
    FRACTAL,
    FROM,
    FUNCTIONS,
    HALFCOS,
    INV,
    INVSQRT,
    LINEAR,
    NSTEP,
    ONECYCLE,
    PLATEAU,
    POLY,
    RAMP,
    REFINED,
    REX,
    RSW,
    RSW2,
    SAMPLED,
    SGDR,
    SIG,
    SPLINE,
    STEP,
    TRI,
    TRI2,
    WARMUP,
    WSD,
    Duration,
    Policy,
    curves,
    from_json,
    parse,
    to_json,
)
from lrsearch.schedules.fields import REQUIRED, Field
from lrsearch.schedules.functions.waves import WAVES
from lrsearch.schedules.making import DEEPEST, from_coordinates

FAMILIES = {"fixed", "decaying", "cyclic", "one-shot", "combinator", "controller"}
CURVES = [f for f in FUNCTIONS.values() if f.begin is None]
EVERY = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=str)
CURVED = pytest.mark.parametrize("function", CURVES, ids=str)
ENDING = pytest.mark.parametrize("function", [f for f in CURVES if f.end], ids=str)
REPEATING = pytest.mark.parametrize("function", [f for f in CURVES if f.period], ids=str)
MAPPED = pytest.mark.parametrize("function", [f for f in CURVES if f.roles], ids=str)
FACTORS = (2, 3, 1 / 2, 1 / 3, 16, 1 / 16, 0.37, math.pi)
TOP = 2**31


def moments(policy: Policy, start: float = 0) -> list[float]:
    """The steps, up to the first repetition, at which something happens in a policy or in those inside it."""
    found, begins = [], {"WARMUP": lambda l, **_: [l], "CHAIN": lambda at, **_: [0, *at], "FROM": lambda at, **_: [-at]}
    for field, value in zip(policy.function.fields, policy.values, strict=True):
        if "step" in field.rule and not field.rule.startswith("a factor"):
            found += [start + length for length in (value if isinstance(value, tuple) else [value])]
    inner = begins.get(policy.name, lambda **_: [0] * len(policy.parts))(**policy.params)
    for part, begin in zip(policy.parts, inner, strict=True):
        found += moments(part, start + begin)
    return found


def edges(policy: Policy) -> list[int]:
    """Steps around which something happens."""
    around = {0, 1, 2, TOP - 1, TOP}
    for moment in moments(policy):
        for whole in (math.floor(moment), math.floor(2 * moment), math.floor(7 * moment)):
            around |= {whole - 1, whole, whole + 1}
    return sorted(step for step in around if step >= 0)


def steps_for(policy: Policy, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([*edges(policy), *rng.integers(0, TOP, 20), *rng.integers(0, 20_000, 60)])


def peak(policy: Policy) -> float:
    """The highest learning rate among the parameters of a policy and of those inside it."""
    return max([policy.params.get(name, 0) for name in ("k0", "k1", "k2")] + [peak(part) for part in policy.parts])


def power(policy: Policy) -> float:
    """The smallest exponent in a policy."""
    return min([policy.params.get("p", 1), *map(power, policy.parts)])


def noise(policy: Policy) -> float:
    """What floating-point noise in a step may change: an exponent below 1 makes more of it."""
    return peak(policy) * max(1e-10, 1e-14 ** power(policy))


def near(lrs: np.ndarray, expected: np.ndarray, absolute: float = 1e-300) -> bool:
    return np.allclose(lrs, expected, rtol=1e-9, atol=absolute)


@EVERY
def test_a_function_says_what_it_does_and_where_it_was_published(function):
    assert FUNCTIONS[function.name] is function
    assert function.family in FAMILIES
    assert len(function.source) > 4
    assert len(function.summary) > 20
    found = doctest.DocTestParser().get_doctest(function.doc, dict(FUNCTIONS), function.name, None, 0)
    result = doctest.DocTestRunner(verbose=False).run(found)
    assert result.attempted >= 1
    assert result.failed == 0


@EVERY
def test_an_example_is_a_typical_policy_over_a_hundred_steps(function):
    example = function.example
    assert parse(str(example)) == example
    if example.is_controller:
        assert example.begin().lr(step=0, u=0.5) > 0
        return
    assert (example.horizon or 0) <= 100
    assert (example.period or 0) <= 100
    lrs = example.curve(101)
    assert (len(np.unique(lrs)) > 1) is (function is not FIX)
    assert 0 < lrs.max() <= 1


@CURVED
def test_every_learning_rate_is_finite_real_and_not_negative(function, policies):
    for n, policy in enumerate(policies(1, 120, function)):
        lrs = policy(steps_for(policy, n))
        assert lrs.dtype == np.float64
        assert np.all(np.isfinite(lrs) & (lrs >= 0)), policy
        assert np.all(lrs <= peak(policy) * (1 + 1e-12)), policy


TINY, SHORT = 5e-324, 1e-9
EXTREMES = [
    FIX(k0=1e6),
    FIX(k0=TINY),
    STEP(k0=1, gamma=TINY, l=SHORT),
    STEP(k0=1e6, gamma=0.5, l=1, k1=TINY),
    EXP(k0=1e6, gamma=TINY),
    EXP(k0=1, gamma=1),
    INV(k0=1, gamma=1e100, p=100),
    INV(k0=1, gamma=1e100, p=TINY),
    SIG(k0=1e6, gamma=1e100, l=1e12),
    SIG(k0=1, gamma=1e100, l=SHORT),
    POLY(k0=1, p=TINY, l=1e12),
    LINEAR(k0=TINY, l=SHORT, k1=1e6),
    REX(k0=1, l=SHORT, beta=math.nextafter(1, 0)),
    TRI(k0=0, k1=1e6, l=SHORT),
    TRI(k0=0, k1=1, l=1e12),
    TRI2(k0=0, k1=1, l=1),
    TRI2(k0=1e-3, k1=1, l=1e-9),
    RSW(k0=0, k1=1, l=SHORT),
    RSW2(k0=0, k1=1, l=SHORT),
    COSRSW(k0=0, k1=1, l=SHORT),
    EXPRANGE(k0=0, k1=1e6, gamma=TINY, l=SHORT),
    SGDR(k0=0, k1=1, l=SHORT),
    SGDR(k0=0, k1=1, l=SHORT, growth=100),
    SGDR(k0=0, k1=1, l=SHORT, growth=0.01),
    SGDR(k0=0, k1=1, l=1, growth=math.nextafter(1, 0)),
    SGDR(k0=0, k1=1, l=1, growth=math.nextafter(1, 2)),
    FRACTAL(k0=TINY, k1=1e6, n=16, l=SHORT),
    FRACTAL(k0=1e-12, k1=1e6, n=16, l=4096),
    FRACTAL(k0=1, k1=TINY, n=1, l=3),
    FRACTAL(k0=TINY, k1=TINY, n=2, l=3),
    RAMP(k0=TINY, k1=1e6, l=1000),
    RAMP(k0=TINY, k1=1e6, l=SHORT),
    ONECYCLE(k0=0, k1=1e6, l=[SHORT, 2 * SHORT, 3 * SHORT], k2=1),
    WSD(k0=1, l=[1, math.nextafter(1, 2), 1e12]),
    COOLCOS(k0=1e6, l=[1, math.nextafter(1, 2)], k1=TINY),
    SPLINE(k0=1e6, l=[1, math.nextafter(1, 2), 1e12], h=1, d=0),
    SPLINE(k0=1, l=[SHORT, math.nextafter(1e12, 0), 1e12], h=0, d=1),
    SPLINE(k0=TINY, l=[1, 2, math.nextafter(2, 3)], h=TINY, d=TINY),
    REFINED(k0=1e6, l=SHORT, h=[0, 1]),
    REFINED(k0=1, l=1e12, h=[1] * 64),
    INVSQRT(k0=1e6, l=SHORT),
    INVSQRT(k0=1e6, l=1e12),
    WARMUP(policy=FIX(k0=0), l=SHORT),
    WARMUP(policy=FIX(k0=1), l=1e12),
    SAMPLED(policy=TRI(k0=0, k1=1, l=3), every=SHORT),
    SAMPLED(policy=STEP(k0=1, gamma=0.5, l=3, k1=0.1), every=SHORT),
    FROM(policy=TRI(k0=0, k1=1, l=SHORT), at=1e12),
    FROM(policy=SGDR(k0=0, k1=1, l=1, growth=0.5), at=1e12),
    FROM(policy=RAMP(k0=TINY, k1=1e6, l=1000), at=SHORT),
    NSTEP(k0=1, gamma=1e-300, l=list(range(1, 65))),
    CM(policy=FIX(k0=0), m0=0, m1=0.999),
]


@pytest.mark.parametrize("policy", EXTREMES, ids=str)
def test_a_policy_at_the_limits_of_its_parameters_stays_finite(policy):
    lrs = policy(np.array([0, 1, 2, 63, 64, 1000, 2048, 4096, TOP]))
    assert np.all(np.isfinite(lrs) & (lrs >= 0) & (lrs <= 1e6))
    assert np.all(np.isfinite(policy.curve(3000)))
    for length in (policy.horizon, policy.period):
        assert length is None or 0 <= length < math.inf


def test_the_height_of_tri2_vanishes_after_thousands_of_cycles_without_an_overflow():
    assert TRI2(k0=0.25, k1=1, l=1)(2 * 5000 + 1) == 0.25


@CURVED
def test_one_step_gives_the_same_bits_as_an_array_of_any_shape_and_order(function, policies):
    for n, policy in enumerate(policies(2, 15, function)):
        steps = steps_for(policy, n)[:72]
        lrs = policy(steps)
        backwards = [policy(int(step)) for step in steps[::-1]]
        assert backwards[::-1] == lrs.tolist(), policy
        assert all(type(lr) is float for lr in backwards)
        assert np.array_equal(policy(steps[::-1])[::-1], lrs)
        table = steps[: len(steps) // 4 * 4].reshape(-1, 4).T
        assert np.array_equal(policy(table), lrs[: table.size].reshape(-1, 4).T)
        assert policy(steps[:0]).shape == (0,)
        assert np.array_equal(policy(steps), lrs)


@CURVED
def test_a_curve_is_the_policy_at_each_step_and_leaves_its_argument_alone(function, policies):
    steps = np.arange(300.0)
    for policy in policies(3, 20, function):
        assert np.array_equal(policy.curve(300), policy(steps))
        assert np.array_equal(steps, np.arange(300.0))


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_many_curves_at_once_are_the_curves_one_by_one(steps, policies):
    mixed = [policy for policy in policies(4, 1000) if not policy.is_controller]
    found = curves(mixed, steps)
    assert found.shape == (len(mixed), steps)
    for policy, lrs in zip(mixed, found, strict=True):
        assert np.array_equal(lrs, policy.curve(steps)), policy


def test_no_curves_at_once_are_none():
    assert curves([], 5).shape == (0, 5)


@ENDING
def test_from_its_horizon_on_a_policy_stays_what_it_is(function, policies):
    ended = changed = 0
    for policy in policies(5, 100, function):
        if policy.horizon is None:
            continue
        ended += 1
        first = math.ceil(policy.horizon)
        after = policy(np.array([first, first + 1, 2 * first + 7, TOP]))
        assert near(after, after[0], 1e-12 * peak(policy)), policy
        before = policy(np.array([0.5, 0.9, 0.999]) * policy.horizon)
        changed += not near(before, after[0], 1e-6 * peak(policy))
    assert ended >= 10
    assert (changed >= ended / 3) is (function is not FIX)


@ENDING
def test_the_example_changes_until_just_before_its_horizon(function):
    horizon = function.example.horizon
    if horizon:
        assert function.example(horizon - 0.01) != function.example(horizon) == function.example(2 * horizon)


@pytest.mark.parametrize(
    ("policy", "horizon"),
    [
        (FIX(k0=1), 0),
        (EXP(k0=1, gamma=0.9), None),
        (STEP(k0=1, gamma=0.5, l=10), None),
        (STEP(k0=1, gamma=0.5, l=10, k1=0.25), 20),
        (STEP(k0=1, gamma=0.5, l=10, k1=0.2), 30),
        (STEP(k0=1, gamma=1, l=10), 0),
        (NSTEP(k0=1, gamma=0.5, l=[5, 8]), 8),
        (SGDR(k0=0, k1=1, l=10), None),
        (SGDR(k0=0, k1=1, l=10, growth=0.5), 20),
        (WARMUP(policy=LINEAR(k0=1, l=30), l=10), 40),
        (WARMUP(policy=TRI(k0=0, k1=1, l=5), l=10), None),
        (CHAIN(policies=[TRI(k0=0, k1=1, l=5), FIX(k0=1)], at=[9]), 9),
        (CHAIN(policies=[FIX(k0=1), TRI(k0=0, k1=1, l=5)], at=[9]), None),
        (SAMPLED(policy=LINEAR(k0=1, l=30), every=20), 40),
        (SAMPLED(policy=LINEAR(k0=1, l=30), every=10), 30),
        (SAMPLED(policy=TRI(k0=0, k1=1, l=5), every=[1, 9]), 9),
        (STEP(k0=0.1, gamma=0.1, l=10, k1=0.001), 20),
        (FROM(policy=LINEAR(k0=1, l=30), at=10), 20),
        (FROM(policy=LINEAR(k0=1, l=30), at=40), 0),
        (FROM(policy=TRI(k0=0, k1=1, l=5), at=3), None),
        (SAMPLED(policy=TRI(k0=0, k1=1, l=5), every=9), None),
        (CM(policy=LINEAR(k0=1, l=30), m0=0.9, m1=0.8), 30),
    ],
    ids=str,
)
def test_a_horizon_is_the_last_change(policy, horizon):
    assert policy.horizon == horizon


def one_period_later(policy: Policy, lrs: np.ndarray) -> np.ndarray:
    """What the learning rates should be after one more period."""
    low, p = policy.bounds[0], policy.params
    if policy.name in ("CM", "FROM"):
        return one_period_later(p["policy"], lrs)
    if policy.name == "STEP":
        return np.maximum(lrs * p["gamma"], p["k1"])
    if policy.name == "EXPRANGE":
        return lrs * p["gamma"] ** policy.period
    if policy.name.endswith("EXP"):
        return low + (lrs - low) * p["gamma"] ** policy.period
    return low + (lrs - low) / 2 if policy.name.endswith("2") else lrs


@REPEATING
def test_one_period_later_a_policy_repeats_or_is_lower_by_one_factor(function, policies):
    repeated = 0
    for policy in policies(6, 60, function):
        if policy.period is None:
            continue
        repeated += 1
        steps = np.arange(400.0)
        now, later = policy(steps), policy(steps + policy.period)
        assert near(later, one_period_later(policy, now), 1e-8 * peak(policy)), policy
        assert np.all(later <= now + 1e-8 * peak(policy)), policy
    assert repeated >= 10


@pytest.mark.parametrize("p", [0.25, 1, 3])
def test_a_cooldown_along_a_cosine_is_a_constant_and_then_half_a_cosine(p):
    policy = COOLCOS(k0=0.3, l=[100 * p, 400], k1=0.01)
    apart = CHAIN(policies=[FIX(k0=0.3), HALFCOS(k0=0.3, l=400 - 100 * p, k1=0.01)], at=[100 * p])
    assert near(policy.curve(500), apart.curve(500))


def test_a_spline_is_the_pchip_of_scipy_and_never_rises(policies):
    for policy in policies(19, 200, SPLINE):
        p = policy.params
        inner, steps = p["h"] * (p["k0"] - p["k1"]), np.linspace(0, p["l"][2], 999)
        heights = p["k1"] + np.array([p["k0"] - p["k1"], inner, inner * p["d"], 0])
        expected = PchipInterpolator([0, *p["l"]], heights)(steps)
        assert np.allclose(policy(steps), expected, rtol=1e-7, atol=1e-9 * p["k0"]), policy
        assert (np.diff(policy(steps)) <= 1e-15 * p["k0"]).all(), policy


def test_refined_heights_are_joined_by_lines(policies):
    for policy in policies(20, 100, REFINED):
        p, steps = policy.params, np.linspace(0, 2 * policy.horizon, 999)
        expected = np.interp(steps, np.linspace(0, p["l"], len(p["h"])), p["k0"] * np.array(p["h"]))
        assert np.allclose(policy(steps), expected, rtol=1e-9, atol=1e-12 * p["k0"]), policy


@pytest.mark.parametrize("wave", WAVES, ids=lambda wave: wave.name)
def test_a_wave_starts_where_it_says_swings_over_all_its_height_and_minds_no_order_of_its_bounds(wave, policies):
    for function in wave.functions():
        for policy in policies(7, 20, function):
            low, high = sorted((policy.params["k0"], policy.params["k1"]))
            assert policy(0) == pytest.approx(low if wave.starts == "low" else high, rel=1e-12)
            turned = function(**{**policy.params, "k0": policy.params["k1"], "k1": policy.params["k0"]})
            assert np.array_equal(turned.curve(500), policy.curve(500))
            cycle = policy(np.linspace(0, policy.period, 2001)[:-1])
            assert cycle.min() == pytest.approx(low, abs=1e-3 * high)
            if function.name == wave.name:
                assert cycle.max() == pytest.approx(high, rel=1e-12)


@EVERY
def test_text_and_json_give_the_same_policy_back(function, policies):
    for policy in policies(8, 50, function, 0.2):
        again = parse(str(policy))
        assert again == policy == from_json(to_json(policy))
        assert (str(again), repr(again), hash(again), again.key) == (str(policy), str(policy), hash(policy), policy.key)
        assert again.is_bound is policy.is_bound


@EVERY
def test_a_policy_travels_as_its_text(function, policies):
    for policy in policies(9, 20, function, 0.2):
        assert policy.__reduce__() == (parse, (str(policy),))
        assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301
        assert copy.deepcopy(policy) == policy


def test_policies_are_equal_exactly_if_their_texts_are(policies):
    made = [*policies(10, 500), *policies(10, 500)]
    assert len(set(made)) == len({str(policy) for policy in made}) == len({policy.key for policy in made})
    assert made[:500] == made[500:]


def test_ways_to_write_a_number_make_one_policy():
    one = TRI(k0=0, k1=1, l=2000)
    for zero, length in [(0.0, 2000.0), (-0.0, np.float64(2000)), (np.int64(0), np.int32(2000)), (0, np.array(2e3))]:
        again = TRI(k0=zero, k1=1.0, l=length)
        assert (again, str(again), hash(again)) == (one, "TRI(k0=0, k1=1, l=2000)", hash(one))
    assert NSTEP(k0=1, gamma=0.5, l=np.array([5, 8])) == NSTEP(k0=1, gamma=0.5, l=(5.0, np.float64(8)))


def test_a_policy_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign"):
        FIX(k0=1).values = (2,)


@CURVED
def test_a_stretched_policy_has_the_same_shape_over_more_steps(function, policies):
    for n, policy in enumerate(policies(11, 25, function)):
        longest = max(moments(policy), default=1000)
        steps = np.array([step for step in edges(policy) if step <= 20 * longest and step < 10**6])
        steps = np.concatenate([steps, np.random.default_rng(n).integers(0, min(10**6, 20 * longest) + 1, 30)])
        lrs = policy(steps)
        for r in FACTORS:
            assert near(policy.stretch(r)(steps * r), lrs, noise(policy)), (policy, r)


@CURVED
def test_a_scaled_policy_has_that_many_times_the_learning_rate(function, policies):
    for n, policy in enumerate(policies(12, 25, function)):
        steps = steps_for(policy, n)
        lrs = policy(steps)
        for c in (0.1, 3, 1e-3):
            assert near(policy.scale(c)(steps), c * lrs), policy


@pytest.mark.parametrize("function", [PLATEAU, CHANGEONPLATEAU], ids=str)
def test_a_scaled_controller_has_that_many_times_the_learning_rate_after_the_same_reports(function, policies):
    for n, policy in enumerate(policies(13, 40, function)):
        state, scaled = policy.begin(), policy.scale(0.1).begin()
        for step, loss in enumerate(np.random.default_rng(n).uniform(1, 2, 60)):
            state, scaled = state.after(loss, step), scaled.after(loss, step)
            assert scaled.lr(step, 0.5) == pytest.approx(0.1 * state.lr(step, 0.5), rel=1e-9), policy


def test_a_stretched_controller_waits_for_as_many_more_reports_and_steps():
    plateau = PLATEAU(k0=0.1, gamma=0.5, patience=4, cooldown=1)
    assert plateau.stretch(2) == PLATEAU(k0=0.1, gamma=0.5, patience=8, cooldown=2)
    change = CHANGEONPLATEAU(policies=[FIX(k0=0.1), TRI(k0=0, k1=1, l=5)], l=80, start=1, patience=4, cooldown=2.5)
    assert str(change.stretch(0.1)) == (
        "CHANGEONPLATEAU(policies=[FIX(k0=0.1), TRI(k0=0, k1=1, l=0.5)], l=8, start=1, patience=2, cooldown=0.25)"
    )
    assert ASLR(k0=0.1).stretch(7) == ASLR(k0=0.1)


@pytest.mark.parametrize(
    "factor", [0, -1, math.nan, math.inf, True, "2", None, 10**400, [2]], ids=lambda f: f"{f!r:.9}"
)
def test_an_impossible_factor_is_refused(factor):
    with pytest.raises(PolicyError, match="the factor must be a finite number above 0"):
        TRI(k0=0, k1=1, l=2).stretch(factor)
    with pytest.raises(PolicyError, match="the factor must be a finite number above 0"):
        TRI(k0=0, k1=1, l=2).scale(factor)


def test_stretching_or_scaling_out_of_the_possible_names_the_parameter():
    with pytest.raises(PolicyError, match=r"TRI: l must be a number of steps in \[1e-09, 1e\+12\]"):
        TRI(k0=0, k1=1, l=2000).stretch(1e10)
    with pytest.raises(PolicyError, match=r"TRI: k1 must be a learning rate in \[0, 1e\+06\]"):
        TRI(k0=0, k1=1, l=2000).scale(1e7)


def close(field: Field, value: object, rounded: object) -> bool:
    """Four digits of the number and, for a factor, of what is lost; whole steps from 100 on."""
    if isinstance(value, tuple):
        return all(close(field, *pair) for pair in zip(value, rounded, strict=True))
    if isinstance(value, Policy):
        return value.form == rounded.form
    if isinstance(value, Duration):
        return value.unit == rounded.unit and close(field, value.amount, rounded.amount)
    if field.rule.startswith("a factor") and value > 0.5:
        return math.isclose(1 - value, 1 - rounded, rel_tol=5.1e-4)
    return math.isclose(value, rounded, rel_tol=5.1e-4) or (value >= 99.5 and abs(value - rounded) <= 0.51)


@EVERY
def test_a_rounded_policy_is_valid_near_and_settled(function, policies):
    for policy in policies(14, 60, function, 0.1):
        rounded = policy.rounded()
        assert rounded.rounded() == rounded == parse(str(rounded))
        assert rounded.form == policy.form
        for field, before, after in zip(function.fields, policy.values, rounded.values, strict=True):
            assert close(field, before, after), policy


def test_rounding_keeps_what_a_factor_means_near_1_and_near_0():
    assert str(EXP(k0=0.1, gamma=0.999943211).rounded()) == "EXP(k0=0.1, gamma=0.99994321)"
    assert str(NSTEP(k0=0.1, gamma=0.0000123456, l=[10]).rounded()) == "NSTEP(k0=0.1, gamma=1.235e-5, l=[10])"


def test_rounding_never_merges_two_milestones():
    policy = NSTEP(k0=0.123456, gamma=0.5, l=[700.1, 700.3])
    assert policy.rounded() == policy


@MAPPED
def test_natural_coordinates_give_the_same_curve_back(function, policies):
    rng, mapped = np.random.default_rng(11), 0
    for policy in policies(15, 100, function):
        horizon = int(10 ** rng.uniform(1, 4.3))
        try:
            at = policy.coordinates(horizon)
        except PolicyError as error:
            assert str(error).startswith(("no natural coordinates", f"{policy.name}")) or "has no natural" in str(error)
            continue
        mapped += 1
        again = from_coordinates(policy.form, at, horizon, FUNCTIONS)
        assert near(again.curve(horizon), policy.curve(horizon), 1e-11 * peak(policy)), (policy, horizon)
    assert mapped >= 20


@MAPPED
def test_natural_coordinates_do_not_change_when_policy_and_horizon_are_stretched(function, policies):
    rng, mapped = np.random.default_rng(12), 0
    for policy in policies(16, 30, function):
        horizon = 10 ** rng.uniform(2, 4.3)
        try:
            at = policy.coordinates(horizon)
        except PolicyError:
            continue
        mapped += 1
        for r in FACTORS:
            stretched = policy.stretch(r).coordinates(r * horizon)
            assert stretched.keys() == at.keys()
            for name, value in at.items():
                assert stretched[name] == pytest.approx(value, rel=1e-9), (policy, r, name)
    assert mapped >= 6


@pytest.mark.parametrize("horizon", [1875, 10_000, 64_000, 70_000])
def test_a_stepped_policy_s_decay_is_what_is_left_at_its_last_step_whatever_the_rounding(horizon):
    for cycles in range(2, 80):
        at = {"peak": 1.0, "ratio": 0.0, "cycles": float(cycles), "decay": 0.01}
        policy = from_coordinates("STEP", at, horizon, FUNCTIONS)
        assert policy(horizon - 1) == pytest.approx(0.01, rel=1e-9), policy
        assert policy.coordinates(horizon) == pytest.approx(at), policy


@pytest.mark.parametrize("r", FACTORS)
@pytest.mark.parametrize("function", [STEP, TRI2], ids=str)
def test_floating_point_noise_does_not_delay_a_drop(function, r):
    for length in (1000, 390.625, 7, 3):
        policy = STEP(k0=1, gamma=0.5, l=length) if function is STEP else TRI2(k0=0, k1=1, l=length)
        period = length if function is STEP else 2 * length
        middle = 0 if function is STEP else length
        drops = np.arange(1, 50)
        assert near(policy.stretch(r)(r * (drops * period + middle)), 0.5**drops), (length, r)


@pytest.mark.parametrize("growth", [1, 2, 1.5, 3, 0.5, 0.9])
def test_floating_point_noise_does_not_delay_a_restart(growth):
    policy = SGDR(k0=0.25, k1=1, l=100, growth=growth)
    restarts = np.cumsum([100.0 * growth**n for n in range(12)])
    for r in FACTORS:
        assert near(policy.stretch(r)(r * restarts), np.ones(12)), r


@pytest.mark.parametrize("n", [1, 4, 10])
def test_floating_point_noise_does_not_delay_a_fractal_step(n):
    policy, changes = FRACTAL(k0=0.01, k1=1, n=n, l=7 * 2**n), np.arange(0, 3 * 7 * 2**n, 7)
    for r in FACTORS:
        assert near(policy.stretch(r)(r * changes), policy(changes)), r


@pytest.mark.parametrize("growth", [0.5, 0.9, 0.37, 1 / 3, 0.01])
def test_restarts_that_shorten_are_over_at_their_end_whatever_the_rounding(growth):
    policy = SGDR(k0=0.25, k1=1, l=100, growth=growth)
    for r in FACTORS:
        assert policy.stretch(r)(r * policy.horizon) == 0.25
        assert policy.stretch(r)(2 * r * policy.horizon) == 0.25


def test_floating_point_noise_does_not_delay_a_milestone():
    policy = WARMUP(policy=NSTEP(k0=1, gamma=0.5, l=[7]), l=3)
    assert [policy.stretch(r)(r * 10) for r in (0.1, 0.37, 1 / 3, 1.1, math.pi)] == [0.5] * 5


REFUSED = [
    (FIX(k0=0), 100, "without a peak learning rate above 0"),
    (EXP(k0=1, gamma=1e-300), 100, "without a learning rate left at the end above 0"),
    (RAMP(k0=0.1, k1=1, l=5), 100, "RAMP has no natural coordinates"),
    (WARMUP(policy=RAMP(k0=0.1, k1=1, l=5), l=5), 100, "RAMP has no natural coordinates"),
    (WARMUP(policy=FIX(k0=1), l=100), 100, "nothing of 100 steps is left after the warm-up"),
    (WARMUP(policy=WARMUP(policy=FIX(k0=1), l=5), l=5), 100, "a warm-up inside a warm-up"),
    (LINEAR(k0=0.1, l=5, k1=1), 100, "for a curve that rises from 0.1 to 1"),
    (SGDR(k0=0, k1=1, l=10, growth=0.5), 100, "restarts that shorten by 0.5 end before"),
    (ONECYCLE(k0=0.1, k1=1, l=[4, 8, 9], k2=0), 100, "without a learning rate left at the end above 0"),
    (WSD(k0=1, l=[100, 200, 300]), 100, "nothing of 100 steps is left after the warm-up"),
    (SAMPLED(policy=FIX(k0=1), every=5), 100, "SAMPLED has no natural coordinates: it is searched as a whole value"),
    (ASLR(k0=0.1), 100, "ASLR has no natural coordinates: it is searched as a whole value"),
    (TRI(k0=0, k1=1, l=5), 0, "the horizon must be a finite number above 0"),
    (TRI(k0=0, k1=1, l=5), math.nan, "the horizon must be a finite number above 0"),
]


@pytest.mark.parametrize(("policy", "horizon", "reason"), REFUSED, ids=[reason for _, _, reason in REFUSED])
def test_what_has_no_natural_coordinates_is_refused_with_the_reason(policy, horizon, reason):
    with pytest.raises(PolicyError, match=reason):
        policy.coordinates(horizon)


NEVER = [
    math.nan,
    math.inf,
    -math.inf,
    -1,
    -1e-300,
    True,
    False,
    np.bool_(True),
    "0.1",
    b"1",
    "",
    None,
    1j,
    10**400,
    -(10**5000),
    1e101,
    [],
    [[1]],
    [math.nan],
    [True],
    ["1"],
    [None],
    [10**400],
    {},
    {1: 2},
    object(),
    np.array([math.nan]),
    np.array([[1.0]]),
    np.array("1"),
    Fraction(1, 2),
    Policy,
    FIX,
    parse,
    "FIX(k0=0.1)",
    "0ep",
    "-1ep",
    "1e7dur",
    "3 ep",
    b"3ep",
    ["0.1 dur"],
    PLATEAU(k0=1, gamma=0.5),
    [FIX(k0=1), ASLR(k0=1)],
]
NO_NUMBER = [[1], (1, 2), np.array([1.0]), FIX(k0=1), "3ep"]
NO_LENGTH = [0, 1.1e12, FIX(k0=1)]
NO_MILESTONES = [
    [0, 5],
    [-1, 5],
    [5, 5],
    [8, 5],
    [1, math.inf],
    [*range(1, 66)],
    [1e13],
    ["3ep", "2ep"],
    ["1ep", "1ep"],
]
BAD = {
    "a learning rate": [*NO_NUMBER, 1000001, -0.1],
    "a factor in": [*NO_NUMBER, 0, 1.0000001, 2],
    "a factor per step": [*NO_NUMBER, 0, 0.0, 1.0000001],
    "a number in [0": [*NO_NUMBER, -1e-9],
    "an exponent": [*NO_NUMBER, 0, 100.1],
    "a growth": [*NO_NUMBER, 0, 0.009, 100.1],
    "a fraction": [*NO_NUMBER, 1, 1.5, -0.1],
    "a height": [*NO_NUMBER, -0.1, 1.1],
    "a list of 2 to 64 heights": [1, "3ep", FIX(k0=1), [1], [0.5, 0.5], [1, 1.5], [1, -0.1], ["3ep", 1], [1] * 65],
    "a whole number from 0": [*NO_NUMBER, 0.5, 16],
    "a whole number from 1": [*NO_NUMBER, 0, 0.5, 17],
    "a threshold": [*NO_NUMBER, -0.1, 1000001],
    "a number of reports in [0": [*NO_NUMBER, -0.1, 1.1e12],
    "a number of reports in [2": [*NO_NUMBER, 1, 1.9, 1.1e12],
    "a number of steps in [1e-09, 1e+12] or a duration such as 3ep, or a list": [*NO_LENGTH, *NO_MILESTONES],
    "a number of steps": [*NO_LENGTH, [1], (1, 2), np.array([1.0]), ["3ep"]],
    "a list of 1 to 64 rising": [5, 0.5, "3ep", FIX(k0=1), *NO_MILESTONES],
    "a list of 2 rising": [5, "3ep", [5], [5, 6, 7], *NO_MILESTONES],
    "a list of 3 rising": [5, "3ep", [5, 6], [5, 6, 7, 8], [5, 7, 6], *NO_MILESTONES],
    "a policy that needs": [1, 0.5, [1], [FIX(k0=1)], "3ep"],
    "a list of 2 to 16 policies": [1, FIX(k0=1), [FIX(k0=1)], [FIX(k0=1)] * 17, [FIX(k0=1), 1]],
}
FIELDS = [
    pytest.param(function, field, id=f"{function}-{field.name}")
    for function in FUNCTIONS.values()
    for field in function.fields
]


@pytest.mark.parametrize(("function", "field"), FIELDS)
def test_an_impossible_parameter_is_refused_by_name_when_the_policy_is_made(function, field, policies):
    valid = next(policies(17, 1, function)).params
    special = next(bad for rule, bad in BAD.items() if field.rule.startswith(rule))
    for bad in [*NEVER, *special]:
        with pytest.raises(PolicyError, match=rf"^{function}: {field.name} must be {re.escape(field.rule)}, got "):
            function(**{**valid, field.name: bad})


@EVERY
def test_missing_and_unknown_parameters_are_named(function, policies):
    valid = next(policies(18, 1, function)).params
    names, needed = ", ".join(valid), [field.name for field in function.fields if field.default is REQUIRED]
    for name in needed:
        with pytest.raises(PolicyError, match=f"^{function} takes {names}; missing {name}$"):
            function(**{other: value for other, value in valid.items() if other != name})
    with pytest.raises(PolicyError, match=f"^{function} takes {names}; unknown warm$"):
        function(**valid, warm=1)
    with pytest.raises(PolicyError, match=f"^{function} takes {names}; missing {', '.join(needed)}; unknown warm$"):
        function(warm=1)
    assert function(**{name: valid[name] for name in needed}).name == function.name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("STEP(k0=0.1, gamma=0.5, l=5, k1=0.2)", "STEP: the floor k1 must not be above k0, got k0=0.1, k1=0.2"),
        ("WSD(k0=0.1, l=[1, 2, 3], k1=0.2)", "WSD: the floor k1 must not be above k0, got k0=0.1, k1=0.2"),
        ("COOLCOS(k0=0.1, l=[1, 2], k1=0.2)", "COOLCOS: the floor k1 must not be above k0, got k0=0.1, k1=0.2"),
        (
            "SPLINE(k0=0.1, l=[1, 2, 3], h=1, d=1, k1=0.2)",
            "SPLINE: the floor k1 must not be above k0, got k0=0.1, k1=0.2",
        ),
        ("PLATEAU(k0=0.1, gamma=0.5, k1=0.2)", "PLATEAU: the floor k1 must not be above k0, got k0=0.1, k1=0.2"),
        ("RAMP(k0=0, k1=1, l=5)", "RAMP: k0 must be above 0 and below k1, got k0=0, k1=1"),
        ("RAMP(k0=1, k1=1, l=5)", "RAMP: k0 must be above 0 and below k1, got k0=1, k1=1"),
        ("ONECYCLE(k0=2, k1=1, l=[1, 2, 3], k2=0)", "ONECYCLE: k1 is the peak: k0=2 and k2=0 must not be above k1=1"),
        ("ONECYCLE2(k0=0, k1=1, l=[1, 2], k2=2)", "ONECYCLE2: k1 is the peak: k0=0 and k2=2 must not be above k1=1"),
        ("FRACTAL(k0=0, k1=1, n=3, l=8)", "FRACTAL: both bounds must be above 0, got k0=0, k1=1"),
        ("ASLR(k0=0)", "ASLR: k0 must be above 0"),
        ("CHAIN(policies=[FIX(k0=1), FIX(k0=2)], at=[1, 2])", "CHAIN: 2 policies need 1 step in at, got 2"),
        (
            "CHANGEONPLATEAU(policies=[FIX(k0=1), FIX(k0=2)], l=1, start=2)",
            "CHANGEONPLATEAU: start is the place of one of 2 policies, counted from 0, got 2",
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(text, reason):
    with pytest.raises(PolicyError, match=re.escape(reason)):
        parse(text)


def test_every_function_with_a_rule_between_its_parameters_is_among_the_refused():
    [mark] = test_parameters_that_contradict_each_other_are_refused.pytestmark
    refused = {text.partition("(")[0] for text, _ in mark.args[1]}
    assert refused == {name for name, function in FUNCTIONS.items() if function.rule} - {"CM"}


def test_policies_nest_four_deep_and_no_deeper():
    policy = FIX(k0=1)
    for _ in range(3):
        policy = WARMUP(policy=policy, l=5)
    assert policy.depth == 4
    with pytest.raises(PolicyError, match="policies nest at most 4 deep"):
        WARMUP(policy=policy, l=5)


@pytest.mark.parametrize("step", [-1, math.nan, math.inf, np.array([3, -1]), np.array([3, math.nan]), None])
def test_a_step_that_is_none_is_refused(step):
    with pytest.raises(PolicyError, match="a step is a finite number, 0 or more"):
        TRI(k0=0, k1=1, l=5)(step)


def test_a_warm_up_ends_in_the_first_value_of_its_policy(policies):
    for policy in policies(19, 100, WARMUP):
        inner, length = policy.params["policy"], policy.params["l"]
        assert policy(0) == 0
        assert policy(math.ceil(length)) == inner(math.ceil(length) - length)
        assert policy(length / 2) == pytest.approx(inner(0) / 2, rel=1e-12)
        assert policy.form == f"WARMUP({inner.form})"


@CURVED
def test_a_policy_from_a_step_on_is_the_policy_from_that_step_on(function, policies):
    rng, begun = np.random.default_rng(22), 0
    for n, policy in enumerate(policies(22, 30, function)):
        if policy.depth == DEEPEST:
            continue
        begun += 1
        longest = max(moments(policy), default=1000)
        for at in (1, rng.uniform(0, longest), longest, math.ceil(longest) + 1):
            later, steps = FROM(policy=policy, at=at), steps_for(policy, n)
            at = later.params["at"]
            assert np.array_equal(later(steps), policy(steps + at)), later
            assert later.has_momentum is policy.has_momentum
            if policy.has_momentum:
                assert np.array_equal(later.momentum(steps), policy.momentum(steps + at)), later
            assert (later.period, later.bounds) == (policy.period, policy.bounds)
            assert later.horizon == (None if policy.horizon is None else max(0, policy.horizon - at))
            assert later.form == f"FROM({policy.form})"
    assert begun >= 10


def test_a_policy_begins_inside_its_curve_after_a_warm_up_that_counts():
    cosine = HALFCOS(k0=1, l=100)
    timm = CHAIN(policies=[LINEAR(k0=0, l=10, k1=1), FROM(policy=cosine, at=10)], at=[10])
    assert timm.curve(10).tolist() == pytest.approx([step / 10 for step in range(10)], rel=1e-12)
    assert timm(np.arange(10, 120)).tolist() == cosine(np.arange(10, 120)).tolist()
    assert timm.horizon == cosine.horizon == 100
    assert timm.curve(120).max() == pytest.approx(0.9755282581475768, rel=1e-12)


def test_each_policy_of_a_chain_counts_from_its_own_start(policies):
    for policy in policies(20, 60, CHAIN):
        at = [0, *policy.params["at"], TOP]
        for n, inner in enumerate(policy.parts):
            first = math.ceil(at[n])
            if first < at[n + 1]:
                assert policy(first) == inner(first - at[n])
                assert policy(math.ceil(at[n + 1]) - 1) == inner(math.ceil(at[n + 1]) - 1 - at[n])


def test_a_sampled_policy_is_looked_at_only_now_and_then(policies):
    steps = np.arange(2000)
    for policy in policies(21, 60, SAMPLED):
        inner, every = policy.params["policy"], policy.params["every"]
        if isinstance(every, tuple):
            looked = [max((step for step in (0, *every) if step <= t), default=0) for t in steps]
        else:
            looked = [math.floor(t / every + 1e-9) * every for t in steps]
        assert near(policy(steps), inner(np.array(looked)), 1e-10 * peak(policy)), policy


def test_milestones_drop_at_their_own_step_whatever_was_called_before():
    policy, other = NSTEP(k0=1, gamma=0.1, l=[10]), NSTEP(k0=1, gamma=0.1, l=[10, 15, 18])
    assert other(19) == pytest.approx(0.001)
    assert [policy(t) for t in (20, 9, 10, 0)] == pytest.approx([0.1, 1, 0.1, 1])


def test_a_step_size_that_is_not_whole_drops_at_the_first_step_past_it():
    policy = STEP(k0=1, gamma=0.1, l=390.625)
    assert [policy(390), policy(391), policy(781), policy(782)] == pytest.approx([1, 0.1, 0.1, 0.01])
