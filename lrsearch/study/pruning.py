"""Probing as a study without a search, and stored runs read as probes."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch.heuristics import prune
from lrsearch.heuristics.evidence import log10_of
from lrsearch.runs import RunSpec, Task
from lrsearch.runs.roles import Origin, Role
from lrsearch.spaces import Space
from lrsearch.store import Store, StoredRun, Trial
from lrsearch.study.funnel import Funnel
from lrsearch.study.probing import gather, next_probing, probe_steps, ramp_steps, range_test
from lrsearch.study.rules import PROBING
from lrsearch.study.strategy import Proposal, Setup


@dataclass(frozen=True, slots=True)
class Probing:
    """The strategy of `lrsearch prune`: only the probes that a search of the same budget and seed begins with."""

    name: str = "probing"

    def check(self, setup: Setup) -> None:
        """Refuse a budget that a search refuses."""
        Funnel().check(setup)

    def next(self, setup: Setup, history: Sequence[Trial]) -> Proposal | None:
        """The next probe."""
        return next_probing(setup, history)

    def space(self, setup: Setup, history: Sequence[Trial]) -> Space:
        """The space as the probes so far prune it."""
        return prune(setup.raw, gather(setup, history)).space


def stored_probes(store: Store, task: Task) -> list[Trial]:
    """The stored runs of a task that a search reads as probes, range tests first.

    They have ended, under this version of the trainer. A range test is a RAMP over the steps of a range test. A
    constant-LR probe has an LR on a half decade, over the steps of a probe or two or four times as many.
    """
    runs = [
        (role, run)
        for run in store.runs(task=task.name, trusted=True)
        if run.run.state.is_final
        and RunSpec(task, run.policy, run.horizon, run.seed).key == run.key
        and (role := _role(task, run))
    ]
    runs.sort(key=lambda pair: pair[0] is not Role.RANGE_TEST)
    return [
        Trial(number, role, Origin.STORED, run.policy, run.horizon, run.seed, run, reused=True)
        for number, (role, run) in enumerate(runs)
    ]


def _role(task: Task, run: StoredRun) -> Role | None:
    """The role that a run has among the probes of a search, by its function and horizon; None where it is no probe."""
    if run.horizon >= task.horizon:
        return None
    if run.policy.name == "RAMP":
        return Role.RANGE_TEST if (run.policy, run.horizon) == (range_test(task), ramp_steps(task)) else None
    lengths = [probe_steps(task) * times for times in (1, 2, PROBING.most_doubled)]
    is_probe = run.policy.name == "FIX" and run.horizon in lengths and _is_half_decade(run.policy.params["k0"])
    return Role.CONSTANT_LR if is_probe else None


def _is_half_decade(lr: float) -> bool:
    """Whether decade scaling tries this learning rate. Candidates of a search almost never have one of these."""
    return lr > 0 and (2 * log10_of(lr)).is_integer()
