"""Lengths that wait for a task: `3ep` is three epochs, `0.1dur` a tenth of the run."""

import math
import re

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.schedules import (
    CHAIN,
    CHANGEONPLATEAU,
    CM,
    FIX,
    HALFCOS,
    LINEAR,
    NSTEP,
    PLATEAU,
    SAMPLED,
    STEP,
    TRI,
    WARMUP,
    Duration,
    Policy,
    curves,
    from_json,
    parse,
    to_json,
)

HORIZON, EPOCH = 100_000, 1000
"""The task of which the generator of policies draws those that wait."""


def test_ways_to_write_a_duration_make_one_policy():
    one = TRI(k0=0, k1=1, l="3ep")
    texts = ["3ep", "3.0ep", "3.ep", "03ep", "3e0ep", " 3ep\t", np.array("3ep")]
    for length in [*texts, Duration(3, "ep"), Duration(3.0, "ep"), Duration(np.float64(3), "ep")]:
        again = TRI(k0=0, k1=1, l=length)
        assert (again, str(again), hash(again)) == (one, "TRI(k0=0, k1=1, l=3ep)", hash(one))
    assert parse("TRI(k0=0, k1=1, l=3.00ep)") == one
    assert from_json('{"format": "lrsearch.policy/1", "name": "TRI", "k0": 0, "k1": 1, "l": "3.00ep"}') == one
    assert TRI(k0=0, k1=1, l=3) != one != TRI(k0=0, k1=1, l="3dur")


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("LINEAR(k0=1, l=1dur)", "LINEAR(k0=1, l=10000)"),
        ("LINEAR(k0=1, l=2.5ep)", "LINEAR(k0=1, l=976.5625)"),
        ("NSTEP(k0=1, gamma=0.5, l=[100, 2ep, 0.5dur])", "NSTEP(k0=1, gamma=0.5, l=[100, 781.25, 5000])"),
        ("WARMUP(policy=HALFCOS(k0=1, l=0.9dur), l=0.1dur)", "WARMUP(policy=HALFCOS(k0=1, l=9000), l=1000)"),
        (
            "CHAIN(policies=[FIX(k0=1), TRI(k0=0, k1=1, l=0.01dur)], at=[8ep])",
            "CHAIN(policies=[FIX(k0=1), TRI(k0=0, k1=1, l=100)], at=[3125])",
        ),
        ("SAMPLED(policy=LINEAR(k0=1, l=1dur), every=8ep)", "SAMPLED(policy=LINEAR(k0=1, l=10000), every=3125)"),
        (
            "SAMPLED(policy=LINEAR(k0=1, l=1dur), every=[8ep, 0.5dur])",
            "SAMPLED(policy=LINEAR(k0=1, l=10000), every=[3125, 5000])",
        ),
        (
            "CHANGEONPLATEAU(policies=[FIX(k0=1), LINEAR(k0=1, l=0.2dur)], l=0.8dur)",
            "CHANGEONPLATEAU(policies=[FIX(k0=1), LINEAR(k0=1, l=2000)], l=8000)",
        ),
        ("FIX(k0=1)", "FIX(k0=1)"),
    ],
)
def test_a_policy_bound_to_a_task_has_its_lengths_in_steps(text, bound):
    policy = parse(text)
    assert str(policy) == text
    assert policy.is_bound is (text == bound)
    assert policy.bind(horizon=10_000, epoch=390.625) == parse(bound)
    assert parse(bound).is_bound


def test_a_bound_policy_is_the_one_whose_text_names_the_steps(policies):
    def steps(result: re.Match[str]) -> str:
        return repr(float(result[1]) * {"ep": EPOCH, "dur": HORIZON}[result[2]])

    waited = 0
    for policy in policies(31, 1500, waits=0.5):
        plain = parse(re.sub(r"([0-9.e-]+)(ep|dur)", steps, str(policy)))
        bound = policy.bind(horizon=HORIZON, epoch=EPOCH)
        assert bound.is_bound
        assert bound.form == policy.form
        if not bound.is_controller:
            assert np.allclose(bound(np.arange(0.5, 300)), plain(np.arange(0.5, 300)), rtol=1e-6, atol=1e-7)
        waited += not policy.is_bound
    assert waited > 400


@pytest.mark.parametrize("amount", [0.1, 0.7, 0.29, 0.57, 1.1, 3])
def test_what_is_whole_but_for_noise_becomes_whole(amount):
    for horizon in (10, 30, 100, 10_000, 70_000):
        length = NSTEP(k0=1, gamma=0.5, l=[f"{amount}dur"]).bind(horizon=horizon).params["l"][0]
        exact = round(amount * 100) * horizon / 100
        assert length == (exact if exact.is_integer() else pytest.approx(exact, rel=1e-12))
        assert isinstance(length, int) is exact.is_integer()


def test_a_length_in_fractions_of_a_step_stays_one():
    assert STEP(k0=1, gamma=0.5, l="1ep").bind(epoch=390.625).params["l"] == 390.625


ASKED = {
    "a step": lambda policy: policy(3),
    "a curve": lambda policy: policy.curve(3),
    "many curves": lambda policy: curves([FIX(k0=1), policy], 3),
    "a momentum": lambda policy: policy.momentum(3),
    "a horizon": lambda policy: policy.horizon,
    "a period": lambda policy: policy.period,
    "a longer one": lambda policy: policy.stretch(2),
    "coordinates": lambda policy: policy.coordinates(100),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("policy", [TRI(k0=0, k1=1, l="3ep"), WARMUP(policy=LINEAR(k0=1, l="0.9dur"), l=5)], ids=str)
def test_a_policy_that_waits_refuses_what_needs_steps_and_says_what_to_do(policy, ask):
    advice = re.escape(f"{policy} has lengths that wait for a task: bind(horizon=..., epoch=...) it first")
    with pytest.raises(PolicyError, match=advice):
        ask(policy)
    ask(policy.bind(horizon=100, epoch=10))


def test_a_controller_that_waits_does_not_begin():
    policy = CHANGEONPLATEAU(policies=[FIX(k0=1), FIX(k0=2)], l="0.8dur")
    with pytest.raises(PolicyError, match="wait for a task: bind"):
        policy.begin()
    assert policy.bind(horizon=100).begin().lr(0, 0.5) == 1


def test_what_needs_no_steps_is_given_while_waiting():
    policy = CM(policy=WARMUP(policy=HALFCOS(k0=0.123456, l="0.91234dur"), l="2ep"), m0=0.9, m1=0.8)
    assert str(policy.scale(2)) == "CM(policy=WARMUP(policy=HALFCOS(k0=0.246912, l=0.91234dur), l=2ep), m0=0.9, m1=0.8)"
    assert str(policy.rounded()) == "CM(policy=WARMUP(policy=HALFCOS(k0=0.1235, l=0.9123dur), l=2ep), m0=0.9, m1=0.8)"
    assert (policy.form, policy.depth, policy.has_momentum) == ("CM(WARMUP(HALFCOS))", 3, True)
    assert from_json(to_json(policy)) == parse(str(policy)) == policy


@pytest.mark.parametrize(
    ("policy", "known", "advice"),
    [
        (LINEAR(k0=1, l="3ep"), {}, r"3ep is known in steps when the epoch is: bind\(epoch=...\)"),
        (LINEAR(k0=1, l="3ep"), {"horizon": 10}, r"3ep is known in steps when the epoch is: bind\(epoch=...\)"),
        (LINEAR(k0=1, l="0.1dur"), {"epoch": 10}, r"0.1dur is known in steps when the horizon is: bind\(horizon=...\)"),
        (LINEAR(k0=1, l="1dur"), {"horizon": 0}, "the horizon must be a finite number above 0, got 0"),
        (LINEAR(k0=1, l="1ep"), {"epoch": -1}, "the epoch must be a finite number above 0, got -1"),
        (LINEAR(k0=1, l="1ep"), {"epoch": math.nan}, "the epoch must be a finite number above 0, got nan"),
        (LINEAR(k0=1, l="1e6ep"), {"epoch": 1e7}, "LINEAR: l must be a number of steps in .* got 10000000000000"),
        (LINEAR(k0=1, l="1e-300dur"), {"horizon": 100}, "LINEAR: l must be a number of steps in .* got 0"),
        (
            NSTEP(k0=1, gamma=0.5, l=["3ep", "0.1dur"]),
            {"horizon": 100, "epoch": 10},
            r"NSTEP: l must be a list of 1 to 64 rising .* got \(30, 10\)",
        ),
        (NSTEP(k0=1, gamma=0.5, l=[50, "5ep"]), {"epoch": 10}, r"NSTEP: l must be a list .* got \(50, 50\)"),
        (WARMUP(policy=NSTEP(k0=1, gamma=0.5, l=[50, "4ep"]), l=5), {"epoch": 10}, r"NSTEP: l must .* got \(50, 40\)"),
    ],
    ids=str,
)
def test_what_cannot_be_bound_is_refused_with_the_reason(policy, known, advice):
    with pytest.raises(PolicyError, match=advice):
        policy.bind(**known)


@pytest.mark.parametrize("policy", [FIX(k0=1), WARMUP(policy=FIX(k0=1), l=5), PLATEAU(k0=1, gamma=0.5)], ids=str)
def test_what_waits_for_nothing_is_bound_already(policy):
    assert policy.is_bound
    assert policy.bind() is policy


@pytest.mark.parametrize("milestones", [["1ep", "2ep"], ["0.1dur", "0.2dur"], [5, "1ep", 6], ["9ep", "0.1dur", "10ep"]])
def test_neighbours_that_cannot_be_compared_yet_are_let_wait(milestones):
    assert not NSTEP(k0=1, gamma=0.5, l=milestones).is_bound


NO_DURATIONS = [
    "0ep",
    "-1ep",
    "+1ep",
    "1e7dur",
    "1000001ep",
    "3 ep",
    "3",
    "ep",
    "3e",
    "3eps",
    "3Ep",
    "3ep3",
    "3epdur",
    "1_0ep",
    "0x1ep",
    "nanep",
    "infdur",
    "1e999ep",
    "1e-999ep",
    "\u0663ep",
    "3ep\n",
    "",
    b"3ep",
    "3.1.4ep",
]


@pytest.mark.parametrize("text", NO_DURATIONS, ids=lambda text: f"{text!a}")
def test_a_duration_that_is_none_is_refused(text):
    for make in (lambda: TRI(k0=0, k1=1, l=text), lambda: SAMPLED(policy=FIX(k0=1), every=text)):
        with pytest.raises(PolicyError, match=r"must be a number of steps in .* or a duration such as 3ep"):
            make()
    with pytest.raises(PolicyError, match=r"rising step numbers in .* or durations"):
        CHAIN(policies=[FIX(k0=1), FIX(k0=2)], at=[text])


@pytest.mark.parametrize(
    ("amount", "unit"),
    [(0, "ep"), (-1, "ep"), (1e7, "dur"), (math.nan, "ep"), (True, "ep"), ("3", "ep"), (3, "weeks"), (3, None)],
)
def test_a_duration_that_could_not_be_read_back_is_not_made(amount, unit):
    with pytest.raises(PolicyError, match=rf"at most 1e\+06, in ep or dur, got {amount} {unit}"):
        Duration(amount, unit)


def test_a_policy_that_waits_is_equal_to_itself_only_by_its_text():
    waiting: Policy = LINEAR(k0=1, l="1dur")
    assert waiting.bind(horizon=100) == LINEAR(k0=1, l=100) != waiting
    assert waiting.key != waiting.bind(horizon=100).key
