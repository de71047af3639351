"""Probing as a study of its own, and the same evidence read from what a store already knows."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch.heuristics import prune
from lrsearch.heuristics.evidence import log10_of
from lrsearch.runs import RunSpec, Task
from lrsearch.runs.roles import Origin, Role
from lrsearch.spaces import Space
from lrsearch.store import Store, StoredRun, Trial
from lrsearch.study.funnel import Funnel
from lrsearch.study.probing import MOST_DOUBLED, gather, next_probing, probe_steps, ramp_steps, range_test
from lrsearch.study.strategy import Proposal, Setup


@dataclass(frozen=True, slots=True)
class Probing:
    """The strategy of `lrsearch prune`: the probes that a search of the same budget and seed begins with, no more."""

    name: str = "probing"

    def check(self, setup: Setup) -> None:
        """Refuse a budget that the search itself would refuse."""
        Funnel().check(setup)

    def next(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """Say what to probe next."""
        return next_probing(setup, history)

    def space(self, setup: Setup, history: Sequence[Trial]) -> Space:
        """Give the space that the probes leave so far."""
        return prune(setup.raw, gather(setup, history)).space


def stored_probes(store: Store, task: Task) -> list[Trial]:
    """Give what a store knows of a task that a search would read as probes, range tests first.

    These are the runs that ended, of this version of the trainer: a RAMP over the steps of a range test, and a
    constant learning rate on a half decade over the steps of a probe, or twice or four times as many.
    """
    found = [
        (role, run)
        for run in store.runs(task=task.name, trusted=True)
        if run.run.state.is_final
        and RunSpec(task, run.policy, run.horizon, run.seed).key == run.key
        and (role := _role(task, run))
    ]
    found.sort(key=lambda one: one[0] is not Role.RANGE_TEST)
    return [
        Trial(number, role, Origin.STORED, run.policy, run.horizon, run.seed, run, reused=True)
        for number, (role, run) in enumerate(found)
    ]


def _role(task: Task, run: StoredRun) -> Role | None:
    """Tell what a run would be in a search's probing, by its function and its horizon."""
    if run.horizon >= task.horizon:
        return None
    if run.policy.name == "RAMP":
        return Role.RANGE_TEST if (run.policy, run.horizon) == (range_test(task), ramp_steps(task)) else None
    lengths = [probe_steps(task) * times for times in (1, 2, MOST_DOUBLED)]
    is_probe = run.policy.name == "FIX" and run.horizon in lengths and _is_half_decade(run.policy.params["k0"])
    return Role.CONSTANT_LR if is_probe else None


def _is_half_decade(lr: float) -> bool:
    """Tell whether a rate is one that decade scaling tries; a search's own candidates almost never are."""
    return lr > 0 and (2 * log10_of(lr)).is_integer()
