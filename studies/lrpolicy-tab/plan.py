"""The runs of a table: which policies, over how many updates, with which seeds. It depends on nothing but the task."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lrsearch.runs import RunSpec, Task
from lrsearch.schedules import Policy, parse
from lrsearch.spaces import Space

FORMS = (
    *("FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "LINEAR", "HALFCOS", "REX", "COOLDOWN", "SPLINE"),
    *("TRI", "TRI2", "TRIEXP", "SIN", "SIN2", "SINEXP", "COS", "SGDR", "FRACTAL"),
    *("ONECYCLE", "ONECYCLE2", "WSD", "INVSQRT"),
    *("WARMUP(HALFCOS)", "WARMUP(LINEAR)", "WARMUP(POLY)", "WARMUP(REX)"),
    *("WARMUP(COOLDOWN)", "WARMUP(COOLCOS)", "WARMUP(SPLINE)"),
)
"""The LR functions of the table: all families of curves, and the shapes that are known to win."""
EACH = 10
"""Policies that are drawn of each LR function, every second one with a peak in the range that matters."""
NEAR = (10**-1.2, 10**0.8)
"""The range that matters, around the optimum of the range tests: what trains neither in vain nor to nothing."""
DIVISORS = (16, 4, 1)
"""A full run is this many times as long as the runs of a policy."""
STEP, FROM, TO = 0.2, -8, 6
"""The rows of the replays: a peak every 0.2 decades, from 1.6 below the optimum to 1.2 above."""
ROWS = {
    "constant": "FIX(k0=1)",
    "default": "WARMUP(policy=HALFCOS(k0=1, l=0.95dur), l=0.05dur)",
    "long-warmup": "WARMUP(policy=HALFCOS(k0=1, l=0.7dur), l=0.3dur)",
}
SEEDS = (0, 1, 2)
"""The first for all runs; the others for the best third of the full ones."""
BEST = 1 / 3


@dataclass(frozen=True, slots=True)
class Row:
    """A policy of the table at the full horizon, and why it is there: "raw", "near", or the name of a row."""

    policy: Policy
    kind: str


def rows(task: Task, optimum: float) -> list[Row]:
    """The policies of a table, each once.

    Args:
        task: the task.
        optimum: the optimum of its range tests.
    """
    drawn = [Row(policy, kind) for policy, kind in _drawn(task, optimum)]
    n, epoch = task.horizon, task.epoch
    peaks = [float(f"{optimum * 10 ** (STEP * k):.4g}") for k in range(FROM, TO + 1)]
    declared = [
        Row(parse(text).bind(horizon=n, epoch=epoch).scale(peak).rounded(), kind)
        for kind, text in ROWS.items()
        for peak in peaks
        if peak <= task.lr_range[1]
    ]
    return list({row.policy: row for row in (*declared, *drawn)}.values())


def _drawn(task: Task, optimum: float) -> Iterator[tuple[Policy, str]]:
    low, high = task.lr_range
    near = (max(low, optimum * NEAR[0]), min(high, optimum * NEAR[1]))
    for number, form in enumerate(FORMS):
        for each in range(EACH):
            kind, peak = ("near", near) if each % 2 else ("raw", (low, high))
            space = Space.standard(form, horizon=task.horizon, epoch=task.epoch, peak=peak)
            yield space.rounded(space.sample(np.random.default_rng((20_261_130, number, each)))), kind


def specs(task: Task, policies: list[Policy]) -> list[RunSpec]:
    """The runs of policies with the first seed, shortest first."""
    n = task.horizon
    steps = [max(1, round(n / divisor)) for divisor in DIVISORS]
    return [RunSpec(task, policy.stretch(h / n), h, SEEDS[0]) for h in steps for policy in policies]
