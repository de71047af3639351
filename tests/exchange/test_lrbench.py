"""LRBench's strings and policies: golden strings, and LRBench's formulas at 50 digits."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.exchange import from_lrbench, to_lrbench
from lrsearch.exchange.lrbench import TAKES
from lrsearch.schedules import FUNCTIONS, parse

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "lrbench_strings.json").read_text())["rows"]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["string"])
def test_a_string_has_the_learning_rates_of_lrbench_s_formula(row):
    policy = from_lrbench(row["string"])
    assert str(policy) == row["policy"]
    steps, lrs = np.array(row["points"]).T
    assert policy(steps) == pytest.approx(lrs, rel=1e-11, abs=1e-15)
    assert from_lrbench(to_lrbench(policy)) == policy


def test_every_function_of_lrbench_has_a_golden_string():
    named = {name for row in GOLDEN for name in re.findall("lrPolicy_([A-Z0-9]+)", row["string"])}
    assert named == set(TAKES)
    assert len(TAKES) == 34


def test_where_lrbench_differs_from_the_paper_is_settled():
    assert from_lrbench("lrPolicy_POLY+k0_0.001+k1_0.1+p_2+l_100")(0) == 0.1
    assert str(from_lrbench("lrPolicy_POLY+k0_0.1+p_2+l_100")) == "POLY(k0=0.1, p=2, l=100)"
    assert from_lrbench("lrPolicy_RSW+k0_0.1+k1_0.9+l_10")(np.array([0, 10])).tolist() == [0.9, 0.9]
    assert from_lrbench("lrPolicy_COS+k0_0.1+k1_0.9+l_10")(0) == 0.9
    assert from_lrbench("lrPolicy_COS+k0_0.9+k1_0.1+l_10")(0) == pytest.approx(0.1)
    assert from_lrbench("lrPolicy_NSTEP+k0_1+gamma_0.1+l_5")(np.array([9, 0, 5])).tolist() == [0.1, 1.0, 0.1]


@pytest.mark.parametrize(
    ("text", "string"),
    [
        ("FIX(k0=0.00001)", "lrPolicy_FIX+k0_1e-05"),
        ("STEP(k0=0.1, gamma=0.5, l=390.625)", "lrPolicy_STEP+k0_0.1+gamma_0.5+l_390.625"),
        ("NSTEP(k0=0.1, gamma=0.5, l=[10, 20])", "lrPolicy_NSTEP+k0_0.1+gamma_0.5+l_10+20"),
        ("POLY(k0=0.1, p=2, l=50, k1=0.01)", "lrPolicy_POLY+k0_0.01+k1_0.1+p_2+l_50"),
        ("LINEAR(k0=0.1, l=50)", "lrPolicy_POLY+k0_0+k1_0.1+p_1+l_50"),
        ("SIG(k0=0.1, gamma=0.001, l=50)", "lrPolicy_SIG+k0_0.1+gamma_-0.001+l_50"),
        ("COS(k0=0.9, k1=0.1, l=50)", "lrPolicy_COS+k0_0.1+k1_0.9+l_50"),
        ("TRIEXP(k0=0.1, k1=0.9, gamma=0.99994, l=2000)", "lrPolicy_TRIEXP+k0_0.1+k1_0.9+gamma_0.99994+l_2000"),
        (
            "CHAIN(policies=[FIX(k0=0.1), FIX(k0=1e-5), FIX(k0=1)], at=[10, 20])",
            "lrPolicy_FIX+k0_0.1-lrPolicy_FIX+k0_1e-05-lrPolicy_FIX+k0_1-AT-10+20",
        ),
    ],
)
def test_a_policy_is_written_as_lrbench_prints_it(text, string):
    assert to_lrbench(parse(text)) == string
    steps = np.arange(50)
    assert from_lrbench(string)(steps) == pytest.approx(parse(text)(steps), rel=1e-12)


@pytest.mark.parametrize(
    ("string", "why"),
    [
        ("", "expected lrPolicy_, k0_, .* found ''"),
        ("FIX", "found 'FIX'"),
        ("k0_0.1", "lrPolicy_ and a function's name are missing"),
        ("lrPolicy_TRIX+k0_0.1", "no function of LRBench 'TRIX'; did you mean 'TRI'"),
        ("lrPolicy_HALFCOS+k0_0.1+l_5", "no function of LRBench 'HALFCOS'"),
        ("lrPolicy_FIX", r"FIX takes k0; missing k0 \(in 'lrPolicy_FIX'\)"),
        ("lrPolicy_TRI+k0_0.1+l_5", "missing k1"),
        ("lrPolicy_TRI+k0_0.1+k1_0.9+l_5+10", "TRI: l must be a number of steps"),
        ("lrPolicy_FIX+k0_0.1+k0_0.2", "twice 'k0_0.2'"),
        ("lrPolicy_FIX+k0_0.1+k2_0.2", "expected lrPolicy_, k0_, .* found 'k2_0.2'"),
        ("lrPolicy_FIX+k0_0.1+0.2", "found '0.2'"),
        ("lrPolicy_FIX+k0_x", "k0 must be a number, got 'x'"),
        ("lrPolicy_FIX+k0_1__0", "found 'k0_1__0'"),
        ("lrPolicy_FIX+k0_1e999", "FIX: k0 must be a learning rate"),
        ("lrPolicy_FIX+k0_-1", "FIX: k0 must be a learning rate"),
        ("lrPolicy_SIG+k0_0.1+gamma_0.001+l_50", "gamma=0.001 is above 0: it rises in LRBench"),
        ("lrPolicy_SIN+k0_0.9+k1_0.1+l_50", "SIN: k0=0.9 is above k1=0.1, where LRBench turns the wave upside down"),
        ("lrPolicy_TRI2+k0_0.9+k1_0.1+l_50", "TRI2: k0=0.9 is above k1=0.1"),
        ("lrPolicy_RSW+k0_0.9+k1_0.1+l_50", "RSW: k0=0.9 is above k1=0.1"),
        ("lrPolicy_FIX+k0_1-lrPolicy_FIX+k0_2", "2 policies need -AT-"),
        ("lrPolicy_FIX+k0_1-lrPolicy_FIX+k0_2-AT-5+6", "2 policies need 1 step in at, got 2"),
        ("lrPolicy_FIX+k0_1-lrPolicy_FIX+k0_2-AT-", "a step after -AT- must be a number, got ''"),
        ("lrPolicy_FIX+k0_1-AT-5", "a list of 2 to 16 policies"),
        ("lrPolicy_FIX+k0_1-AT-5-k0F-3", "-k0F- belongs to fixedPiecewiseLR"),
        (None, "an LRBench string is a text, got NoneType"),
        ("lrPolicy_NSTEP+k0_1+gamma_0.5+l_" + "+".join(map(str, range(1, 2000))), "at most 4096 characters"),
        (
            "lrPolicy_NSTEP+k0_1+gamma_0.5+l_" + "+".join(map(str, range(1, 100))),
            "a list of 1 to 64 rising step numbers",
        ),
    ],
)
def test_a_string_that_is_no_policy_is_refused_with_the_reason(string, why):
    with pytest.raises(PolicyError, match=why):
        from_lrbench(string)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("HALFCOS(k0=0.1, l=5)", "HALFCOS: LRBench has no such function. Known: FIX, STEP"),
        ("ASLR(k0=0.1)", "ASLR: LRBench has no such function"),
        ("STEP(k0=0.1, gamma=0.5, l=5, k1=0.01)", "STEP: LRBench's has no floor"),
        ("CHAIN(policies=[FIX(k0=1), REX(k0=1, l=5)], at=[5])", "REX: LRBench has no such function"),
        ("CHAIN(policies=[FIX(k0=1), SIG(k0=1, gamma=0.1, l=5)], at=[5])", "LRBench splits regions at '-'"),
        ("CHAIN(policies=[FIX(k0=1), FIX(k0=2)], at=[5.5])", "LRBench counts whole steps"),
        ("FIX(k0=1ep)", "k0 must be a learning rate"),
        ("STEP(k0=1, gamma=0.5, l=1ep)", "wait for a task"),
    ],
)
def test_what_lrbench_cannot_say_is_refused_with_the_reason(text, why):
    with pytest.raises(PolicyError, match=why):
        to_lrbench(parse(text))


def test_every_lr_function_is_written_or_refused_and_reads_back_equal():
    written = set()
    for name, function in FUNCTIONS.items():
        try:
            string = to_lrbench(function.example)
        except PolicyError:
            continue
        written.add(name)
        assert from_lrbench(string).curve(100) == pytest.approx(function.example.curve(100), rel=1e-12)
    assert written == {*TAKES, "LINEAR", "CHAIN"}


def test_a_mutilated_string_gives_a_policy_or_a_policy_error():
    rng = random.Random(0)
    marks = ["+", "-", "_", "-AT-", "k0", "l", "None", "e", ".", "1", "9", "0", "é", "\n", "{", "lrPolicy_", "NSTEP"]
    refused = 0
    for _ in range(5000):
        text = rng.choice(GOLDEN)["string"]
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(["", *marks]) + text[at + rng.choice([0, 1, 5]) :]
        try:
            assert from_lrbench(text).name in FUNCTIONS
        except PolicyError:
            refused += 1
    assert 1000 < refused < 4900
