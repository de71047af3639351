"""A table of policies: each with every seed over the whole horizon, as papers print them. Nothing is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError
from lrsearch.runs import Run, RunSpec, Task
from lrsearch.runs.executor import DONE, Executor, TrainerSource
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.training.groups import LEAST_ROWS, groups

MOST_SEEDS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One policy of a table.

    Args:
        policy: the policy over the horizon that the source has.
        label: what the source calls it.
        published: the source's own numbers in its own units: `top1` in percent, `spread`, `steps` at the best ...
    """

    policy: Policy
    label: str = ""
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """Which policies are trained, how often, and on what.

    Args:
        name: how people call it.
        task: the task; its horizon may be shorter than the source's, and policies are stretched to it.
        rows: the policies.
        seeds: each policy is trained with seeds 0 to `seeds` - 1.
        source: where the policies come from.
        horizon: the steps that the policies are written for.
        own: what trains the task, a function or a program, where lrsearch's own loop does not.

    Raises:
        UsageError: for no policies, one that stands twice, or a number of seeds that cannot be.
    """

    name: str
    task: Task
    rows: tuple[Row, ...]
    seeds: int
    source: str
    horizon: int
    own: Callable[[Job], Any] | TrainerSource | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.rows:
            raise UsageError(f"table {self.name!r} has no policies")
        policies = [self.spec(row, 0).policy for row in self.rows]
        twice = next((policy for n, policy in enumerate(policies) if policy in policies[:n]), None)
        if twice:
            raise UsageError(f"table {self.name!r} has {twice} twice")
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or not 1 <= self.seeds <= MOST_SEEDS:
            raise UsageError(f"table {self.name!r}: seeds is a whole number from 1 to {MOST_SEEDS}, got {self.seeds!r}")

    def spec(self, row: Row, seed: int) -> RunSpec:
        """Give what identifies a run."""
        bound = row.policy.bind(horizon=self.horizon, epoch=self.task.epoch)
        return RunSpec(self.task, bound.stretch(self.task.horizon / self.horizon), self.task.horizon, seed)

    @property
    def specs(self) -> list[RunSpec]:
        """All runs: every policy with the first seed, then every policy with the second, and so on."""
        return [self.spec(row, seed) for seed in range(self.seeds) for row in self.rows]


def train_table(
    table: PolicyTable,
    store: Store,
    executor: Executor,
    ended: Callable[[RunSpec, Run], None],
    folder: Path | None = None,
) -> None:
    """Train what the store does not know yet; each run is in the store before it is told of.

    Runs of a small model train in lockstep; else what policies of a seed have in common at the beginning is trained
    once. `folder` keeps the weights, and the checkpoints of the runs in progress.
    """
    known = {stored.key for stored in store.runs(task=table.task.name, trusted=True) if stored.run.state.is_final}

    def record(spec: RunSpec, run: Run) -> None:
        store.record(spec, run)
        ended(spec, run)

    wanted = [spec for spec in table.specs if spec.key not in known]
    are_many = len(table.specs) >= LEAST_ROWS
    waiting = iter(groups(wanted, wanted if are_many else [], executor.lockstep.rows, executor.slots))
    executor.train(lambda: next(waiting, DONE), record, folder=folder)
