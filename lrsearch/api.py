"""What `lrs.` offers beyond values: search, and the warm start of an Optuna study."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.engines import optuna as optuna_engine
from lrsearch.errors import OutputError
from lrsearch.knowledge import Store, open_store
from lrsearch.schedules import Policy
from lrsearch.spaces import Space
from lrsearch.study.funnel import Funnel
from lrsearch.study.result import SearchResult, conclude
from lrsearch.study.strategy import Setup
from lrsearch.study.study import Study, Watch
from lrsearch.tasks import Task, find_task
from lrsearch.training import Trainer

if TYPE_CHECKING:
    import optuna

DEFAULT_FOLDER = Path("lrsearch-runs")
MOST_STORED = 2


def search(
    task: str | Task,
    budget: float = 12,
    *,
    functions: Sequence[str] = (),
    store: str | Store | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    storage: str | None = None,
    watch: Watch | None = None,
    progress: optuna_engine.Progress | None = None,
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

    Returns:
        The result: `.best.policy`, `.cost` in FRE, `.table()`.

    Raises:
        UsageError: for an unknown task or function, or a budget that buys nothing.
        WorkError: if the data, the store or the training fails.
        KeyboardInterrupt: when interrupted; all that finished is kept.
    """
    found = find_task(task)
    raw = Space.standard(*functions, horizon=found.horizon, epoch=found.epoch, peak=found.optimizer.rates)
    setup, strategy = Setup(found, raw, budget, seed), Funnel()
    strategy.check(setup)
    folder = writable(Path(out))
    own = store if isinstance(store, Store) else open_store(store or f"sqlite:///{folder / 'store.db'}")
    try:
        study = Study(setup, strategy, own, tpe_sampler(storage or f"sqlite:///{folder / 'optuna.db'}", setup), watch)
        if not study.is_done:
            weights = writable(folder / "weights")
            trainer = Trainer(found, Path(data_dir) if data_dir else None)
            optuna_engine.run(study, trainer, progress, lambda key: weights / f"{key}.pt")
        return conclude(study)
    finally:
        if own is not store:
            own.close()


def tpe_sampler(storage: str | None, setup: Setup) -> Callable[[str], optuna_engine.OptunaSampler]:
    """Give what makes the study's sampler once its name is known."""
    return lambda name: optuna_engine.OptunaSampler(name, storage, setup.seed, setup.task.horizon)


def warm_start(study: "optuna.Study", space: Space, policies: Sequence[Policy], seed: int = 0) -> int:
    """Enqueue policies in an Optuna study of one's own: at most the first three, and one random point last.

    Args:
        study: the Optuna study; its objective calls `space.suggest(trial)`.
        space: the space of the study.
        policies: the default first, then stored ones; those whose LR function is not in the space are left out.
        seed: for the random point.

    Returns:
        How many were enqueued.
    """
    import numpy as np

    from lrsearch.spaces.optuna import enqueue

    fitting = [policy for policy in policies if policy.form in space.forms][: 1 + MOST_STORED]
    for policy in fitting:
        enqueue(study, space, policy, "stored")
    enqueue(study, space, space.sample(np.random.default_rng(seed)), "random")
    return len(fitting) + 1


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
