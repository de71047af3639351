"""The job in a user's program: from the search that started the program, or else from the program's arguments."""

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

POLL_SECONDS = 0.005
"""Between two checks for the next job: a rule, so that short runs wait for nothing."""
EXAMPLE = "lrs.job('my-lm', horizon=1000, policy='FIX(k0=0.1)', minimize='val_loss')"


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
    """The job of this program: the one line that a training script needs.

    `lrsearch search --command` and similar commands start the script with LRSEARCH_JOB in its environment. The
    arguments hold only without it, as when the user starts the script. `random`, numpy and, if it is imported, torch
    are seeded with the job's seed: call it before the model is built. Under torchrun every rank calls it.

    Args:
        name: the task's name.
        horizon: updates.
        epoch: updates of one pass over the samples; None for a twentieth of the horizon.
        policy: the policy over the horizon; durations such as `0.1dur` are of the horizon.
        minimize, maximize, objectives: the metric that decides, as in `lrs.task`.
        seed: the seed of all random numbers.
        store: where a run without a search is recorded as the program ends; None to record nothing.
        description: facts and other arguments of `lrs.task`.

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
            f" {EXAMPLE}, or search it with lrsearch search --command 'python train.py' --name my-lm"
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
        atexit.register(lambda: _record(made, store, time.perf_counter() - began))
    return _seeded(made)


def jobs(name: str | None = None, **arguments: Any) -> Iterator[Job]:
    """The jobs of this program, one after the other: data and imports are loaded once.

    Each pass of the loop trains a job. The search hands out the next one when the pass has ended, and ends the loop
    when none is left. Without a search there is one job, that of `job`.

    Args:
        name: as in `job`.
        arguments: the other arguments of `job`, which hold where no search has started the program.

    >>> [each.horizon for each in jobs("toy", horizon=100, policy="FIX(k0=0.1)", minimize="val_loss")]
    [100]
    """
    path = os.environ.get(VARIABLE)
    if not path:
        yield job(name, **arguments)
        return
    while path:
        served = ServedJob(JobFile.read(path))
        yield _seeded(served)
        served.end()
        path = _next(Path(served.file.next)) if served.file.next else None


def _next(path: Path) -> str:
    """Wait for the path of the next job. The search ends this process where there is none."""
    while not path.exists():
        time.sleep(POLL_SECONDS)
    return path.read_text()


def _seeded(made: Job) -> Job:
    seed_all(made.seed)
    return made


def _record(made: Job, store: str, seconds: float) -> None:
    """Record the run of a job without a search; an exception that ended the program ended the run."""
    from lrsearch.api.resources import opened_store

    run = conclude(made, getattr(sys, "last_value", None), seconds=seconds)
    with opened_store(store, Path()) as ledger:
        ledger.record(made.spec, run)
