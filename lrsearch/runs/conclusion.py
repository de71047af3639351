"""The one place that turns what a training gave, or what ended it, into the state of its run."""

import math
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.errors import LRSearchError, UsageError
from lrsearch.runs.job import TRAIN_LOSS, Job, JobStopped
from lrsearch.runs.run import Point, Run, RunState
from lrsearch.runs.series import number_of
from lrsearch.words import counted

YES, NOT_CHECKED = "yes", "not checked"
MOST_SKIPPED = 0.01
"""Of the horizon: updates that a gradient scaler may skip."""
FAR_ABOVE = 3.0
"""Falls of the training loss: where its last lies so far above its first, what ended the training is a divergence."""
LAST_LINES = 12
PACKAGE = Path(__file__).parent.parent
LONGEST_ERROR = 4000
Outcome = Mapping[str, Any] | float | BaseException | None


class _NoScoreError(Exception):
    """Why a run has no score: a cause in a word, and a sentence."""

    def __init__(self, cause: str, why: str) -> None:
        super().__init__(why)
        self.cause, self.why = cause, why


def conclude(
    job: Job, outcome: Any, *, seconds: float, startup_seconds: float | None = None, source: str | None = None
) -> Run:
    """The run that a job has become.

    A value that is returned wins over what was logged. A metric that is not finite is a divergence, and so is an
    exception after a training loss that was not finite, or far above its first. Another exception is a failure. A
    policy that was not applied gives no score.

    Args:
        job: the job.
        outcome: what the training returned, or the exception that ended it.
        seconds: wall time.
        startup_seconds: of them, before the first update; None where it is not known.
        source: the digest of the source of what trained it.
    """
    try:
        _ = job.values
    except UsageError as error:  # what was logged last is no number
        outcome = outcome if isinstance(outcome, BaseException) else error
    try:
        state, scores, failure = _judged(job, outcome)
    except _NoScoreError as failed:
        state, scores, failure = RunState.FAILED, {}, failed
    run = _run(job, state, scores, failure)
    return replace(run, seconds=seconds, startup_seconds=startup_seconds, source=source)


def _judged(job: Job, outcome: Any) -> tuple[RunState, dict[str, float], _NoScoreError | None]:
    if isinstance(outcome, KeyboardInterrupt):
        return RunState.INTERRUPTED, {}, None
    if isinstance(outcome, BaseException) and not isinstance(outcome, JobStopped):
        if _seems_diverged(job):
            return RunState.DIVERGED, {}, None
        raise _NoScoreError("error", _told(outcome))
    scores = _scores(job, None if isinstance(outcome, JobStopped) else outcome)
    name = job.spec.task.objective.name
    if job.has_diverged or not math.isfinite(scores.get(name, 0.0)):
        return RunState.DIVERGED, {}, None
    if job.is_range_test:
        _require_applied(job)
        return RunState.FINISHED, scores, None
    if name not in scores:
        raise _missing(job, name)
    _require_applied(job)
    return RunState.STOPPED if job.last_evaluation < job.horizon else RunState.FINISHED, scores, None


def _scores(job: Job, outcome: Any) -> dict[str, float]:
    """The metrics at the last evaluation: what was returned, else what was logged."""
    objectives = [one.name for one in job.spec.task.objectives]
    found = {
        name: value
        for name in job.values.series
        if name != TRAIN_LOSS and (value := job.values.at(name, job.last_evaluation)) is not None
    }
    if outcome is None:
        return found
    returned = outcome if isinstance(outcome, Mapping) else {objectives[0]: outcome}
    try:
        return found | {str(name): number_of(str(name), value) for name, value in returned.items()}
    except UsageError as error:
        raise _NoScoreError("metric", f"the training returned what is no metric: {error}") from None


def _missing(job: Job, name: str) -> _NoScoreError:
    """Why the metric that decides is not there."""
    last = job.values.last(name)
    logged = ", ".join(sorted(job.values.series)) or "nothing"
    if last is None:
        return _NoScoreError(
            "missing",
            f"the metric {name!r} was neither returned nor logged; logged: {logged}. Return it, or"
            f" job.log(step, {name}=...) where job.is_evaluation_due(step)" + "".join(f"; {one}" for one in job.notes),
        )
    return _NoScoreError(
        "stale",
        f"{name!r} was logged last at step {last[0]}, and the last evaluation is at step"
        f" {job.last_evaluation}: log it there (steps count from 1), or return it",
    )


def not_applied(job: Job) -> str | None:
    """Why the learning rates were others than the policy's, as far as the training went; None where they were not."""
    if job.changed is not None:
        return f"the policy was not applied: {job.changed}"
    if job.skipped > MOST_SKIPPED * job.horizon:
        return (
            f"the policy was not applied: {job.skipped} of {counted(job.horizon, 'step')} of the scheduler had no"
            " optimizer update before them: call scheduler.step() after optimizer.step() only"
        )
    return None


def _require_applied(job: Job) -> None:
    """Refuse a run whose learning rates, or whose number of updates, were others than its policy's."""
    if (why := not_applied(job)) is not None:
        raise _NoScoreError("policy", why)
    wanted = job.last_evaluation
    if job.has_scheduler and job.step != wanted and not job.is_range_test:
        raise _NoScoreError(
            "policy",
            f"the policy was not applied: the training made {counted(job.step, 'update')}, and this run has"
            f" {wanted} (job.horizon): loop over job.batches(loader), or end at job.horizon",
        )


def _seems_diverged(job: Job) -> bool:
    """Whether the training losses had blown up: not finite, or far above the first in units of their fall."""
    losses = [loss for _, loss in job.values.series.get(TRAIN_LOSS, ())]
    if job.has_diverged or (losses and not math.isfinite(losses[-1])):
        return True
    if len(losses) < 2:
        return False
    early = losses[: max(1, len(losses) // 10)]
    first, lowest = sum(early) / len(early), min(losses)
    return losses[-1] - first > FAR_ABOVE * (first - lowest) > 0


def _told(error: BaseException) -> str:
    """An exception with the last lines of its traceback that are the user's own; one of ours without, as it is."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not Path(frame.filename).is_relative_to(PACKAGE)]
    if isinstance(error, LRSearchError) and not own:
        return str(error)[-LONGEST_ERROR:]
    shown = "".join([*traceback.format_list(own or frames), *traceback.format_exception_only(error)])
    return "\n".join(shown.rstrip().splitlines()[-LAST_LINES:])[-LONGEST_ERROR:]


def _run(job: Job, state: RunState, scores: dict[str, float], failure: _NoScoreError | None) -> Run:
    name = job.spec.task.objective.name
    values = job.values
    steps, lost = job.step, job.lost
    if state is RunState.FINISHED and not job.is_range_test:
        steps = job.horizon
    elif state is RunState.INTERRUPTED:  # the attempt that ends it subtracts what it goes on from
        steps, lost = job.trained, job.untold
    stride, train_losses = values.means(TRAIN_LOSS, job.horizon)
    score = scores.get(name)
    return Run(
        state=state,
        steps=steps,
        seconds=0.0,
        score=score,
        points=_points(job, score),
        stride=stride,
        train_losses=train_losses,
        lrs=tuple(job.lrs[::stride]),
        error=failure.why if failure else None,
        cause=failure.cause if failure else None,
        applied=_applied(job, failure),
        scores={other: value for other, value in scores.items() if other != name and math.isfinite(value)},
        curves={series: values.curve(series) for series in values.series if series not in (TRAIN_LOSS, name)},
        lost=lost,
    )


def _points(job: Job, score: float | None) -> tuple[Point, ...]:
    """The evaluations, with what was returned as the last one."""
    points = [point for point in job.points if math.isfinite(point.score)]
    if score is not None and (not points or points[-1].step < job.last_evaluation):
        points.append(Point(job.last_evaluation, None, score))
    return tuple(points)


def _applied(job: Job, failure: _NoScoreError | None) -> str:
    if failure is not None and failure.cause == "policy":
        return failure.why
    return YES if job.has_scheduler else NOT_CHECKED
