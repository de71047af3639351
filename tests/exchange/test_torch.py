"""torch's schedulers and policies, against the real schedulers: each drives a real optimizer, step by step.

torch multiplies from step to step, so a learning rate near zero carries the rounding of the large ones before it:
rates are compared within 1e-12 of themselves plus 1e-13 of the largest. Over the 130 steps here the furthest is
CosineAnnealingLR, 4e-14 of its peak; it drifts with T_max squared, see the test of long runs.
"""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import SWALR

from lrsearch.errors import PolicyError
from lrsearch.exchange import Call, from_torch, to_torch
from lrsearch.schedules import FUNCTIONS, parse

STEPS = 130


def weights(count: int = 1) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(2, generator=generator)) for _ in range(count)]


def sgd(*lrs: float) -> SGD:
    groups = [{"params": [w], "lr": lr} for w, lr in zip(weights(len(lrs)), lrs, strict=True)]
    return SGD(groups, lr=lrs[0], momentum=0.9)


def train(optimizer, scheduler, steps: int, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Descend a bowl; give the LR of every group and the momentum of the first that each update used."""
    lrs, momenta = [], []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        sum((w**2).sum() for group in optimizer.param_groups for w in group["params"]).backward()
        lrs.append([float(group["lr"]) for group in optimizer.param_groups])
        first = optimizer.param_groups[0]
        momenta.append(first["momentum"] if "momentum" in first else first["betas"][0])
        optimizer.step()
        if step % every == 0 and step < steps:
            scheduler.step()
    return np.array(lrs), np.array(momenta)


def rolled(scheduler, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The LR and the momentum of the first group that each update would use; nothing is trained."""
    [group, *_], result = scheduler.optimizer.param_groups, []
    scheduler.optimizer.step()
    for step in range(steps):
        result.append((float(group["lr"]), group["momentum"]))
        if step + 1 < steps:
            scheduler.step()
    lrs, momenta = zip(*result, strict=True)
    return np.array(lrs), np.array(momenta)


def assert_close(result, wanted) -> None:
    np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-13 * np.max(np.abs(wanted)))


def assert_is(policy, make, steps: int = STEPS, lrs=(0.1,), every: int = 1) -> None:
    """Assert that a policy is what a scheduler really does."""
    optimizer = sgd(*lrs)
    used, momenta = train(optimizer, make(optimizer), steps, every)
    assert_close(policy.curve(steps), used[:, int(np.argmax(used.max(axis=0)))])
    if policy.has_momentum:
        assert_close(policy.momentum(np.arange(steps)), momenta)
    else:
        assert set(momenta) == {0.9}


def read(make, lrs=(0.1,), every: int = 1):
    return from_torch(make(sgd(*lrs)), every=every)


GRID = [
    *((StepLR, {"step_size": size, "gamma": gamma}) for size in (1, 7, 30, 200) for gamma in (0.1, 0.97, 1.0)),
    *(
        (MultiStepLR, {"milestones": at, "gamma": 0.3})
        for at in ([], [5], [9, 4], [0], [0, 0, 7], [4, 4, 9], [129], [500])
    ),
    *((ConstantLR, {"factor": f, "total_iters": n}) for f in (1 / 3, 1.0, 0.01) for n in (0, 1, 5, 200)),
    (ConstantLR, {"factor": 0.0, "total_iters": 0}),
    *(
        (LinearLR, {"start_factor": a, "end_factor": b, "total_iters": n})
        for a in (1 / 3, 1.0, 1e-3)
        for b in (1.0, 0.0, 0.2)
        for n in (0, 1, 5, 100)
    ),
    *((ExponentialLR, {"gamma": gamma}) for gamma in (0.9, 0.999, 1.0)),
    *((PolynomialLR, {"total_iters": n, "power": p}) for n in (0, 1, 5, 100, 400) for p in (1.0, 0.5, 2.0)),
    *((CosineAnnealingLR, {"T_max": n, "eta_min": low}) for n in (1, 2, 7, 50, 400) for low in (0.0, 0.001, 0.1, 0.4)),
    *(
        (CosineAnnealingWarmRestarts, {"T_0": n, "T_mult": m, "eta_min": low})
        for n in (1, 7, 50)
        for m in (1, 2, 3)
        for low in (0.0, 0.01)
    ),
    *(
        (
            CyclicLR,
            {"base_lr": low, "max_lr": 0.3, "step_size_up": n, "mode": mode, "gamma": 0.98, "cycle_momentum": False},
        )
        for low in (0.0, 0.01)
        for n in (1, 2.5, 7, 300)
        for mode in ("triangular", "triangular2", "exp_range")
    ),
    (CyclicLR, {"base_lr": 0.3, "max_lr": 0.01, "step_size_up": 7, "cycle_momentum": False}),
    (CyclicLR, {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 7, "step_size_down": 7, "base_momentum": 0.8}),
    (CyclicLR, {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 7, "mode": "triangular2", "max_momentum": 0.95}),
    (CyclicLR, {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 7, "mode": "exp_range", "gamma": 0.9}),
    (CyclicLR, {"base_lr": 0.3, "max_lr": 0.01, "step_size_up": 7}),
    *(
        (
            OneCycleLR,
            {
                "max_lr": 1.0,
                "total_steps": STEPS,
                "pct_start": pct,
                "anneal_strategy": how,
                "three_phase": three,
                "cycle_momentum": moves,
                "div_factor": div,
            },
        )
        for pct in (0.3, 0.1, 0.45, 0.5, 0.6, 1.0)
        for how in ("cos", "linear")
        for three in (True, False)
        for moves in (True, False)
        for div in (25.0, 2.0)
    ),
    *(
        (
            OneCycleLR,
            {"max_lr": 1.0, "total_steps": STEPS, "pct_start": pct, "anneal_strategy": "linear", "three_phase": three},
        )
        for pct in (0.0, 0.5 / STEPS)
        for three in (True, False)
    ),
    *(
        (
            OneCycleLR,
            {"max_lr": 1.0, "total_steps": STEPS, "pct_start": pct, "three_phase": three, "cycle_momentum": moves},
        )
        for pct in (0.0, 0.001, 0.5 / STEPS)
        for three in (True, False)
        for moves in (True, False)
    ),
    (OneCycleLR, {"max_lr": 1.0, "total_steps": STEPS, "div_factor": 0.5, "cycle_momentum": False}),
    (OneCycleLR, {"max_lr": 1.0, "total_steps": STEPS, "div_factor": 1.0}),
    *(
        (
            OneCycleLR,
            {
                "max_lr": 1.0,
                "total_steps": STEPS,
                "final_div_factor": 0.5,
                "anneal_strategy": how,
                "three_phase": three,
            },
        )
        for how in ("cos", "linear")
        for three in (True, False)
    ),
    (OneCycleLR, {"max_lr": 1.0, "epochs": 10, "steps_per_epoch": 13, "final_div_factor": 1.0}),
]


def shown(case) -> str:
    made, arguments = case
    said = (f"{name}={round(value, 4) if isinstance(value, float) else value}" for name, value in arguments.items())
    return f"{made.__name__}({', '.join(said)})"


@pytest.mark.parametrize("case", GRID, ids=shown)
def test_the_policy_of_a_scheduler_is_what_it_does_in_training(case):
    made, arguments = case
    policy = read(lambda optimizer: made(optimizer, **arguments))
    assert_is(policy, lambda optimizer: made(optimizer, **arguments))
    assert parse(str(policy)) == policy
    try:
        call = to_torch(policy, STEPS)
    except PolicyError:
        assert made is OneCycleLR, "only its cycles of other phases than the papers' are not written"
    else:
        again = rolled(call.build(sgd(7.0)), STEPS)[0]
        assert_close(again, policy.curve(STEPS))


def test_every_class_of_torch_is_read_or_refused_by_name():
    from lrsearch.exchange.torch import CANNOT, READERS

    public = {name for name in torch.optim.lr_scheduler.__all__ if name != "LRScheduler"}
    assert public == set(READERS) | set(CANNOT) - {"SWALR"}
    tested_below = {"SequentialLR", "ChainedScheduler", "ReduceLROnPlateau"}
    assert {made.__name__ for made, _ in GRID} == set(READERS) - tested_below


@pytest.mark.parametrize(
    ("call", "policy"),
    [
        (lambda o: StepLR(o, 30), "STEP(k0=0.1, gamma=0.1, l=30)"),
        (lambda o: MultiStepLR(o, [8, 3], 0.5), "NSTEP(k0=0.1, gamma=0.5, l=[3, 8])"),
        (lambda o: ConstantLR(o, 0.5, 5), "CHAIN(policies=[FIX(k0=0.05), FIX(k0=0.1)], at=[5])"),
        (lambda o: CosineAnnealingLR(o, 90), "COS(k0=0, k1=0.1, l=90)"),
        (lambda o: CosineAnnealingLR(o, 90, eta_min=0.2), "UPCOS(k0=0.1, k1=0.2, l=90)"),
        (lambda o: CosineAnnealingWarmRestarts(o, 10, 2), "SGDR(k0=0, k1=0.1, l=10, growth=2)"),
        (
            lambda o: OneCycleLR(
                o,
                1.0,
                101,
                pct_start=46 / 101,
                anneal_strategy="linear",
                three_phase=True,
                div_factor=10.0,
                final_div_factor=100.0,
            ),
            "CM(policy=ONECYCLE(k0=0.1, k1=1, l=[45, 90, 100], k2=0.001), m0=0.95, m1=0.85)",
        ),
        (
            lambda o: OneCycleLR(o, 1.0, 100, div_factor=10.0, final_div_factor=100.0, cycle_momentum=False),
            "ONECYCLE2(k0=0.1, k1=1, l=[29, 99], k2=0.001)",
        ),
        (
            lambda o: OneCycleLR(
                o, 1.0, 100, div_factor=10.0, final_div_factor=100.0, anneal_strategy="linear", cycle_momentum=False
            ),
            "CHAIN(policies=[LINEAR(k0=0.1, l=29, k1=1), LINEAR(k0=1, l=70, k1=0.001)], at=[29])",
        ),
        (
            lambda o: ReduceLROnPlateau(o, factor=0.5, patience=3, min_lr=0.01),
            "PLATEAU(k0=0.1, gamma=0.5, patience=3, k1=0.01, eps=1e-8)",
        ),
        (lambda o: parse("TRI(k0=0.1, k1=1, l=5)").scheduler(o), "TRI(k0=0.1, k1=1, l=5)"),
        (lambda o: parse("PLATEAU(k0=0.1, gamma=0.5)").scheduler(o), "PLATEAU(k0=0.1, gamma=0.5)"),
    ],
)
def test_a_scheduler_reads_as_the_policy_one_would_write(call, policy):
    result, wanted = read(call), parse(policy)
    assert result.form == wanted.form
    if not result.is_controller:
        assert_close(result.curve(STEPS), wanted.curve(STEPS))
    assert len(str(result.rounded() if not result.is_controller else result)) <= len(policy) + 5


@pytest.mark.parametrize(
    ("make", "drift"),
    [
        (lambda o: CosineAnnealingLR(o, 9000, eta_min=0.001), 1e-11),
        (lambda o: LinearLR(o, 1.0, 0.0, 20_000), 1e-12),
        (lambda o: PolynomialLR(o, 20_000, 2.0), 1e-13),
        (lambda o: ExponentialLR(o, 0.9999), 1e-13),
        (lambda o: OneCycleLR(o, 1.0, 20_000), 1e-14),
        (lambda o: CosineAnnealingWarmRestarts(o, 100, 2), 1e-14),
    ],
)
def test_torch_drifts_from_the_policy_in_a_long_run_by_less_than_one_could_notice(make, drift):
    optimizer = sgd(0.1)
    scheduler = make(optimizer)
    policy = from_torch(scheduler)
    lrs = []
    for _ in range(20_000):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert np.max(np.abs(policy.curve(20_000) - lrs)) < drift * max(lrs)


def test_one_cycle_past_its_end_climbs_in_torch_and_stays_here():
    optimizer = sgd(0.1)
    scheduler = OneCycleLR(optimizer, 1.0, total_steps=20)
    policy = from_torch(scheduler)
    lrs, _ = train(optimizer, scheduler, 21)
    assert_close(policy.curve(20), lrs[:20, 0])
    assert lrs[20, 0] > 100 * lrs[19, 0]
    assert policy(20) == pytest.approx(lrs[19, 0])
    assert from_torch(scheduler) == policy


SEQUENCES = [
    (lambda o: [LinearLR(o, 0.1, total_iters=5), CosineAnnealingLR(o, 90)], [5]),
    (lambda o: [LinearLR(o, 0.1, total_iters=9), StepLR(o, 7, 0.5)], [5]),
    (lambda o: [ConstantLR(o, 0.1, 50), ExponentialLR(o, 0.9)], [5]),
    (lambda o: [ConstantLR(o, 0.1, 2), MultiStepLR(o, [0, 4, 9], 0.5), PolynomialLR(o, 20, 2.0)], [5, 40]),
    (lambda o: [StepLR(o, 3), ExponentialLR(o, 0.5), LinearLR(o)], [1, 2]),
    (lambda o: [ConstantLR(o, 0.5, 0), ConstantLR(o, 0.25, 3)], [4]),
    (lambda o: [LinearLR(o, 0.5), CosineAnnealingWarmRestarts(o, 10, 2), CosineAnnealingLR(o, 9, 0.01)], [6, 47]),
    (lambda o: [LinearLR(o), CyclicLR(o, 0.01, 0.2, 5, cycle_momentum=False)], [10]),
    (lambda o: [CyclicLR(o, 0.01, 0.2, 5, cycle_momentum=False), CyclicLR(o, 0.3, 0.5, 5, cycle_momentum=False)], [10]),
    (lambda o: [CyclicLR(o, 0.01, 0.2, 5, cycle_momentum=False), ExponentialLR(o, 0.9)], [10]),
    (lambda o: [StepLR(o, 3), ExponentialLR(o, 0.9), LinearLR(o)], [7, 7]),
    (lambda o: [OneCycleLR(o, 1.0, 20, cycle_momentum=False), ExponentialLR(o, 0.9)], [20]),
    (lambda o: [StepLR(o, 3)], []),
]


@pytest.mark.parametrize("number", range(len(SEQUENCES)))
def test_a_sequence_is_a_chain_of_policies(number):
    members, at = SEQUENCES[number]

    def make(optimizer):
        return SequentialLR(optimizer, members(optimizer), milestones=at)

    assert_is(read(make), make)
    assert_is(read(lambda o: ChainedScheduler([make(o)])), lambda o: ChainedScheduler([make(o)]))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            lambda o: [LinearLR(o), SequentialLR(o, [StepLR(o, 3), LinearLR(o)], [4])],
            "a SequentialLR inside: torch counts",
        ),
        (lambda o: [SequentialLR(o, [ExponentialLR(o, 0.9), LinearLR(o)], [4]), LinearLR(o)], "a SequentialLR inside"),
        (lambda o: [ChainedScheduler([ExponentialLR(o, 0.9)]), LinearLR(o)], "a ChainedScheduler inside: torch counts"),
        (lambda o: [LinearLR(o), LinearLR(o, total_iters=0)], r"LinearLR\(total_iters=0\) after a milestone"),
        (lambda o: [LinearLR(o), PolynomialLR(o, total_iters=0)], r"PolynomialLR\(total_iters=0\) after a milestone"),
        (lambda o: [LinearLR(o), ConstantLR(o, total_iters=0)], r"ConstantLR\(total_iters=0\) after a milestone"),
        (lambda o: [LinearLR(o), CyclicLR(o, 0.1, 1.0, 5)], "CyclicLR cycles the momentum"),
        (lambda o: [LinearLR(o), OneCycleLR(o, 1.0, 20, cycle_momentum=False)], "another scheduler has set them"),
        (lambda o: [LinearLR(o), LambdaLR(o, lambda t: 1.0)], "LambdaLR: it holds arbitrary code"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_sequence_that_torch_runs_otherwise_than_it_says_is_refused(make, why):
    with pytest.raises(PolicyError, match=why):
        read(lambda o: SequentialLR(o, make(o), milestones=[10]))


def test_a_milestone_of_zero_is_refused_because_versions_of_torch_differ_after_it():
    with pytest.raises(PolicyError, match=r"milestones=\[0\]: torch before 2.13 is one step late after 0"):
        read(lambda o: SequentialLR(o, [StepLR(o, 3), ExponentialLR(o, 0.9)], milestones=[0]))


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_what_is_refused_inside_a_sequence_does_go_wrong_in_torch():
    optimizer = sgd(1.0)
    chained = SequentialLR(optimizer, [ChainedScheduler([ExponentialLR(optimizer, 0.9)]), LinearLR(optimizer)], [10])
    assert train(optimizer, chained, 2)[0][0, 0] == (0.9 if torch.__version__ >= (2, 8) else 1.0)
    optimizer = sgd(1.0)
    inner = SequentialLR(optimizer, [StepLR(optimizer, 3), LinearLR(optimizer)], [4])
    outer = SequentialLR(optimizer, [LinearLR(optimizer), inner], [2])
    with pytest.raises((NotImplementedError, TypeError)):  # TypeError: torch before 2.9
        train(optimizer, outer, 4)
    optimizer = sgd(1.0)
    empty = SequentialLR(optimizer, [LinearLR(optimizer), PolynomialLR(optimizer, total_iters=0)], [2])
    with pytest.raises(ZeroDivisionError):
        train(optimizer, empty, 4)


def test_chained_exponentials_are_one_and_other_products_are_refused():
    def make(optimizer):
        return ChainedScheduler([ExponentialLR(optimizer, 0.9), ExponentialLR(optimizer, 0.5)])

    assert read(make).name == "EXP"
    assert_is(read(make), make, steps=40)
    with pytest.raises(PolicyError, match=r"ChainedScheduler: members \(LinearLR, ExponentialLR\) that multiply"):
        read(lambda o: ChainedScheduler([LinearLR(o), ExponentialLR(o, 0.9)]))


class Homemade(StepLR):
    """Could do anything."""


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda o: LambdaLR(o, lambda step: 0.9**step), "LambdaLR: it holds arbitrary code"),
        (lambda o: MultiplicativeLR(o, lambda step: 0.9), "MultiplicativeLR: it holds arbitrary code"),
        (lambda o: SWALR(o, swa_lr=0.05), "SWALR: it starts from whatever"),
        (lambda o: Homemade(o, 3), "a scheduler of torch.optim.lr_scheduler is read, got Homemade"),
        (lambda o: "StepLR", "a scheduler of torch.optim.lr_scheduler is read, got str"),
        (lambda o: CyclicLR(o, 0.1, 1.0, 5, scale_fn=lambda x: 1.0), "scale_fn: it holds arbitrary code"),
        (lambda o: CyclicLR(o, 0.1, 1.0, 5, step_size_down=6), "step_size_up and step_size_down differ"),
        (lambda o: CyclicLR(o, 1.0, 0.1, 5, mode="triangular2"), "below base_lr=1: upside down"),
        (lambda o: CyclicLR(o, 0.1, 0.1, 5), "the momentum cycles and the learning rate stays at 0.1"),
        (lambda o: StepLR(o, 2.5), "step_size must be a whole number"),
        (lambda o: StepLR(o, 5, gamma=1.5), r"StepLR: STEP: gamma must be a factor in \(0, 1\], got 1.5"),
        (lambda o: StepLR(o, 5, gamma=0), "gamma must be a factor"),
        (lambda o: MultiStepLR(o, [2.5]), "a milestone must be a whole number"),
        (lambda o: MultiStepLR(o, [-1, 3]), "a milestone must be a whole number, 0 or more"),
        (lambda o: ExponentialLR(o, 1.01), "gamma must be a factor per step"),
        (lambda o: ConstantLR(o, 0.0, 5), "factor=0: torch divides by it at step 5"),
        (lambda o: LinearLR(o, total_iters=2.5), "total_iters must be a whole number"),
        (lambda o: CosineAnnealingLR(o, 0), "T_max must be a whole number, 1 or more"),
        (lambda o: CosineAnnealingLR(o, 5, eta_min=-0.1), r"COS: k0 must be a learning rate in \[0, 1e\+06\]"),
        (lambda o: CosineAnnealingWarmRestarts(o, 5, eta_min=0.2), "it rises and restarts"),
        (lambda o: OneCycleLR(o, 1.0, 1, pct_start=0.3), "a cycle of one step"),
        (lambda o: ReduceLROnPlateau(o, threshold_mode="abs"), "threshold_mode='abs': PLATEAU's threshold is relative"),
        (lambda o: ReduceLROnPlateau(o, min_lr=0.2), "the floor k1 must not be above k0"),
    ],
)
def test_what_no_policy_is_exactly_is_refused_with_the_reason(make, why):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = make(sgd(0.1))
    with pytest.raises(PolicyError, match=why):
        from_torch(scheduler)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: StepLR(o, 7),
        lambda o: CosineAnnealingLR(o, 50),
        lambda o: PolynomialLR(o, 90, 2.0),
        lambda o: CyclicLR(o, [0.01, 0.005, 0.02], [0.2, 0.1, 0.4], 9),
        lambda o: OneCycleLR(o, [1.0, 0.5, 2.0], STEPS),
        lambda o: SequentialLR(o, [LinearLR(o), ExponentialLR(o, 0.9)], [5]),
    ],
)
def test_the_largest_of_several_proportional_groups_gives_the_policy(make):
    lrs = (0.1, 0.05, 0.2)
    assert_is(read(make, lrs), make, lrs=lrs)
    optimizer = sgd(*lrs)
    used, _ = train(optimizer, make(optimizer), STEPS)
    ours = sgd(*lrs)
    assert_close(train(ours, read(make, lrs).scheduler(ours), STEPS)[0], used)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: CosineAnnealingLR(o, 50, eta_min=0.01),
        lambda o: CyclicLR(o, [0.01, 0.005], [0.2, 0.2], 9),
        lambda o: OneCycleLR(o, [1.0, 0.5], STEPS, base_momentum=[0.8, 0.85]),
        lambda o: ReduceLROnPlateau(o),
    ],
)
def test_groups_that_do_not_move_by_one_factor_are_refused(make):
    with pytest.raises(PolicyError, match=r"param group 1 is not proportional|differs between param groups"):
        read(make, lrs=(0.1, 0.05))


@pytest.mark.parametrize(
    "make",
    [
        lambda o: StepLR(o, 3, 0.5),
        lambda o: CosineAnnealingLR(o, 8),
        lambda o: ExponentialLR(o, 0.9),
        lambda o: OneCycleLR(o, 1.0, 20),
        lambda o: CosineAnnealingWarmRestarts(o, 3, 2),
        lambda o: SequentialLR(o, [LinearLR(o), MultiStepLR(o, [3, 5])], [4]),
        lambda o: CyclicLR(o, 0.1, 1.0, 3),
    ],
)
@pytest.mark.parametrize("every", [1, 7])
def test_a_scheduler_that_is_stepped_once_an_epoch_is_read_in_updates(make, every):
    policy = read(make, every=every)
    assert_is(policy, make, steps=20 * every, every=every)


def test_stairs_that_are_stepped_once_an_epoch_stay_stairs():
    assert str(read(lambda o: StepLR(o, 30), every=391)) == "STEP(k0=0.1, gamma=0.1, l=11730)"
    assert read(lambda o: ExponentialLR(o, 0.5), every=10).form == "SAMPLED(EXP)"
    with pytest.raises(PolicyError, match="PLATEAU counts reports, whenever they come: leave every=1, got 5"):
        read(lambda o: ReduceLROnPlateau(o), every=5)
    with pytest.raises(PolicyError, match=r"every, .* must be a whole number, 1 or more, got 0"):
        read(lambda o: StepLR(o, 30), every=0)


def test_beta1_of_adam_cycles_as_a_momentum():
    optimizer = Adam(weights(), lr=0.1)
    scheduler = OneCycleLR(optimizer, 1.0, 50)
    policy = from_torch(scheduler)
    used, momenta = train(optimizer, scheduler, 50)
    assert_close(policy.curve(50), used[:, 0])
    assert_close(policy.momentum(np.arange(50)), momenta)


@pytest.mark.parametrize("at", [1, 9, 60])
def test_a_scheduler_is_read_at_any_time(at):
    optimizer = sgd(0.1)
    scheduler = SequentialLR(optimizer, [LinearLR(optimizer), CosineAnnealingLR(optimizer, 30)], [10])
    policy = from_torch(scheduler)
    train(optimizer, scheduler, at)
    assert from_torch(scheduler) == policy


def test_a_scheduler_that_was_moved_by_hand_is_refused():
    optimizer = sgd(0.1)
    scheduler = StepLR(optimizer, 5)
    optimizer.param_groups[0]["lr"] = 0.05
    train(optimizer, scheduler, 3)
    with pytest.raises(PolicyError, match=r"at step 2 it stands at 0.05, and STEP\(.*\) is at 0.1: it was changed"):
        from_torch(scheduler)


def test_a_learning_rate_in_a_tensor_is_read_as_a_number():
    optimizer = SGD(weights(), lr=torch.tensor(0.1, dtype=torch.float64))
    assert str(from_torch(CosineAnnealingLR(optimizer, 9))) == "COS(k0=0, k1=0.1, l=9)"


LOSSES = [3.0, 2.0, 2.0, 2.0, 1.999, 1.9999, 2.5, 1.5, float("nan"), 1.5, 1.5, 1.49999, 1.0, *[1.0] * 30]


@pytest.mark.parametrize(
    ("factor", "patience", "cooldown", "low", "threshold"),
    list(itertools.product([0.1, 0.5], [0, 2, 10], [0, 3], [0, 0.02], [1e-4, 0.1])),
)
def test_plateau_reads_and_drops_as_torch_s_does(factor, patience, cooldown, low, threshold):
    optimizer = sgd(0.1)
    scheduler = ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, cooldown=cooldown, min_lr=low, threshold=threshold
    )
    policy = from_torch(scheduler)
    ours = to_torch(policy).build(sgd(1.0))
    state = policy.begin()
    for step, loss in enumerate(LOSSES):
        optimizer.step()
        scheduler.step(loss)
        ours.step(loss)
        state = state.after(loss, step)
        assert state.lr(step, 0.5) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        assert ours.get_last_lr() == scheduler.get_last_lr()
    with pytest.raises(PolicyError, match="it has taken 43 reports"):
        from_torch(scheduler)


WRITTEN = [
    "FIX(k0=0.1)",
    "STEP(k0=0.1, gamma=0.5, l=10)",
    "NSTEP(k0=0.1, gamma=0.5, l=[10, 30])",
    "EXP(k0=0.1, gamma=0.97)",
    "POLY(k0=0.1, p=2, l=50)",
    "POLY(k0=0.1, p=1, l=50, k1=0.01)",
    "LINEAR(k0=0.1, l=50)",
    "LINEAR(k0=0.1, l=50, k1=0.2)",
    "LINEAR(k0=0, l=50, k1=0.1)",
    "LINEAR(k0=0, l=1, k1=0.1)",
    "LINEAR(k0=0, l=2, k1=0.1)",
    "DECAY(k0=0.01, k1=0.1, l=50)",
    "HALFCOS(k0=0.1, l=50)",
    "HALFCOS(k0=0.1, l=50, k1=0.01)",
    "HALFCOS(k0=0.1, l=50, k1=0.3)",
    "COS(k0=0.1, k1=0.01, l=20)",
    "UPCOS(k0=0.1, k1=0.01, l=20)",
    "SGDR(k0=0.001, k1=0.1, l=20)",
    "SGDR(k0=0, k1=0.1, l=20, growth=2)",
    "COSRSW(k0=0.01, k1=0.1, l=20)",
    "TRI(k0=0.1, k1=1, l=20)",
    "TRI(k0=1, k1=0.1, l=2.5)",
    "TRI2(k0=0.1, k1=1, l=20)",
    "TRIEXP(k0=0.1, k1=1, gamma=0.99, l=20)",
    "DTRI(k0=0.1, k1=1, l=20)",
    "WSD(k0=0.1, l=[10, 80, 100])",
    "WSD(k0=0.1, l=[1, 80, 100], k1=0.01)",
    "COOLDOWN(k0=0.1, l=[80, 100])",
    "COOLDOWN(k0=0.1, l=[80, 100], k1=0.01, p=1)",
    "COOLDOWN(k0=0, l=[80, 100], k1=0.1)",
    "COOLCOS(k0=0.1, l=[80, 100])",
    "COOLCOS(k0=0.1, l=[20, 60], k1=0.01)",
    "POLY(k0=0, p=1, l=50, k1=0.1)",
    "ONECYCLE(k0=0.1, k1=1, l=[45, 90, 129], k2=0.001)",
    "ONECYCLE(k0=0.1, k1=1, l=[45, 80, 100], k2=0)",
    "ONECYCLE(k0=0, k1=1, l=[45, 90, 129], k2=0)",
    "ONECYCLE2(k0=0.1, k1=1, l=[45.5, 129], k2=0.001)",
    "ONECYCLE2(k0=0.1, k1=1, l=[45, 129], k2=0)",
    "ONECYCLE2(k0=0, k1=1, l=[45, 129], k2=0)",
    "WARMUP(policy=HALFCOS(k0=0.1, l=90), l=10)",
    "WARMUP(policy=FIX(k0=0.1), l=1)",
    "WARMUP(policy=FIX(k0=0), l=5)",
    "WARMUP(policy=COS(k0=0.01, k1=0.1, l=20), l=10)",
    "WARMUP(policy=STEP(k0=0.1, gamma=0.5, l=9), l=7)",
    "WARMUP(policy=TRI(k0=0.1, k1=1, l=20), l=10)",
    "WARMUP(policy=TRI(k0=0, k1=1, l=20), l=10)",
    "WARMUP(policy=ONECYCLE(k0=0.1, k1=1, l=[20, 50, 100], k2=0), l=10)",
    "WARMUP(policy=CHAIN(policies=[FIX(k0=0.1), HALFCOS(k0=0.1, l=40)], at=[30]), l=10)",
    "CHAIN(policies=[FIX(k0=0.1), FIX(k0=0.01), FIX(k0=0.2), FIX(k0=0)], at=[10, 20, 50])",
    "CHAIN(policies=[LINEAR(k0=0.01, l=10, k1=0.1), EXP(k0=0.1, gamma=0.9), LINEAR(k0=0, l=10, k1=0.05)], at=[10, 60])",
    "CHAIN(policies=[TRI(k0=0.1, k1=1, l=10), TRI(k0=0.01, k1=0.1, l=10)], at=[40])",
    "CHAIN(policies=[TRI(k0=0.1, k1=1, l=10), EXP(k0=0.1, gamma=0.9)], at=[40])",
    "CHAIN(policies=[HALFCOS(k0=0.1, l=20), HALFCOS(k0=0.1, l=20), FIX(k0=0.01)], at=[10, 100])",
    "CHAIN(policies=[LINEAR(k0=0, l=5, k1=0.1), FIX(k0=0.1)], at=[1])",
    "CM(policy=TRI(k0=0.1, k1=1, l=20), m0=0.95, m1=0.85)",
    "CM(policy=DTRI(k0=0.1, k1=1, l=20), m0=0.95, m1=0.85)",
    "CM(policy=TRI2(k0=0.1, k1=1, l=20), m0=0.95, m1=0.85)",
    "CM(policy=ONECYCLE(k0=0.1, k1=1, l=[45, 90, 129], k2=0.001), m0=0.95, m1=0.85)",
    "CM(policy=ONECYCLE2(k0=0.1, k1=1, l=[45, 129], k2=0.001), m0=0.95, m1=0.85)",
]


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("horizon", [None, STEPS])
def test_a_policy_is_what_the_scheduler_it_is_written_as_does_in_training(text, horizon):
    policy = parse(text)
    call = to_torch(policy, horizon)
    optimizer = sgd(7.0)
    used, momenta = train(optimizer, call.build(optimizer), STEPS)
    assert_close(used[:, 0], policy.curve(STEPS))
    if policy.has_momentum:
        assert_close(momenta, policy.momentum(np.arange(STEPS)))
    assert_close(from_torch(call.build(sgd(call.lr or 1.0))).curve(STEPS), policy.curve(STEPS))


@pytest.mark.parametrize("text", WRITTEN)
def test_the_source_of_a_call_is_python_that_makes_the_same_scheduler(text):
    call = to_torch(parse(text))
    optimizer, other = sgd(call.lr or 1.0), sgd(7.0)
    scheduler = eval(call.source, {"torch": torch, "optimizer": optimizer, "float": float})  # noqa: S307, what a person does
    assert isinstance(scheduler, LRScheduler)
    if call.lr:
        assert_close(train(optimizer, scheduler, 40)[0], train(other, call.build(other), 40)[0])


@pytest.mark.parametrize(
    ("text", "horizon", "why"),
    [
        ("STEP(k0=0.1, gamma=0.5, l=2.5)", None, "STEP: torch counts whole steps, so l must be a whole number"),
        ("STEP(k0=0.1, gamma=0.5, l=5, k1=0.01)", None, "StepLR has no floor, and k1 is 0.01"),
        ("NSTEP(k0=0.1, gamma=0.5, l=[390.625])", None, "NSTEP: torch counts whole steps"),
        ("SGDR(k0=0, k1=1, l=5, growth=1.5)", None, "T_mult, the growth, must be a whole number, 1 or more, got 1.5"),
        ("REX(k0=0.1, l=100)", None, "REX: torch has no scheduler of this shape"),
        ("INVSQRT(k0=0.1, l=100)", None, "INVSQRT: torch has no scheduler of this shape"),
        ("SAMPLED(policy=REX(k0=0.1, l=100), every=10)", None, "SAMPLED: torch has no scheduler of this shape"),
        ("ASLR(k0=0.1)", None, "ASLR: torch has no scheduler of this shape"),
        ("POLY(k0=0.1, p=2, l=50, k1=0.01)", None, "PolynomialLR goes to 0, and k1 is 0.01"),
        ("COOLDOWN(k0=0.1, l=[5, 9], p=0.5)", None, "LinearLR cools down along a line"),
        ("ONECYCLE2(k0=0.1, k1=1, l=[30, 100], k2=0)", 200, "ONECYCLE2: torch has no scheduler of this shape"),
        ("CM(policy=COS(k0=0.1, k1=1, l=30), m0=0.9, m1=0.8)", None, "CM: torch cycles the momentum beside TRI, TRI2"),
        (
            "CHAIN(policies=[HALFCOS(k0=0.1, l=9), HALFCOS(k0=0.05, l=9)], at=[9])",
            None,
            "CosineAnnealingLR starts at the optimizer's learning rate, here 0.1",
        ),
        (
            "CHAIN(policies=[TRI(k0=0.1, k1=1, l=9), LINEAR(k0=0.5, l=9)], at=[9])",
            None,
            "LinearLR's factors are at most 1",
        ),
        ("HALFCOS(k0=0, l=9, k1=0.1)", None, "an optimizer that starts at learning rate 0 cannot be held at 0.1"),
        ("CM(policy=ONECYCLE(k0=0.1, k1=1, l=[30, 60, 100], k2=0.2), m0=0.9, m1=0.8)", None, "CM: torch cycles the"),
        ("CM(policy=TRI(k0=1, k1=1, l=9), m0=0.9, m1=0.8)", None, "beside a learning rate that stays at 1"),
        ("CHAIN(policies=[FIX(k0=0.1), FIX(k0=0.2)], at=[2.5])", None, "CHAIN: torch counts whole steps, so at"),
        ("PLATEAU(k0=0.1, gamma=1)", None, "ReduceLROnPlateau takes a factor below 1"),
        ("LINEAR(k0=0.1, l=3ep)", None, r"bind\(horizon=..., epoch=...\) it first"),
        ("FIX(k0=0.1)", 2.5, "horizon must be a whole number"),
    ],
)
def test_what_torch_cannot_say_exactly_is_refused_with_the_reason(text, horizon, why):
    with pytest.raises(PolicyError, match=why):
        to_torch(parse(text), horizon)


def test_every_lr_function_is_written_or_refused_and_nothing_else_happens():
    refused = set()
    for name, function in FUNCTIONS.items():
        try:
            call = to_torch(function.example)
        except PolicyError:
            refused.add(name)
        else:
            if not function.example.is_controller:
                assert_close(from_torch(call.build(sgd(1.0))).curve(100), function.example.curve(100))
    assert {"REX", "SIN", "RSW", "INV", "SAMPLED"} < refused
    assert not refused & {"FIX", "STEP", "NSTEP", "EXP", "POLY", "LINEAR", "HALFCOS", "COS", "TRI", "WARMUP", "CHAIN"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_written_for_a_random_policy_is_accepted_and_is_it(name, policies):
    for policy in policies(73, 20, FUNCTIONS[name]):
        try:
            call = to_torch(policy, 60)
        except PolicyError:
            continue
        scheduler = call.build(sgd(7.0))
        if not policy.is_controller:
            used, momenta = rolled(scheduler, 60)
            np.testing.assert_allclose(used, policy.curve(60), rtol=1e-9, atol=1e-12 * policy.bounds[1])
            if policy.has_momentum:
                assert_close(momenta, policy.momentum(np.arange(60)))


def test_a_call_says_the_source_that_a_person_can_paste():
    assert str(to_torch(parse("STEP(k0=0.1, gamma=0.5, l=1000)"))) == (
        "torch.optim.lr_scheduler.StepLR(optimizer, step_size=1000, gamma=0.5)  # optimizer with lr=0.1"
    )
    assert to_torch(parse("CHAIN(policies=[FIX(k0=0.1), HALFCOS(k0=0.1, l=5)], at=[9])"), 14).source == (
        "torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers=["
        "torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0), "
        "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5, eta_min=0.0)], milestones=[9])"
    )


def test_a_call_keeps_the_ratios_of_param_groups_or_is_refused():
    optimizer = sgd(0.4, 0.1)
    lrs, _ = train(optimizer, to_torch(parse("STEP(k0=0.2, gamma=0.5, l=2)")).build(optimizer), 4)
    assert_close(lrs, [[0.2, 0.05], [0.2, 0.05], [0.1, 0.025], [0.1, 0.025]])
    with pytest.raises(PolicyError, match="CyclicLR has the same base_lr, max_lr for every param group"):
        to_torch(parse("TRI(k0=0.1, k1=0.2, l=2)")).build(sgd(0.4, 0.1))
    with pytest.raises(PolicyError, match="SequentialLR has the same eta_min"):
        to_torch(parse("WARMUP(policy=COS(k0=0.1, k1=0.2, l=2), l=3)")).build(sgd(0.4, 0.1))
    with pytest.raises(PolicyError, match="every param group starts at LR 0"):
        to_torch(parse("FIX(k0=0.1)")).build(sgd(0.0))


def test_an_optimizer_without_a_momentum_is_refused_by_a_call_that_cycles_it():
    call = to_torch(parse("CM(policy=TRI(k0=0.1, k1=1, l=20), m0=0.9, m1=0.8)"))
    with pytest.raises(PolicyError, match="optimizer must support momentum"):
        call.build(torch.optim.Adagrad(weights(), lr=1))


def test_a_call_makes_only_the_classes_of_its_table():
    with pytest.raises(PolicyError, match=r"torch refuses torch.optim.lr_scheduler.LambdaLR"):
        Call(name="LambdaLR", arguments=(("lr_lambda", 1),), lr=0.1).build(sgd(0.1))
    with pytest.raises(PolicyError, match="Expected positive integer T_0"):
        Call(name="CosineAnnealingWarmRestarts", arguments=(("T_0", 2.5),), lr=0.1).build(sgd(0.1))
