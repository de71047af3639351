"""The steps at which a run is evaluated."""

from lrsearch.runs.run import RunSpec


def evaluation_steps(spec: RunSpec) -> frozenset[int]:
    """The steps at which a run is evaluated: equally spaced, at ends of cycles for early stopping, and the last.

    >>> from lrsearch.schedules import FIX
    >>> from lrsearch.tasks import find_task
    >>> spec = RunSpec(find_task("digits-mlp"), FIX(k0=0.1), horizon=100, seed=0)  # an epoch is 32 steps
    >>> sorted(evaluation_steps(spec))
    [32, 64, 96, 100]
    """
    every = spec.task.evaluate_every(spec.horizon, is_controller=spec.policy.is_controller)
    return frozenset(range(every, spec.horizon, every)) | cycle_ends(spec) | {spec.horizon}


def cycle_ends(spec: RunSpec) -> frozenset[int]:
    """The ends of cycles that early stopping reads; none for a policy without cycles, or a run without patience."""
    if spec.stop is None or spec.stop.patience is None or spec.policy.is_controller:
        return frozenset()
    ends = spec.policy.cycle_ends(spec.horizon)
    return frozenset(ends if len(ends) > 1 else ())
