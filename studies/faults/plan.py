"""Train a plan of runs with an executor, and write what came of it: `python plan.py PLAN FOLDER`, PLAN as JSON."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import trainings
from sandbox import Plan

from lrsearch.executors.local import LocalExecutor
from lrsearch.executors.pool import Pool
from lrsearch.runs import Run, RunSpec
from lrsearch.runs.executor import DONE, WAIT, Executor, Group, Limits, NoRun, TrainerSource
from lrsearch.runs.lost import LostAttempt
from lrsearch.schedules import FIX
from lrsearch.tasks import find_task
from lrsearch.training.functions import function_source
from lrsearch.training.source import ClassificationSource


def main(plan: Plan, folder: Path) -> None:
    """Train a plan, and write the outcome to `outcome.json` in a folder."""
    source = source_of(plan.task)
    specs = [RunSpec(source.task, FIX(k0=0.1), horizon, seed) for horizon, seed in plan.runs]
    ended: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []

    def record(spec: RunSpec, run: Run) -> None:
        ended.append(
            {
                "key": spec.key,
                "state": str(run.state),
                "error": run.error,
                "seconds": run.seconds,
                "at": time.monotonic(),
            }
        )

    def record_lost(attempt: LostAttempt) -> None:
        lost.append({"key": attempt.spec.key, **attempt.to_json()})

    with opened(plan, source, folder) as executor:
        executor.train(waves(specs, plan.wave, ended), record, folder=folder / "out", lost=record_lost)
        usage = asdict(executor.usage)
    (folder / "outcome.json").write_text(json.dumps({"runs": ended, "lost": lost, "usage": usage}))


def source_of(task: str) -> TrainerSource:
    """The source of a function in `trainings.py`, or of a shipped task."""
    own = getattr(trainings, task, None)
    return ClassificationSource(find_task(task)) if own is None else function_source(own)


@contextmanager
def opened(plan: Plan, source: TrainerSource, folder: Path) -> Iterator[Executor]:
    """Open the plan's executor."""
    limits = Limits(plan.seconds_per_run)
    (folder / "out").mkdir(exist_ok=True)
    if plan.executor == "local":
        yield LocalExecutor(source.open(is_own_process=True))
    elif plan.executor == "pool":
        with Pool(source, plan.workers, limits) as pool:
            yield pool
    else:
        from lrsearch.executors.cluster.workers import RayExecutor

        address, out = plan.address, folder / "out"
        with RayExecutor(source, out, address=address, workers=plan.workers, limits=limits) as ray:
            yield ray


def waves(specs: list[RunSpec], wave: int, ended: list[dict[str, Any]]) -> Callable[[], Group | NoRun]:
    """What gives one run after the other; a wave begins once the one before has ended."""
    given = 0

    def ask() -> Group | NoRun:
        nonlocal given
        if given == len(specs):
            return DONE
        if wave and given % wave == 0 and len(ended) < given:
            return WAIT
        given += 1
        return Group((specs[given - 1],))

    return ask


if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    main(Plan(**{**values, "runs": tuple(tuple(run) for run in values["runs"])}), Path(sys.argv[2]))
