"""search, sweep, prune, explain: a study of a task, on Optuna or on Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.api.functions import changed_source
from lrsearch.api.known import known_policies
from lrsearch.api.resources import DEFAULT_FOLDER, open_executor, opened_store, raw_space, source_of, writable
from lrsearch.errors import UsageError
from lrsearch.runs.roles import Role
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.study.drive import Progress, drive
from lrsearch.study.explanation import Explanation, explain_stored
from lrsearch.study.explanation import explain as explain_study
from lrsearch.study.funnel import Funnel
from lrsearch.study.pruning import Probing
from lrsearch.study.result import SearchResult, conclude, cost
from lrsearch.study.strategy import Setup
from lrsearch.study.study import Study, Watch
from lrsearch.tasks import Classification, find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.groups import require_workers
from lrsearch.training.settings import with_settings

if TYPE_CHECKING:
    from lrsearch.samplers.optuna import OptunaSampler


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
    is_own_process: bool = False,
) -> SearchResult:
    """Search the best LR policy for a task. The same call again goes on where the last one ended.

    Args:
        task: a shipped task's name, a function under `@lrs.task`, or a task of one's own.
        budget: full-run equivalents (FRE) that everything together may cost: a hard cap.
        functions: LR functions to search; all where none is named.
        settings: plain values that a function of your own finds in `job.settings`, merged over those of its decorator.
            Each set of them is a task of its own key.
        known: policies or texts of your own, tried first, in shorter runs. Durations such as `0.1dur` are of the task;
            a policy that ends at another step is stretched to it. What is left out is named in `.warnings`.
        store: the knowledge store or its URL; `store.db` in `out` where none is given.
        seed: the study's seed, 0 or more.
        data_dir: where the data set lies; None for the default place.
        out: the folder for the store, the Optuna study and the weights of full runs.
        storage: the Optuna storage's URL; `optuna.db` in `out` where none is given.
        watch: is called with the study and every trial that ends.
        progress: is called with an assignment and its steps done, every few steps.
        workers: processes that train, one thread each; 1 to train in this one, None for what suits the task and the
            machine. The search is the same. A script that asks for more keeps its own work under
            `if __name__ == "__main__":`, for the workers import it.
        is_own_process: whether this process does nothing else: it is then set up for training, as the command line's.

    Returns:
        The result. `.best` is the answer, with its `.policy`, `.score`, `.seeds` and whether it is `.confirmed`: on a
        tie, and where nothing else was found, the default. `.best_found` is the best policy beside the default, or
        None, and `.default` the strong default: all over the same seeds, fresh ones where the budget paid for them,
        else the search's own. `.verdict` is the advice in a sentence, `.cost` in FRE, `.table()` has all runs,
        `.warnings` what to know beside it.

    Raises:
        UsageError: for an unknown task or function, or a budget that buys nothing.
        WorkError: if the data, the store or the training fails.
        KeyboardInterrupt: when interrupted; all that finished is kept.
    """
    asked = with_settings(task, settings)
    setup, notes = search_setup(asked, functions, known, budget, seed)
    with _study(setup, store, Path(out), storage, watch) as study:
        warnings = (*notes, *changed_source(asked, study.store))
        if not study.is_done:
            with open_executor(source_of(asked, data_dir), workers, is_own_process) as executor:
                drive(study, executor, progress, writable(Path(out) / "weights"))
        return conclude_search(study, warnings)


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
    address: str = "local",
    workers: int | None = None,
) -> SearchResult:
    """Search as `search` does, many runs at a time, as a Ray Tune run. The same call again goes on.

    It is the same study as `search` with the same arguments: either goes on where the other ended.

    Args:
        task: a shipped task's name, or a task of one's own.
        budget: as in `search`, like all that is not said here.
        functions: LR functions to search.
        settings: of a function, which a sweep does not train yet.
        known: policies of your own, tried first.
        store: the knowledge store or its URL; only this process opens it.
        seed: the study's seed.
        data_dir: where the data set lies on every machine; None for the default place.
        out: the folder, for Ray's files as well; on a cluster, one that all its machines share.
        storage: the Optuna storage's URL; only this process opens it.
        watch: is called with the study and every trial that ends.
        address: "local" to start a Ray cluster on this machine, "auto" or host:port to join one.
        workers: runs at a time; as many as the cluster has CPUs where it is not given.

    Returns:
        The result, as `search` gives it.

    Raises:
        UsageError: for an unknown task or function, or a budget that buys nothing.
        WorkError: if the data, the store, the training or Ray fails.
        KeyboardInterrupt: when interrupted; all that finished is kept.
    """
    asked = with_settings(task, settings)
    if not isinstance(find_task(asked), Classification):
        raise UsageError(
            f"a sweep on Ray trains no functions and programs yet, and {find_task(asked).name!r} is one:"
            " search with workers=N trains it on all cores of this machine"
        )
    if workers is not None:
        require_workers(workers)
    setup, notes = search_setup(asked, functions, known, budget, seed)
    with _study(setup, store, Path(out), storage, watch) as study:
        if not study.is_done:
            from lrsearch.executors import ray

            data = Path(data_dir) if data_dir else None
            ray.run(study, address=address, data_dir=data, folder=Path(out), workers=workers)
        return conclude_search(study, notes)


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
    is_own_process: bool = False,
) -> Explanation:
    """Shrink a task's space by the probes that `search` with the same arguments begins with, and by nothing else.

    The probes are a study of their own, which goes on where it ended; a search afterwards takes them from the store.

    Args:
        task: as in `search`, like all that is not said here.
        budget: of the search; the probes get at most a fifth of it.
        stored: train nothing, and read the runs of this task that the store knows, whoever asked for them.
        functions, settings, store, seed, data_dir, out, watch, progress, workers, is_own_process: as in `search`.

    Returns:
        The explanation: `.space` for any search of one's own, `.pruned` with the reasons, `.probes`, `.spent`.

    Raises:
        UsageError: for an unknown task or function, or a budget that buys nothing.
        WorkError: if the data, the store or the training fails, or there are no stored runs to read.
        KeyboardInterrupt: when interrupted; all that finished is kept.
    """
    asked = with_settings(task, settings)
    found = find_task(asked)
    setup = Setup(found, raw_space(found, functions), budget, seed)
    if stored:
        with opened_store(store, Path(out), existing=True) as ledger:
            return explain_stored(ledger, found, setup.raw)
    strategy = Probing()
    strategy.check(setup)
    with opened_store(store, writable(Path(out))) as ledger:
        study = Study(setup, strategy, ledger, tpe_sampler(None, setup), watch)
        if not study.is_done:
            with open_executor(source_of(asked, data_dir), workers, is_own_process) as executor:
                drive(study, executor, progress, writable(Path(out) / "weights"))
        return replace(explain_study(ledger, study.key), spent=cost(study))


def explain(study: str, *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER) -> Explanation:
    """Explain the space of a study from the store alone: every bound, the runs behind it, and what speaks against it.

    Args:
        study: its name, or the beginning of its name or key: `lrsearch store studies` lists them.
        store: the knowledge store or its URL; `store.db` in `out` where none is given.
        out: the folder that the search was given.

    Returns:
        The explanation, as `prune` gives it.

    Raises:
        UsageError: for an unknown or ambiguous study, or one that prunes nothing.
        WorkError: if the store is not there, or does not say enough.
    """
    with opened_store(store, Path(out), existing=True) as ledger:
        return explain_study(ledger, study)


def conclude_search(study: Study, warnings: Sequence[str] = ()) -> SearchResult:
    """Give the result, and tell its story in the Optuna Dashboard if there is news.

    An answer that is not the one told there is news too, as in the study of an older version.
    """
    from lrsearch.samplers.optuna import OptunaSampler

    result = conclude(study, warnings)
    if isinstance(study.sampler, OptunaSampler):
        from lrsearch.report.best_trial import is_told
        from lrsearch.report.panels import publish

        optuna_study = study.sampler.study
        if result.spent.trained_runs or not is_told(result, optuna_study):
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
    """What a search starts from, and what to know of the caller's policies."""
    found = find_task(task)
    raw = raw_space(found, functions)
    setup = Setup(found, raw, budget, seed, without=tuple(without))
    Funnel().check(setup)
    own, notes = known_policies(known, raw)
    return replace(setup, known=own), notes


@contextmanager
def _study(
    setup: Setup, store: str | Store | None, out: Path, storage: str | None, watch: Watch | None
) -> Iterator[Study]:
    """Open the funnel study of `search` and `sweep`."""
    folder = writable(out)
    with opened_store(store, folder) as ledger:
        sampler = tpe_sampler(storage or f"sqlite:///{folder / 'optuna.db'}", setup)
        yield Study(setup, Funnel(), ledger, sampler, watch)


def tpe_sampler(storage: str | None, setup: Setup) -> Callable[[str, int], "OptunaSampler"]:
    """Give what makes the study's sampler, once its name and the number of its known assignments are known."""
    from lrsearch.samplers.optuna import OptunaSampler

    task = setup.task
    return lambda name, known: OptunaSampler(
        name,
        storage,
        setup.seed,
        task.horizon,
        known=known,
        first=int(Role.CHECK in setup.without),
        direction=task.objective.direction,
    )
