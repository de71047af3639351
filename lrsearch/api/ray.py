"""Ray Tune, natively: a `ray.tune.Tuner` over a function under `@lrs.task`, or over a trainable of one's own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from lrsearch.api.functions import SEEDS
from lrsearch.api.resources import raw_space
from lrsearch.errors import TaskError, UsageError, given
from lrsearch.integrations.tune import train_trial
from lrsearch.runs import Objective, Task
from lrsearch.spaces import Space
from lrsearch.training.functions import FunctionSource, function_source
from lrsearch.training.program import ProgramSource
from lrsearch.words import counted

MODES = {"minimize": "min", "maximize": "max"}
"""Tune's words for the directions of an objective."""
SCRIPT = "__main__"
"""Python's name of the module that was started."""
ONE_CPU = {"cpu": 1}
"""The resources of a trial where none are given."""


def tuner(
    task: Any,
    space: Space | None = None,
    *,
    num_samples: int,
    scheduler: Any = None,
    search_alg: Any = None,
    resources: Mapping[str, float] | None = None,
    run_config: tune.RunConfig | None = None,
    tune_config: tune.TuneConfig | None = None,
    seed: int = 0,
) -> tune.Tuner:
    """A Ray Tune `Tuner` whose trials train the policies of a space.

    Of a function under `@lrs.task` each evaluation is a report to Tune: the metric and "step", the updates so far. The
    best policy is `tuner.fit().get_best_result().config["policy"]`. Files in `job.folder` are the checkpoint of a
    trial. Nothing is stored, and no budget holds: both has `lrs.sweep`.

    Args:
        task: a function under `@lrs.task`; or a Tune trainable, which reads `lrs.parse(config["policy"])`.
        space: the policies; None for the raw space of the function's task.
        num_samples: trials.
        scheduler: a scheduler of Tune, such as `ASHAScheduler()`.
        search_alg: a searcher of Tune, such as `OptunaSearch(space=space.define_by_run, metric=..., mode=...)`; None to
            sample policies from the space.
        resources: of a trial, such as {"cpu": 1, "gpu": 0.25}; None for one CPU, or those of the trainable.
        run_config: as of a `Tuner`: name, storage path, failures, checkpoints.
        tune_config: as of a `Tuner`; the other arguments stand over it.
        seed: of the sampled policies, and of each run.

    Returns:
        The tuner; `fit()` trains.

    Raises:
        UsageError: for a program or a shipped task, a space of another horizon, or a searcher of another metric.
        TaskError: if the function cannot be sent to another process.
    """
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise UsageError(f"num_samples is a whole number of trials, 1 or more, got {num_samples!r}")
    if space is not None and not isinstance(space, Space):
        raise UsageError(f"space is a Space, such as lrs.Space.standard(horizon=..., epoch=...), got {given(space)}")
    config = tune_config or tune.TuneConfig()
    _check_trainable(task)
    if isinstance(task, FunctionSource) or hasattr(task, "task"):
        described = function_source(task).task
        trains, space = trainable(task, seed=seed), _space_of(described, space)
        resources, config = resources or ONE_CPU, _with_objective(config, described.objective)
        _check_searcher(search_alg or config.search_alg, described.objective)
    elif space is None:
        raise UsageError("a trainable of Ray Tune has no space of its own: give it, as lrs.ray.tuner(train, space)")
    else:
        trains = task
    config = replace(
        config,
        num_samples=num_samples,
        scheduler=scheduler or config.scheduler,
        search_alg=search_alg or config.search_alg,
    )
    has_own_space = isinstance(config.search_alg, Searcher)
    return tune.Tuner(
        tune.with_resources(trains, dict(resources)) if resources else trains,
        param_space={} if has_own_space else space.to_ray(seed),
        tune_config=config,
        run_config=run_config,
    )


def trainable(task: Any, *, seed: int = 0) -> Callable[[dict[str, Any]], None]:
    """The trainable of a function, for a `Tuner` of one's own, and for `Tuner.restore`.

    Args:
        task: a function under `@lrs.task`.
        seed: of each run, from 0 to 2**31 - 1.

    Returns:
        A function that trains `config["policy"]`, and reports each evaluation.

    Raises:
        UsageError: for anything else, or an impossible seed.
        TaskError: if the function cannot be sent to another process.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise UsageError(f"the seed is a whole number from 0 to 2**31 - 1, got {seed!r}")
    source = function_source(task)
    if (why := source.why_not_sent()) is not None:
        raise TaskError(why)

    # A script's function goes as code, as Ray sends it: a script that is imported again would start its sweep again.
    function = source.function if source.function.__module__ == SCRIPT else source
    described = source.task

    def train(config: dict[str, Any]) -> None:
        train_trial(config, function, described, seed)

    train.__name__ = described.name  # Tune names its folders by it
    return train


def _space_of(task: Task, space: Space | None) -> Space:
    """The space to search, of the task's horizon."""
    if space is None:
        return raw_space(task, ())
    if space.horizon != task.horizon:
        raise UsageError(
            f"the space's horizon is {counted(space.horizon, 'update')}, and {task.name} trains {task.horizon}: make it"
            f" Space.standard(..., horizon={task.horizon})"
        )
    return space


def _check_trainable(task: Any) -> None:
    """Refuse a program and a task of lrsearch's own."""
    if isinstance(task, ProgramSource):
        raise UsageError(
            f"{task.task.name!r} is a program, which no Tuner can train: sweep it, lrs.sweep(program, ...)"
        )
    if not callable(task):
        raise UsageError(
            "a Tuner trains a function under @lrs.task, or a trainable of Ray Tune, such as def train(config);"
            f" a task of lrsearch is trained by lrs.sweep(task, ...); got {given(task)}"
        )


def _with_objective(config: tune.TuneConfig, objective: Objective) -> tune.TuneConfig:
    """A config that has the metric and mode of an objective."""
    metric, mode = config.metric or objective.name, config.mode or MODES[objective.direction]
    _check_metric("tune_config", metric, mode, objective)
    return replace(config, metric=metric, mode=mode)


def _check_searcher(search_alg: Any, objective: Objective) -> None:
    """Refuse a searcher that would optimise another metric: one that has its own space has its own metric, too."""
    if isinstance(search_alg, Searcher):
        _check_metric(type(search_alg).__name__, search_alg.metric, search_alg.mode, objective)


def _check_metric(name: str, metric: Any, mode: Any, objective: Objective) -> None:
    if (metric, mode) != (objective.name, MODES[objective.direction]):
        raise UsageError(
            f"{name} has metric={metric!r}, mode={mode!r}, and the task {objective.direction}s {objective.name}: make"
            f" it with metric={objective.name!r}, mode={MODES[objective.direction]!r}"
        )
