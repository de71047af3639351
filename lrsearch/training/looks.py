"""At which steps a run is looked at. It needs no torch."""

import math

from lrsearch.runs import RunSpec

LOOKS = 10
PAPER_LOOK_EVERY = 500
"""Steps between looks in the papers' protocol: Caffe's setting for LeNet; LRBench does not print its own."""


def look_steps(spec: RunSpec) -> frozenset[int]:
    """Give the steps at which a run is looked at: every so many, at the ends of cycles that count, and at the last.

    >>> from lrsearch.schedules import FIX
    >>> from lrsearch.tasks import find_task
    >>> sorted(look_steps(RunSpec(find_task("digits-mlp"), FIX(k0=0.1), horizon=100, seed=0)))  # an epoch is 32 steps
    [32, 64, 96, 100]
    """
    every = _look_every(spec)
    return frozenset(range(every, spec.horizon, every)) | cycle_ends(spec) | {spec.horizon}


def _look_every(spec: RunSpec) -> int:
    """Steps between looks: ten looks, an epoch apart at least; a look an epoch of the full run for a controller.

    A controller lives on its looks, so over a shorter horizon they come as much closer as it is shorter.
    """
    shortened, tenth = spec.horizon / spec.task.horizon, math.ceil(spec.horizon / LOOKS)
    if spec.policy.is_controller:
        return max(1, round(spec.task.epoch * shortened))
    if spec.task.protocol == "paper":
        return PAPER_LOOK_EVERY if shortened >= 1 else max(round(PAPER_LOOK_EVERY * shortened), tenth)
    return max(math.ceil(spec.task.epoch), tenth)


def cycle_ends(spec: RunSpec) -> frozenset[int]:
    """The ends of cycles at which early stopping looks; none for a policy without cycles, and where nothing stops."""
    if spec.task.patience is None or spec.policy.is_controller:
        return frozenset()
    ends = spec.policy.cycle_ends(spec.horizon)
    return frozenset(ends if len(ends) > 1 else ())
