"""Caffe's solvers and policies: hand-written solvers, and learning rates of Caffe's printed formulas at 50 digits."""

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.exchange import from_caffe, to_caffe
from lrsearch.schedules import FUNCTIONS, parse

SOLVERS = Path(__file__).parents[1] / "golden" / "caffe"
GOLDEN = {
    "lenet": (
        "INV(k0=0.01, gamma=0.0001, p=0.75)",
        10_000,
        {0: 0.01, 1: 0.009999250065618985, 5000: 0.007377879464668811, 9999: 0.00594625856110333},
    ),
    "lenet_multistep": (
        "NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000, 8000, 9000, 9500])",
        10_000,
        {0: 0.01, 4999: 0.01, 5000: 0.009, 7999: 0.0081, 8000: 0.00729, 9999: 0.0059049},
    ),
    "cifar10_full": ("FIX(k0=0.001)", 60_000, {0: 0.001, 59_999: 0.001}),
    "googlenet_quick": (
        "POLY(k0=0.01, p=0.5, l=2400000)",
        2_400_000,
        {0: 0.01, 1: 0.00999999791666645, 1_200_000: 0.007071067811865475, 2_399_999: 6.4549722436790284e-06},
    ),
    "alexnet": ("STEP(k0=0.01, gamma=0.1, l=100000)", 450_000, {0: 0.01, 99_999: 0.01, 100_000: 0.001, 449_999: 1e-6}),
    "sigmoid": (
        "SIG(k0=0.1, gamma=0.001, l=5000)",
        10_000,
        {0: 0.09933071490757152, 4000: 0.07310585786300049, 5000: 0.05, 9999: 0.0006699502261553593},
    ),
    "exp": (
        "EXP(k0=0.9, gamma=0.99994)",
        64_000,
        {0: 0.9, 1: 0.899946, 2000: 0.7982255193134496, 63_999: 0.01934317338361865},
    ),
}


def solver(name: str) -> str:
    return (SOLVERS / f"{name}_solver.prototxt").read_text()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_solver_has_the_learning_rates_of_caffe_s_formula(name):
    text, horizon, lrs = GOLDEN[name]
    policy = from_caffe(solver(name))
    assert str(policy) == text
    assert [policy(step) for step in lrs] == pytest.approx(list(lrs.values()), rel=1e-11)
    if name == "sigmoid":
        with pytest.raises(PolicyError, match=r"it falls with a gamma below 0 in Caffe, here -0\.001, and"):
            to_caffe(policy, horizon)
    else:
        assert from_caffe(to_caffe(policy, horizon)) == policy


def test_every_solver_beside_the_tests_is_checked():
    assert {path.name.removesuffix("_solver.prototxt") for path in SOLVERS.iterdir()} == set(GOLDEN)


def test_a_solver_is_written_as_people_write_it():
    assert to_caffe(parse("NSTEP(k0=0.01, gamma=0.9, l=[5000, 7000])"), 10_000).splitlines() == [
        "base_lr: 0.01",
        'lr_policy: "multistep"',
        "gamma: 0.9",
        "stepvalue: 5000",
        "stepvalue: 7000",
        "max_iter: 10000",
    ]
    assert to_caffe(parse("SIG(k0=1e-5, gamma=0, l=50)"), 100).splitlines()[:3] == [
        "base_lr: 1e-05",
        'lr_policy: "sigmoid"',
        "gamma: 0",
    ]
    assert to_caffe(parse("WARMUP(policy=FIX(k0=0.1), l=50)"), 100).splitlines() == [
        "# warmup_iter and warmup_start_lr: Intel's fork of Caffe",
        "base_lr: 0.1",
        'lr_policy: "fixed"',
        "max_iter: 100",
        "warmup_iter: 50",
        "warmup_start_lr: 0",
    ]


@pytest.mark.parametrize("text", ["POLY(k0=0.1, p=1, l=100)", "LINEAR(k0=0.1, l=100)"])
def test_a_line_to_0_is_a_polynomial(text):
    assert str(from_caffe(to_caffe(parse(text), 100))) == "POLY(k0=0.1, p=1, l=100)"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ('base_lr: 0.1 lr_policy: "fixed"', "FIX(k0=0.1)"),
        ("lr_policy:'fixed'\nbase_lr:1e-3", "FIX(k0=0.001)"),
        ('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: [10, 20]', "NSTEP(k0=1, gamma=0.5, l=[10, 20])"),
        ('base_lr: 1 lr_policy: "multistep" gamma: 0.5', "FIX(k0=1)"),
        ('base_lr: 1 # base_lr: 2\nlr_policy: "fixed" # "step"', "FIX(k0=1)"),
        ('base_lr: 1 lr_policy: "fixed" net: "a # b { : ]"', "FIX(k0=1)"),
        ('solver { base_lr: 5 inner { x: "}" } } base_lr: 1 lr_policy: "fixed"', "FIX(k0=1)"),
    ],
)
def test_the_prototxt_format_is_read(text, policy):
    assert str(from_caffe(text)) == policy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lr_policy must be given once, found 0 times"),
        ("base_lr: 0.1", "lr_policy must be given once, found 0 times"),
        ('lr_policy: "fixed"', "base_lr must be given once, found 0 times"),
        ('lr_policy: "fixed" base_lr: 1 base_lr: 2', "base_lr must be given once, found 2 times"),
        ('lr_policy: "stepp" base_lr: 1', "no lr_policy of Caffe 'stepp'; did you mean 'step'"),
        ('lr_policy: "plateau" base_lr: 1', "no lr_policy of Caffe 'plateau'"),
        ('lr_policy: "step" base_lr: 1 gamma: 0.1', "lr_policy 'step': stepsize must be given once"),
        (
            'lr_policy: "step" base_lr: 1 gamma: 0.1 stepsize: 2.5',
            "stepsize must be a whole number, 1 or more, got 2.5",
        ),
        ('lr_policy: "step" base_lr: 1 gamma: 1.5 stepsize: 2', "STEP: gamma must be a factor"),
        ('lr_policy: "step" base_lr: 1 gamma: x stepsize: 2', "gamma must be a number, got 'x'"),
        ('lr_policy: "fixed" base_lr: nan', "base_lr must be a number, got 'nan'"),
        ('lr_policy: "fixed" base_lr: 1e999', "base_lr must be a finite number"),
        ('lr_policy: "fixed" base_lr: 1_0', "base_lr must be a number, got '1_0'"),
        ('lr_policy: "fixed" base_lr: "1"', "base_lr must be a number"),
        ('lr_policy: "sigmoid" base_lr: 1 gamma: 0.1 stepsize: 2', "gamma=0.1 is above 0: it rises"),
        (
            'lr_policy: "multistep" base_lr: 1 gamma: 0.1 stepvalue: 5 stepvalue: 3',
            "a list of 1 to 64 rising step numbers",
        ),
        ('lr_policy: "poly" base_lr: 1 power: 1', "max_iter must be given once"),
        ('lr_policy: "fixed" base_lr: 1 warmup_iter: 5.5', "warmup_iter must be a whole number, 0 or more, got 5.5"),
        (
            'lr_policy: "fixed" base_lr: 1 warmup_iter: 5 min_lr: 0.1',
            "warmup_iter is a key of Intel's fork .* none has",
        ),
        (
            'lr_policy: "fixed" base_lr: 1 rampup_interval: 5',
            "belongs to NVIDIA's fork of Caffe, whose releases differ",
        ),
        ('lr_policy: "fixed" base_lr: 1 rampup_interval: 5 min_lr: 0.1', "its ramp is below min_lr=0.1"),
        ('lr_policy: "step" base_lr: 1 gamma: 0.1 stepsize: 010', "stepsize must be a number, got '010'"),
        ('lr_policy: "step" base_lr: 1 gamma: 0.1 stepsize: 0x10', "stepsize must be a number, got '0x10'"),
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
    ],
)
def test_a_solver_that_is_no_policy_is_refused_with_the_reason(text, why):
    with pytest.raises(PolicyError, match=why):
        from_caffe(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("TRI(k0=0, k1=1, l=5)", "TRI: Caffe has no such lr_policy. Known: fixed, step"),
        ("PLATEAU(k0=0.1, gamma=0.5)", "PLATEAU: Caffe has no such lr_policy"),
        ("STEP(k0=1, gamma=0.5, l=2.5)", "STEP: Caffe counts whole iterations, so l must be a whole number"),
        ("STEP(k0=1, gamma=0.5, l=2, k1=0.1)", "Caffe's step has no floor, and k1 is 0.1"),
        ("NSTEP(k0=1, gamma=0.5, l=[2, 3.5])", "NSTEP: Caffe counts whole iterations"),
        ("POLY(k0=1, p=2, l=50)", "Caffe's poly goes to 0 at max_iter"),
        ("POLY(k0=1, p=2, l=100, k1=0.1)", "Caffe's poly goes to 0 at max_iter"),
        ("FIX(k0=1)", "horizon must be a whole number"),
        ("SIG(k0=1, gamma=0.5, l=5)", "SIG: it falls with a gamma below 0 in Caffe, here -0.5, and Caffe checks that"),
        ("STEP(k0=1, gamma=0.5, l=3e9)", "so l must be at most 2147483647, Caffe's int32, got 3000000000"),
        ("NSTEP(k0=1, gamma=0.5, l=[2, 3e9])", "Caffe's int32, got 3000000000"),
        ("INV(k0=1, gamma=1e100, p=1)", "INV: Caffe has float32, and gamma=1e\\+100 is inf there"),
        ("FIX(k0=1e-60)", "FIX: Caffe has float32, and k0=1e-60 is 0 there"),
        ("EXP(k0=1, gamma=0.999999999)", "EXP: Caffe has float32, and gamma=0.999999999 is 1 there"),
        (
            "WARMUP(policy=POLY(k0=1, p=2, l=100), l=5)",
            r"WARMUP\(POLY\): Caffe has no such lr_policy. Intel's fork has",
        ),
        ("WARMUP(policy=FROM(policy=POLY(k0=1, p=2, l=100), at=5), l=5)", r"WARMUP\(FROM\(POLY\)\): Caffe has no such"),
        (
            "CHAIN(policies=[LINEAR(k0=0, l=5, k1=1), FROM(policy=POLY(k0=1, p=2, l=100), at=6)], at=[5])",
            "Intel's fork",
        ),
        ("CHAIN(policies=[LINEAR(k0=0, l=9, k1=1), FIX(k0=1)], at=[5])", "Intel's fork has a line to base_lr"),
        ("CHAIN(policies=[LINEAR(k0=0, l=5, k1=1), FIX(k0=2)], at=[5])", "Intel's fork has a line to base_lr"),
        ("CHAIN(policies=[FIX(k0=0), FIX(k0=2)], at=[5])", "Intel's fork has a line to base_lr"),
        (
            "CHAIN(policies=[LINEAR(k0=0, l=5, k1=1), FROM(policy=TRI(k0=0, k1=1, l=9), at=5)], at=[5])",
            "Intel's fork|TRI:",
        ),
        ("LINEAR(k0=1, l=1dur)", "wait for a task"),
    ],
)
def test_what_caffe_cannot_say_is_refused_with_the_reason(text, why):
    with pytest.raises(PolicyError, match=why):
        to_caffe(parse(text), 0.5 if text == "FIX(k0=1)" else 100)


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
    assert written == {"FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "LINEAR"}


def as_caffe_could(policy):
    """The policy with whole lengths, and without a floor."""

    def whole(result: re.Match[str]) -> str:
        return re.sub(r"[0-9][0-9.e-]*", lambda one: str(math.ceil(float(one[0]))), result[0])

    text = re.sub(r"(?<=[ (])(l|at)=(\[[^]A-Z]*\]|[0-9.e-]+)", whole, str(policy))
    try:
        return parse(re.sub(r", k1=[0-9.e-]+\)$", ")", text) if policy.name in ("STEP", "POLY", "LINEAR") else text)
    except PolicyError:
        return policy


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_written_passes_protobuf_and_caffe_s_own_checks_and_is_the_policy(name, policies, oracle):
    written = 0
    for policy in [FUNCTIONS[name].example, *policies(71, 60, FUNCTIONS[name])]:
        policy = as_caffe_could(policy)
        horizon = 1000 if policy.is_controller or not policy.horizon else math.ceil(policy.horizon)
        try:
            text = to_caffe(policy, horizon)
        except PolicyError:
            continue
        written += 1
        result = oracle.solver(text, oracle.INTEL if "warmup_iter" in text else oracle.FIELDS)
        steps = [step for step in (0, 1, 2, 9, horizon // 3, horizon - 1, horizon) if step <= horizon]
        assert [policy(step) for step in steps] == pytest.approx(
            [oracle.lr(result, step) for step in steps], rel=1e-9
        ), policy
    assert written > 20 or name not in {"FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "LINEAR"}


@pytest.mark.parametrize("gamma", [-0.1, 0.1])
def test_the_strict_reading_of_the_tests_refuses_what_caffe_refuses(gamma, oracle):
    text = f'base_lr: 0.1\nlr_policy: "sigmoid"\ngamma: {gamma}\nstepsize: 5\n'
    if gamma < 0:
        with pytest.raises(oracle.CaffeError, match="gamma >= 0"):
            oracle.lr(oracle.solver(text), 0)
    else:
        assert oracle.lr(oracle.solver(text), 5) == 0.05
    for line in (
        "stepsize: 1e5",
        "stepsize: 5.0",
        "stepsize: 010",
        "stepsize: 3000000000",
        "gamma: 1e100",
        "gamma: 1_0",
        "warmup_iter: 5",
        "base_lr: inf",
        "base_lr: 1e-60",
    ):
        with pytest.raises(oracle.CaffeError, match=r"no |is infinite|is 0 in"):
            oracle.solver(line)


KINDS = ["fixed", "step", "multistep", "exp", "inv", "poly"]


def random_solver(rng: random.Random, kind: str) -> str:
    own = {
        "fixed": "",
        "step": f"gamma: 0.5\nstepsize: {rng.randint(1, 40)}\n",
        "exp": "gamma: 0.97\n",
        "inv": "gamma: 0.01\npower: 0.75\n",
        "poly": f"power: {rng.choice([0.5, 1, 2.0])}\n",
        "multistep": "gamma: 0.5\n" + "".join(f"stepvalue: {at}\n" for at in sorted(rng.sample(range(1, 90), 4))),
    }
    return f'base_lr: {rng.choice([0.8, 0.01, 1])}\nlr_policy: "{kind}"\nmax_iter: 100\n{own[kind]}'


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_up_of_intel_s_fork_counts_through_its_policy_and_is_written_again(kind, oracle):
    rng = random.Random(3)
    for start in ("", "warmup_start_lr: 0.1\n", "warmup_start_lr: 0\n", "warmup_start_lr: 2.5\n"):
        for length in (0, 1, 7, 60, 99):
            text = random_solver(rng, kind) + f"warmup_iter: {length}\n{start}"
            policy, wanted = from_caffe(text), oracle.solver(text, oracle.INTEL)
            assert policy.curve(100) == pytest.approx([oracle.lr(wanted, step) for step in range(100)], rel=1e-11)
            if kind != "multistep" or length < min(wanted["stepvalue"]):
                again = to_caffe(policy, 100)
                assert from_caffe(again) == policy
                assert oracle.solver(again, oracle.INTEL)


def test_the_warm_up_over_milestones_that_was_advised_away_is_read():
    text = (
        'base_lr: 0.8 lr_policy: "multistep" gamma: 0.1 stepvalue: 18750 stepvalue: 37500 max_iter: 56250'
        " warmup_iter: 3125 warmup_start_lr: 0.1"
    )
    assert str(from_caffe(text)) == (
        "CHAIN(policies=[LINEAR(k0=0.1, l=3125, k1=0.8), NSTEP(k0=0.8, gamma=0.1, l=[15625, 34375])], at=[3125])"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "forked",
    [
        "rampup_interval: {n}",
        "rampup_interval: {n}\nrampup_lr: 0.1",
        "min_lr: 0.05",
        "rampup_interval: {n}\nrampup_lr: 0.1\nmin_lr: 0.05",
        "min_lr: 0.9",
        "rampup_interval: 0\nmin_lr: 0",
    ],
)
def test_what_is_advised_for_nvidia_s_fork_is_what_its_releases_compute(kind, forked, oracle):
    rng = random.Random(4)
    fields = {**oracle.FIELDS, "rampup_interval": "int32", "rampup_lr": "float", "min_lr": "float"}
    for length in (1, 8, 60):
        text = f"{random_solver(rng, kind)}{forked.format(n=length)}\n"
        wanted = oracle.solver(text, fields)
        if kind == "poly" and wanted["base_lr"] < wanted.get("min_lr", 0):
            continue
        if forked.startswith("rampup_interval: 0"):
            assert from_caffe(text).curve(100) == pytest.approx([oracle.lr(wanted, t) for t in range(100)], rel=1e-11)
            continue
        with pytest.raises(PolicyError, match="whose releases differ") as refused:
            from_caffe(text)
        if "its ramp is below" in str(refused.value):
            assert min(wanted["base_lr"], wanted["rampup_lr"]) < wanted["min_lr"]
            continue
        advised = dict(re.findall(r"[Ff]rom (0\.1[67]\.[0-9]) .*?it is ([A-Z]+\(.*?\))(?:;|$)", str(refused.value)))
        assert len(advised) == (1 if "min_lr" in wanted else 2)
        for release, policy in advised.items():
            lrs = [oracle.nvidia_rate(wanted, t, is_squared=release != "0.16.1") for t in range(100)]
            assert parse(policy).curve(100) == pytest.approx(lrs, rel=1e-9, abs=1e-15), (release, text)


def test_a_mutilated_solver_gives_a_policy_or_a_policy_error():
    rng = random.Random(0)
    texts = [solver(name) for name in GOLDEN]
    marks = "{}[]<>:#\"'\\\n\0 ;,.-+e0123456789axé"
    refused = 0
    for _ in range(3000):
        letters = list(rng.choice(texts))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(letters))
            letters[at : at + rng.choice([0, 1, 1, 8])] = rng.choice(marks) * rng.choice([0, 1, 1, 3])
        try:
            assert from_caffe("".join(letters)).name in FUNCTIONS
        except PolicyError:
            refused += 1
    assert 100 < refused < 2900
