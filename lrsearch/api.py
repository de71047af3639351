"""What `lrs.` offers beyond values: search, sweep, prune, explain, verify, compare, the warm start of Optuna."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.compare.comparison import Comparison
from lrsearch.compare.comparison import compare as compare_strategies
from lrsearch.compare.figures import Replay
from lrsearch.compare.figures import conclude as conclude_replay
from lrsearch.compare.held_out import Ranked, hold_out
from lrsearch.compare.replay import SEEDS as REPLAY_SEEDS
from lrsearch.compare.replay import replay as replay_tables
from lrsearch.compare.reproduction import Results, read_results
from lrsearch.compare.settings import read_settings
from lrsearch.compare.tables import read_table
from lrsearch.engines import optuna as optuna_engine
from lrsearch.errors import OutputError, TaskError, UsageError, unknown
from lrsearch.heuristics import Ramp
from lrsearch.knowledge import Advice, Recommendation, Similarity, Store, open_store
from lrsearch.knowledge.known import PUBLISHED
from lrsearch.knowledge.recommend import advise as rank_known
from lrsearch.knowledge.recommend import ramps_of, recall
from lrsearch.knowledge.similarity import compare as compare_tasks
from lrsearch.knowledge.similarity import fingerprint
from lrsearch.knowledge.store import PAUSES
from lrsearch.report.panels import publish
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.study.explanation import Explanation, explain_stored
from lrsearch.study.explanation import explain as explain_study
from lrsearch.study.final_test import best_runs
from lrsearch.study.final_test import final_test as read_test
from lrsearch.study.funnel import Funnel
from lrsearch.study.probing import ramp_steps
from lrsearch.study.pruning import Probing
from lrsearch.study.range_tests import RangeTested, make_range_tests
from lrsearch.study.recipe import Recipe, follow
from lrsearch.study.result import SearchResult, conclude, cost
from lrsearch.study.strategy import FIRST_FRESH, Setup
from lrsearch.study.study import Study, Watch
from lrsearch.study.table import PolicyTable, train_table
from lrsearch.study.verdict import Verdict
from lrsearch.study.verify import ask, from_store
from lrsearch.study.verify import train as train_answers
from lrsearch.tasks import TASKS, Task, find_task
from lrsearch.training import Pool, Run, RunSpec, Trainer, score_ensemble
from lrsearch.training.range_test import ramp
from lrsearch.training.together import Crew, Here

if TYPE_CHECKING:
    import optuna

DEFAULT_FOLDER = Path("lrsearch-runs")
MOST_STORED = 2


def search(
    task: str | Task,
    budget: float = 12,
    *,
    functions: Sequence[str | Policy] = (),
    store: str | Store | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    storage: str | None = None,
    watch: Watch | None = None,
    progress: optuna_engine.Progress | None = None,
    workers: int = 1,
) -> SearchResult:
    """Search the best LR policy for a task. The same call again goes on where the last one ended.

    Args:
        task: a shipped task's name, or a task of one's own.
        budget: full-run equivalents (FRE) that everything together may cost: a hard cap.
        functions: LR functions to search; all where none is named.
        store: the knowledge store or its URL; `store.db` in `out` where none is given.
        seed: the study's seed, 0 or more.
        data_dir: where the data set lies; None for the default place.
        out: the folder for the store, the Optuna study and the weights of full runs.
        storage: the Optuna storage's URL; `optuna.db` in `out` where none is given.
        watch: is called with the study and every trial that ends.
        progress: is called with an assignment and its steps done, every few steps.
        workers: processes that train, one thread each; 1 to train in this one. The search is the same. A script that
            asks for more keeps its own work under `if __name__ == "__main__":`, for the workers import it.

    Returns:
        The result: `.best.policy`, `.cost` in FRE, `.table()`.

    Raises:
        UsageError: for an unknown task or function, or a budget that buys nothing.
        WorkError: if the data, the store or the training fails.
        KeyboardInterrupt: when interrupted; all that finished is kept.
    """
    with _study(task, budget, functions, store, seed, Path(out), storage, watch) as study:
        if not study.is_done:
            with _crew(study.setup.task, workers, data_dir) as crew:
                optuna_engine.run(study, crew, progress, writable(Path(out) / "weights"))
        return _conclude(study)


def sweep(
    task: str | Task,
    budget: float = 12,
    *,
    functions: Sequence[str | Policy] = (),
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
    with _study(task, budget, functions, store, seed, Path(out), storage, watch) as study:
        if not study.is_done:
            from lrsearch.engines import ray as ray_engine

            data = Path(data_dir) if data_dir else None
            ray_engine.run(study, address=address, data_dir=data, folder=Path(out), workers=workers)
        return _conclude(study)


def prune(
    task: str | Task,
    budget: float = 12,
    *,
    stored: bool = False,
    functions: Sequence[str | Policy] = (),
    store: str | Store | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Watch | None = None,
    progress: optuna_engine.Progress | None = None,
    workers: int = 1,
) -> Explanation:
    """Shrink a task's space by the probes that `search` with the same arguments begins with, and by nothing else.

    The probes are a study of their own, which goes on where it ended; a search afterwards takes them from the store.

    Args:
        task: as in `search`, like all that is not said here.
        budget: of the search; the probes get at most a fifth of it.
        stored: train nothing, and read the runs of this task that the store knows, whoever asked for them.
        functions, store, seed, data_dir, out, watch, progress, workers: as in `search`.

    Returns:
        The explanation: `.space` for any search of one's own, `.pruned` with the reasons, `.probes`, `.spent`.

    Raises:
        UsageError: for an unknown task or function, or a budget that buys nothing.
        WorkError: if the data, the store or the training fails, or there are no stored runs to read.
        KeyboardInterrupt: when interrupted; all that finished is kept.
    """
    found = find_task(task)
    setup = Setup(found, _space(found, functions), budget, seed)
    if stored:
        with _opened(store, Path(out), existing=True) as ledger:
            return explain_stored(ledger, found, setup.raw)
    strategy = Probing()
    strategy.check(setup)
    with _opened(store, writable(Path(out))) as ledger:
        study = Study(setup, strategy, ledger, tpe_sampler(None, setup), watch)
        if not study.is_done:
            with _crew(found, workers, data_dir) as crew:
                optuna_engine.run(study, crew, progress, writable(Path(out) / "weights"))
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
    with _opened(store, Path(out), existing=True) as ledger:
        return explain_study(ledger, study)


def _conclude(study: Study) -> SearchResult:
    """Give the result, and tell its story in the Optuna Dashboard if there is news."""
    result = conclude(study)
    if result.spent.trained_runs and isinstance(study.sampler, optuna_engine.OptunaSampler):
        publish(result, study.sampler.study)
    return result


def _space(task: Task, functions: Sequence[str | Policy]) -> Space:
    """The raw space of some LR functions or policies on a task."""
    if isinstance(functions, str):
        raise UsageError(f"functions is a list of LR functions or policies, such as [{functions!r}], got a text")
    return Space.standard(*functions, horizon=task.horizon, epoch=task.epoch, peak=task.optimizer.rates)


@contextmanager
def _crew(task: Task, workers: int, data_dir: str | Path | None) -> Iterator[Crew]:
    """Give those who train: this process, or as many others as are asked for."""
    data = Path(data_dir) if data_dir else None
    if workers == 1:
        yield Here(Trainer(task, data))
        return
    with Pool(task, workers, data) as pool:
        yield pool


@contextmanager
def _study(
    task: str | Task, budget: float, functions: Sequence[str | Policy], store: str | Store | None, seed: int, out: Path,
    storage: str | None, watch: Watch | None,
) -> Iterator[Study]:
    """Open the funnel study that the arguments of `search` and `sweep` describe."""
    found = find_task(task)
    raw = _space(found, functions)
    setup, strategy = Setup(found, raw, budget, seed), Funnel()
    strategy.check(setup)
    folder = writable(out)
    with _opened(store, folder) as ledger:
        yield Study(setup, strategy, ledger, tpe_sampler(storage or f"sqlite:///{folder / 'optuna.db'}", setup), watch)


def tpe_sampler(storage: str | None, setup: Setup) -> Callable[[str, int], optuna_engine.OptunaSampler]:
    """Give what makes the study's sampler, once its name and the number of its known assignments are known."""
    return lambda name, known: optuna_engine.OptunaSampler(
        name, storage, setup.seed, setup.task.horizon, known=known
    )


def warm_start(
    study: "optuna.Study", space: Space, policies: Sequence[Policy | Recommendation], seed: int = 0
) -> int:
    """Enqueue policies in an Optuna study of one's own: at most the first three, and one random point last.

    Each trial says where its policy is from, in the user attribute `lrsearch:origin`: `stored`, `published` or
    `random`.

    Args:
        study: the Optuna study; its objective calls `space.suggest(trial)`.
        space: the space of the study.
        policies: the default first, then stored ones, or what `store.recommend` gave, which is carried over to the
            space's horizon; those whose LR function is not in the space are left out.
        seed: for the random point.

    Returns:
        How many were enqueued.
    """
    import numpy as np

    from lrsearch.spaces.optuna import enqueue

    offered = [_offered(one, space.horizon) for one in policies]
    fitting = [(origin, policy) for origin, policy in offered if policy.form in space.forms][: 1 + MOST_STORED]
    for origin, policy in fitting:
        enqueue(study, space, policy, origin)
    enqueue(study, space, space.sample(np.random.default_rng(seed)), "random")
    return len(fitting) + 1


def _offered(one: Policy | Recommendation, horizon: int) -> tuple[str, Policy]:
    if isinstance(one, Policy):
        return "stored", one
    return PUBLISHED if one.origin == PUBLISHED else "stored", one.carried(horizon, own_centre=None).rounded()


def advise(
    task: str | Task, goal: str = "accuracy", *, store: str | Store | None = None, out: str | Path = DEFAULT_FOLDER
) -> Advice:
    """Rank what the store and the papers know for a task: what `lrsearch rank` and `lrsearch recommend` print.

    Args:
        task: a shipped task's name, the name of a task in the store, or a task.
        goal: `accuracy`, `cost`, `robustness`, `confidence` or `pareto`.
        store: the knowledge store or its URL, which must be there; `store.db` in `out` where none is given, and where
            there is none either, nothing but the published results.
        out: the folder of that store.

    Raises:
        UsageError: for an unknown task or goal.
        StoreError: if the store is not there, or is none.

    >>> found = advise("mnist-lenet", store="sqlite:///:memory:")
    >>> print(found.first(1)[0].policy, found.first(1)[0].origin)
    SIN2(k0=0.01, k1=0.06, l=2000) published
    """
    with _readable(store, Path(out)) as ledger:
        asked = _described(task, ledger)
        return rank_known(recall(ledger, asked), asked, goal)


def similarity(task_a: str | Task, task_b: str | Task, *, store: str | Store | None = None) -> Similarity:
    """Tell how far two tasks are from each other, by group: see `lrsearch.knowledge.similarity`.

    Args:
        task_a, task_b: names of shipped tasks or of tasks in the store, or tasks.
        store: a store with range tests of both, which then count as much as all that is described.

    Returns:
        `.distance`, 0 for the same and inf where they cannot be compared; `.parts` by group; `.gate`, the reason.

    Raises:
        UsageError: for an unknown task.
        StoreError: if the store is not there, or is none.

    >>> found = similarity("mnist-lenet", "fashion-lenet")
    >>> round(found.distance, 2), {group: round(part, 2) for group, part in found.parts.items()}
    (0.29, {'data': 0.5, 'model': 0.0, 'training': 0.0})
    """
    with _readable(store or "sqlite:///:memory:", DEFAULT_FOLDER) as ledger:
        a, b = (_described(task, ledger) for task in (task_a, task_b))
        return compare_tasks(a, b, fingerprint(ramps_of(ledger, a)), fingerprint(ramps_of(ledger, b)))


@contextmanager
def _readable(store: str | Store | None, folder: Path) -> Iterator[Store]:
    """Give a store to look into; where none is given and none is in the folder, an empty one that leaves no file."""
    missing = store is None and not (folder / "store.db").exists()
    with _opened("sqlite:///:memory:" if missing else store, folder, existing=True) as opened:
        yield opened


def _described(task: str | Task, store: Store) -> Mapping[str, Any]:
    """Give a task's description: of a task, of a shipped one, or of one in the store, the first of its keys."""
    if isinstance(task, Task) or task in TASKS:
        return find_task(task).description
    held = {str(one["name"]): one for _, one in sorted(store.tasks().items(), reverse=True)}
    if task not in held:
        raise TaskError(unknown("task", task, {*TASKS, *held}))
    return held[task]


def writable(folder: Path) -> Path:
    """Make a folder and see that files can be written there.

    Raises:
        OutputError: if they cannot.
    """
    mark = folder / ".lrsearch-write-test"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_bytes(b"")
        mark.unlink()
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; give another folder with --out") from None
    return folder


def compare(
    task: str | Task,
    strategies: Sequence[str] = ("funnel", "tpe", "random"),
    seeds: int = 2,
    budget: float = 4,
    *,
    functions: Sequence[str | Policy] = (),
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare ways to search: best validation score against training steps spent, probes included.

    Args:
        task: a shipped task's name, or a task of one's own.
        strategies: "funnel", "tpe" (Optuna's TPE on the raw space), "random".
        seeds: studies of each strategy.
        budget: full-run equivalents (FRE) for each study.
        functions, store, data_dir, out: as in `search`.
        watch: is told, in a line, of each study that ends.

    Returns:
        The comparison: `.table()`, `.courses`.

    Raises:
        UsageError: for an unknown strategy or task, or a budget that buys nothing.
        WorkError: if the data, the store or the training fails.
    """
    found = find_task(task)
    raw = _space(found, functions)
    with _opened(store, writable(Path(out))) as ledger:
        trainer = Trainer(found, Path(data_dir) if data_dir else None)
        return compare_strategies(Setup(found, raw, budget, seed=0), strategies, seeds, ledger, trainer, watch)


def run_table(
    table: PolicyTable,
    *,
    workers: int = 1,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[RunSpec, Run], None] | None = None,
) -> Results:
    """Train every policy of a table with every seed. The same call again goes on where the last one ended.

    A script that calls it keeps its own work under `if __name__ == "__main__":`, for its workers import it.

    Args:
        table: the policies, the task and the seeds.
        workers: processes that train, one thread each; 1 to train in this one.
        store, data_dir, out: as in `search`.
        watch: is called with every run that ends.

    Returns:
        The results: `.outcomes`, `.agreement`.

    Raises:
        UsageError: if `workers` is not 1 or more.
        WorkError: if the data or the store fails, or a worker dies.
        KeyboardInterrupt: when interrupted; all that finished is kept.
    """
    with _opened(store, writable(Path(out))) as ledger:
        if read_results(table, ledger).missing:
            with _crew(table.task, workers, data_dir) as crew:
                train_table(table, ledger, crew, watch or (lambda spec, run: None), writable(Path(out) / "weights"))
        return read_results(table, ledger)


def range_tests(
    task: str | Task, *, low: float | None = None, high: float | None = None, steps: int | None = None,
    shape: str = "exponential", momentum: tuple[float, float] | None = None, weight_decays: Sequence[float] = (),
    repeats: int = 2, seed: int = 0, store: str | Store | None = None, data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER, watch: Callable[[RunSpec, Ramp], None] | None = None,
) -> list[RangeTested]:
    """Make LR range tests of a task; in a loop of one's own, `lrs.range_test` is one.

    With what is given by default, they are the ones that `search` begins with, which trains them no more then.

    Args:
        task: a shipped task's name, or a task of one's own.
        low, high: the first and the last learning rate; the optimizer's lowest and highest where none is given.
        steps: updates; 300, at most a quarter of the horizon, where none is given.
        shape: "exponential" or "linear".
        momentum: (first, last) for a momentum that falls as the learning rate rises.
        weight_decays: several to compare; the task's own where none is given.
        repeats: how often, each time with another seed.
        seed: the study's seed.
        store, data_dir, out: as in `search`.
        watch: is called with every run that ends, and what it showed.

    Returns:
        For each weight decay `.advice` (`.verdict`; `.suggestions`, the default first) and `.ramps`, the curves.

    Raises:
        UsageError: for an unknown task, or a range, shape, or number that cannot be.
        WorkError: if the data or the store fails.
        KeyboardInterrupt: when interrupted; what ended is kept.
    """
    found = find_task(task)
    length = steps if steps is not None else ramp_steps(found)
    bounds = found.optimizer.rates
    policy = ramp(bounds[0] if low is None else low, bounds[1] if high is None else high, length, shape, momentum)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats < FIRST_FRESH:
        raise UsageError(f"repeats is a whole number from 1 to {FIRST_FRESH - 1}, got {repeats!r}")
    setup = Setup(found, _space(found, ()), 1, seed)
    tasks = [replace(found, optimizer=replace(found.optimizer, weight_decay=each)) for each in weight_decays] or [found]
    data, seeds = Path(data_dir) if data_dir else None, [setup.probe_seed(repeat) for repeat in range(repeats)]
    with _opened(store, writable(Path(out))) as ledger:
        return [make_range_tests(Trainer(one, data), ledger, policy, length, seeds, watch) for one in tasks]


def recipe(
    task: str | Task, *, seed: int = 0, store: str | Store | None = None, data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER, watch: Callable[[str], None] | None = None,
) -> Recipe:
    """Follow the 1cycle report's recipe: learning rate, batch size, momentum and weight decay by short runs.

    Args:
        task: a shipped task's name, or a task of one's own.
        seed: the study's seed.
        store, data_dir, out: as in `search`.
        watch: is told, in a line, what is tried.

    Returns:
        The recipe: `.policy` and `.found`, the task with what was chosen; `.steps` with the reasons; `.verdict`.

    Raises:
        UsageError: for an unknown task.
        WorkError: if the data, the store or the training fails, or the range tests are flat.
        KeyboardInterrupt: when interrupted; what ended is kept.
    """
    found = find_task(task)
    setup = Setup(found, _space(found, ()), 1, seed)
    with _opened(store, writable(Path(out))) as ledger:
        splits = found.load(Path(data_dir) if data_dir else None)
        return follow(found, ledger, splits, setup.search_seed, setup.fresh_seed(0), watch)


def verify(
    policy: str | Policy, task: str | Task, target: float | str, budget: int, *, seeds: int = 1, seed: int = 0,
    workers: int = 1, store: str | Store | None = None, data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER, watch: Callable[[RunSpec, Run], None] | None = None,
) -> Verdict:
    """Say whether a policy's validation top-1 is at least `target` at any look within `budget` updates.

    The policy is trained as it is written, never stretched; `dur` is the budget. There are ten looks, an epoch apart
    at least, the last after the last update. What the store knows is not trained: a run of the same task, policy and
    seed over any horizon says yes by a look, and no if it was looked at wherever a run over the budget is. Else a run
    is trained until it is decided. One that ends at the target is recorded as stopped, under a key that no search
    uses; one that ends by itself is recorded for everybody. Source of the question: Wu and Liu 2023, "Selecting and
    composing learning rate policies for deep neural networks".

    Args:
        policy: the policy or its text.
        task: a shipped task's name, or a task of one's own.
        target: above 0, at most 1, or a text such as "97%".
        budget: updates, 16 or more.
        seeds: how many runs are asked, each with its own seed: `seed`, `seed` + 1, and so on.
        seed: the first of them, 0 or more.
        workers, store, data_dir, out: as in `search`.
        watch: is called with every run that ends.

    Returns:
        The verdict: `.reached` (None where it depends on the seed), `.step`, `.score`, `.by`, `.runs`, `.trained`,
        `.saved`, `.share` with its `.interval`, `.answers`, `.sentence`.

    Raises:
        UsageError: for an unknown task, a text that is no policy, or numbers that cannot be.
        WorkError: if the data, the store or the training fails.
        KeyboardInterrupt: when interrupted; the same call goes on.
    """
    asked = ask(find_task(task), policy, target, budget, seeds, seed)
    with _opened(store, writable(Path(out))) as ledger:
        answers = from_store(asked, ledger)
        missing = [each for each in asked.seeds if each not in answers]
        if missing:
            with _crew(asked.stopping(seed).task, workers, data_dir) as crew:
                answers |= train_answers(asked, missing, ledger, crew, watch, writable(Path(out) / "weights"))
        return Verdict(asked, tuple(answers[each] for each in asked.seeds))


def replay(
    table: str, data_dir: str | Path, seeds: int = REPLAY_SEEDS, watch: Callable[[str], None] | None = None
) -> Replay:
    """Replay the pruner and other searches on a complete table of results: nothing is trained.

    Args:
        table: "deepobs", the DeepOBS baselines: 15 tasks, constant learning rates.
        data_dir: where the table's files lie, or the folder above.
        seeds: studies of each task, 1 or more.
        watch: is told, in a line, of each seed that is done.

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
    """Hold each task of a table of results out, and try what `lrs.rank` makes of the others: nothing is trained.

    Args:
        table: "deepobs", 108 settings on 8 problems, or "algoperf", 55 settings on 12 workloads, where a workload's
            variants are held out with it as well.
        data_dir: where the table's files lie, or the folder above.

    Returns:
        The regrets of the best of the first 1, 3 and 10 tries, `.tried`, and `.figures` with intervals and bars.

    Raises:
        UsageError: for an unknown table.
        DataError: for files that are missing or broken.
    """
    return hold_out(read_settings(table, Path(data_dir)))


def final_test(
    result: SearchResult,
    *,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
) -> dict[str, Any]:
    """Read the test set for a search's best policy and the default: once, and never to choose.

    Args:
        result: what `search` gave.
        store, data_dir, out: as they were given to `search`.

    Returns:
        `best` and `default` (top-1 in [0, 1]), `policy`, `seeds`, `retrained_steps` and a `note` for people. Runs
        whose weights are not in `out` are trained once more for it, outside of the budget.
    """
    with _opened(store, Path(out)) as ledger:
        trainer = Trainer(result.setup.task, Path(data_dir) if data_dir else None)
        return read_test(result, ledger, trainer, writable(Path(out) / "weights"))


def ensemble(
    result: SearchResult,
    k: int = 3,
    *,
    test: bool = False,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
) -> dict[str, Any]:
    """Score an ensemble of a study's best full runs: the mean of their class probabilities.

    Args:
        result: what `search` gave.
        k: how many of the best, by validation score; fewer where fewer have their weights in `out`.
        test: whether to read the test split; the members are chosen on validation all the same.
        data_dir, out: as they were given to `search`.

    Returns:
        `loss top1 top5 ac cd cdac` of the ensemble, and `members`: their policies, seeds and validation scores.

    Raises:
        UsageError: if k is not 1 or more, or no full run has its weights in `out`.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k must be a whole number, 1 or more, got {k!r}")
    folder = Path(out) / "weights"
    members = best_runs(result, k, folder)
    if not members:
        raise UsageError(f"no full run of {result.study} has its weights in {folder}; give the `out` of its search")
    trainer = Trainer(result.setup.task, Path(data_dir) if data_dir else None)
    found = score_ensemble(trainer, [folder / f"{stored.key}.pt" for stored in members], test=test)
    told = [{"policy": str(s.policy), "seed": s.seed, "score": s.run.score} for s in members]
    return {**found, "members": told}


@contextmanager
def _opened(store: str | Store | None, folder: Path, *, existing: bool = False) -> Iterator[Store]:
    """Give the store that was asked for, and close it again unless it is the caller's; it may have to be there."""
    if isinstance(store, Store):
        yield store
        return
    url = store or f"sqlite:///{folder / 'store.db'}"
    with open_store(url, existing=existing, pauses=() if existing else PAUSES) as opened:
        yield opened
