"""Tables of policies: each policy trained with every seed over the whole horizon, as papers print them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError
from lrsearch.runs import Run, RunSpec, Task
from lrsearch.runs.executor import DONE, Executor, Lost, TrainerSource
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.study.driven import Driven, train_all
from lrsearch.training.charges import settle
from lrsearch.training.groups import LEAST_ROWS, groups

MOST_SEEDS = 1000
"""A rule that refuses typing errors."""


@dataclass(frozen=True, slots=True)
class Row:
    """A policy of a table.

    Args:
        policy: the policy over the horizon of the source.
        label: its name in the source.
        published: the numbers of the source in its own units: `top1` in percent, `spread`, `steps` at the best ...
    """

    policy: Policy
    label: str = ""
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """Policies, the task that trains them, and the number of seeds.

    Args:
        name: its name for people.
        task: the task; its horizon may be shorter than the source's, and policies are stretched to it.
        rows: the policies.
        seeds: each policy is trained with seeds 0 to `seeds` - 1.
        source: where the policies come from.
        horizon: the steps for which the policies are written.
        own: the function or program that trains the task; None where lrsearch's own loop does.

    Raises:
        UsageError: for no policies, a policy that stands twice, or a wrong number of seeds.
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
        """The spec of a row's run with a seed."""
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
    lost: Lost | None = None,
) -> Driven:
    """Train the runs that are not in the store yet.

    Runs of a small model train in lockstep. Else a shared-prefix tree trains the steps that policies of a seed have in
    common once.

    Args:
        table: the policies.
        store: records each run before `ended` is called with it.
        executor: trains the runs.
        ended: called with every run that ends.
        folder: for the weights, and the checkpoints of the runs in progress.
        lost: called with every attempt of a run that ended with its process.

    Returns:
        The lost attempts, how much the workers have trained, and whether the deadline ended it.
    """
    done = {stored.key for stored in store.runs(task=table.task.name, trusted=True) if stored.run.state.is_final}

    def record(spec: RunSpec, run: Run) -> None:
        store.record(spec, run)
        settle(folder, spec, run)
        ended(spec, run)

    wanted = [spec for spec in table.specs if spec.key not in done]
    are_many = len(table.specs) >= LEAST_ROWS
    queue = iter(groups(wanted, wanted if are_many else [], executor.lockstep.rows, executor.slots))
    return train_all(executor, lambda: next(queue, DONE), record, charge=store.record, folder=folder, lost=lost)
