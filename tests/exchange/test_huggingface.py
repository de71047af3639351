"""transformers' schedules and policies, against the real `get_scheduler`, which drives a real optimizer.

A LambdaLR is a closed form, so the rates are compared within 1e-12 of themselves plus 1e-14 of the largest.
"""

import sys
import warnings

import numpy as np
import pytest
import torch
from torch.optim import SGD
from transformers import SchedulerType, get_scheduler

from lrsearch.errors import PolicyError
from lrsearch.exchange import call as call_module
from lrsearch.exchange import from_huggingface, to_huggingface
from lrsearch.exchange.huggingface import SCHEDULES
from lrsearch.schedules import FUNCTIONS, parse

PEAK = 0.3
SIZES = [(w, n) for w in (0, 1, 2, 10, 40) for n in (1, 2, 40, 50, 100) if n > w]
ALL_SIZES = [*SIZES, (0, 0), (10, 10), (10, 3), (1, 1), (2, 1)]


def sgd(*lrs: float) -> SGD:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs]
    return SGD(groups, lr=lrs[0], momentum=0.9)


def train(optimizer, scheduler, steps: int) -> np.ndarray:
    """Go down a slope; give the LR of the first group that each update used."""
    used = []
    for group in optimizer.param_groups:
        group["params"][0].grad = torch.ones(2)
    for _ in range(steps):
        used.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return np.array(used)


def rolled(scheduler, steps: int) -> np.ndarray:
    """The learning rates of a LambdaLR by its own formula."""
    [factor], [base] = scheduler.lr_lambdas, scheduler.base_lrs
    return np.array([base * factor(step) for step in range(steps)])


def real(name: str, warmup: int, total: int, steps: int, **specific) -> np.ndarray:
    optimizer = sgd(PEAK)
    return train(optimizer, get_scheduler(name, optimizer, warmup, total, scheduler_specific_kwargs=specific), steps)


def assert_close(result, wanted) -> None:
    np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-14 * np.max(np.abs(wanted)))


def assert_is(name: str, warmup: int, total: int, **specific) -> None:
    """Assert that our policy is what transformers does, to the end and 25 steps past it, and is written as it again."""
    policy = from_huggingface(name, PEAK, warmup, total, **specific)
    steps = max(warmup, total) + 25
    assert_close(policy.curve(steps), real(name, warmup, total, steps, **specific))
    horizon = max(warmup, total, 1)
    assert_close(rolled(to_huggingface(policy, horizon).build(sgd(7.0)), horizon), policy.curve(horizon))


def test_every_name_of_the_installed_transformers_is_known():
    assert set(SCHEDULES) == {kind.value for kind in SchedulerType}


@pytest.mark.parametrize(
    "name", ["linear", "cosine", "cosine_with_restarts", "constant", "constant_with_warmup", "inverse_sqrt"]
)
@pytest.mark.parametrize(("warmup", "total"), ALL_SIZES)
def test_a_schedule_of_no_arguments_of_its_own_is_what_transformers_does(name, warmup, total):
    assert_is(name, warmup, total)


@pytest.mark.parametrize("cycles", [0, 0.25, 0.5, 1, 2, 3.5])
@pytest.mark.parametrize(("warmup", "total"), [(0, 60), (10, 70), (10, 10), (3, 100)])
@pytest.mark.parametrize("name", ["cosine", "cosine_with_restarts"])
def test_cycles_are_what_transformers_does(name, cycles, warmup, total):
    assert_is(name, warmup, total, num_cycles=cycles)


@pytest.mark.parametrize(("warmup", "total"), [size for size in ALL_SIZES if size[0] != size[1]])
@pytest.mark.parametrize("own", [{}, {"lr_end": 0.0}, {"lr_end": 0.01, "power": 2.0}, {"power": 0.5}])
def test_a_polynomial_is_what_transformers_does(warmup, total, own):
    assert_is("polynomial", warmup, total, **own)


@pytest.mark.parametrize("scale", [1, 7, 10, 1000])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_a_timescale_is_what_transformers_does(warmup, scale):
    assert_is("inverse_sqrt", warmup, 100, timescale=scale)


FLOORS = [
    {"min_lr": 0.01},
    {"min_lr_rate": 0.1},
    {"min_lr_rate": 0.0},
    {"min_lr": 0.01, "num_cycles": 2},
    {"min_lr": PEAK},
    {"min_lr": 0.5},
    {"min_lr": 0.01, "num_cycles": 0},
]


@pytest.mark.parametrize(("warmup", "total"), ALL_SIZES)
@pytest.mark.parametrize("own", FLOORS)
def test_a_cosine_with_a_floor_is_what_transformers_does(warmup, total, own):
    assert_is("cosine_with_min_lr", warmup, total, **own)


@pytest.mark.parametrize(("warmup", "total"), ALL_SIZES)
@pytest.mark.parametrize(
    "own", [*FLOORS, {"min_lr": 0.01, "warmup_lr_rate": 0.2}, {"min_lr": 0.0, "warmup_lr_rate": 0}]
)
def test_a_warm_up_that_ends_one_step_early_is_what_transformers_does(warmup, total, own):
    assert_is("cosine_warmup_with_min_lr", warmup, total, **own)


@pytest.mark.parametrize(
    ("warmup", "stable", "decay"),
    [
        (10, 50, 20),
        (0, 50, 20),
        (10, 0, 20),
        (10, 50, 0),
        (0, 0, 20),
        (1, 1, 1),
        (0, 0, 0),
        (10, 0, 0),
        (10, -7, 20),
        (30, -20, 20),
        (30, -25, 20),
        (30, -5, 0),
        (2, -1, 9),
    ],
)
@pytest.mark.parametrize("rise", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize("fall", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize("own", [{}, {"min_lr_ratio": 0.1}, {"num_cycles": 2, "min_lr_ratio": 0.2}, {"num_cycles": 0}])
def test_warmup_stable_decay_is_what_transformers_does(warmup, stable, decay, rise, fall, own):
    own = {"num_decay_steps": decay, "warmup_type": rise, "decay_type": fall, **own}
    assert_is("warmup_stable_decay", warmup, warmup + stable + decay, **own)


def test_a_given_stable_phase_counts_more_than_the_training_steps():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_is("warmup_stable_decay", 10, 500, num_decay_steps=20, num_stable_steps=30)
    own = {"num_decay_steps": 20, "num_stable_steps": 30, "decay_type": "linear"}
    assert from_huggingface("warmup_stable_decay", PEAK, 10, **own) == parse("WSD(k0=0.3, l=[10, 40, 60])")


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"factor": 0.5, "patience": 1, "cooldown": 2, "min_lr": 0.01, "eps": 0},
        {"mode": "max", "factor": 0.5, "patience": 1, "threshold": 0.01},
    ],
)
def test_plateau_is_what_transformers_does(own):
    optimizer = sgd(PEAK)
    scheduler = get_scheduler("reduce_lr_on_plateau", optimizer, scheduler_specific_kwargs=own)
    policy = from_huggingface("reduce_lr_on_plateau", PEAK, **own)
    other = to_huggingface(policy, 100).build(sgd(1.0))
    state = policy.begin()
    for step in range(60):
        metric = abs(("mode" in own) - 1 / (1 + min(step, 4)))
        scheduler.step(metric)
        other.step(metric)
        state = state.after(metric, step)
        assert state.lr(step, 0.5) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        assert other.get_last_lr() == scheduler.get_last_lr()
    assert scheduler.get_last_lr()[0] < PEAK


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("linear", "WARMUP(policy=LINEAR(k0=0.3, l=90), l=10)"),
        ("cosine", "WARMUP(policy=COS(k0=0, k1=0.3, l=90), l=10)"),
        ("cosine_with_restarts", "WARMUP(policy=HALFCOS(k0=0.3, l=90), l=10)"),
        ("polynomial", "WARMUP(policy=POLY(k0=0.3, p=1, l=90, k1=1e-7), l=10)"),
        ("constant", "FIX(k0=0.3)"),
        ("constant_with_warmup", "WARMUP(policy=FIX(k0=0.3), l=10)"),
        ("inverse_sqrt", "INVSQRT(k0=0.3, l=10)"),
        ("reduce_lr_on_plateau", "PLATEAU(k0=0.3, gamma=0.1, eps=1e-8)"),
    ],
)
def test_a_schedule_reads_as_the_policy_one_would_write(name, policy):
    assert str(from_huggingface(name, 0.3, 10, 100)) == policy


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("cosin", {}, "no schedule of transformers 'cosin'; did you mean 'cosine'"),
        (7, {}, "no schedule of transformers '7'"),
        ("linear", {"num_training_steps": 9}, "linear: num_warmup_steps is needed"),
        ("linear", {"num_warmup_steps": 9}, "linear: num_training_steps is needed"),
        ("linear", {"num_warmup_steps": 0.1, "num_training_steps": 9}, "num_warmup_steps must be a whole number"),
        (
            "linear",
            {"num_warmup_steps": -1, "num_training_steps": 9},
            "num_warmup_steps must be a whole number, 0 or more",
        ),
        (
            "linear",
            {"num_warmup_steps": 1, "num_training_steps": 9, "num_cycles": 1},
            "linear takes nothing of its own; unknown num_cycles",
        ),
        ("cosine", {"num_warmup_steps": 1, "num_training_steps": 9, "num_cycles": -1}, "num_cycles must be 0 or more"),
        (
            "cosine",
            {"num_warmup_steps": 1, "num_training_steps": 9, "num_cycles": "x"},
            "num_cycles must be a number, got 'x'",
        ),
        ("cosine_with_min_lr", {"num_warmup_steps": 1, "num_training_steps": 9}, "one of min_lr and min_lr_rate"),
        (
            "cosine_with_min_lr",
            {"num_warmup_steps": 1, "num_training_steps": 9, "min_lr": 0, "min_lr_rate": 0},
            "only one",
        ),
        ("polynomial", {"num_warmup_steps": 9, "num_training_steps": 9}, "divides by zero at step 9"),
        (
            "polynomial",
            {"num_warmup_steps": 1, "num_training_steps": 9, "lr_end": 0.3},
            "lr_end=0.3 must be below lr=0.3",
        ),
        ("inverse_sqrt", {"num_warmup_steps": 1, "timescale": 0}, "timescale must be above 0"),
        (
            "warmup_stable_decay",
            {"num_warmup_steps": 1, "num_training_steps": 9},
            "num_decay_steps must be a number, got None",
        ),
        (
            "warmup_stable_decay",
            {"num_warmup_steps": 1, "num_decay_steps": 9},
            "num_training_steps or num_stable_steps",
        ),
        (
            "warmup_stable_decay",
            {"num_warmup_steps": 5, "num_decay_steps": 3, "num_stable_steps": 9, "decay_type": "sqrt"},
            "no decay_type 'sqrt'; did you mean '1-sqrt'",
        ),
        (
            "warmup_stable_decay",
            {"num_warmup_steps": 5, "num_decay_steps": 3, "num_stable_steps": 9, "warmup_type": "exp"},
            "no warmup_type 'exp'",
        ),
        ("reduce_lr_on_plateau", {"mode": "best"}, "mode must be 'min' or 'max', got 'best'"),
        ("greedy", {}, "GreedyLR raises the learning rate while the metric improves"),
    ],
)
def test_what_no_policy_is_exactly_is_refused_with_the_reason(name, arguments, why):
    with pytest.raises(PolicyError, match=why):
        from_huggingface(name, 0.3, **arguments)


@pytest.mark.parametrize("lr", [None, "0.1", float("nan"), True, -1.0])
def test_a_learning_rate_is_a_number_of_0_or_more(lr):
    with pytest.raises(PolicyError, match=r"constant: (lr must be|FIX: k0 must be a learning rate)"):
        from_huggingface("constant", lr)


WRITTEN = [
    ("FIX(k0=0.3)", "constant"),
    ("WARMUP(policy=FIX(k0=0.3), l=10)", "constant_with_warmup"),
    ("LINEAR(k0=0.3, l=100)", "linear"),
    ("WARMUP(policy=LINEAR(k0=0.3, l=60), l=10)", "linear"),
    ("POLY(k0=0.3, p=1, l=60)", "linear"),
    ("WARMUP(policy=LINEAR(k0=0.3, l=60, k1=0.01), l=10)", "polynomial"),
    ("WARMUP(policy=POLY(k0=0.3, p=2, l=60, k1=0.01), l=10)", "polynomial"),
    ("POLY(k0=0.3, p=2, l=60)", "polynomial"),
    ("WARMUP(policy=HALFCOS(k0=0.3, l=90), l=10)", "cosine"),
    ("HALFCOS(k0=0.3, l=99)", "cosine"),
    ("WARMUP(policy=HALFCOS(k0=0.3, l=60), l=10)", "cosine_with_restarts"),
    ("WARMUP(policy=HALFCOS(k0=0.3, l=90, k1=0.01), l=10)", "cosine_with_min_lr"),
    ("HALFCOS(k0=0.3, l=60, k1=0.01)", "warmup_stable_decay"),
    ("WARMUP(policy=COS(k0=0, k1=0.3, l=7), l=10)", "cosine"),
    ("COS(k0=0.3, k1=0.01, l=2.5)", "cosine_with_min_lr"),
    ("COS(k0=0, k1=0.3, l=100)", "cosine"),
    ("SGDR(k0=0, k1=0.3, l=20)", "cosine_with_restarts"),
    ("WARMUP(policy=COSRSW(k0=0.3, k1=0, l=30), l=10)", "cosine_with_restarts"),
    ("WARMUP(policy=CHAIN(policies=[SGDR(k0=0, k1=0.3, l=20), FIX(k0=0)], at=[40]), l=10)", "cosine_with_restarts"),
    ("INVSQRT(k0=0.3, l=10)", "inverse_sqrt"),
    ("WARMUP(policy=INV(k0=0.3, gamma=0.001, p=0.5), l=10)", "inverse_sqrt"),
    ("INV(k0=0.3, gamma=3, p=0.5)", "inverse_sqrt"),
    ("WSD(k0=0.3, l=[10, 80, 100])", "warmup_stable_decay"),
    ("COOLDOWN(k0=0.3, l=[50, 100], k1=0.01, p=0.5)", "warmup_stable_decay"),
    ("WARMUP(policy=COOLDOWN(k0=0.3, l=[50, 90]), l=10)", "warmup_stable_decay"),
]


@pytest.mark.parametrize(("text", "name"), WRITTEN)
def test_a_policy_is_what_the_schedule_it_is_written_as_does_in_training(text, name):
    policy = parse(text)
    call = to_huggingface(policy, 100)
    assert call.name == name
    optimizer = sgd(7.0)
    assert_close(train(optimizer, call.build(optimizer), 100), policy.curve(100))
    import transformers

    pasted = sgd(call.lr)
    scheduler = eval(call.source, {"transformers": transformers, "optimizer": pasted})  # noqa: S307, what a person does
    assert_close(train(pasted, scheduler, 100), policy.curve(100))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("TRI(k0=0.1, k1=1, l=5)", "TRI: transformers has no schedule of this shape; its Trainer takes"),
        ("STEP(k0=0.1, gamma=0.5, l=10)", "STEP: transformers has no schedule of this shape"),
        ("ASLR(k0=0.1)", "ASLR: transformers has no schedule of this shape"),
        ("CHAIN(policies=[FIX(k0=0), FIX(k0=1)], at=[5])", r"CHAIN\(FIX, FIX\): transformers has no schedule"),
        ("CHAIN(policies=[FIX(k0=1), FIX(k0=0)], at=[5.5])", r"CHAIN\(FIX, FIX\): transformers has no schedule"),
        ("CHAIN(policies=[LINEAR(k0=0.1, l=5, k1=1), LINEAR(k0=1, l=5)], at=[5])", "transformers has no schedule"),
        ("CHAIN(policies=[LINEAR(k0=0, l=9, k1=1), LINEAR(k0=1, l=5)], at=[5])", "transformers has no schedule"),
        ("FROM(policy=COS(k0=0, k1=1, l=5), at=2)", r"FROM\(COS\): transformers has no schedule"),
        ("FROM(policy=TRI(k0=0, k1=1, l=5), at=1)", r"FROM\(TRI\): transformers has no schedule"),
        ("UPCOS(k0=0, k1=1, l=5)", "UPCOS: an optimizer that starts at learning rate 0 stays there"),
        ("WARMUP(policy=INVSQRT(k0=0.1, l=10), l=5)", "INVSQRT has a warm-up of its own"),
        ("WARMUP(policy=FIX(k0=0.1), l=2.5)", "WARMUP: transformers counts whole steps"),
        ("LINEAR(k0=0.1, l=10, k1=0.2)", "transformers' polynomial falls, and k1=0.2 is not below k0=0.1"),
        ("HALFCOS(k0=0.1, l=10, k1=0.2)", "transformers' cosines fall"),
        ("WARMUP(policy=HALFCOS(k0=0.1, l=10, k1=0.01), l=5)", "it is the same up to a horizon of 16"),
        ("SGDR(k0=0, k1=0.1, l=10, growth=2)", "cosine_with_restarts falls to 0 in cycles of one length"),
        ("SGDR(k0=0.01, k1=0.1, l=10)", "cosine_with_restarts falls to 0"),
        ("INV(k0=0.1, gamma=0.1, p=0.75)", "inverse_sqrt has p=0.5"),
        ("WSD(k0=0.1, l=[10, 20, 30], k1=0.01)", "transformers' warm-up starts at the floor"),
        ("COOLDOWN(k0=0.1, l=[10, 20], p=2)", "transformers decays down, by p=1, p=0.5 or a cosine"),
        ("LINEAR(k0=0.1, l=3ep)", "wait for a task"),
    ],
)
def test_what_transformers_cannot_say_exactly_is_refused_with_the_reason(text, why):
    with pytest.raises(PolicyError, match=why):
        to_huggingface(parse(text), 100)


def test_a_restart_that_transformers_rounds_away_is_refused_and_does_go_wrong_there():
    away = "transformers rounds the restart at step 7 of 343 away"
    with pytest.raises(PolicyError, match=away):
        from_huggingface("cosine_with_restarts", PEAK, 0, 343, num_cycles=49)
    with pytest.raises(PolicyError, match=away):
        to_huggingface(parse("SGDR(k0=0, k1=0.3, l=7)"), 343)
    assert real("cosine_with_restarts", 0, 343, 8, num_cycles=49)[[0, 7]].round(9).tolist() == [0.3, 0]
    with pytest.raises(PolicyError, match="at most 100000 cycles"):
        from_huggingface("cosine_with_restarts", PEAK, 0, 10**9, num_cycles=10**8)


def test_every_lr_function_is_written_or_refused_and_nothing_else_happens():
    written = set()
    for name, function in FUNCTIONS.items():
        try:
            call = to_huggingface(function.example, 100)
        except PolicyError:
            continue
        written.add(name)
        if not function.example.is_controller:
            optimizer = sgd(1.0)
            assert_close(train(optimizer, call.build(optimizer), 100), function.example.curve(100))
    assert written == {
        "FIX",
        "LINEAR",
        "POLY",
        "HALFCOS",
        "COS",
        "COSRSW",
        "INVSQRT",
        "WSD",
        "COOLDOWN",
        "COOLCOS",
        "WARMUP",
        "PLATEAU",
        "FROM",
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_written_for_a_random_policy_is_accepted_and_is_it(name, policies):
    for policy in policies(72, 20, FUNCTIONS[name]):
        try:
            call = to_huggingface(policy, 60)
        except PolicyError:
            continue
        scheduler = call.build(sgd(7.0))
        if not policy.is_controller:
            used = rolled(scheduler, 60)
            np.testing.assert_allclose(used, policy.curve(60), rtol=1e-9, atol=1e-12 * policy.bounds[1])


def test_only_building_needs_transformers_and_says_so_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    call = to_huggingface(from_huggingface("cosine", 0.1, 1, 9), 9)
    with pytest.raises(PolicyError, match="transformers is not installed: pip install transformers"):
        call.build(sgd(1.0))


def test_a_timescale_needs_a_transformers_that_passes_it_on(monkeypatch):
    call = to_huggingface(parse("INV(k0=0.3, gamma=0.001, p=0.5)"), 100)
    plain = to_huggingface(parse("INVSQRT(k0=0.3, l=10)"), 100)
    monkeypatch.setattr(call_module, "version", lambda name: "5.3.1")
    with pytest.raises(PolicyError, match=r"transformers 5.3.1 ignores the timescale .* upgrade it to 5.4 or later"):
        call.build(sgd(1.0))
    assert plain.build(sgd(1.0)).get_last_lr() == [0]


def test_a_call_sets_the_learning_rate_that_transformers_divides_by():
    optimizer = sgd(7.0)
    to_huggingface(parse("LINEAR(k0=0.3, l=60, k1=0.01)"), 100).build(optimizer)
    assert optimizer.defaults["lr"] == 0.3


def test_param_groups_keep_their_ratios_where_the_schedule_does():
    optimizer = sgd(0.4, 0.1)
    scheduler = to_huggingface(parse("LINEAR(k0=0.2, l=4)"), 4).build(optimizer)
    train(optimizer, scheduler, 2)
    assert scheduler.get_last_lr() == pytest.approx([0.1, 0.025])
