"""Strategies side by side, tables of policies, and searches replayed on tables of results."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.api.cluster import Checked, Resources, open_cluster
from lrsearch.api.resources import DEFAULT_FOLDER, open_executor, opened_store, raw_space, source_of, writable
from lrsearch.compare.comparison import Comparison, choose
from lrsearch.compare.comparison import compare as compare_strategies
from lrsearch.compare.figures import Replay
from lrsearch.compare.figures import conclude as conclude_replay
from lrsearch.compare.held_out import Ranked, hold_out
from lrsearch.compare.replay import SEEDS as REPLAY_SEEDS
from lrsearch.compare.replay import replay as replay_tables
from lrsearch.compare.reproduction import Results, read_results
from lrsearch.compare.settings import read_settings
from lrsearch.compare.tables import read_table
from lrsearch.errors import UsageError, given
from lrsearch.runs import Run, RunSpec
from lrsearch.runs.executor import Limits, Lost
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.study.driven import Driven
from lrsearch.study.strategy import Setup
from lrsearch.study.table import PolicyTable, train_table
from lrsearch.tasks import find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.settings import with_settings


def compare(
    task: TaskLike,
    strategies: Sequence[str] = ("funnel", "tpe", "random"),
    seeds: int = 2,
    budget: float = 4,
    *,
    functions: Sequence[str | Policy] = (),
    settings: Mapping[str, Any] | None = None,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[str], None] | None = None,
    is_own_process: bool = False,
) -> Comparison:
    """Compare ways to search: best validation score against training steps spent, probes included.

    Args:
        task: a shipped task's name, or the user's own task.
        strategies: "funnel", "tpe" (Optuna's TPE on the raw space), "random".
        seeds: studies of each strategy.
        budget: full-run equivalents (FRE) of each study.
        functions, settings, store, data_dir, out, is_own_process: as in `search`.
        watch: called with a line about each study that ends.

    Returns:
        The comparison: `.table()`, `.courses`.

    Raises:
        UsageError: for an unknown strategy or task, or a budget that is too small.
        WorkError: if the data, the store or the training fails.
    """
    trains = with_settings(task, settings)
    described = find_task(trains)
    setup = Setup(described, raw_space(described, functions), budget, seed=0)
    choose(setup, strategies, seeds)
    with (
        opened_store(store, writable(Path(out))) as ledger,
        open_executor(source_of(trains, data_dir), 1, is_own_process) as executor,
    ):
        return compare_strategies(setup, strategies, seeds, ledger, executor, watch)


def run_table(
    table: PolicyTable,
    *,
    workers: int | None = 1,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[RunSpec, Run], None] | None = None,
    max_seconds_per_run: float | None = None,
    max_hours: float | None = None,
    lost: Lost | None = None,
    address: str | None = None,
    cpus_per_run: float = 1,
    gpus_per_run: float | None = None,
    checked: Checked | None = None,
    is_own_process: bool = False,
) -> Results:
    """Train every policy of a table with every seed. The same call continues where the last one ended.

    A script that calls it keeps its own work under `if __name__ == "__main__":`, for its workers import it.

    Args:
        table: the policies, the task and the seeds.
        workers, max_seconds_per_run, max_hours, lost, store, data_dir, out, is_own_process: as in `search`.
        watch: called with every run that ends.
        address: a Ray cluster that trains instead of this machine's processes, as in `sweep`; None for none.
        cpus_per_run, gpus_per_run, checked: as in `sweep`.

    Returns:
        The results: `.outcomes`, `.agreement`, `.missing`; `.lost`, the attempts that ended with their process.

    Raises:
        UsageError: if `workers` is not 1 or more, or `table` is no table.
        WorkError: if the data or the store fails, or a worker dies.
        KeyboardInterrupt: when interrupted; ended runs are recorded.
    """
    if not isinstance(table, PolicyTable):
        raise UsageError(f"table is a PolicyTable, such as lrsearch.study.table makes, got {given(table)}")
    limits, ended = Limits.of(max_seconds_per_run, max_hours, time.monotonic()), watch or (lambda spec, run: None)
    cluster = None if address is None else Resources(address, workers, cpus_per_run, gpus_per_run)
    with opened_store(store, writable(Path(out))) as ledger:
        driven = Driven()
        if read_results(table, ledger).missing:
            source = source_of(table.own or table.task, data_dir, table.task)
            with (
                open_executor(source, workers, is_own_process, limits)
                if cluster is None
                else open_cluster(source, cluster, Path(out), data_dir, checked, limits)
            ) as executor:
                driven = train_table(table, ledger, executor, ended, writable(Path(out) / "weights"), lost)
        return replace(read_results(table, ledger), driven=driven)


def replay(
    table: str, data_dir: str | Path, seeds: int = REPLAY_SEEDS, watch: Callable[[str], None] | None = None
) -> Replay:
    """Replay the pruner and other searches on a complete table of results: nothing is trained.

    Args:
        table: "deepobs", the DeepOBS baselines: 15 tasks, constant learning rates.
        data_dir: the folder of the table's files, or the folder above.
        seeds: studies of each task, 1 or more.
        watch: called with a line about each seed that is done.

    Returns:
        The replay: `.figures` with their intervals and bars, `.strategies()`, `.tasks()`.

    Raises:
        UsageError: for an unknown table or no seeds.
        DataError: for files that are missing or broken.
    """
    if seeds < 1:
        raise UsageError(f"a replay needs 1 seed or more, got {seeds}")
    return conclude_replay(table, replay_tables(read_table(table, Path(data_dir)), seeds, watch))


def replay_ranking(table: str, data_dir: str | Path) -> Ranked:
    """Hold out each task of a table of results, and try the ranking that the others give: nothing is trained.

    Args:
        table: "deepobs", 108 settings on 8 problems, or "algoperf", 55 settings on 12 workloads, where a workload's
            variants are held out with it as well.
        data_dir: the folder of the table's files, or the folder above.

    Returns:
        The regrets of the best of the first 1, 3 and 10 tries, `.tried`, and `.figures` with intervals and bars.

    Raises:
        UsageError: for an unknown table.
        DataError: for files that are missing or broken.
    """
    return hold_out(read_settings(table, Path(data_dir)))
