"""Where an adapter's learning rates come from: a policy, its text, or a job."""

from typing import Any

from torch.optim import Optimizer

from lrsearch.errors import PolicyError, UsageError, given
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy, parse
from lrsearch.schedules.torch_jobs import job_schedulers


class NullListener:
    """A listener for the schedulers of a plain policy: it does nothing."""

    def stepped(self, updates: int | None, lr: float | None = None) -> None:
        """Do nothing."""

    def resumed_at(self, step: int) -> None:
        """Do nothing."""

    def changed_lr(self, update: int, lr: float, expected: float) -> None:
        """Do nothing."""


def read_source(source: Policy | str | Job) -> Policy | Job:
    """A policy or a job, from either or from a policy's text.

    Raises:
        PolicyError: if it is none of them, or a policy with durations that are not bound to a horizon.

    >>> read_source("FIX(k0=0.1)")
    FIX(k0=0.1)
    """
    if isinstance(source, Job):
        return source
    if isinstance(source, str):
        source = parse(source)
    if not isinstance(source, Policy):
        raise PolicyError(f"the learning rates come from a policy, its text or a job, got {given(source)}")
    return source


def policy_of(source: Policy | Job) -> Policy:
    """The policy of a source."""
    return source.policy if isinstance(source, Job) else source


def scheduler_of(source: Policy | Job, *optimizers: Optimizer, seed: int = 0, adopt: bool = False) -> Any:
    """The scheduler of a source: one of its optimizer, or one object with the same methods of several.

    The ratios of all param groups of all optimizers are kept: the largest learning rate is the policy's.

    Args:
        source: a policy or a job.
        optimizers: one or more.
        seed: of a controller's random draws; a job has its own.
        adopt: whether a state of another policy may be loaded: its step is taken, and a warning given.

    Raises:
        UsageError: without an optimizer, or if a job or several optimizers are to adopt a state.
        PolicyError: if every param group starts at LR 0, a momentum finds no place, or a controller is to adopt.
    """
    if not optimizers:
        raise UsageError("a scheduler takes the optimizers of the training, one or more")
    if isinstance(source, Job):
        if adopt:
            raise UsageError("a job does not adopt the state of another policy: leave out adopt")
        return source.scheduler(*optimizers)
    if len(optimizers) == 1:
        return source.scheduler(optimizers[0], seed=seed, adopt=adopt)
    if adopt:
        raise UsageError("the schedulers of several optimizers do not adopt the state of another policy")
    return job_schedulers(source, optimizers, NullListener(), seed)
