"""What a policy costs: its curve, its scheduler's step, its text. Prints medians and ratios; asserts nothing.

    python studies/benchmarks/schedules.py

Pairs alternate in one process; a ratio is the median over pairs.

1. `policy.curve(10_000)` against stepping the equivalent torch scheduler 10,000 times.
2. `lrs.curves` of 1,000 policies at 256 steps.
3. `scheduler.step()` against torch's OneCycleLR, for 1, 10 and 50 param groups, LR alone and with momentum.
4. `parse` of a plain, a nested and the longest policy of the examples.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LRScheduler, OneCycleLR, StepLR

import lrsearch as lrs
from lrsearch.schedules import CM, COS, ONECYCLE2, STEP, TRI, Policy
from lrsearch.spaces.space import FORMS

PAIRS = 15
STEPS = 10_000
TEXTS = (
    "TRI(k0=0.001, k1=0.006, l=2000)",
    "WARMUP(policy=HALFCOS(k0=0.1, l=0.9dur), l=0.1dur)",
    "CHAIN(policies=[TRI2(k0=0.001, k1=0.005, l=2000), TRI2(k0=0.0001, k1=0.0005, l=1000),"
    " TRI2(k0=1e-5, k1=5e-5, l=500)], at=[16000, 22000])",
)


def seconds(work: Callable[[], object]) -> float:
    """Time a piece of work once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def optimizer(groups: int = 1) -> torch.optim.SGD:
    """An optimizer that has made its first step, so that torch's schedulers do not warn."""
    made = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=0.1, momentum=0.9
    )
    made.step()
    return made


def stepping(make: Callable[[], LRScheduler], steps: int) -> Callable[[], None]:
    """Step a fresh scheduler so many times."""
    scheduler = make()
    scheduler.optimizer.step()

    def work() -> None:
        for _ in range(steps):
            scheduler.step()

    return work


def report_curves() -> None:
    """Compare whole curves."""
    pairs: list[tuple[str, Policy, Callable[[], LRScheduler]]] = [
        (
            "OneCycleLR",
            ONECYCLE2(k0=0.04, k1=1, l=[2999, 9999], k2=4e-6),
            lambda: OneCycleLR(optimizer(), 1, STEPS + 1),
        ),
        (
            "CyclicLR",
            TRI(k0=0.001, k1=0.006, l=2000),
            lambda: CyclicLR(optimizer(), 0.001, 0.006, 2000, cycle_momentum=False),
        ),
        ("CosineAnnealingLR", COS(k0=0, k1=0.1, l=STEPS), lambda: CosineAnnealingLR(optimizer(), STEPS)),
        ("StepLR", STEP(k0=0.1, gamma=0.5, l=1000), lambda: StepLR(optimizer(), 1000, 0.5)),
    ]
    print(f"curve of {STEPS:,} steps against stepping torch's scheduler")
    for name, policy, make in pairs:
        both = [
            (seconds(stepping(make, STEPS)), seconds(lambda policy=policy: policy.curve(STEPS))) for _ in range(PAIRS)
        ]
        ratio = statistics.median(theirs / ours for theirs, ours in both)
        ours = statistics.median(ours for _, ours in both)
        print(f"  {name:<18} {ratio:6.0f}x faster  ({ours * 1e3:.2f} ms)")


def report_many() -> None:
    """Time a thousand curves at once."""
    for label, forms in (("LRBench's table", None), ("all LR functions with coordinates", FORMS)):
        rng = np.random.default_rng(0)
        space = lrs.Space.standard(*(forms or ()), horizon=1000, epoch=50)
        policies = [space.sample(rng) for _ in range(1000)]
        took = statistics.median(seconds(lambda policies=policies: lrs.curves(policies, 256)) for _ in range(PAIRS))
        print(f"curves of 1,000 policies, 256 steps, {label}: {took * 1e3:.1f} ms")


def one_pair(policy: Policy, groups: int, momentum: bool) -> tuple[float, float]:
    """Time 2,000 steps of torch's scheduler, then of ours."""
    theirs = stepping(lambda: OneCycleLR(optimizer(groups), 1, STEPS, cycle_momentum=momentum), 2000)
    return seconds(theirs), seconds(stepping(lambda: policy.scheduler(optimizer(groups)), 2000))


def report_steps() -> None:
    """Compare single steps."""
    print("scheduler.step() against OneCycleLR")
    plain = ONECYCLE2(k0=0.04, k1=1, l=[2999, 9999], k2=4e-6)
    cycled = CM(policy=plain, m0=0.95, m1=0.85)
    for groups in (1, 10, 50):
        for label, policy, momentum in (("LR alone", plain, False), ("LR and momentum", cycled, True)):
            both = [one_pair(policy, groups, momentum) for _ in range(PAIRS)]
            ratio = statistics.median(ours / theirs for theirs, ours in both)
            ours = statistics.median(ours for _, ours in both) / 2000
            print(f"  {groups:>2} groups, {label:<16} {ratio:.2f}  ({ours * 1e6:.2f} us)")


def report_texts() -> None:
    """Time the reading of policies."""
    print("parse")
    for text in TEXTS:
        took = statistics.median(
            seconds(lambda text=text: [lrs.parse(text) for _ in range(200)]) / 200 for _ in range(PAIRS)
        )
        print(f"  {took * 1e6:6.1f} us  {text[:60]}")


if __name__ == "__main__":
    report_curves()
    report_many()
    report_steps()
    report_texts()
