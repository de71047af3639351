"""Policies, jobs, runs and searches as MLflow runs, wherever the user's own tracking URI and experiment point.

Steps are optimizer updates, counted from 1: `lr` at step s is policy(s - 1), the LR of the s-th update.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunStatus, RunTag

from lrsearch.errors import UsageError, given
from lrsearch.integrations.source import read_source
from lrsearch.runs import Run, RunState
from lrsearch.runs.conclusion import conclude
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy
from lrsearch.store import Trial
from lrsearch.study.result import SearchResult

RUN_KEY, STUDY_KEY, STATE, PARENT = "lrsearch.run", "lrsearch.study", "lrsearch.state", "mlflow.parentRunId"
BATCH = 1000
"""Metrics of one request that MLflow takes at most; LRs of a curve are not more, unless the caller asks for them."""
STATUS = {
    RunState.DIVERGED: RunStatus.FAILED,
    RunState.FAILED: RunStatus.FAILED,
    RunState.INTERRUPTED: RunStatus.KILLED,
}
Points = Sequence[tuple[int, float]]


def log_policy(policy: Policy | str, horizon: int, *, every: int | None = None) -> None:
    """Log a policy's text, and its LR at the updates to come, to the active MLflow run.

    Without an active run one is started, as MLflow's own functions do. Of a controller, which has no curve beforehand,
    the text alone is logged.

    Args:
        policy: the policy of the training, or its text.
        horizon: updates of the training.
        every: updates between two LRs that are logged; where it is not given, as few as give 1000 LRs.

    Raises:
        PolicyError: for what is no policy, or one with durations that are not bound.
        UsageError: for a job, or for numbers of updates that cannot be.
    """
    read = read_source(policy)
    if isinstance(read, Job):
        raise UsageError("log_policy takes a policy and its horizon: inside of a training write `with log_job(job):`")
    for name, value in (("horizon", horizon), ("every", 1 if every is None else every)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is a whole number of updates, 1 or more, got {given(value)}")
    active = mlflow.active_run() or mlflow.start_run()
    lrs = {} if read.is_controller else {"lr": _lrs(read, horizon, every=every)}
    _log(active, lrs, params={"policy": str(read), "horizon": horizon})


@contextmanager
def log_job(job: Job) -> Iterator[mlflow.ActiveRun]:
    """Make an MLflow run for a training under a job; it has all that the job logged when the training ends.

    What the training logs by `mlflow.log_metric` goes to the same run, at once. Inside of another active run it is a
    child. A job that is resumed goes on in the MLflow run that it had. Of several ranks, rank 0 alone calls this.

    Args:
        job: the job.

    Raises:
        UsageError: for what is no job.
    """
    if not isinstance(job, Job):
        raise UsageError(f"log_job takes the job that the training function was given, got {given(job)}")
    active = _started(_runs_of(RUN_KEY, job.key) if job.resumed else [], job.policy.name)
    _log(active, params=_params(job.spec.task.name, job.policy, job), tags={RUN_KEY: job.key})
    state = RunState.FAILED
    try:
        yield active
        state = RunState.STOPPED if job.should_stop else RunState.FINISHED
        state = RunState.DIVERGED if job.has_diverged else state
    except BaseException as error:
        state = conclude(job, error, seconds=0.0).state
        raise
    finally:
        curves = {"lr": _lrs(job.policy, job.step, job.lrs, begin=job.step - job.trained), **job.values.series}
        _log(active, curves, tags={STATE: state})
        mlflow.end_run(_status(state))


def log_result(result: SearchResult) -> str:
    """Log a search to MLflow: the answer, the verdict and the cost in one run, and each of its runs as a child.

    The active run is the one, else one of the search's own. A second call adds what is new.

    Args:
        result: of `lrs.search`, or of a study whose jobs the user trains.

    Returns:
        The id of the MLflow run.

    Raises:
        UsageError: for another object.
    """
    if not isinstance(result, SearchResult):
        raise UsageError(f"log_result takes what lrs.search returned, got {given(result)}")
    if (active := mlflow.active_run()) is None:
        with _started(_runs_of(STUDY_KEY, result.key), result.study):
            return log_result(result)
    task, spent = result.setup.task, result.spent
    numbers = {"best_score": result.best.score, "default_score": result.default.score, "fre": spent.fre}
    numbers |= {"trained_steps": spent.steps, "seconds": spent.seconds, "runs": spent.runs}
    tags = {"verdict": result.verdict, "best_policy": result.best.policy, STUDY_KEY: result.key}
    logged = mlflow.MlflowClient().get_run(active.info.run_id).data.metrics
    _log(
        active,
        {name: [(0, value)] for name, value in numbers.items() if value not in (None, logged.get(name))},
        params={"task": task.name, "objective": f"{task.objective.direction} {task.objective.name}"},
        tags=tags | {"mlflow.note.content": "\n\n".join([result.verdict, *result.warnings])},
    )
    for trial in result.history:
        if trial.stored is not None:
            _log_trial(active, trial)
    return str(active.info.run_id)


def _log_trial(parent: mlflow.ActiveRun, trial: Trial) -> None:
    """Log a run of a search as a child; where `log_job` or an earlier call has logged it, only what it lacks."""
    stored = trial.stored
    assert stored is not None
    run, objective = stored.run, stored.objective.name
    before = _runs_of(RUN_KEY, stored.key, parent)
    curves = {} if before else _curves(run, stored.policy, objective)
    known = {_valid(name) for name in (*curves, *(before[0].data.metrics if before else ()))}
    numbers = {objective: run.score, "seconds": run.seconds, "trained_steps": run.trained} | dict(run.scores)
    lacking = {name: [(run.steps, x)] for name, x in numbers.items() if x is not None and _valid(name) not in known}
    roles = {"role": trial.role, "origin": trial.origin}
    tags = {PARENT: parent.info.run_id, RUN_KEY: stored.key, STATE: run.state}
    tags |= {"lrsearch.applied": run.applied, "lrsearch.error": run.error}
    made = before[0] if before else _created(parent, stored.policy.name, run.seconds)
    _log(made, curves | lacking, params=_params(stored.task, stored.policy, stored) | roles, tags=tags)
    _end(made, run.state)


def _params(task: str, policy: Policy, run: Any) -> dict[str, Any]:
    return {"task": task, "policy": str(policy), "function": policy.name, "horizon": run.horizon, "seed": run.seed}


def _lrs(
    policy: Policy, end: int, taken: Sequence[float] = (), *, begin: int = 0, stride: int = 1, every: int | None = None
) -> Points:
    """(s, policy(s - 1)) of every n-th update of a training and its last; of a controller, the LRs that it took."""
    if policy.is_controller:
        return [(1 + t, lr) for t, lr in zip(range(begin, end, stride), taken, strict=False)]
    steps = end - begin
    every = every or (1 if steps <= BATCH else math.ceil(steps / (BATCH - 1)))
    return [(t + 1, policy(t)) for t in sorted({*range(begin, end, every), *range(end - 1, end)[:steps]})]


def _curves(run: Run, policy: Policy, objective: str) -> dict[str, Points]:
    """The curves of a run, by name: the mean of training losses stands at the last step of its stride."""
    means = [math.nan if loss is None else loss for loss in run.train_losses]
    losses = [(min(at * run.stride, run.steps), loss) for at, loss in enumerate(means, 1)]
    curves: dict[str, Any] = {"lr": _lrs(policy, run.steps, run.lrs, stride=run.stride), "train_loss": losses}
    curves |= {objective: [(point.step, point.score) for point in run.points], **run.curves}
    return {name: curve for name, curve in curves.items() if curve}


def _started(before: Sequence[Any], name: str) -> mlflow.ActiveRun:
    """An MLflow run that was made before, active again, or a new one."""
    which = {"run_id": before[0].info.run_id} if before else {"run_name": name}
    return mlflow.start_run(nested=True, **which)


def _created(parent: mlflow.ActiveRun, name: str, seconds: float) -> Any:
    """A new MLflow run beside the active one, which began as many seconds ago as its training took."""
    began = int(1000 * (time.time() - seconds))
    return mlflow.MlflowClient().create_run(parent.info.experiment_id, start_time=began, run_name=name)


def _runs_of(tag: str, key: str, parent: mlflow.ActiveRun | None = None) -> list[Any]:
    """The MLflow runs of a key, the newest first, that belong to a parent or to none."""
    experiments = [parent.info.experiment_id] if parent else None
    runs = mlflow.search_runs(experiments, f"tags.`{tag}` = '{key}'", output_format="list")
    return [run for run in runs if parent is None or run.data.tags.get(PARENT) in (None, parent.info.run_id)]


def _valid(name: str) -> str:
    """A metric's name in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _log(
    made: Any,
    curves: Mapping[str, Points] | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
) -> None:
    """Log in batches. What is not finite is logged as NaN, for MLflow would store infinity as 1.8e308."""
    client, run_id, now = mlflow.MlflowClient(), made.info.run_id, int(1000 * time.time())
    client.log_batch(
        run_id,
        params=[Param(name, str(value)) for name, value in (params or {}).items()],
        tags=[RunTag(name, str(value)) for name, value in (tags or {}).items() if value is not None],
    )
    metrics = [
        Metric(_valid(name), value if math.isfinite(value) else math.nan, now, step)
        for name, curve in (curves or {}).items()
        for step, value in curve
    ]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])


def _status(state: RunState) -> str:
    return str(RunStatus.to_string(STATUS.get(state, RunStatus.FINISHED)))


def _end(made: Any, state: RunState) -> None:
    status = _status(state)
    if made.info.status != status:  # a second call must not move the end
        mlflow.MlflowClient().set_terminated(made.info.run_id, status)
