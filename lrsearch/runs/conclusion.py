"""Turns the result of a training, or the exception that ended it, into a run. No other code decides a run's state."""

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
"""Rule: the share of the horizon that a gradient scaler may skip."""
FAR_ABOVE = 3.0
"""Rule: an exception is a divergence where the last training loss is above the first by 3 times its fall."""
LAST_LINES = 12
"""Rule: lines of a traceback in a run's error."""
PACKAGE = Path(__file__).parent.parent
LONGEST_ERROR = 4000
"""Rule: characters of a run's error."""
Outcome = Mapping[str, Any] | float | BaseException | None


class _NoScoreError(Exception):
    """The reason for a missing score: a cause in a word, and a sentence."""

    def __init__(self, cause: str, why: str) -> None:
        super().__init__(why)
        self.cause, self.why = cause, why


def conclude(
    job: Job, outcome: Any, *, seconds: float, startup_seconds: float | None = None, source: str | None = None
) -> Run:
    """The run of an ended job.

    A returned value replaces a logged one. A metric that is not finite is a divergence, and so is an exception after a
    training loss that was not finite, or far above the first. Another exception is a failure. A run whose policy was
    not applied has no score.

    Args:
        job: the job.
        outcome: the value that the training returned, or the exception that ended it.
        seconds: wall time.
        startup_seconds: the part before the first update; None where it is not known.
        source: the digest of the user's code that trained it.
    """
    try:
        _ = job.values
    except UsageError as error:  # a logged value is not a number
        outcome = outcome if isinstance(outcome, BaseException) else error
    try:
        state, scores, failure = _state_and_scores(job, outcome)
    except _NoScoreError as failed:
        state, scores, failure = RunState.FAILED, {}, failed
    run = _run(job, state, scores, failure)
    return replace(run, seconds=seconds, startup_seconds=startup_seconds, source=source)


def _state_and_scores(job: Job, outcome: Any) -> tuple[RunState, dict[str, float], _NoScoreError | None]:
    if isinstance(outcome, KeyboardInterrupt):
        return RunState.INTERRUPTED, {}, None
    if isinstance(outcome, BaseException) and not isinstance(outcome, JobStopped):
        if _seems_diverged(job):
            return RunState.DIVERGED, {}, None
        raise _NoScoreError("error", _error_text(outcome))
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
    """The metrics at the last evaluation: the returned values, otherwise the logged ones."""
    objectives = [objective.name for objective in job.spec.task.objectives]
    logged = {
        name: value
        for name in job.values.series
        if name != TRAIN_LOSS and (value := job.values.at(name, job.last_evaluation)) is not None
    }
    if outcome is None:
        return logged
    returned = outcome if isinstance(outcome, Mapping) else {objectives[0]: outcome}
    try:
        return logged | {str(name): number_of(str(name), value) for name, value in returned.items()}
    except UsageError as error:
        raise _NoScoreError("metric", f"the training returned what is no metric: {error}") from None


def _missing(job: Job, name: str) -> _NoScoreError:
    """The error for a missing or stale deciding metric."""
    last = job.values.last(name)
    logged = ", ".join(sorted(job.values.series)) or "nothing"
    if last is None:
        return _NoScoreError(
            "missing",
            f"the metric {name!r} was neither returned nor logged; logged: {logged}. Return it, or"
            f" job.log(step, {name}=...) where job.is_evaluation_due(step)"
            + "".join(f"; {note}" for note in job.notes),
        )
    return _NoScoreError(
        "stale",
        f"{name!r} was logged last at step {last[0]}, and the last evaluation is at step"
        f" {job.last_evaluation}: log it there (steps count from 1), or return it",
    )


def not_applied(job: Job) -> str | None:
    """Why the learning rates were not the policy's up to now; None where they were."""
    if job.changed is not None:
        return f"the policy was not applied: {job.changed}"
    if job.skipped > MOST_SKIPPED * job.horizon:
        return (
            f"the policy was not applied: {job.skipped} of {counted(job.horizon, 'step')} of the scheduler had no"
            " optimizer update before them: call scheduler.step() after optimizer.step() only"
        )
    return None


def _require_applied(job: Job) -> None:
    """Check that the learning rates and the number of updates were the policy's.

    Raises:
        _NoScoreError: if they were not.
    """
    if (why := not_applied(job)) is not None:
        raise _NoScoreError("policy", why)
    expected = job.last_evaluation
    if job.has_scheduler and job.step != expected and not job.is_range_test:
        raise _NoScoreError(
            "policy",
            f"the policy was not applied: the training made {counted(job.step, 'update')}, and this run has"
            f" {expected} (job.horizon): loop over job.batches(loader), or end at job.horizon",
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


def _error_text(error: BaseException) -> str:
    """An exception with the user's frames of its traceback; of lrsearch's own errors only the message."""
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [frame for frame in frames if not Path(frame.filename).is_relative_to(PACKAGE)]
    if isinstance(error, LRSearchError) and not user_frames:
        return str(error)[-LONGEST_ERROR:]
    shown = "".join([*traceback.format_list(user_frames or frames), *traceback.format_exception_only(error)])
    return "\n".join(shown.rstrip().splitlines()[-LAST_LINES:])[-LONGEST_ERROR:]


def _run(job: Job, state: RunState, scores: dict[str, float], failure: _NoScoreError | None) -> Run:
    name = job.spec.task.objective.name
    values = job.values
    steps, lost = job.step, job.lost
    if state is RunState.FINISHED and not job.is_range_test:
        steps = job.horizon
    elif state is RunState.INTERRUPTED:  # the attempt that ends the run subtracts the steps that it resumed from
        steps, lost = job.trained, job.uncharged
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
    """The evaluations, with the returned score as the last one."""
    points = [point for point in job.points if math.isfinite(point.score)]
    if score is not None and (not points or points[-1].step < job.last_evaluation):
        points.append(Point(job.last_evaluation, None, score))
    return tuple(points)


def _applied(job: Job, failure: _NoScoreError | None) -> str:
    if failure is not None and failure.cause == "policy":
        return failure.why
    return YES if job.has_scheduler else NOT_CHECKED
