"""Optuna, natively: studies, samplers and storages of Optuna's own for the policies of a space."""

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection

from lrsearch.errors import UsageError, given
from lrsearch.runs import RunSpec
from lrsearch.runs.objective import MAXIMIZE, MINIMIZE
from lrsearch.samplers.heartbeats import ask, heartbeat
from lrsearch.samplers.named import make_sampler
from lrsearch.samplers.storages import open_storage
from lrsearch.schedules import parse
from lrsearch.spaces import Space
from lrsearch.spaces.optuna import POLICY, RUN, SEED, STEPS, marked
from lrsearch.tasks import find_task
from lrsearch.tasks.catalogue import TaskLike

__all__ = ["ask", "create_study", "heartbeat", "mark", "open_storage"]


def create_study(
    name: str,
    storage: str | BaseStorage | None = None,
    *,
    task: TaskLike | None = None,
    direction: str | Sequence[str] | None = None,
    sampler: str | BaseSampler = "tpe",
    space: Space | None = None,
    pruner: BasePruner | None = None,
    heartbeat: float | None = None,
    seed: int | None = None,
) -> optuna.Study:
    """Create an Optuna study, or load the one of that name. Many processes may do so at once.

    Args:
        name: the study's name in its storage.
        storage: a URL, see `open_storage`, or a storage of Optuna; None for memory.
        task: a shipped task's name, a task, or a function under `@lrs.task`. The study has the names and directions of
            its metrics.
        direction: instead of a task, "minimize" or "maximize", or a list of them for several metrics.
        sampler: "tpe", "gp", "cmaes", "qmc", "random", "exhaustive", or a sampler of Optuna.
        space: the space that the objective calls; "gp", "cmaes" and "qmc" need `space.flat()`, "exhaustive" a grid.
        pruner: a pruner of Optuna; None for Optuna's default.
        heartbeat: seconds between heartbeats of a running trial; see `open_storage`. None for none.
        seed: of a sampler that is given by name.

    Returns:
        A native study. A sampler and a pruner are not stored: each process gives them again.

    Raises:
        UsageError: for a wrong argument, a sampler that cannot search the space, or a study of other directions.
        TaskError: for an unknown task.
        EngineError: if the storage cannot be opened.

    >>> study = create_study("mine", task="digits-mlp", sampler="tpe", seed=1)
    >>> study.direction.name, study.metric_names
    ('MAXIMIZE', ['top1'])
    """
    if not isinstance(name, str) or not name:
        raise UsageError(f"name is the study's name, a text, got {given(name)}")
    names, directions = _metrics(task, direction)
    opened = _opened(storage, heartbeat)
    if not isinstance(sampler, BaseSampler):
        sampler = make_sampler(sampler, space=space, storage=opened, seed=seed)
    study = optuna.create_study(
        study_name=name, storage=opened, sampler=sampler, pruner=pruner, directions=directions, load_if_exists=True
    )
    if study.directions != directions:  # Optuna loads it all the same
        made = " and ".join(one.name.lower() for one in study.directions)
        raise UsageError(f"the study {name!r} is there already, to {made}: give another name")
    if names is not None and study.metric_names != names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(names)
    return study


def mark(
    trial: optuna.Trial,
    *,
    seed: int,
    steps: int,
    task: TaskLike | None = None,
    horizon: int | None = None,
    prefix: str | None = None,
) -> None:
    """Mark a trial with its seed and its cost, and with the key of its run where the task is known.

    The user attributes are `lrsearch:seed`, `lrsearch:steps` and `lrsearch:run`, the run's key in a store. Call it
    before the trial ends.

    Args:
        trial: the trial, after `space.suggest(trial)`.
        seed: of all random numbers of its training.
        steps: updates that it trained, pruned or not.
        task: the task that it trained; None for one that lrsearch does not know.
        horizon: updates of a full run; None for the task's.
        prefix: as in `space.suggest(trial, prefix=...)`.

    Raises:
        UsageError: for an impossible number, or where the trial has no policy yet.
        TaskError: for an unknown task.

    >>> study, space = create_study("mine", direction="minimize"), Space.standard("FIX", horizon=100, epoch=10)
    >>> trial = study.ask()
    >>> policy = space.suggest(trial)
    >>> mark(trial, seed=1, steps=100)
    >>> trial.user_attrs["lrsearch:seed"], trial.user_attrs["lrsearch:steps"]
    (1, 100)
    """
    if not isinstance(trial, optuna.Trial):
        raise UsageError(f"trial is an Optuna trial that runs, such as an objective is given, got {given(trial)}")
    for word, number in (("seed", seed), ("steps", steps)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise UsageError(f"{word} is a whole number, 0 or more, got {given(number)}")
    text = trial.user_attrs.get(marked(POLICY, prefix))
    if text is None:
        raise UsageError("the trial has no policy yet: call space.suggest(trial) first, with the same prefix")
    marks: dict[str, Any] = {SEED: seed, STEPS: steps}
    if task is not None:
        described = find_task(task)
        marks[RUN] = RunSpec(described, parse(text), horizon or described.horizon, seed).key
    for attribute, value in marks.items():
        trial.set_user_attr(marked(attribute, prefix), value)


def _metrics(
    task: TaskLike | None, direction: str | Sequence[str] | None
) -> tuple[list[str] | None, list[StudyDirection]]:
    """The names of a study's metrics, where a task has them, and their directions."""
    if (task is None) == (direction is None):
        raise UsageError("give the task, or else direction='minimize' or 'maximize', or a list of them")
    if task is not None:
        objectives = find_task(task).objectives
        return [one.name for one in objectives], [StudyDirection[one.direction.upper()] for one in objectives]
    directions = list(direction) if isinstance(direction, list | tuple) else [direction]
    if not directions or any(one not in (MINIMIZE, MAXIMIZE) for one in directions):
        raise UsageError(f"direction is 'minimize' or 'maximize', or a list of them, got {direction!r:.80}")
    return None, [StudyDirection[str(one).upper()] for one in directions]


def _opened(storage: str | BaseStorage | None, heartbeat: float | None) -> BaseStorage:
    if isinstance(storage, str):
        return open_storage(storage, heartbeat)
    if heartbeat is not None:
        raise UsageError("heartbeats are recorded in a database: give its URL as storage, or no heartbeat")
    if storage is None:
        return InMemoryStorage()
    if not isinstance(storage, BaseStorage):
        raise UsageError(f"storage is a URL such as sqlite:///optuna.db, or a storage of Optuna, got {given(storage)}")
    return storage
