"""Groups of runs for workers, in lockstep or with a shared prefix. Without torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lrsearch.errors import UsageError
from lrsearch.runs import RunSpec
from lrsearch.runs.executor import Group

LEAST_ROWS = 4
"""Rule: two or three runs take longer in lockstep than one after the other."""

MOST_STEPS = 10_000
"""Rule: a run in lockstep writes no checkpoint, so it must be short enough to start over."""

LEAST_SHARE = 0.05
"""Rule: a shared prefix below 5 % of the horizon is not worth a fork."""


def require_workers(workers: int) -> None:
    """Check a number of worker processes.

    Raises:
        UsageError: if it is not a whole number, 1 or more.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise UsageError(f"workers must be a whole number, 1 or more, got {workers!r}")


def groups(specs: Sequence[RunSpec], short: Sequence[RunSpec], rows: int, workers: int = 1) -> list[Group]:
    """Group runs for workers.

    Runs in lockstep have one seed, because convolutions round differently where a batch is shared.

    Args:
        specs: the runs.
        short: those of them that may train in lockstep.
        rows: runs in lockstep at a time; 0 where the task's runs do not train in lockstep.
        workers: processes that train; a group is not larger than a worker's share of the runs of its horizon.
    """
    wanted = {spec.key for spec in short if rows and _can_be_in_lockstep(spec)}
    chosen = [spec for spec in specs if spec.key in wanted]
    result: list[Group] = []
    for horizon, seed in dict.fromkeys((spec.horizon, spec.seed) for spec in chosen):
        alike = [spec for spec in chosen if (spec.horizon, spec.seed) == (horizon, seed)]
        size = min(rows, max(LEAST_ROWS, -(-len(alike) // workers)))
        result += [Group(tuple(alike[start : start + size]), True) for start in range(0, len(alike), size)]
    others = [spec for spec in specs if spec.key not in wanted]
    return result + [Group(tuple(group)) for group in prefix_groups(others)]


def _can_be_in_lockstep(spec: RunSpec) -> bool:
    """Whether a run's learning rates are known in advance, and it is short enough to start over after an interrupt."""
    return spec.horizon <= MOST_STEPS and not spec.policy.is_controller


def prefix_groups(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Group runs that share a prefix of 5 % of their horizon or more, in the order of `specs`.

    The runs of a group have one task, horizon and seed. Runs of a controller, of a line search and with early stopping
    are not known in advance, so each of them is a group alone.
    """
    result: list[list[RunSpec]] = []
    for spec in specs:
        least = max(1, round(LEAST_SHARE * spec.horizon))
        group = next((group for group in result if shared_steps(group[0], spec) >= least), None)
        if group is None:
            result.append([spec])
        else:
            group.append(spec)
    return result


def shared_steps(a: RunSpec, b: RunSpec) -> int:
    """The number of steps over which two runs are the same."""
    may_stop = a.stop or b.stop
    is_unknown = a.policy.is_controller or b.policy.is_controller or not a.task.can_fork or may_stop
    if is_unknown or (a.task.key, a.horizon, a.seed) != (b.task.key, b.horizon, b.seed):
        return 0
    differing = np.flatnonzero((lrs_and_momenta(a) != lrs_and_momenta(b)).any(axis=1))
    return int(differing[0]) if len(differing) else a.horizon


def lrs_and_momenta(spec: RunSpec) -> npt.NDArray[np.float64]:
    """The learning rate and the momentum of each step, shape (horizon, 2); -1 for the optimizer's own momentum."""
    steps = np.arange(spec.horizon, dtype=np.float64)
    momentum = spec.policy.momentum(steps) if spec.policy.has_momentum else np.full(spec.horizon, -1.0)
    return np.stack([spec.policy.curve(spec.horizon), momentum], axis=1)
