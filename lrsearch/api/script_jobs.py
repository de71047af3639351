"""The job in a program of one's own: what started the program says it, or else the program's own arguments do."""

import atexit
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, given
from lrsearch.runs import Objective, RunSpec
from lrsearch.runs.conclusion import conclude
from lrsearch.runs.job import Job
from lrsearch.runs.job_file import VARIABLE, JobFile
from lrsearch.schedules import Policy, parse
from lrsearch.training.description import describe
from lrsearch.training.function_trainer import seed_all
from lrsearch.training.served_job import ServedJob

LOOK_SECONDS = 0.005
BY_HAND = "lrs.job('my-lm', horizon=1000, policy='FIX(k0=0.1)', minimize='val_loss')"


def job(
    name: str | None = None,
    *,
    horizon: int | None = None,
    epoch: float | None = None,
    policy: str | Policy | None = None,
    minimize: str | None = None,
    maximize: str | None = None,
    objectives: Sequence[Objective] = (),
    seed: int = 0,
    store: str | None = None,
    **description: Any,
) -> Job:
    """Take up the job that this program was started for: the one line that a training script needs.

    `lrsearch search --command` and its like start the script with LRSEARCH_JOB in its environment; what is given here
    holds only where it is absent, as when the script is started by hand. `random`, numpy and, where it is imported by
    then, torch are seeded with the job's seed: call it before the model is built. Under torchrun every rank calls it.

    Args:
        name: how people call the task.
        horizon: updates.
        epoch: updates of one pass over the samples; a twentieth of the horizon where it is not given.
        policy: the policy over the horizon; durations such as `0.1dur` are of it.
        minimize, maximize, objectives: the metric that decides, as `lrs.task` takes it.
        seed: of all that is drawn.
        store: where a run that was started by hand is kept as the program ends; nowhere where it is not given.
        description: facts and the like, as `lrs.task` takes them.

    Returns:
        The job: `.scheduler(optimizer)`, `.log(step, val_loss=...)`, `.is_evaluation_due(step)`, `.should_stop`.

    Raises:
        UsageError: without LRSEARCH_JOB, where name, horizon, policy or metric are missing.
        WorkError: if the file that it names cannot be read.

    >>> made = job("toy", horizon=100, policy="FIX(k0=0.1)", minimize="val_loss")
    >>> made.horizon, made.policy(0), made.is_evaluation_due(100)
    (100, 0.1, True)
    """
    if path := os.environ.get(VARIABLE):
        return _seeded(ServedJob(JobFile.read(path)))
    if name is None or horizon is None or policy is None:
        raise UsageError(
            f"no search has started this program, for {VARIABLE} is not set: say what it trains, as"
            f" {BY_HAND}, or search it with lrsearch search --command 'python train.py' --name my-lm"
            " --horizon 1000 --minimize val_loss"
        )
    if not isinstance(policy, str | Policy):
        raise UsageError(f"a policy is a policy or its text, such as 'FIX(k0=0.1)', got {given(policy)}")
    task = describe(
        name, horizon=horizon, epoch=epoch, minimize=minimize, maximize=maximize, objectives=objectives, **description
    )
    bound = (parse(policy) if isinstance(policy, str) else policy).bind(horizon=task.horizon, epoch=task.epoch)
    made = Job(RunSpec(task, bound, task.horizon, seed))
    if store is not None:
        began = time.perf_counter()
        atexit.register(lambda: _keep(made, store, time.perf_counter() - began))
    return _seeded(made)


def jobs(name: str | None = None, **by_hand: Any) -> Iterator[Job]:
    """Take up job after job in one process: data and imports are paid for once.

    Each pass of the loop trains one. The search hands out the next when the pass has ended, and ends the loop when
    nothing is left; started by hand there is one job, as `job` says.

    Args:
        name: as in `job`, like all that is not said here.
        by_hand: what holds where no search has started the program.

    >>> [one.horizon for one in jobs("toy", horizon=100, policy="FIX(k0=0.1)", minimize="val_loss")]
    [100]
    """
    path = os.environ.get(VARIABLE)
    if not path:
        yield job(name, **by_hand)
        return
    while path:
        served = ServedJob(JobFile.read(path))
        yield _seeded(served)
        served.end()
        path = _next(Path(served.file.next)) if served.file.next else None


def _next(path: Path) -> str:
    """Wait for the next job. Whoever started the program ends it where there is none, or is gone."""
    while not path.exists():
        time.sleep(LOOK_SECONDS)
    return path.read_text()


def _seeded(made: Job) -> Job:
    seed_all(made.seed)
    return made


def _keep(made: Job, store: str, seconds: float) -> None:
    """Record a job that was started by hand; what ended the program otherwise than by its last line ended the run."""
    from lrsearch.api.resources import opened_store

    run = conclude(made, getattr(sys, "last_value", None), seconds=seconds)
    with opened_store(store, Path()) as ledger:
        ledger.record(made.spec, run)
