"""Record runs of a user's own training loop: three lines, and training never waits for the store."""

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrsearch.errors import LRSearchError, StoreAwayError, UsageError, given
from lrsearch.runs import EXTERNAL, Objective, Point, Run, RunState, objectives_of, run_key, task_key
from lrsearch.runs.conclusion import not_applied
from lrsearch.runs.environment import environment
from lrsearch.schedules import Policy, parse
from lrsearch.store.arguments import description_of, final_number, metric_of, unit_of
from lrsearch.store.database import is_in_memory, read_url
from lrsearch.store.entries import Curve, outcome, prefixed
from lrsearch.store.fields import Entry
from lrsearch.store.logged import NOT_A_NUMBER, ThinnedCurve, evenly_spaced, number
from lrsearch.store.recorded_job import RecordedJob
from lrsearch.store.spool import flush, spool
from lrsearch.store.stops import state_of
from lrsearch.store.store import Store
from lrsearch.store.values import check_name
from lrsearch.tasks.catalogue import TaskLike

EVERY_SECONDS, PATIENCE_SECONDS = 10.0, 5.0
"""Between two writes to the store, and for a store at the end of a run: a rule, short beside any training."""
log = logging.getLogger(__name__)


def record(
    store: str | Path | Store,
    task: TaskLike,
    policy: str | Policy,
    seed: int = 0,
    horizon: int | None = None,
    *,
    minimize: str | None = None,
    maximize: str | None = None,
    unit: str | None = None,
) -> "Recorder":
    """Record a run of your own training loop, with its curves.

    Ten seconds after its start the run is in the store as `running`, if its horizon is known. At the end its state is
    one of these:

    - `finished`, or `diverged` if the score is not finite;
    - `stopped`, if a framework's stop such as `optuna.TrialPruned` left the block (see `lrsearch.store.stops`);
    - `interrupted`, if Ctrl-C left it;
    - `failed`, if another exception left it, or if it ended without a score.

    Exceptions are not caught. A thread writes to the store every ten seconds, so training never waits more than a few
    seconds for it. A run that could not be written when it ended is spooled as a bundle in the folder
    `lrsearch-waiting`: beside the store's file, or in the working folder, or in `~/.cache`. The next `record` writes it
    to the store; so does `lrsearch store import`.

    The run's key differs from that of any run of a search, so no search reuses it. It is evidence for `recommend`,
    under the origin "recorded".

    The run is judged by one metric: the one that is named here, or the task's own, or else a score where higher is
    better. Runs of different metrics, directions or units are never compared.

    Args:
        store: a store, its file, or its URL.
        task: a task, a function under `@lrs.task`, the name of a shipped task, or any other name. A task of such a
            name is matched by its name alone.
        policy: the policy, or its text.
        seed: the run's seed.
        horizon: steps of the run; by default the task's, or for a name alone the number of logged steps.
        minimize: the metric that decides, where lower is better, such as "val_loss".
        maximize: the metric that decides, where higher is better, such as "bleu".
        unit: the unit of the metric, for people.

    Raises:
        UsageError: if policy, seed, horizon or metric is not valid.
        StoreError: if the database is not a store. A store that is only away raises nothing.

    >>> with record("sqlite:///:memory:", task="my task", policy="FIX(k0=0.1)") as run:
    ...     for step in range(3):
    ...         run.log(step, val_loss=1 / (step + 1))
    ...     run.finish(score=0.9)
    >>> run.state
    <RunState.FINISHED: 'finished'>

    With a named metric, `finish` takes its value, or uses the last one that was logged:

    >>> with record("sqlite:///:memory:", task="my lm", policy="FIX(k0=0.1)", minimize="val_loss") as run:
    ...     for step in range(3):
    ...         run.log(step, val_loss=3.5 / (step + 1))
    ...     run.finish()
    """
    if not isinstance(store, str | Path | Store):
        raise UsageError(f"store is an open store, its file, or its URL, got {given(store)}")
    description = description_of(task)
    task_horizon = description.get("horizon")
    own_or_task = horizon if task_horizon is None else horizon or task_horizon
    for name, value, low in (("seed", seed, None), ("horizon", own_or_task, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or (low and value < low)):
            raise UsageError(f"{name} must be a whole number{f', {low} or more' if low else ''}, got {value!r}")
    bound = policy if isinstance(policy, Policy) else parse(policy)
    if not bound.is_bound:
        raise UsageError(f"{bound} waits for its task: bind(horizon=..., epoch=...) it first")
    objective = metric_of(description, minimize, maximize, unit)
    return Recorder(store, description, str(bound), seed, horizon or task_horizon, objective=objective)


class Recorder(RecordedJob):
    """A run that is being recorded: see `record`. Like a job it has `scheduler`, `batches` and `is_evaluation_due`."""

    def __init__(
        self,
        store: str | Path | Store,
        task: dict[str, Any],
        policy: str,
        seed: int,
        horizon: int | None,
        clock: Callable[[], float] = time.monotonic,
        objective: Objective | None = None,
    ) -> None:
        self.state = RunState.RUNNING
        self._has_metric = objective is not None
        self._objective = objective or objectives_of(task)[0]
        self._url = store.url if isinstance(store, Store) else str(store)
        self._store = store if isinstance(store, Store) else None
        self._owns = not isinstance(store, Store)
        self._task, self._policy, self._seed, self._horizon = task, policy, seed, horizon
        self._clock, self._began, self._attempt = clock, clock(), secrets.token_hex(4)
        self._series: dict[str, ThinnedCurve] = {}
        self._logged, self._from_zero = -1, False
        self._score, self._loss, self._error = None, None, None
        self._lock, self._wake, self._written = threading.Lock(), threading.Event(), threading.Event()
        self._has_warned = False
        try:
            self._opened()
        except StoreAwayError as error:
            self._warn_away(error)

    _score: float | None
    _loss: float | None
    _error: str | None

    @property
    def key(self) -> str | None:
        """The run's key in the store; None while its horizon is unknown."""
        if self._horizon is None:
            return None
        return run_key(task_key(self._task), self._policy, self._horizon, self._seed, EXTERNAL)

    def __enter__(self) -> Self:
        if not self._is_in_memory:
            threading.Thread(target=self._write_on, name="lrsearch-recorder", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            state = state_of(error)
            if state is not RunState.STOPPED or self.state is RunState.RUNNING:  # a stop after `finish` changes nothing
                self._end(state, error=f"{type(error).__name__}: {error}")
        elif self.state is RunState.RUNNING:
            call = "run.finish()" if self._has_metric else "run.finish(score=...)"
            self._end(RunState.FAILED, error=f"the block ended without {call}")
        if self._is_in_memory:
            self._write()
            self._close()
        self._wake.set()
        if not self._written.wait(PATIENCE_SECONDS):
            self._spool()

    def log(self, step: int | None = None, /, **values: float) -> None:
        """Log values of any names at a step. A value that is not a number is left out, with one warning.

        lrsearch's pictures show the run's metric, `train_loss`, and `val_loss` with `val_score` where both are logged.

        Args:
            step: updates so far, 0 or more, rising; by default that of the run's scheduler. A loop that counts from 0
                as `range` does is recognized by its first two steps, 0 and 1: it made one update more than its last
                number.
            values: numbers, or tensors and arrays of one element.
        """
        try:
            at = self.job.step if step is None else int(step)
            numbers = {name: number(value) for name, value in values.items()}
            if at < 0:
                raise ValueError(f"step {at} is below 0")
            for name in numbers:
                check_name("a curve's name", name)
        except NOT_A_NUMBER as error:
            self._warn(f"a log of {', '.join(values)} was left out: {error}")
            return
        with self._lock:
            self._from_zero |= (self._logged, at) == (0, 1)
            self._logged = max(self._logged, at)
            for name, value in numbers.items():
                self._series.setdefault(name, ThinnedCurve()).add(at, value)
        if self._job is not None:
            self._job.log(at, **numbers)

    def finish(
        self,
        value: float | None = None,
        loss: float | None = None,
        *,
        score: float | None = None,
        unit: str | None = None,
    ) -> None:
        """End the run with its metric's value, in the metric's own unit and sign, and optionally a loss.

        With a value that is not finite the run has diverged. Where neither `record` nor the task names a metric, the
        value is a score, higher is better. Scores of different units are never compared.

        Args:
            value: a number, or a tensor or array of one element; by default the last logged value of the metric. A
                share, and a score without a unit, is within 0 and 1; other metrics have values of any size.
            loss: a number of any size.
            score: another name of `value`, for a metric that is maximized.
            unit: the unit of the value, such as "%" or "R2": a text of 1 to 40 characters, stored with the run.

        Raises:
            UsageError: for a share, or a score without a unit, outside 0 to 1; for `score` where the metric is
                minimized; for what is not a number or not a unit. The run stays open: `finish` can be called again.
        """
        number, objective = self._value(value, score), self._objective
        final_loss = None if loss is None else final_number("loss", loss)
        if unit is not None:
            objective = replace(objective, unit=unit_of(unit), samples=None)
        is_share = objective.is_share or not (self._has_metric or objective.unit)
        if is_share and math.isfinite(number) and not 0 <= number <= 1:
            raise UsageError(
                f"a score without a unit is within 0 and 1, the higher the better, got {number:g}: name"
                f" its unit, as in finish(score={number:g}, unit='%')"
            )
        self._objective = objective
        reason = not_applied(self._job) if self._job is not None else None
        if reason is not None:
            self._end(RunState.FAILED, error=reason)
            self._warn(f"the run has no score: {reason}")
            return
        self._end(RunState.FINISHED if math.isfinite(number) else RunState.DIVERGED, number, final_loss)

    def _value(self, value: Any, score: Any) -> float:
        """The value that the run ends with: the argument of `finish`, or the last one that was logged."""
        metric = self._objective.name if self._has_metric else "score"
        if score is not None and (value is not None or self._objective.is_minimized):
            raise UsageError(
                f"{metric} is {self._objective.direction}d: finish(value) takes it once, in its own sign;"
                " score= is for what is the better the higher"
            )
        final = score if value is None else value
        if final is None and metric in self._series:
            return self._series[metric].curve()[-1][1]
        return final_number(metric, final)

    @property
    def _steps(self) -> int:
        """Updates so far. A loop that counts from 0 made one more than its last number, up to the horizon.

        A finished run trained all its steps: if its last number is one below the horizon, it counted from 0 too.
        """
        is_at_end = self.state is RunState.FINISHED and self._logged + 1 == self._horizon
        is_below = self._horizon is None or self._logged < self._horizon
        return max(self._logged, 0) + (is_at_end or (self._from_zero and is_below))

    @property
    def _is_in_memory(self) -> bool:
        return is_in_memory(read_url(self._url))

    def _end(
        self, state: RunState, score: float | None = None, loss: float | None = None, *, error: str | None = None
    ) -> None:
        with self._lock:
            self.state, self._score, self._loss, self._error = state, score, loss, error
            self._horizon = self._horizon or max(self._steps, 1)

    def _entry(self) -> Entry | None:
        """The run so far; None while it has no key."""
        with self._lock:
            if self.key is None or self._horizon is None:
                return None
            return {
                "key": self.key,
                "task": task_key(self._task),
                "policy": self._policy,
                "horizon": self._horizon,
                "seed": self._seed,
                "origin": EXTERNAL,
                "lost_steps": 0,
                **self._outcome({name: series.curve() for name, series in self._series.items()}),
            }

    def _outcome(self, curves: Mapping[str, Curve]) -> dict[str, Any]:
        """The result: of a run with a named metric as of a user's training, else with the series of lrsearch's loop."""
        stride, losses = evenly_spaced(curves.get("train_loss", ()))
        points = tuple(Point(step, None, value) for step, value in curves.get(self._objective.name, ()))
        run = Run(
            state=self.state,
            steps=self._steps,
            seconds=self._clock() - self._began,
            score=self._score,
            loss=self._loss,
            error=self._error,
            applied=self._applied,
            stride=stride,
            points=points,
            train_losses=losses,
            curves=curves,
            environment=environment(),
        )
        fields = outcome(run, self._objective)
        details = fields["details"]
        if not self._has_metric:
            fields["curves"] = prefixed(curves)
            details = {"stride": 1, "error": self._error, "environment": dict(run.environment)}
            if self._job is not None:
                details["applied"] = self._applied
        return fields | {"details": details | {"attempt": self._attempt}}

    def _write_on(self) -> None:
        """Write every ten seconds until the run has ended and is in the store."""
        while not self._written.is_set():
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            self._write()
        self._close()

    def _write(self) -> None:
        entry = self._entry()
        if entry is None:
            return
        try:
            store = self._opened()
            store.add([entry], tasks={entry["task"]: self._task})
            if entry["state"] != RunState.RUNNING:
                self._warn_if_attempt(store, entry)
                flush(store, self._url)
                self._written.set()
        except LRSearchError as error:
            self._warn_away(error)

    def _opened(self) -> Store:
        if self._store is None:
            self._store = Store(self._url, PATIENCE_SECONDS)
        return self._store

    def _close(self) -> None:
        if self._owns and self._store:
            self._store.close()

    def _warn_if_attempt(self, store: Store, entry: Entry) -> None:
        """Log a warning if another result of this run was stored first."""
        if entry["details"]["attempt"] in [each["details"].get("attempt") for each in store.attempts(entry["key"])]:
            log.warning(
                "run %s was recorded before with another result, which stays; this one is kept beside it:"
                " another seed makes another run",
                entry["key"],
            )

    def _spool(self) -> None:
        """Leave the run in a file, from which a later recording writes it to the store."""
        entry = self._entry()
        assert entry is not None
        path = spool(self._url, entry, self._task)
        if path is None:
            log.warning("run %s could be written neither to its store nor to a file", entry["key"])
            return
        log.warning(
            "the run waits in %s until its store is back: the next record writes it, or"
            " `lrsearch store import --trust`",
            path,
        )

    def _warn_away(self, error: LRSearchError) -> None:
        self._warn(f"{error}; training goes on, and the run is kept until it can be written")

    def _warn(self, message: str) -> None:
        """Log the first warning of the run; later ones are dropped."""
        if not self._has_warned:
            self._has_warned = True
            log.warning("%s", message)
