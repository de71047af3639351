"""Which runs train together, before any does: groups for workers. It needs no torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lrsearch.errors import UsageError
from lrsearch.runs import RunSpec
from lrsearch.runs.executor import Group

LEAST_ROWS = 4
"""In lockstep, two or three runs take longer than one after the other."""

MOST_STEPS = 10_000
"""Of a run in lockstep: it keeps no checkpoint."""

LEAST_SHARE = 0.05
"""Of the horizon: a shorter common beginning is not worth a fork."""


def require_workers(workers: int) -> None:
    """Refuse a number of processes that cannot be.

    Raises:
        UsageError: if it is not a whole number, 1 or more.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise UsageError(f"workers must be a whole number, 1 or more, got {workers!r}")


def groups(specs: Sequence[RunSpec], short: Sequence[RunSpec], rows: int, workers: int = 1) -> list[Group]:
    """Group runs for workers. Runs in lockstep are of one seed, for convolutions round otherwise in mixed company.

    Args:
        specs: what to train.
        short: those among them that train in lockstep if the task's runs do.
        rows: how many do at a time; 0 for none.
        workers: how many processes train: a group is not larger than a worker's share of its horizon.
    """
    wanted = {spec.key for spec in short if rows and _can_be_in_lockstep(spec)}
    chosen = [spec for spec in specs if spec.key in wanted]
    found: list[Group] = []
    for horizon, seed in dict.fromkeys((spec.horizon, spec.seed) for spec in chosen):
        alike = [spec for spec in chosen if (spec.horizon, spec.seed) == (horizon, seed)]
        size = min(rows, max(LEAST_ROWS, -(-len(alike) // workers)))
        found += [Group(tuple(alike[start : start + size]), True) for start in range(0, len(alike), size)]
    return found + [Group(tuple(family)) for family in families([spec for spec in specs if spec.key not in wanted])]


def _can_be_in_lockstep(spec: RunSpec) -> bool:
    """Tell whether a run knows its learning rates ahead, and is short enough to begin anew if it is interrupted."""
    return spec.horizon <= MOST_STEPS and not spec.policy.is_controller


def families(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Group runs that begin alike, over 5 % of their horizon or more; the order is kept.

    Runs are alike in task, horizon and seed. A controller, a line search and a task with early stopping have runs
    that are not known ahead, so each of these is alone.
    """
    found: list[list[RunSpec]] = []
    for spec in specs:
        least = max(1, round(LEAST_SHARE * spec.horizon))
        home = next((family for family in found if common(family[0], spec) >= least), None)
        if home is None:
            found.append([spec])
        else:
            home.append(spec)
    return found


def common(a: RunSpec, b: RunSpec) -> int:
    """Give the number of steps over which two runs are the same."""
    stops = a.stop or b.stop
    alone = a.policy.is_controller or b.policy.is_controller or not a.task.can_fork or stops
    if alone or (a.task.key, a.horizon, a.seed) != (b.task.key, b.horizon, b.seed):
        return 0
    differing = np.flatnonzero((course(a) != course(b)).any(axis=1))
    return int(differing[0]) if len(differing) else a.horizon


def course(spec: RunSpec) -> npt.NDArray[np.float64]:
    """The learning rate and the momentum of each step, shape (horizon, 2); -1 where it is the optimizer's own."""
    steps = np.arange(spec.horizon, dtype=np.float64)
    momentum = spec.policy.momentum(steps) if spec.policy.has_momentum else np.full(spec.horizon, -1.0)
    return np.stack([spec.policy.curve(spec.horizon), momentum], axis=1)
