"""A user's report of a job becomes its run; a wrong report is refused, with what to report instead."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, given
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.conclusion import LONGEST_ERROR, NOT_CHECKED, conclude
from lrsearch.runs.job import TRAIN_LOSS, Job
from lrsearch.runs.roles import Role
from lrsearch.runs.series import number_of
from lrsearch.store import Trial
from lrsearch.training.followed_job import FollowedJob
from lrsearch.training.report import Report
from lrsearch.words import counted


def reported_run(
    trial: Trial,
    task: Task,
    value: Any = None,
    *,
    curves: Any = None,
    failed: Any = None,
    steps: Any = None,
    report: Path | None = None,
) -> Run:
    """The run that a user reports for a trial, by exactly one of value, curves, failed and report.

    Args:
        trial: the trial.
        task: the task that was trained.
        value: the metric, or a mapping of metrics; NaN is a divergence.
        curves: the curves of a range test: a mapping with `train_loss`, as one value a step or as (step, value) pairs.
        failed: why the training failed.
        steps: updates that were made, where it failed or diverged; the horizon where it is not given.
        report: the file to which a program reported.

    Raises:
        UsageError: for a wrong report; the message names the job.

    >>> from lrsearch import FIX
    >>> task = Task("toy", horizon=100, epoch=10, minimize="val_loss")
    >>> trial = Trial(3, "candidate", "suggested", FIX(k0=0.1), 100, 0)
    >>> reported_run(trial, task, 2.5).score, str(reported_run(trial, task, math.nan, steps=40).state)
    (2.5, 'diverged')
    """
    job = _ReportedJob(trial, trial.spec(task))
    job.require_single(value, curves, failed, report)
    job.require_steps(steps)
    if report is not None:
        return job.reported(report, trial.role == Role.RANGE_TEST)
    if failed is not None:
        return job.failed(failed, steps)
    if trial.role == Role.RANGE_TEST:
        return job.range_test(curves, steps)
    return job.scored(value, curves, steps)


class _ReportedJob:
    """A job whose outcome the user reports."""

    def __init__(self, trial: Trial, spec: RunSpec) -> None:
        self.number, self.spec, self.metric = trial.number, spec, spec.task.objective.name

    def require_single(self, *reports: Any) -> None:
        if sum(report is not None for report in reports) != 1:
            raise self.refused(
                f"tell one of four: its {self.metric}, the curves of a range test, its report, or failed='why'"
            )

    def require_steps(self, steps: Any) -> None:
        is_count = isinstance(steps, int) and not isinstance(steps, bool) and 0 <= steps <= self.spec.horizon
        if steps is not None and not is_count:
            raise self.refused(f"steps is the updates that it made, 0 to {self.spec.horizon}, got {given(steps)}")

    def failed(self, why: Any, steps: int | None) -> Run:
        if not isinstance(why, str) or not why.strip():
            raise self.refused(f"failed says why, in a text such as 'out of memory', got {given(why)}")
        made = self.spec.horizon if steps is None else steps
        return Run(
            state=RunState.FAILED,
            steps=made,
            seconds=0.0,
            error=why.strip()[:LONGEST_ERROR],
            cause="told",
            applied=NOT_CHECKED,
        )

    def scored(self, value: Any, curves: Any, steps: int | None) -> Run:
        if curves is not None:
            raise self.refused(f"it is no range test, so its {self.metric} is told, and no curves")
        values = value if isinstance(value, Mapping) else {self.metric: value}
        scores = {name: self.number_of(name, metric) for name, metric in values.items()}
        if self.metric not in scores:
            raise self.refused(f"{self.metric!r} is missing, and decides; told: {', '.join(scores) or 'nothing'}")
        if math.isfinite(scores[self.metric]) and steps not in (None, self.spec.horizon):
            raise self.refused(
                f"a run with a {self.metric} has made all of its {counted(self.spec.horizon, 'update')},"
                f" got steps={steps}; one that ended early has failed, or diverged with NaN"
            )
        job = Job(self.spec, is_range_test=False)
        job.log(self.spec.horizon if steps is None else steps)
        return conclude(job, scores, seconds=0.0)

    def reported(self, path: Path, is_range_test: bool) -> Run:
        if not path.is_file():
            raise self.refused(f"there is no report {str(path)!r}: start its program with its job.json as LRSEARCH_JOB")
        job, report = FollowedJob(self.spec, is_range_test=is_range_test), Report(path, self.spec.key)
        try:
            for line in report.lines():
                job.take(line)
            job.notes = report.notes
            run = conclude(job, None, seconds=0.0)
        except UsageError as error:
            raise self.refused(str(error)) from None
        if run.state is RunState.FAILED and run.cause != "policy":
            raise self.refused(f"its report says no more than this:{run.why}; where it failed, tell failed='why'")
        return run

    def range_test(self, curves: Any, steps: int | None) -> Run:
        advice = (
            f"tell its training losses, as curves={{{TRAIN_LOSS!r}: [...]}} or --curves FILE; where there are"
            " none, open a study with range_test=False, or --no-range-test"
        )
        if curves is None:
            raise self.refused(f"it is a range test: {advice}")
        if not isinstance(curves, Mapping) or TRAIN_LOSS not in curves:
            raise self.refused(f"{advice}, got {given(curves)}")
        if steps is not None:
            raise self.refused("a range test made as many updates as its curve has: leave steps out")
        job = Job(self.spec, is_range_test=True)
        for step, loss in self.points(curves[TRAIN_LOSS]):
            job.log(step, train_loss=loss)
        return conclude(job, None, seconds=0.0)

    def points(self, curve: Any) -> list[tuple[int, float]]:
        """The (step, value) pairs of a curve, which is given as such pairs or as one value a step."""
        if not isinstance(curve, Sequence) and hasattr(curve, "tolist"):
            curve = curve.tolist()
        if not isinstance(curve, Sequence) or isinstance(curve, str | bytes) or not curve:
            raise self.refused(f"{TRAIN_LOSS} is a list of values, one a step, or of (step, value), got {given(curve)}")
        if isinstance(curve[0], Sequence) and not isinstance(curve[0], str):
            return self.pairs(curve)
        losses = [self.number_of(TRAIN_LOSS, loss) for loss in curve]
        if len(losses) > self.spec.horizon or (len(losses) < self.spec.horizon and math.isfinite(losses[-1])):
            raise self.refused(
                f"{TRAIN_LOSS} has {counted(len(losses), 'value')} for"
                f" {counted(self.spec.horizon, 'update')}: give one each, or pairs of (step, value)"
            )
        return list(enumerate(losses, 1))

    def pairs(self, curve: Sequence[Any]) -> list[tuple[int, float]]:
        points: list[tuple[int, float]] = []
        for pair in curve:
            last = points[-1][0] if points else 0
            step = pair[0] if isinstance(pair, Sequence) and len(pair) == 2 else None
            if isinstance(step, bool) or not isinstance(step, int) or not last < step <= self.spec.horizon:
                raise self.refused(
                    f"{TRAIN_LOSS} has pairs of a step and its value, the steps rising from 1 to"
                    f" {self.spec.horizon}, got {pair!r:.60} after step {last}"
                )
            points.append((step, self.number_of(TRAIN_LOSS, pair[1])))
        return points

    def number_of(self, name: Any, value: Any) -> float:
        if not isinstance(name, str):
            raise self.refused(f"metrics have names, such as {{{self.metric!r}: 2.1}}, got {given(name)}")
        try:
            return number_of(name, value)
        except UsageError as error:
            raise self.refused(str(error)) from None

    def refused(self, why: str) -> UsageError:
        return UsageError(f"job {self.number}: {why}")
