"""Caffe's solvers and policies: hand-written solvers, and learning rates of Caffe's printed formulas at 50 digits."""

import random
from pathlib import Path

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.exchange import from_caffe, to_caffe
from lrsearch.schedules import FUNCTIONS, parse

SOLVERS = Path(__file__).parents[1] / "golden" / "caffe"
GOLDEN = {
    "lenet": ("INV(k0=0.01, gamma=0.0001, p=0.75)", 10_000,
              {0: 0.01, 1: 0.009999250065618985, 5000: 0.007377879464668811, 9999: 0.00594625856110333}),
    "lenet_multistep": ("NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000, 8000, 9000, 9500])", 10_000,
                        {0: 0.01, 4999: 0.01, 5000: 0.009, 7999: 0.0081, 8000: 0.00729, 9999: 0.0059049}),
    "cifar10_full": ("FIX(k0=0.001)", 60_000, {0: 0.001, 59_999: 0.001}),
    "googlenet_quick": ("POLY(k0=0.01, p=0.5, l=2400000)", 2_400_000,
                        {0: 0.01, 1: 0.00999999791666645, 1_200_000: 0.007071067811865475,
                         2_399_999: 6.4549722436790284e-06}),
    "alexnet": ("STEP(k0=0.01, gamma=0.1, l=100000)", 450_000, {0: 0.01, 99_999: 0.01, 100_000: 0.001, 449_999: 1e-6}),
    "sigmoid": ("SIG(k0=0.1, gamma=0.001, l=5000)", 10_000,
                {0: 0.09933071490757152, 4000: 0.07310585786300049, 5000: 0.05, 9999: 0.0006699502261553593}),
    "exp": ("EXP(k0=0.9, gamma=0.99994)", 64_000,
            {0: 0.9, 1: 0.899946, 2000: 0.7982255193134496, 63_999: 0.01934317338361865}),
}


def solver(name: str) -> str:
    return (SOLVERS / f"{name}_solver.prototxt").read_text()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_solver_has_the_learning_rates_of_caffe_s_formula(name):
    text, horizon, rates = GOLDEN[name]
    policy = from_caffe(solver(name))
    assert str(policy) == text
    assert [policy(step) for step in rates] == pytest.approx(list(rates.values()), rel=1e-11)
    assert from_caffe(to_caffe(policy, horizon)) == policy


def test_every_solver_beside_the_tests_is_checked():
    assert {path.name.removesuffix("_solver.prototxt") for path in SOLVERS.iterdir()} == set(GOLDEN)


def test_a_solver_is_written_as_people_write_it():
    assert to_caffe(parse("NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000])"), 10_000).splitlines() == [
        "base_lr: 0.01", 'lr_policy: "multistep"', "gamma: 0.9", "stepvalue: 5000", "stepvalue: 7000",
        "max_iter: 10000"]
    assert to_caffe(parse("SIG(k0=1e-5, gamma=0.001, l=50)"), 100).splitlines()[:3] == [
        "base_lr: 1e-05", 'lr_policy: "sigmoid"', "gamma: -0.001"]


@pytest.mark.parametrize("text", ["POLY(k0=0.1, p=1, l=100)", "LINEAR(k0=0.1, l=100)"])
def test_a_line_to_0_is_a_polynomial(text):
    assert str(from_caffe(to_caffe(parse(text), 100))) == "POLY(k0=0.1, p=1, l=100)"


@pytest.mark.parametrize(("text", "policy"), [
    ('base_lr: 0.1 lr_policy: "fixed"', "FIX(k0=0.1)"),
    ("lr_policy:'fixed'\nbase_lr:1e-3", "FIX(k0=0.001)"),
    ('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: [10, 20]', "NSTEP(k0=1, gamma=0.5, l=[10, 20])"),
    ('base_lr: 1 lr_policy: "multistep" gamma: 0.5', "FIX(k0=1)"),
    ('base_lr: 1 # base_lr: 2\nlr_policy: "fixed" # "step"', "FIX(k0=1)"),
    ('base_lr: 1 lr_policy: "fixed" net: "a # b { : ]"', "FIX(k0=1)"),
    ('solver { base_lr: 5 inner { x: "}" } } base_lr: 1 lr_policy: "fixed"', "FIX(k0=1)"),
])
def test_the_prototxt_format_is_read(text, policy):
    assert str(from_caffe(text)) == policy


@pytest.mark.parametrize(("text", "why"), [
    ("", "lr_policy must be given once, found 0 times"),
    ("base_lr: 0.1", "lr_policy must be given once, found 0 times"),
    ('lr_policy: "fixed"', "base_lr must be given once, found 0 times"),
    ('lr_policy: "fixed" base_lr: 1 base_lr: 2', "base_lr must be given once, found 2 times"),
    ('lr_policy: "stepp" base_lr: 1', "no lr_policy of Caffe 'stepp'; did you mean 'step'"),
    ('lr_policy: "plateau" base_lr: 1', "no lr_policy of Caffe 'plateau'"),
    ('lr_policy: "step" base_lr: 1 gamma: 0.1', "lr_policy 'step': stepsize must be given once"),
    ('lr_policy: "step" base_lr: 1 gamma: 0.1 stepsize: 2.5', "stepsize must be a whole number, 1 or more, got 2.5"),
    ('lr_policy: "step" base_lr: 1 gamma: 1.5 stepsize: 2', "STEP: gamma must be a factor"),
    ('lr_policy: "step" base_lr: 1 gamma: x stepsize: 2', "gamma must be a number, got 'x'"),
    ('lr_policy: "fixed" base_lr: nan', "base_lr must be a number, got 'nan'"),
    ('lr_policy: "fixed" base_lr: 1e999', "base_lr must be a finite number"),
    ('lr_policy: "fixed" base_lr: 1_0', "base_lr must be a number, got '1_0'"),
    ('lr_policy: "fixed" base_lr: "1"', "base_lr must be a number"),
    ('lr_policy: "sigmoid" base_lr: 1 gamma: 0.1 stepsize: 2', "gamma=0.1 is above 0: it rises"),
    ('lr_policy: "multistep" base_lr: 1 gamma: 0.1 stepvalue: 5 stepvalue: 3', "a list of 1 to 64 rising step numbers"),
    ('lr_policy: "poly" base_lr: 1 power: 1', "max_iter must be given once"),
    ('lr_policy: "fixed" base_lr: 1 warmup_iter: 5', "warmup_iter belongs to a fork of Caffe"),
    ('lr_policy "fixed"', "expected ':' after 'lr_policy'"),
    ("lr_policy", "the prototxt ends after 'lr_policy'"),
    ("a: {", "the prototxt ends after 'a'"),
    ("a: { > }", "'>' inside 'a' closes nothing"),
    ("a: }", "'a' has no value, found '}'"),
    ("}", "expected a key, found '}'"),
    ("a: [1, 2", "the prototxt ends after 'a'"),
    ('a: "b', "cannot read '\"b'"),
    ("a: 1 ?", "cannot read '\\?'"),
    (7, "a solver prototxt is a text, got int"),
    ("#" * 70_000, "a solver prototxt has at most 65536 characters, got 70000"),
])
def test_a_solver_that_is_no_policy_is_refused_with_the_reason(text, why):
    with pytest.raises(PolicyError, match=why):
        from_caffe(text)


@pytest.mark.parametrize(("text", "why"), [
    ("TRI(k0=0, k1=1, l=5)", "TRI: Caffe has no such lr_policy. Known: fixed, step"),
    ("PLATEAU(k0=0.1, gamma=0.5)", "PLATEAU: Caffe has no such lr_policy"),
    ("STEP(k0=1, gamma=0.5, l=2.5)", "STEP: Caffe counts whole iterations, so l must be a whole number"),
    ("STEP(k0=1, gamma=0.5, l=2, k1=0.1)", "Caffe's step has no floor, and k1 is 0.1"),
    ("NSTEP(k0=1, gamma=0.5, l=[2, 3.5])", "NSTEP: Caffe counts whole iterations"),
    ("POLY(k0=1, p=2, l=50)", "Caffe's poly goes to 0 at max_iter"),
    ("POLY(k0=1, p=2, l=100, k1=0.1)", "Caffe's poly goes to 0 at max_iter"),
    ("FIX(k0=1)", "horizon must be a whole number"),
    ("LINEAR(k0=1, l=1dur)", "wait for a task"),
])
def test_what_caffe_cannot_say_is_refused_with_the_reason(text, why):
    with pytest.raises(PolicyError, match=why):
        to_caffe(parse(text), 0.5 if text.startswith("FIX") else 100)


def test_every_lr_function_is_written_or_refused_and_reads_back_equal():
    written = set()
    for name, function in FUNCTIONS.items():
        try:
            text = to_caffe(function.example, 100)
        except PolicyError:
            continue
        written.add(name)
        if not function.example.is_controller:
            assert np.array_equal(from_caffe(text).curve(100), function.example.curve(100))
    assert written == {"FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "LINEAR", "SIG"}


def test_a_mutilated_solver_gives_a_policy_or_a_policy_error():
    rng = random.Random(0)
    texts = [solver(name) for name in GOLDEN]
    marks = "{}[]<>:#\"'\\\n\0 ;,.-+e0123456789axé"
    refused = 0
    for _ in range(3000):
        letters = list(rng.choice(texts))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(letters))
            letters[at:at + rng.choice([0, 1, 1, 8])] = rng.choice(marks) * rng.choice([0, 1, 1, 3])
        try:
            assert from_caffe("".join(letters)).name in FUNCTIONS
        except PolicyError:
            refused += 1
    assert 100 < refused < 2900
