"""reproduce: a stored run is trained again by what its caller names, and compared with what is stored."""

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
MOST_NAMED = 6


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
    """Train a stored run again, and say whether it is the same, or how far off, and what changed in between.

    On a CPU, with the same versions and threads, lrsearch's own loop gives the same to the bit, as does a function
    that draws from its seed alone. What was trained in lockstep differs by rounding. The store stays what it is.

    Args:
        key: the run's key, or as much of its beginning as no other run has.
        task: what trains it: a function under `@lrs.task`, or a task. A shipped task is found by its name. No stored
            text ever names what is loaded.
        command: the program that trains it, of a run of one; its task is what is stored.
        settings: of a function, as they were given when it was trained.
        store: the knowledge store or its URL; `store.db` in `out` where none is given.
        data_dir: where the data set lies; None for the default place.
        out: the folder that the search was given.
        watch: is told the number of steps done, every few steps.
        is_own_process: as in `search`.

    Returns:
        `.same`, `.verdict`, `.differences` of results, `.changed` versions, source and device, `.spread` over seeds.

    Raises:
        UsageError: for what is no key, a run that cannot be trained here, or a task that is not the run's: it says
            what differs.
        StoreError: if the store is not there, or none or several of its runs begin so, or the run is damaged.
        WorkError: if the data fail.
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
        source, spec = _again(stored, description, task, settings, data_dir)
        run = _trained(source, spec, stored.run, watch, is_own_process)
        alike = ledger.runs(task=stored.task, policy=stored.policy, trusted=True)
    now = replace(run_of(entry_of(StoredRun.of(spec, run, LOCAL))), environment=run.environment)
    then, metric = stored.run, stored.objective.name
    return Reproduced(stored, now, differences(then, now, metric), changes(then, now), other_seeds(stored, alike))


def _require_trainable(stored: StoredRun, ledger: Store) -> None:
    """Refuse a run that says nothing certain, or that only its own loop can train."""
    if not ledger.origins().get(stored.origin, False):
        raise UsageError(
            f"run {stored.key} came in the bundle {stored.origin!r}, which is not trusted: import it with"
            " --trust if it is your own"
        )
    if not stored.run.state.is_final and stored.run.state is not RunState.FAILED:
        raise UsageError(f"run {stored.key} did not end, so there is nothing to compare: {stored.run.state.meaning}")
    trainer = next(
        (
            one
            for one in TRAINERS
            if stored.key == run_key(stored.task_key, str(stored.policy), stored.horizon, stored.seed, one)
        ),
        None,
    )
    if trainer == EXTERNAL:
        raise UsageError(
            f"run {stored.key} was recorded in a loop of its own, by lrs.record: start that again, with"
            f" {stored.policy}, {counted(stored.horizon, 'step')} and seed {stored.seed}"
        )
    if trainer is None:
        raise UsageError(f"run {stored.key} was trained by another version of lrsearch, which this one cannot repeat")


def _again(
    stored: StoredRun,
    description: Mapping[str, Any],
    task: TaskLike | None,
    settings: Mapping[str, Any] | None,
    data_dir: str | Path | None,
) -> tuple[TrainerSource, RunSpec]:
    """Who trains the run, and the same run: its key is the stored one's.

    Raises:
        UsageError: if the task is another one; it says what differs.
    """
    named = _shipped(description, task) if task is None or isinstance(task, str) else task
    asked = with_settings(named, settings)
    own = _of_horizon(find_task(asked), description)
    spec = RunSpec(own, stored.policy, stored.horizon, stored.seed, Stop.of(description))
    if spec.key != stored.key:
        raise TaskError(
            f"run {stored.key} is of another task than {own.name!r} is now:"
            f" {_apart(description, spec.description, own)}"
        )
    return source_of(asked, data_dir, own), spec


def _shipped(description: Mapping[str, Any], asked: str | None) -> Task:
    """The shipped task of a name, in the precision and the protocol of a description."""
    name = str(description["name"]) if asked is None else asked
    plain = name.removesuffix(PAPER)
    if asked is None and plain not in TASKS:
        raise UsageError(
            f"{name!r} is no shipped task: name what trains it with --task train.py:function or"
            " --command, in Python with task=function or command="
        )
    found = find_task(plain)
    assert isinstance(found, Classification)
    precision = description.get("precision")
    found = replace(found, precision=precision) if precision in PRECISIONS else found
    return found.in_paper_protocol() if name != plain else found


def _of_horizon(task: Task, description: Mapping[str, Any]) -> Task:
    horizon = description.get("horizon")
    if not isinstance(horizon, int) or horizon == task.horizon:
        return task
    return task.with_horizon(horizon)


def _apart(then: Mapping[str, Any], now: Mapping[str, Any], task: Task) -> str:
    """What differs between two descriptions, and what would do about it."""
    old, new = (dict(_flat(json.loads(json.dumps(one)))) for one in (then, now))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if not names:
        return "the same description, trained in another way"
    said = [f"{name} was {_word(old, name)}, and is {_word(new, name)}" for name in names[:MOST_NAMED]]
    more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    is_setting = any(name.startswith("settings.") for name in names) and not isinstance(task, Classification)
    return "; ".join([*said, *more]) + (" (give settings with --set, in Python with settings=)" if is_setting else "")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else key)


def _word(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name])[:80] if name in values else "not given"


def _trained(
    source: TrainerSource, spec: RunSpec, then: Run, watch: Callable[[int], None] | None, is_own_process: bool
) -> Run:
    """Train it once, in as many threads as then where that is known, and keep nothing."""
    runs: list[Run] = []
    with closing(source.open(is_own_process=is_own_process)) as trainer, _threads_of(then.environment):
        trainer.train_group(Group((spec,)), lambda spec, run: runs.append(run), watch)
    (run,) = runs
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    return run


@contextmanager
def _threads_of(environment: Mapping[str, str]) -> Iterator[None]:
    """Let torch use as many threads as a run had, for the order of its sums depends on them."""
    asked = environment.get("threads", "")
    if not asked.isdecimal() or not 1 <= int(asked) <= (os.cpu_count() or 1):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(int(asked))
    try:
        yield
    finally:
        torch.set_num_threads(before)
