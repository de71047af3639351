"""Range tests, the 1cycle report's recipe, whether a policy reaches a target, the test set, ensembles."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.api.resources import (
    DEFAULT_FOLDER,
    open_executor,
    open_trainer,
    opened_store,
    raw_space,
    source_of,
    writable,
)
from lrsearch.errors import UsageError, given
from lrsearch.heuristics import Ramp
from lrsearch.runs import Run, RunSpec, Task
from lrsearch.schedules import Policy
from lrsearch.store import Store
from lrsearch.study.final_test import best_runs
from lrsearch.study.final_test import final_test as read_test
from lrsearch.study.own_recipe import follow_own, values_to_try
from lrsearch.study.probing import ramp_steps
from lrsearch.study.range_tests import RampTrainer, RangeTested, make_range_tests
from lrsearch.study.recipe import Recipe, follow
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import FIRST_FRESH, Setup
from lrsearch.study.verdict import Verdict
from lrsearch.study.verify import ask, from_store
from lrsearch.study.verify import train as train_answers
from lrsearch.tasks import find_classification, find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.training.ramps import ramp
from lrsearch.training.settings import with_settings
from lrsearch.training.user_source import UserSource, is_user_training, user_source


def range_tests(
    task: TaskLike,
    *,
    low: float | None = None,
    high: float | None = None,
    steps: int | None = None,
    shape: str = "exponential",
    momentum: tuple[float, float] | None = None,
    weight_decays: Sequence[float] = (),
    repeats: int = 2,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[RunSpec, Ramp], None] | None = None,
    is_own_process: bool = False,
) -> list[RangeTested]:
    """Make LR range tests of a task; in a loop of one's own, `lrs.range_test` is one.

    With what is given by default, they are the ones that `search` begins with, which trains them no more then.

    Args:
        task: a shipped task's name, or a task of one's own.
        low, high: the first and the last learning rate; the optimizer's lowest and highest where none is given.
        steps: updates; 300, at most a quarter of the horizon, where none is given.
        shape: "exponential" or "linear".
        momentum: (first, last) for a momentum that falls as the learning rate rises.
        weight_decays: several to compare, of a task that lrsearch trains itself; the task's own where none is given.
        repeats: how often, each time with another seed.
        seed: the study's seed.
        settings, store, data_dir, out, is_own_process: as in `search`.
        watch: is called with every run that ends, and what it showed.

    Returns:
        For each weight decay `.advice` (`.verdict`; `.suggestions`, the default first) and `.ramps`, the curves.

    Raises:
        UsageError: for an unknown task, or a range, shape, or number that cannot be.
        WorkError: if the data or the store fails.
        KeyboardInterrupt: when interrupted; what ended is kept.
    """
    asked = with_settings(task, settings)
    found = find_task(asked)
    length = steps if steps is not None else ramp_steps(found)
    bounds = found.lr_range
    policy = ramp(bounds[0] if low is None else low, bounds[1] if high is None else high, length, shape, momentum)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats < FIRST_FRESH:
        raise UsageError(f"repeats is a whole number from 1 to {FIRST_FRESH - 1}, got {repeats!r}")
    setup = Setup(found, raw_space(found, ()), 1, seed)
    tasks = [_decaying(found, each) for each in weight_decays] or [found]
    seeds = [setup.probe_seed(repeat) for repeat in range(repeats)]
    with opened_store(store, writable(Path(out))) as ledger:
        tested = []
        for one in tasks:
            with _ramp_trainer(asked, one, data_dir, is_own_process) as trainer:
                tested.append(make_range_tests(trainer, ledger, policy, length, seeds, watch))
        return tested


@contextmanager
def _ramp_trainer(
    asked: TaskLike, task: Task, data_dir: str | Path | None, is_own_process: bool
) -> Iterator[RampTrainer]:
    """What trains the range tests of a task."""
    if not is_user_training(asked):
        yield open_trainer(task, data_dir, is_own_process)
        return
    with closing(user_source(asked).with_task(task).open(is_own_process=is_own_process)) as trainer:
        yield trainer


def _decaying(task: Task, weight_decay: float) -> Task:
    """Give the same task with another weight decay, which only a classification's optimizer takes from here."""
    found = find_classification(task)
    return replace(found, optimizer=replace(found.optimizer, weight_decay=weight_decay))


def recipe(
    task: TaskLike,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[str], None] | None = None,
    is_own_process: bool = False,
) -> Recipe:
    """Follow the 1cycle report's recipe: learning rate, batch size, momentum and weight decay by short runs.

    Of a function of one's own: the learning rate by range tests, then the values of each of its settings, in the order
    given, by short runs with three seeds each. On a tie the first value stays.

    Args:
        task: a shipped task's name, a function under `@lrs.task`, or a task of one's own.
        settings: of a function, by name a list of values to compare, or a plain value for all runs, such as
            {"weight_decay": [1e-2, 1e-1], "batch_size": [32, 64], "amp": True}.
        seed: the study's seed.
        store, data_dir, out, is_own_process: as in `search`.
        watch: is told, in a line, what is tried.

    Returns:
        The recipe: `.policy` and `.found`, the task with what was chosen; `.steps` with the reasons; `.verdict`.

    Raises:
        UsageError: for an unknown task, or settings that leave nothing to compare.
        WorkError: if the data, the store or the training fails, or the range tests are flat.
        KeyboardInterrupt: when interrupted; what ended is kept.
    """
    if is_user_training(task):
        return _own_recipe(user_source(task), settings, seed, store, out, watch)
    found = find_classification(with_settings(task, settings))
    setup = Setup(found, raw_space(found, ()), 1, seed)
    with opened_store(store, writable(Path(out))) as ledger:
        if is_own_process:
            from lrsearch.training import own_process

            own_process(found)
        splits = found.load(Path(data_dir) if data_dir else None)
        return follow(found, ledger, splits, setup.search_seed, setup.fresh_seed(0), watch)


def _own_recipe(
    source: UserSource,
    settings: Mapping[str, Any] | None,
    seed: int,
    store: str | Store | None,
    out: str | Path,
    watch: Callable[[str], None] | None,
) -> Recipe:
    """The recipe of a function; settings that cannot be are refused before a folder is made."""
    first, tries = values_to_try(source, {} if settings is None else settings)
    setup = Setup(first.task, raw_space(first.task, ()), 1, seed)
    with opened_store(store, writable(Path(out))) as ledger:
        return follow_own(first, tries, ledger, setup.search_seed, setup.fresh_seed(0), watch)


def verify(
    policy: str | Policy,
    task: TaskLike,
    target: float | str,
    budget: int,
    *,
    seeds: int = 1,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    workers: int | None = 1,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[RunSpec, Run], None] | None = None,
    is_own_process: bool = False,
) -> Verdict:
    """Say whether a policy's validation metric is as good as `target` at any look within `budget` updates.

    The policy is trained as it is written, never stretched; `dur` is the budget. There are ten looks, an epoch apart
    at least, the last after the last update. What the store knows is not trained: a run of the same task, policy and
    seed over any horizon says yes by a look, and no if it was looked at wherever a run over the budget is. Else a run
    is trained until it is decided. One that ends at the target is recorded as stopped, under a key that no search
    uses; one that ends by itself is recorded for everybody. Source of the question: Wu and Liu 2023, "Selecting and
    composing learning rate policies for deep neural networks".

    Args:
        policy: the policy or its text.
        task: a shipped task's name, or a task of one's own.
        target: of the task's metric, in its unit and direction: of a share above 0, at most 1, or a text such as "97%";
            of any other a finite number.
        budget: updates, 16 or more.
        seeds: how many runs are asked, each with its own seed: `seed`, `seed` + 1, and so on.
        seed: the first of them, 0 or more.
        settings, workers, store, data_dir, out, is_own_process: as in `search`.
        watch: is called with every run that ends.

    Returns:
        The verdict: `.reached` (None where it depends on the seed), `.step`, `.score`, `.by`, `.runs`, `.trained`,
        `.saved`, `.share` with its `.interval`, `.answers`, `.sentence`.

    Raises:
        UsageError: for an unknown task, a text that is no policy, or numbers that cannot be.
        WorkError: if the data, the store or the training fails.
        KeyboardInterrupt: when interrupted; the same call goes on.
    """
    named = with_settings(task, settings)
    asked = ask(find_task(named), policy, target, budget, seeds, seed)
    with opened_store(store, writable(Path(out))) as ledger:
        answers = from_store(asked, ledger)
        missing = [each for each in asked.seeds if each not in answers]
        if missing:
            with open_executor(source_of(named, data_dir, asked.task), workers, is_own_process) as executor:
                answers |= train_answers(asked, missing, ledger, executor, watch, writable(Path(out) / "weights"))
        return Verdict(asked, tuple(answers[each] for each in asked.seeds))


def final_test(
    result: SearchResult,
    *,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    is_own_process: bool = False,
) -> dict[str, Any]:
    """Read the test set for a search's answer and the default: once, and never to choose.

    Args:
        result: what `search` gave.
        store, data_dir, out: as they were given to `search`.
        is_own_process: as in `search`.

    Returns:
        `best`, the answer, and `default` (top-1 in [0, 1]; None where all runs diverged), `policy`, `seeds`,
        `retrained_steps` and a `note` for people. Runs whose weights
        are not in `out` are trained once more for it, outside of the budget.

    Raises:
        UsageError: for what is no result.
        TaskError: for a task that a function of somebody's own trains.
    """
    _check_result(result)
    with opened_store(store, Path(out)) as ledger:
        trainer = open_trainer(result.setup.task, data_dir, is_own_process)
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
        UsageError: for what is no result, if k is not 1 or more, or no full run has its weights in `out`.
    """
    _check_result(result)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k must be a whole number, 1 or more, got {k!r}")
    folder = Path(out) / "weights"
    members = best_runs(result, k, folder)
    if not members:
        raise UsageError(f"no full run of {result.study} has its weights in {folder}; give the `out` of its search")
    from lrsearch.training import score_ensemble

    trainer = open_trainer(result.setup.task, data_dir, is_own_process=False)
    found = score_ensemble(trainer, [folder / f"{stored.key}.pt" for stored in members], test=test)
    told = [{"policy": str(s.policy), "seed": s.seed, "score": s.run.score} for s in members]
    return {**found, "members": told}


def _check_result(result: Any) -> None:
    if not isinstance(result, SearchResult):
        raise UsageError(f"result is what lrs.search(...) returned, got {given(result)}")
