"""reproduce: a stored run is trained again, and compared with its stored results."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.api.resources import DEFAULT_FOLDER, opened_store, source_of
from lrsearch.errors import TaskError, UsageError, given
from lrsearch.runs import EXTERNAL, Run, RunSpec, RunState, Stop, Task, run_key
from lrsearch.runs.executor import Group, TrainerSource
from lrsearch.runs.run import TRAINERS
from lrsearch.store import Store, StoredRun
from lrsearch.store.entries import entry_of, run_of
from lrsearch.store.fields import checked
from lrsearch.store.rows import LOCAL
from lrsearch.study.reopening import stored_task
from lrsearch.study.reproduced import Reproduced, changes, differences, other_seeds
from lrsearch.tasks import TASKS, Classification, find_task
from lrsearch.tasks.catalogue import TaskLike
from lrsearch.tasks.classification import PRECISIONS
from lrsearch.training.program import ProgramSource
from lrsearch.training.settings import with_settings
from lrsearch.words import counted

PAPER = "-paper"
"""The end of a task's name in the papers' protocol."""
MOST_NAMED = 6
"""Differences that an error lists: a rule."""


def reproduce(
    key: str,
    *,
    task: TaskLike | None = None,
    command: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    store: str | Store | None = None,
    data_dir: str | Path | None = None,
    out: str | Path = DEFAULT_FOLDER,
    watch: Callable[[int], None] | None = None,
    is_own_process: bool = False,
) -> Reproduced:
    """Train a stored run again, and compare its results and its circumstances.

    On a CPU, with the same versions and threads, lrsearch's own loop repeats a run to the bit, as does a function whose
    random numbers depend on its seed alone. A run that was trained in lockstep differs by rounding. The store does not
    change.

    Args:
        key: the run's key, or a beginning of it that no other run shares.
        task: the function under `@lrs.task` that trains it, or a task. A shipped task is found by its name. No stored
            text ever names code to load.
        command: the command of the program that trains it; the task is the stored one.
        settings: the settings of a function, as it was trained with them.
        store: the knowledge store or its URL; None for `store.db` in `out`.
        data_dir: the folder of the data set; None for the default one.
        out: the folder of the search.
        watch: called with the number of steps done, every few steps.
        is_own_process: as in `search`.

    Returns:
        `.same`, `.verdict`, `.differences` of results, `.changed` versions, source and device, `.spread` over seeds.

    Raises:
        UsageError: for a wrong key, a run that cannot be trained, or a task other than the run's: the message names the
            differences.
        StoreError: if the store does not exist, if no run or several have that key, or if the run is damaged.
        WorkError: if the data cannot be loaded.
        KeyboardInterrupt: when interrupted.
    """
    if not isinstance(key, str) or not key.strip():
        raise UsageError(
            f"key is the key of a stored run, or its beginning: see `lrsearch store runs`, got {given(key)}"
        )
    with opened_store(store, Path(out), existing=True) as ledger:
        stored = ledger.match(key.strip())
        description = ledger.description(stored)
        _require_trainable(stored, ledger)
        if command is not None:
            if task is not None or settings:
                raise UsageError(
                    "name what trains it once: a task, with its settings, or a command, whose settings are stored"
                )
            task = ProgramSource(command, stored_task(description))
        source, spec = _source_and_spec(stored, description, task, settings, data_dir)
        run = _trained(source, spec, stored.run, watch, is_own_process)
        alike = ledger.runs(task=stored.task, policy=stored.policy, trusted=True)
    now = replace(run_of(checked(entry_of(StoredRun.of(spec, run, LOCAL)))), environment=run.environment)
    then, metric = stored.run, stored.objective.name
    return Reproduced(stored, now, differences(then, now, metric), changes(then, now), other_seeds(stored, alike))


def _require_trainable(stored: StoredRun, ledger: Store) -> None:
    """Refuse a run that is untrusted, did not end, or can only be trained by the user's own loop."""
    if not ledger.origins().get(stored.origin, False):
        raise UsageError(
            f"run {stored.key} came in the bundle {stored.origin!r}, which is not trusted: import it with"
            " --trust if it is your own"
        )
    if not stored.run.state.is_final and stored.run.state is not RunState.FAILED:
        raise UsageError(f"run {stored.key} did not end, so there is nothing to compare: {stored.run.state.meaning}")
    fields = stored.task_key, str(stored.policy), stored.horizon, stored.seed
    trainer = next((trainer for trainer in TRAINERS if stored.key == run_key(*fields, trainer)), None)
    if trainer == EXTERNAL:
        raise UsageError(
            f"run {stored.key} was recorded in a loop of its own, by lrs.record: start that again, with"
            f" {stored.policy}, {counted(stored.horizon, 'step')} and seed {stored.seed}"
        )
    if trainer is None:
        raise UsageError(f"run {stored.key} was trained by another version of lrsearch, which this one cannot repeat")


def _source_and_spec(
    stored: StoredRun,
    description: Mapping[str, Any],
    task: TaskLike | None,
    settings: Mapping[str, Any] | None,
    data_dir: str | Path | None,
) -> tuple[TrainerSource, RunSpec]:
    """The source of the run's trainer, and the run's spec, whose key is the stored one.

    Raises:
        UsageError: if the task is another one; the message names the differences.
    """
    unset = _shipped(description, task) if task is None or isinstance(task, str) else task
    trains = with_settings(unset, settings)
    own = _of_horizon(find_task(trains), description)
    spec = RunSpec(own, stored.policy, stored.horizon, stored.seed, Stop.of(description))
    if spec.key != stored.key:
        raise TaskError(
            f"run {stored.key} is of another task than {own.name!r} is now:"
            f" {_differences(description, spec.description, own)}"
        )
    return source_of(trains, data_dir, own), spec


def _shipped(description: Mapping[str, Any], name: str | None) -> Task:
    """The shipped task of a name or of a description, in the precision and the protocol of the description."""
    is_named, name = name is not None, str(description["name"]) if name is None else name
    base = name.removesuffix(PAPER)
    if not is_named and base not in TASKS:
        raise UsageError(
            f"{name!r} is no shipped task: name what trains it with --task train.py:function or"
            " --command, in Python with task=function or command="
        )
    task = find_task(base)
    if not isinstance(task, Classification):
        return task
    precision = description.get("precision")
    task = replace(task, precision=precision) if precision in PRECISIONS else task
    return task.in_paper_protocol() if name != base else task


def _of_horizon(task: Task, description: Mapping[str, Any]) -> Task:
    horizon = description.get("horizon")
    if not isinstance(horizon, int) or horizon == task.horizon:
        return task
    return task.with_horizon(horizon)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], task: Task) -> str:
    """The differences of two descriptions in words, with advice for settings."""
    old, new = (dict(_flat(json.loads(json.dumps(description)))) for description in (then, now))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if not names:
        return "the same description, trained in another way"
    texts = [f"{name} was {_value_text(old, name)}, and is {_value_text(new, name)}" for name in names[:MOST_NAMED]]
    more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    is_setting = any(name.startswith("settings.") for name in names) and not isinstance(task, Classification)
    return "; ".join([*texts, *more]) + (" (give settings with --set, in Python with settings=)" if is_setting else "")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else key)


def _value_text(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name])[:80] if name in values else "not given"


def _trained(
    source: TrainerSource, spec: RunSpec, then: Run, watch: Callable[[int], None] | None, is_own_process: bool
) -> Run:
    """Train the run once, with its recorded number of threads, and record nothing."""
    runs: list[Run] = []
    with closing(source.open(is_own_process=is_own_process)) as trainer, _threads_of(then.environment):
        trainer.train_group(Group((spec,)), lambda spec, run: runs.append(run), watch)
    (run,) = runs
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    return run


@contextmanager
def _threads_of(environment: Mapping[str, str]) -> Iterator[None]:
    """Set torch's number of threads to that of a run, for the order of its sums depends on it."""
    threads = environment.get("threads", "")
    if not threads.isdecimal() or not 1 <= int(threads) <= (os.cpu_count() or 1):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(int(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
