"""Laws that hold for every LR function in the table, also for the next one that is added."""

import copy
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.schedules import EXP, FIX, FUNCTIONS, INV, NSTEP, POLY, RAMP, STEP, TRI, TRI2, WARMUP, Policy, parse
from lrsearch.schedules.fields import Field
from lrsearch.schedules.policy import from_coordinates

EVERY = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=str)
MAPPED = pytest.mark.parametrize("function", [f for f in FUNCTIONS.values() if f.roles], ids=str)
FACTORS = (2, 3, 1 / 2, 1 / 3, 16, 1 / 16, 0.37, math.pi)
TOP = 2**31


def lengths(policy: Policy) -> list[float]:
    """Every number of a policy, and of those inside it, that may be a length in steps."""
    found = []
    for value in policy.values:
        if isinstance(value, Policy):
            found += lengths(value)
        else:
            found += list(value) if isinstance(value, tuple) else [value]
    return [length for length in found if 1 <= length < TOP]


def edges(policy: Policy) -> list[int]:
    """Steps around which something happens."""
    around = {0, 1, 2, TOP - 1, TOP}
    for length in lengths(policy):
        for whole in (math.floor(length), math.floor(2 * length), math.floor(7 * length)):
            around |= {max(0, whole - 1), whole, whole + 1}
    return sorted(around)


def steps_for(policy: Policy, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([*edges(policy), *rng.integers(0, TOP, 20), *rng.integers(0, 20_000, 60)])


def peak(policy: Policy) -> float:
    """The highest learning rate among a policy's parameters."""
    inside = [peak(value) for value in policy.values if isinstance(value, Policy)]
    return max([policy.params.get("k0", 0), policy.params.get("k1", 0), *inside])


def near(rates: np.ndarray, expected: np.ndarray, absolute: float = 1e-300) -> bool:
    return np.allclose(rates, expected, rtol=1e-9, atol=absolute)


@EVERY
def test_every_learning_rate_is_finite_real_and_not_negative(function, policies):
    for n, policy in enumerate(policies(1, 600, function)):
        rates = policy(steps_for(policy, n))
        assert rates.dtype == np.float64
        assert np.all(np.isfinite(rates) & (rates >= 0)), policy
        assert np.all(rates <= peak(policy) * (1 + 1e-12)), policy


EXTREMES = [
    FIX(k0=1e6), FIX(k0=5e-324), STEP(k0=1, gamma=5e-324, l=5e-324), EXP(k0=1e6, gamma=5e-324), EXP(k0=1, gamma=1),
    INV(k0=1, gamma=1e100, p=100), INV(k0=1, gamma=1e100, p=5e-324), POLY(k0=1, p=5e-324, l=1e12),
    TRI(k0=0, k1=1e6, l=5e-324), TRI(k0=0, k1=1, l=1e12), TRI2(k0=0, k1=1, l=1), TRI2(k0=1e-3, k1=1, l=1e-9),
    RAMP(k0=5e-324, k1=1e6, l=1000), RAMP(k0=5e-324, k1=1e6, l=5e-324), WARMUP(policy=FIX(k0=0), l=5e-324),
    NSTEP(k0=1, gamma=1e-300, l=list(range(1, 65))),
]


@pytest.mark.parametrize("policy", EXTREMES, ids=str)
def test_a_policy_at_the_limits_of_its_parameters_stays_finite(policy):
    rates = policy(np.array([0, 1, 2, 63, 64, 1000, 2048, 4096, TOP]))
    assert np.all(np.isfinite(rates) & (rates >= 0) & (rates <= 1e6))
    assert np.all(np.isfinite(policy.curve(3000)))


def test_the_height_of_tri2_vanishes_after_thousands_of_cycles_without_an_overflow():
    assert TRI2(k0=0.25, k1=1, l=1)(2 * 5000 + 1) == 0.25


@EVERY
def test_one_step_gives_the_same_bits_as_an_array_of_any_shape_and_order(function, policies):
    for n, policy in enumerate(policies(2, 40, function)):
        steps = steps_for(policy, n)[:72]
        rates = policy(steps)
        backwards = [policy(int(step)) for step in steps[::-1]]
        assert backwards[::-1] == rates.tolist(), policy
        assert all(type(rate) is float for rate in backwards)
        assert np.array_equal(policy(steps[::-1])[::-1], rates)
        table = steps[: len(steps) // 4 * 4].reshape(-1, 4).T
        assert np.array_equal(policy(table), rates[: table.size].reshape(-1, 4).T)
        assert policy(steps[:0]).shape == (0,)
        assert np.array_equal(policy(steps), rates)


@EVERY
def test_a_curve_is_the_policy_at_each_step_and_leaves_its_argument_alone(function, policies):
    steps = np.arange(300.0)
    for policy in policies(3, 20, function):
        assert np.array_equal(policy.curve(300), policy(steps))
        assert np.array_equal(steps, np.arange(300.0))


ENDING = {
    "POLY": lambda p: (p.params["l"], p.params["k1"]),
    "HALFCOS": lambda p: (p.params["l"], p.params["k1"]),
    "RAMP": lambda p: (p.params["l"], p.params["k1"]),
    "NSTEP": lambda p: (p.params["l"][-1], p.params["k0"] * p.params["gamma"] ** len(p.params["l"])),
    "FIX": lambda p: (0, p.params["k0"]),
}


@pytest.mark.parametrize("name", ENDING)
def test_what_does_not_repeat_holds_its_last_value_past_its_end(name, policies):
    for policy in policies(4, 200, FUNCTIONS[name]):
        end, last = ENDING[name](policy)
        after = policy(np.array([math.ceil(end), math.ceil(end) + 1, 2 * math.ceil(end) + 7, TOP]))
        assert np.all(after == after[0]), policy
        assert after[0] == pytest.approx(last, rel=1e-12)


@EVERY
def test_text_gives_the_same_policy_back(function, policies):
    for policy in policies(5, 200, function):
        again = parse(str(policy))
        assert again == policy
        assert (str(again), repr(again), hash(again), again.key) == (str(policy), str(policy), hash(policy), policy.key)


@EVERY
def test_a_policy_travels_as_its_text(function, policies):
    for policy in policies(6, 20, function):
        assert policy.__reduce__() == (parse, (str(policy),))
        assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301
        assert copy.deepcopy(policy) == policy


def test_policies_are_equal_exactly_if_their_texts_are(policies):
    made = [*policies(7, 300), *policies(7, 300)]
    assert len(set(made)) == len({str(policy) for policy in made}) == len({policy.key for policy in made})
    assert made[:300] == made[300:]


def test_ways_to_write_a_number_make_one_policy():
    one = TRI(k0=0, k1=1, l=2000)
    for zero, length in [(0.0, 2000.0), (-0.0, np.float64(2000)), (np.int64(0), np.int32(2000)), (0, np.array(2e3))]:
        again = TRI(k0=zero, k1=1.0, l=length)
        assert (again, str(again), hash(again)) == (one, "TRI(k0=0, k1=1, l=2000)", hash(one))
    assert NSTEP(k0=1, gamma=0.5, l=np.array([5, 8])) == NSTEP(k0=1, gamma=0.5, l=(5.0, np.float64(8)))


def test_a_policy_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign"):
        FIX(k0=1).values = (2,)


@EVERY
@pytest.mark.parametrize("r", FACTORS)
def test_a_stretched_policy_has_the_same_shape_over_more_steps(function, r, policies):
    for n, policy in enumerate(policies(8, 40, function)):
        longest = max(lengths(policy), default=1000)
        steps = np.array([step for step in edges(policy) if step <= 20 * longest and step < 10**6])
        steps = np.concatenate([steps, np.random.default_rng(n).integers(0, min(10**6, 20 * longest) + 1, 30)])
        assert near(policy.stretch(r)(steps * r), policy(steps), 1e-10 * peak(policy)), (policy, r)


@EVERY
@pytest.mark.parametrize("c", [0.1, 3, 1e-3])
def test_a_scaled_policy_has_that_many_times_the_learning_rate(function, c, policies):
    for n, policy in enumerate(policies(9, 40, function)):
        steps = steps_for(policy, n)
        assert near(policy.scale(c)(steps), c * policy(steps)), policy


@pytest.mark.parametrize(
    "factor", [0, -1, math.nan, math.inf, True, "2", None, 10**400, [2]], ids=lambda f: f"{f!r:.9}"
)
def test_an_impossible_factor_is_refused(factor):
    with pytest.raises(PolicyError, match="the factor must be a finite number above 0"):
        TRI(k0=0, k1=1, l=2).stretch(factor)
    with pytest.raises(PolicyError, match="the factor must be a finite number above 0"):
        TRI(k0=0, k1=1, l=2).scale(factor)


def test_stretching_or_scaling_out_of_the_possible_names_the_parameter():
    with pytest.raises(PolicyError, match=r"TRI: l must be a number of steps in \(0, 1e\+12\]"):
        TRI(k0=0, k1=1, l=2000).stretch(1e10)
    with pytest.raises(PolicyError, match=r"TRI: k1 must be a learning rate in \[0, 1e\+06\]"):
        TRI(k0=0, k1=1, l=2000).scale(1e7)


def close(field: Field, value: float, rounded: float) -> bool:
    """Four digits of the number and, for a factor, of what is lost; whole steps from 100 on."""
    if field.rule.startswith("a factor") and value > 0.5:
        return math.isclose(1 - value, 1 - rounded, rel_tol=5.1e-4)
    return math.isclose(value, rounded, rel_tol=5.1e-4) or (value >= 99.5 and abs(value - rounded) <= 0.51)


@EVERY
def test_a_rounded_policy_is_valid_near_and_settled(function, policies):
    for policy in policies(10, 200, function):
        rounded = policy.rounded()
        assert rounded.rounded() == rounded == parse(str(rounded))
        assert rounded.form == policy.form
        for field, before, after in zip(function.fields, policy.values, rounded.values, strict=True):
            if not isinstance(before, Policy):
                pairs = zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]
                assert all(close(field, *pair) for pair in pairs), policy


def test_rounding_keeps_what_a_factor_means_near_1_and_near_0():
    assert str(EXP(k0=0.1, gamma=0.999943211).rounded()) == "EXP(k0=0.1, gamma=0.99994321)"
    assert str(NSTEP(k0=0.1, gamma=0.0000123456, l=[10]).rounded()) == "NSTEP(k0=0.1, gamma=1.235e-5, l=[10])"


def test_rounding_never_merges_two_milestones():
    policy = NSTEP(k0=0.123456, gamma=0.5, l=[700.1, 700.3])
    assert policy.rounded() == policy


@MAPPED
def test_natural_coordinates_give_the_same_curve_back(function, policies):
    rng, mapped = np.random.default_rng(11), 0
    for policy in policies(11, 150, function):
        horizon = int(10 ** rng.uniform(1, 4.3))
        try:
            at = policy.coordinates(horizon)
        except PolicyError as error:
            assert str(error).startswith(("no natural coordinates", f"{policy.name}")) or "has no natural" in str(error)
            continue
        mapped += 1
        again = from_coordinates(policy.form, at, horizon, FUNCTIONS)
        assert near(again.curve(horizon), policy.curve(horizon), 1e-11 * peak(policy)), (policy, horizon)
    assert mapped >= 30


@MAPPED
@pytest.mark.parametrize("r", FACTORS)
def test_natural_coordinates_do_not_change_when_policy_and_horizon_are_stretched(function, r, policies):
    rng, mapped = np.random.default_rng(12), 0
    for policy in policies(12, 40, function):
        horizon = 10 ** rng.uniform(2, 4.3)
        try:
            at = policy.coordinates(horizon)
        except PolicyError:
            continue
        mapped += 1
        stretched = policy.stretch(r).coordinates(r * horizon)
        assert stretched.keys() == at.keys()
        for name, value in at.items():
            assert stretched[name] == pytest.approx(value, rel=1e-9), (policy, name)
    assert mapped >= 8


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
    (TRI(k0=0, k1=1, l=5), 0, "the horizon must be a finite number above 0"),
    (TRI(k0=0, k1=1, l=5), math.nan, "the horizon must be a finite number above 0"),
]


@pytest.mark.parametrize(("policy", "horizon", "reason"), REFUSED, ids=[reason for _, _, reason in REFUSED])
def test_what_has_no_natural_coordinates_is_refused_with_the_reason(policy, horizon, reason):
    with pytest.raises(PolicyError, match=reason):
        policy.coordinates(horizon)


NEVER = [
    math.nan, math.inf, -math.inf, -1, -1e-300, True, False, np.bool_(True), "0.1", b"1", "", None, 1j, 10**400,
    -(10**5000), 1e101, [], [[1]], [math.nan], [True], ["1"], [None], [10**400], {}, {1: 2}, object(),
    np.array([math.nan]), np.array([[1.0]]), np.array("1"), Fraction(1, 2), Policy, FIX, parse, "FIX(k0=0.1)",
]
NOT_A_LIST = [[1], (1, 2), np.array([1.0]), FIX(k0=1)]
BAD = {
    "a learning rate": [*NOT_A_LIST, 1000001, -0.1],
    "a factor in": [*NOT_A_LIST, 0, 1.0000001, 2],
    "a factor per step": [*NOT_A_LIST, 0, 0.0, 1.0000001],
    "a number in [0": [*NOT_A_LIST, -1e-9],
    "an exponent": [*NOT_A_LIST, 0, 100.1],
    "a number of steps": [*NOT_A_LIST, 0, 1.1e12],
    "a list of": [5, 0.5, [0, 5], [-1, 5], [5, 5], [8, 5], [1, math.inf], list(range(1, 66)), [1e13], FIX(k0=1)],
    "a policy": [1, 0.5, [1], [FIX(k0=1)]],
}
FIELDS = [
    pytest.param(function, field, id=f"{function}-{field.name}")
    for function in FUNCTIONS.values()
    for field in function.fields
]


@pytest.mark.parametrize(("function", "field"), FIELDS)
def test_an_impossible_parameter_is_refused_by_name_when_the_policy_is_made(function, field, policies):
    valid = next(policies(13, 1, function)).params
    special = next(bad for rule, bad in BAD.items() if field.rule.startswith(rule))
    for bad in [*NEVER, *special]:
        with pytest.raises(PolicyError, match=rf"^{function}: {field.name} must be {re.escape(field.rule)}, got "):
            function(**{**valid, field.name: bad})


@EVERY
def test_missing_and_unknown_parameters_are_named(function, policies):
    valid = next(policies(14, 1, function)).params
    first, *others = valid
    names = ", ".join(valid)
    with pytest.raises(PolicyError, match=f"^{function} takes {names}; missing {first}$"):
        function(**{name: valid[name] for name in others})
    with pytest.raises(PolicyError, match=f"^{function} takes {names}; unknown warm$"):
        function(**valid, warm=1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: STEP(k0=0.1, gamma=0.5, l=5, k1=0.2), "STEP: the floor k1 must not be above k0"),
        (lambda: POLY(k0=0.1, p=1, l=5, k1=0.2), "POLY: the floor k1 must not be above k0"),
        (lambda: FUNCTIONS["HALFCOS"](k0=0.1, l=5, k1=0.2), "HALFCOS: the floor k1 must not be above k0"),
        (lambda: RAMP(k0=0, k1=1, l=5), "RAMP: k0 must be above 0 and below k1"),
        (lambda: RAMP(k0=1, k1=1, l=5), "RAMP: k0 must be above 0 and below k1"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(make, reason):
    with pytest.raises(PolicyError, match=reason):
        make()


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


@pytest.mark.parametrize("seed", range(3))
def test_a_warm_up_ends_in_the_first_value_of_its_policy(seed, policies):
    for policy in policies(seed, 50, WARMUP):
        inner, length = policy.params["policy"], policy.params["l"]
        assert policy(0) == 0
        assert policy(math.ceil(length)) == pytest.approx(inner(math.ceil(length) - length), rel=1e-12)
        assert policy(length / 2) == pytest.approx(inner(0) / 2, rel=1e-12)
        assert policy.form == f"WARMUP({inner.form})"


@pytest.mark.parametrize("name", ["TRI", "SIN", "COS", "TRI2", "SIN2", "TRIEXP", "SINEXP"])
def test_cyclic_functions_do_not_mind_the_order_of_their_bounds(name, policies):
    for policy in policies(15, 30, FUNCTIONS[name]):
        turned = FUNCTIONS[name](**{**policy.params, "k0": policy.params["k1"], "k1": policy.params["k0"]})
        assert np.array_equal(turned.curve(500), policy.curve(500))
        low, high = sorted((policy.params["k0"], policy.params["k1"]))
        assert policy(0) == pytest.approx(high if name == "COS" else low, rel=1e-12)


@pytest.mark.parametrize("name", ["TRI", "SIN", "COS"])
def test_a_cycle_is_twice_the_length(name, policies):
    for policy in policies(16, 30, FUNCTIONS[name]):
        steps = np.arange(400.0)
        assert near(policy(steps + 2 * policy.params["l"]), policy(steps), 1e-10 * peak(policy))


def test_milestones_drop_at_their_own_step_whatever_was_asked_before():
    policy, other = NSTEP(k0=1, gamma=0.1, l=[10]), NSTEP(k0=1, gamma=0.1, l=[10, 15, 18])
    assert other(19) == pytest.approx(0.001)
    assert [policy(t) for t in (20, 9, 10, 0)] == pytest.approx([0.1, 1, 0.1, 1])


def test_a_step_size_that_is_not_whole_drops_at_the_first_step_past_it():
    policy = STEP(k0=1, gamma=0.1, l=390.625)
    assert [policy(390), policy(391), policy(781), policy(782)] == pytest.approx([1, 0.1, 0.1, 0.01])
