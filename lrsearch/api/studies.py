"""search, sweep, prune, explain: studies of a task, on Optuna or on Ray."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.api.cluster import Checked, Resources, open_cluster
from lrsearch.api.functions import changed_source
from lrsearch.api.known import known_policies
from lrsearch.api.resources import DEFAULT_FOLDER, open_executor, opened_store, raw_space, source_of, writable
from lrsearch.runs.executor import Executor, Limits, Lost
from lrsearch.runs.roles import Role
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.store.claims import LEASE_SECONDS
from lrsearch.store.mounts import refused_type
from lrsearch.study.drive import Progress, drive
from lrsearch.study.driven import Driven
from lrsearch.study.explanation import Explanation, explain_stored
from lrsearch.study.explanation import explain as explain_study
from lrsearch.study.funnel import Funnel
from lrsearch.study.pruning import Probing
from lrsearch.study.result import SearchResult, conclude, cost
from lrsearch.study.strategy import Setup
from lrsearch.study.study import MakeSampler, Study, Watch
from lrsearch.tasks import find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.run_folder import run_folder
from lrsearch.training.settings import with_settings

log = logging.getLogger(__name__)


def search(
    task: TaskLike,
    budget: float = 12,
    *,
    functions: Sequence[str | Policy] = (),
    settings: Mapping[str, Any] | None = None,
    known: Sequence[str | Policy] = (),
    store: str | Store | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    storage: str | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
    workers: int | None = 1,
    max_seconds_per_run: float | None = None,
    max_hours: float | None = None,
    lost: Lost | None = None,
    lease: float = LEASE_SECONDS,
    is_own_process: bool = False,
) -> SearchResult:
    """Search the best LR policy for a task. The same call continues where the last one ended.

    Several processes may make the same call at the same time, on machines that share the store: they share its runs
    and its budget, and all return the same answer.

    Args:
        task: a shipped task's name, a function under `@lrs.task`, or the user's own task.
        budget: full-run equivalents (FRE) of the whole search: a hard cap.
        functions: LR functions to search; none for all.
        settings: values that the user's function reads from `job.settings`, merged over those of its decorator. Each
            set of values makes a task with its own key.
        known: policies or texts of the user, tried first, in shorter runs. Durations such as `0.1dur` are of the task;
            a policy that ends at another step is stretched to it. `.warnings` names each one that is left out.
        store: the knowledge store or its URL; None for `store.db` in `out`.
        seed: the study's seed, 0 or more.
        data_dir: the folder of the data set; None for the default one.
        out: the folder for the store, the Optuna study and the weights of full runs.
        storage: the Optuna storage's URL; None for `optuna.db` in `out`.
        watch: called with the study and every trial that ends.
        progress: called with a trial and its steps done, every few steps.
        workers: processes that train, one thread each; 1 to train in this one, None for the number that suits the task
            and the machine. The search is the same. A script with more workers keeps its own work under
            `if __name__ == "__main__":`, for the workers import it.
        max_seconds_per_run: a run that takes longer is ended and tried once more; then it has failed. None for no
            limit. With a limit, one worker is a process of its own as well.
        max_hours: the search ends by then, with what it has; None for no limit. The same call goes on.
        lost: called with every attempt of a run that ended with its process, and is tried again or has failed.
        lease: seconds after which other processes of the same search take the runs of this one, where it does not
            answer. One of this machine that was killed is known at once.
        is_own_process: whether this process does nothing else. It is then set up for training, as in the command line.

    Returns:
        The result. `.best` is the answer, with its `.policy`, `.score`, `.seeds` and whether it is `.confirmed`. On a
        tie, and where no other policy ran at full length, it is the default. `.best_found` is the best policy beside
        the default, or None, and `.default` the strong default. All are over the same seeds: fresh ones where the
        budget pays for them, else the search's own. `.verdict` is the advice in a sentence, `.cost` is in FRE,
        `.table()` has all runs, `.warnings` has notes, `.lost` the attempts that ended with their process.

    Raises:
        UsageError: for an unknown task or function, or a budget that is too small.
        WorkError: if the data, the store or the training fails.
        KeyboardInterrupt: when interrupted; ended runs are recorded.
    """
    limits = Limits.of(max_seconds_per_run, max_hours, time.monotonic())
    trains = with_settings(task, settings)
    setup, notes = search_setup(trains, functions, known, budget, seed)
    with _study(setup, store, Path(out), storage, watch, lease) as study:
        warnings, driven = (*notes, *changed_source(trains, study.store)), Driven()
        if not study.is_done:
            with open_executor(source_of(trains, data_dir), workers, is_own_process, limits) as executor:
                driven = drive_in(Path(out), study, executor, progress, lost)
        return conclude_search(study, warnings, driven, max_hours)


def sweep(
    task: TaskLike,
    budget: float = 12,
    *,
    functions: Sequence[str | Policy] = (),
    settings: Mapping[str, Any] | None = None,
    known: Sequence[str | Policy] = (),
    store: str | Store | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    storage: str | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
    address: str = "local",
    workers: int | None = None,
    cpus_per_run: float = 1,
    gpus_per_run: float | None = None,
    max_seconds_per_run: float | None = None,
    max_hours: float | None = None,
    lost: Lost | None = None,
    lease: float = LEASE_SECONDS,
    checked: Checked | None = None,
) -> SearchResult:
    """Search as `search` does, many runs at a time, as a Ray Tune run. The same call continues the study.

    The study is that of `search` with the same arguments: either continues where the other ended. Each Tune trial is a
    worker, a process that trains one run after the other. What Ray prints is in `ray.log` of `out`.

    Args:
        task: a shipped task's name, a function under `@lrs.task`, a program, or the user's own task.
        budget, functions, settings, known, seed, watch, progress: as in `search`.
        store: the knowledge store or its URL; only this process opens it.
        data_dir: the folder of the data set on every machine; None for the default one.
        out: the folder, for Ray's files as well. Machines of a cluster that do not share it keep the weights.
        storage: the Optuna storage's URL; only this process opens it.
        address: "local" to start a Ray cluster on this machine, "auto" or host:port to join one. A Ray that this
            process has started or joined already is used.
        workers: runs at a time; None for as many as the cluster has CPUs and GPUs for.
        cpus_per_run: CPUs of a run.
        gpus_per_run: GPUs of a run: a part of one, or several for a program under torchrun. None for a quarter of one
            or more, where the cluster has GPUs.
        max_seconds_per_run, max_hours, lost, lease: as in `search`.
        checked: called with the checks of the cluster, before anything trains.

    Returns:
        The result, as in `search`.

    Raises:
        UsageError: for an unknown task or function, or a budget that is too small.
        WorkError: if the data, the store, the training or Ray fails.
        KeyboardInterrupt: when interrupted; ended runs are recorded.
    """
    limits = Limits.of(max_seconds_per_run, max_hours, time.monotonic())
    trains = with_settings(task, settings)
    resources = Resources(address, workers, cpus_per_run, gpus_per_run)
    setup, notes = search_setup(trains, functions, known, budget, seed)
    with _study(setup, store, Path(out), storage, watch, lease) as study:
        warnings, driven = (*notes, *changed_source(trains, study.store)), Driven()
        if not study.is_done:
            source = source_of(trains, data_dir)
            with open_cluster(source, resources, Path(out), data_dir, checked, limits) as executor:
                driven = drive_in(Path(out), study, executor, progress, lost)
        return conclude_search(study, warnings, driven, max_hours)


def prune(
    task: TaskLike,
    budget: float = 12,
    *,
    stored: bool = False,
    functions: Sequence[str | Policy] = (),
    settings: Mapping[str, Any] | None = None,
    store: str | Store | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Watch | None = None,
    progress: Progress | None = None,
    workers: int | None = 1,
    max_seconds_per_run: float | None = None,
    max_hours: float | None = None,
    lost: Lost | None = None,
    is_own_process: bool = False,
) -> Explanation:
    """Shrink a task's space by the probes that `search` with the same arguments begins with, and by nothing else.

    The probes are a separate study, which the same call continues. A later search reads them from the store.

    Args:
        task: as in `search`.
        budget: the budget of the search; the probes get at most a fifth of it.
        stored: train nothing, and read the stored runs of this task, of any study or none.
        functions, settings, store, seed, data_dir, out, watch, progress, workers: as in `search`.
        max_seconds_per_run, max_hours, lost, is_own_process: as in `search`.

    Returns:
        The explanation: `.space` for the user's own search, `.pruned` with the reasons, `.probes`, `.spent`.

    Raises:
        UsageError: for an unknown task or function, or a budget that is too small.
        WorkError: if the data, the store or the training fails, or there are no stored runs to read.
        KeyboardInterrupt: when interrupted; ended runs are recorded.
    """
    limits = Limits.of(max_seconds_per_run, max_hours, time.monotonic())
    trains = with_settings(task, settings)
    described = find_task(trains)
    setup = Setup(described, raw_space(described, functions), budget, seed)
    if stored:
        with opened_store(store, Path(out), existing=True) as ledger:
            return explain_stored(ledger, described, setup.raw)
    strategy = Probing()
    strategy.check(setup)
    with opened_store(store, writable(Path(out))) as ledger:
        study, driven = Study(setup, strategy, ledger, tpe_sampler(setup), watch, lease=LEASE_SECONDS), Driven()
        if not study.is_done:
            with open_executor(source_of(trains, data_dir), workers, is_own_process, limits) as executor:
                driven = drive_in(Path(out), study, executor, progress, lost)
        return replace(explain_study(ledger, study.key), spent=cost(study), driven=driven)


def explain(study: str, *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER) -> Explanation:
    """Explain the space of a study from the store alone: every bound, the runs behind it, and the contradictions.

    Args:
        study: its name, or the beginning of its name or key: `lrsearch store studies` lists them.
        store: the knowledge store or its URL; None for `store.db` in `out`.
        out: the folder of the search.

    Returns:
        The explanation, as in `prune`.

    Raises:
        UsageError: for an unknown or ambiguous study, or one that prunes nothing.
        WorkError: if the store does not exist, or an older version began the study.
    """
    with opened_store(store, Path(out), existing=True) as ledger:
        return explain_study(ledger, study)


def drive_in(out: Path, study: Study, executor: Executor, progress: Progress | None, lost: Lost | None) -> Driven:
    """Train a study's trials, with the weights in a folder of this process alone: see `drive`."""
    with run_folder(writable(out)) as folder:
        return drive(study, executor, progress, folder, lost)


def conclude_search(
    study: Study, warnings: Sequence[str] = (), driven: Driven | None = None, hours: float | None = None
) -> SearchResult:
    """The result of a study, with the arguments of `conclude`.

    Its note in the Optuna Dashboard is written anew if this call trained a run. The note is also written where its
    answer is another one, as in the study of an older version.
    """
    from lrsearch.samplers.optuna import OptunaSampler

    result = conclude(study, warnings, driven, hours)
    if isinstance(study.sampler, OptunaSampler):
        from lrsearch.report.best_trial import is_noted
        from lrsearch.report.panels import publish

        with study.sampler.written() as optuna_study:
            if optuna_study is not None and (result.spent.trained_runs or not is_noted(result, optuna_study)):
                publish(result, optuna_study)
    return result


def search_setup(
    task: TaskLike,
    functions: Sequence[str | Policy],
    known: Sequence[str | Policy],
    budget: float,
    seed: int,
    without: Sequence[str] = (),
) -> tuple[Setup, tuple[str, ...]]:
    """The setup of a search, and notes about the user's policies."""
    described = find_task(task)
    raw = raw_space(described, functions)
    setup = Setup(described, raw, budget, seed, without=tuple(without))
    Funnel().check(setup)
    own, notes = known_policies(known, raw)
    return replace(setup, known=own), notes


@contextmanager
def _study(
    setup: Setup, store: str | Store | None, out: Path, storage: str | None, watch: Watch | None, lease: float
) -> Iterator[Study]:
    """Open the funnel study of `search` and `sweep`."""
    folder = writable(out)
    with opened_store(store, folder) as ledger:
        sampler = tpe_sampler(setup, storage or default_storage(folder))
        yield Study(setup, Funnel(), ledger, sampler, watch, lease=lease)


def default_storage(folder: Path) -> str | None:
    """The URL of the Optuna storage that a search writes where none is named.

    None on a network file system, where an SQLite file is not safe: the search needs no copy of its study.
    """
    file = folder / "optuna.db"
    kind = refused_type(file)
    if kind is None:
        return f"sqlite:///{file}"
    log.warning("%s lies on a network file system (%s): no %s is written there; see --optuna", folder, kind, file.name)
    return None


def tpe_sampler(setup: Setup, storage: str | None = None) -> MakeSampler:
    """A function that makes a study's sampler; its copy in a storage is opened once."""
    from lrsearch.samplers.mirror import Mirror
    from lrsearch.samplers.optuna import OptunaSampler

    task, first = setup.task, int(Role.CHECK in setup.without)
    opened: list[Mirror] = []

    def make(name: str, known: Callable[[], int]) -> OptunaSampler:
        if storage is not None and not opened:
            opened.append(Mirror(name, storage, known))
        mirror = opened[0] if opened else None
        direction = task.objective.direction
        return OptunaSampler(name, mirror, setup.seed, task.horizon, first=first, direction=direction)

    return make
