"""Range tests, the 1cycle report's recipe, verification of a policy, the final test, ensembles."""

import time
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
from lrsearch.errors import UsageError, WorkError, given
from lrsearch.heuristics import Ramp
from lrsearch.runs import Run, RunSpec, Task
from lrsearch.runs.executor import Limits, Lost
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
from lrsearch.study.warnings import out_of_time
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
    """Make LR range tests of a task; in the user's own loop, use `lrs.range_test`.

    With the default arguments they are those that `search` begins with, which then reuses them.

    Args:
        task: a shipped task's name, or the user's own task.
        low, high: the first and the last learning rate; None for the ends of the task's LR range.
        steps: updates; None for 300, at most a quarter of the horizon.
        shape: "exponential" or "linear".
        momentum: (first, last) for a momentum that falls as the learning rate rises.
        weight_decays: several to compare, for a task that lrsearch trains itself; none for the task's own.
        repeats: the number of range tests, each with another seed.
        seed: the study's seed.
        settings, store, data_dir, out, is_own_process: as in `search`.
        watch: called with every run that ends, and its curve.

    Returns:
        For each weight decay `.advice` (`.verdict`; `.suggestions`, the default first) and `.ramps`, the curves.

    Raises:
        UsageError: for an unknown task, or a wrong range, shape or number.
        WorkError: if the data or the store fails.
        KeyboardInterrupt: when interrupted; ended runs are recorded.
    """
    trains = with_settings(task, settings)
    described = find_task(trains)
    length = steps if steps is not None else ramp_steps(described)
    bounds = described.lr_range
    policy = ramp(bounds[0] if low is None else low, bounds[1] if high is None else high, length, shape, momentum)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats < FIRST_FRESH:
        raise UsageError(f"repeats is a whole number from 1 to {FIRST_FRESH - 1}, got {repeats!r}")
    setup = Setup(described, raw_space(described, ()), 1, seed)
    tasks = [_with_decay(described, weight_decay) for weight_decay in weight_decays] or [described]
    seeds = [setup.probe_seed(repeat) for repeat in range(repeats)]
    with opened_store(store, writable(Path(out))) as ledger:
        tested = []
        for each in tasks:
            with _ramp_trainer(trains, each, data_dir, is_own_process) as trainer:
                tested.append(make_range_tests(trainer, ledger, policy, length, seeds, watch))
        return tested


@contextmanager
def _ramp_trainer(
    trains: TaskLike, task: Task, data_dir: str | Path | None, is_own_process: bool
) -> Iterator[RampTrainer]:
    """The trainer of a task's range tests."""
    if not is_user_training(trains):
        yield open_trainer(task, data_dir, is_own_process)
        return
    with closing(user_source(trains).with_task(task).open(is_own_process=is_own_process)) as trainer:
        yield trainer


def _with_decay(task: Task, weight_decay: float) -> Task:
    """The task with another weight decay; a task that lrsearch trains itself, for only that has an optimizer."""
    classification = find_classification(task)
    return replace(classification, optimizer=replace(classification.optimizer, weight_decay=weight_decay))


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

    For a user's function: the learning rate by range tests, then the values of each of its settings, in the order
    given, by short runs with three seeds each. On a tie the first value stays.

    Args:
        task: a shipped task's name, a function under `@lrs.task`, or the user's own task.
        settings: settings of a function: by name a list of values to compare, or one value for all runs, such as
            {"weight_decay": [1e-2, 1e-1], "batch_size": [32, 64], "amp": True}.
        seed: the study's seed.
        store, data_dir, out, is_own_process: as in `search`.
        watch: called with a line about each run.

    Returns:
        The recipe: `.policy`; `.chosen`, the task with the chosen settings; `.steps` with the reasons; `.verdict`.

    Raises:
        UsageError: for an unknown task, or settings that leave nothing to compare.
        WorkError: if the data, the store or the training fails, or the range tests are flat.
        KeyboardInterrupt: when interrupted; ended runs are recorded.
    """
    if is_user_training(task):
        return _own_recipe(user_source(task), settings, seed, store, out, watch)
    classification = find_classification(with_settings(task, settings))
    setup = Setup(classification, raw_space(classification, ()), 1, seed)
    with opened_store(store, writable(Path(out))) as ledger:
        if is_own_process:
            from lrsearch.training import own_process

            own_process(classification)
        splits = classification.load(Path(data_dir) if data_dir else None)
        return follow(classification, ledger, splits, setup.search_seed, setup.fresh_seed(0), watch)


def _own_recipe(
    source: UserSource,
    settings: Mapping[str, Any] | None,
    seed: int,
    store: str | Store | None,
    out: str | Path,
    watch: Callable[[str], None] | None,
) -> Recipe:
    """The recipe of a user's function; wrong settings are refused before a folder is made."""
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
    max_seconds_per_run: float | None = None,
    max_hours: float | None = None,
    lost: Lost | None = None,
    is_own_process: bool = False,
) -> Verdict:
    """Whether a policy's validation metric is as good as `target` at any evaluation within `budget` updates.

    The policy is trained as it is written, never stretched; `dur` is the budget. There are ten evaluations, an epoch
    apart at least, the last one after the last update. Stored runs of the same task, policy and seed answer first, over
    any horizon: yes by any evaluation, no if they have all evaluations of a run over the budget. Else a run is trained
    until it has the answer. A run that ends at the target is recorded as stopped, under a key that no search uses. Any
    other run is recorded as an ordinary one. Source of the question: Wu and Liu 2023, "Selecting and composing learning
    rate policies for deep neural networks".

    Args:
        policy: the policy or its text.
        task: a shipped task's name, or the user's own task.
        target: a value of the task's metric, in its unit: for a share above 0, at most 1, or a text such as "97%"; for
            any other metric a finite number.
        budget: updates, 16 or more.
        seeds: the number of runs, with the seeds `seed`, `seed` + 1, and so on.
        seed: the first seed, 0 or more.
        settings, workers, store, data_dir, out, is_own_process: as in `search`.
        max_seconds_per_run, max_hours, lost: as in `search`; without an answer by then it raises an error.
        watch: called with every run that ends.

    Returns:
        The verdict: `.reached` (None where it depends on the seed), `.step`, `.score`, `.by`, `.runs`, `.trained`,
        `.saved`, `.share` with its `.interval`, `.answers`, `.sentence`.

    Raises:
        UsageError: for an unknown task, or a wrong policy text or number.
        WorkError: if the data, the store or the training fails, or the time limit ends it before it has an answer.
        KeyboardInterrupt: when interrupted; the same call continues.
    """
    limits = Limits.of(max_seconds_per_run, max_hours, time.monotonic())
    trains = with_settings(task, settings)
    question = ask(find_task(trains), policy, target, budget, seeds, seed)
    with opened_store(store, writable(Path(out))) as ledger:
        answers = from_store(question, ledger)
        missing = [seed for seed in question.seeds if seed not in answers]
        if missing:
            source, weights = source_of(trains, data_dir, question.task), writable(Path(out) / "weights")
            with open_executor(source, workers, is_own_process, limits) as executor:
                answers |= train_answers(question, missing, ledger, executor, watch, weights, lost)
        if unanswered := [str(seed) for seed in question.seeds if seed not in answers]:
            raise WorkError(
                f"{out_of_time(max_hours, 'training')} before seed {', '.join(unanswered)} had an answer; the same"
                " call goes on"
            )
        return Verdict(question, tuple(answers[seed] for seed in question.seeds))


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
        result: the result of `search`.
        store, data_dir, out: as for `search`.
        is_own_process: as in `search`.

    Returns:
        `best`, the answer, and `default` (top-1 in [0, 1]; None where all runs diverged), `policy`, `seeds`,
        `retrained_steps` and a `note` for people. Runs without weights in `out` are trained once more, outside of the
        budget.

    Raises:
        UsageError: for anything else than a result.
        TaskError: for a task that a user's function trains.
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
        result: the result of `search`.
        k: the number of members, the best by validation score; fewer where fewer have weights in `out`.
        test: whether to score on the test split; the members are chosen on validation in any case.
        data_dir, out: as for `search`.

    Returns:
        `loss top1 top5 ac cd cdac` of the ensemble, and `members`: their policies, seeds and validation scores.

    Raises:
        UsageError: for anything else than a result, if k is not 1 or more, or no full run has weights in `out`.
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
    metrics = score_ensemble(trainer, [folder / f"{stored.key}.pt" for stored in members], test=test)
    described = [{"policy": str(stored.policy), "seed": stored.seed, "score": stored.run.score} for stored in members]
    return {**metrics, "members": described}


def _check_result(result: Any) -> None:
    if not isinstance(result, SearchResult):
        raise UsageError(f"result is what lrs.search(...) returned, got {given(result)}")
