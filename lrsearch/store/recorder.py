"""Recording runs from somebody else's training loop: three lines, and training never waits for a store."""

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrsearch.errors import LRSearchError, StoreAwayError, StoreError, UsageError, given
from lrsearch.runs import EXTERNAL, Objective, Point, Run, RunState, Task, objectives_of, run_key, task_key
from lrsearch.runs.conclusion import not_applied
from lrsearch.runs.environment import environment
from lrsearch.runs.objective import MAXIMIZE, MINIMIZE
from lrsearch.schedules import Policy, parse
from lrsearch.store.bundles import bundle_of, read_bundle
from lrsearch.store.database import file_of, read_url
from lrsearch.store.record import Curve, Record, check_name, digest, outcome, unmistaken
from lrsearch.store.recorded_job import RecordedJob
from lrsearch.store.stops import state_of
from lrsearch.store.store import Store
from lrsearch.tasks import TASKS, find_task
from lrsearch.tasks.catalogue import TaskLike

MOST_POINTS = 10_000
"""Points kept of a curve: one that grows longer is thinned evenly, by half."""
EVERY_SECONDS, PATIENCE_SECONDS = 10.0, 5.0
WAITING = "lrsearch-waiting"
NO_NUMBER = (TypeError, ValueError, OverflowError, RuntimeError, LRSearchError)
"""What a value that is not one number can raise; a tensor of several raises RuntimeError."""
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

    The run is in the store as `running` from its first log on, and in the end as what came of it: `finished`,
    `diverged` where the score is not finite, `stopped` where a framework's stop left the block (`optuna.TrialPruned`:
    see `lrsearch.store.stops`), `interrupted` where Ctrl-C did, `failed` where another exception did, or where the
    block ended without a score. Every exception goes on its way.

    Training never stops because of the store and never waits more than a few seconds for it: a thread of its own writes
    every ten seconds. What could not be written when the run ended lies as a bundle in the folder `lrsearch-waiting`
    beside the store's file, or in the working folder (or in `~/.cache`, where that cannot be written either), and is
    written by the next `record`, or by `lrsearch store import`.

    A run that was trained elsewhere has a key of its own: no search takes it for one of its runs. It is evidence for
    `recommend`, under the origin "recorded".

    It is judged by one metric: the one that is named here, or the task's own; else by a score, the higher the better.
    Runs of different metrics, directions or units are never compared.

    Args:
        store: a store, its file, or its URL.
        task: a task or a function under `@lrs.task`, the name of a shipped task, or any other name: such a task is
            matched by its name alone.
        policy: the policy, or its text.
        seed: the run's seed.
        horizon: steps of the run; a task has its own, and of a name alone the steps that were logged are taken.
        minimize: the metric that decides, where lower is better, such as "val_loss".
        maximize: the metric that decides, where higher is better, such as "bleu".
        unit: what the metric is counted in, for people.

    Raises:
        UsageError: if policy, seed, horizon or metric cannot be.
        StoreError: if what is there is no store. One that is merely away is waited for.

    >>> with record("sqlite:///:memory:", task="my task", policy="FIX(k0=0.1)") as run:
    ...     for step in range(3):
    ...         run.log(step, val_loss=1 / (step + 1))
    ...     run.finish(score=0.9)
    >>> run.state
    <RunState.FINISHED: 'finished'>

    With a metric of one's own, `finish` takes its value, or that of the last log that had it:

    >>> with record("sqlite:///:memory:", task="my lm", policy="FIX(k0=0.1)", minimize="val_loss") as run:
    ...     for step in range(3):
    ...         run.log(step, val_loss=3.5 / (step + 1))
    ...     run.finish()
    """
    if not isinstance(store, str | Path | Store):
        raise UsageError(f"store is an open store, its file, or its URL, got {given(store)}")
    described = _task(task)
    own = described.get("horizon")
    for name, value, low in (("seed", seed, None), ("horizon", horizon if own is None else horizon or own, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or (low and value < low)):
            raise UsageError(f"{name} must be a whole number{f', {low} or more' if low else ''}, got {value!r}")
    bound = policy if isinstance(policy, Policy) else parse(policy)
    if not bound.is_bound:
        raise UsageError(f"{bound} waits for its task: bind(horizon=..., epoch=...) it first")
    named = _named(described, minimize, maximize, unit)
    return Recorder(store, described, str(bound), seed, horizon or own, objective=named)


class Series:
    """A curve that grows: every n-th point, with n doubled whenever there are too many, and the last one."""

    def __init__(self) -> None:
        self._points: list[tuple[int, float]] = []
        self._last: tuple[int, float] | None = None
        self._seen, self._stride = 0, 1

    def add(self, step: int, value: float) -> None:
        """Take a point; one of the last point's step is said again, one of an earlier step is too late."""
        if self._last and step <= self._last[0]:
            if step == self._last[0]:
                self._last = (step, value)
                if self._points[-1][0] == step:
                    self._points[-1] = self._last
            return
        self._last = (step, value)
        if self._seen % self._stride == 0:
            self._points.append(self._last)
        self._seen += 1
        if len(self._points) > MOST_POINTS:
            del self._points[1::2]
            self._stride *= 2

    def curve(self) -> Curve:
        """Give the points so far."""
        missing = [self._last] if self._last and self._points[-1] != self._last else []
        return (*self._points, *missing)


class Recorder(RecordedJob):
    """A run that is being recorded: see `record`. It is a job: `scheduler`, `batches`, `is_evaluation_due`."""

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
        self._series: dict[str, Series] = {}
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
        """The run's key in the store; None while its horizon is not known."""
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
            if state is not RunState.STOPPED or self.state is RunState.RUNNING:  # nothing stops what has finished
                self._end(state, error=f"{type(error).__name__}: {error}")
        elif self.state is RunState.RUNNING:
            shown = "run.finish()" if self._has_metric else "run.finish(score=...)"
            self._end(RunState.FAILED, error=f"the block ended without {shown}")
        if self._is_in_memory:
            self._write()
            self._close()
        self._wake.set()
        if not self._written.wait(PATIENCE_SECONDS):
            self._keep()

    def log(self, step: int | None = None, /, **values: float) -> None:
        """Log values of any names at a step. What is no number is left out, with one warning.

        `val_loss` and `val_score`, logged together, and `train_loss` are what lrsearch's pictures know; of a run with a
        metric of its own that metric is.

        Args:
            step: updates so far, 0 or more, rising; or, where 0 and 1 are the first two, the number of an update as
                `range` counts: such a loop made one update more than its last number. That of the run's scheduler where
                it is not given.
            values: numbers, or tensors and arrays of one.
        """
        try:
            at = self.job.step if step is None else int(step)
            numbers = {name: number(value) for name, value in values.items()}
            if at < 0:
                raise ValueError(f"step {at} is below 0")
            for name in numbers:
                check_name("a curve's name", name)
        except NO_NUMBER as error:
            self._warn(f"a log of {', '.join(values)} was left out: {error}")
            return
        with self._lock:
            self._from_zero |= (self._logged, at) == (0, 1)
            self._logged = max(self._logged, at)
            for name, value in numbers.items():
                self._series.setdefault(name, Series()).add(at, value)
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
        """Say how the run ended: with its metric's value, in its own unit and sign, and a loss if there is one.

        A value that is not finite is a run that diverged. Where neither `record` nor its task names a metric it is a
        score, higher is better. Scores of different units are never compared.

        Args:
            value: a number, or a tensor or array of one. A share, and a score without a unit, is within 0 and 1; any
                other metric has values of any size. Where it is left out: what was logged of the metric last.
            loss: the same, of any size.
            score: the value by another name, of a metric that is maximized.
            unit: what the value is counted in, such as "%" or "R2": a text of 1 to 40 characters, kept with the run.

        Raises:
            UsageError: for a share, or a score without a unit, that is not within 0 and 1, for a score where the metric
                is minimized, and what is no number or no unit. The run goes on: it can be finished again.
        """
        number, objective = self._value(value, score), self._objective
        other = None if loss is None else _one("loss", loss)
        if unit is not None:
            objective = replace(objective, unit=_unit(unit), samples=None)
        is_share = objective.is_share or not (self._has_metric or objective.unit)
        if is_share and math.isfinite(number) and not 0 <= number <= 1:
            raise UsageError(
                f"a score without a unit is within 0 and 1, the higher the better, got {number:g}: name"
                f" its unit, as in finish(score={number:g}, unit='%')"
            )
        self._objective = objective
        why = not_applied(self._job) if self._job is not None else None
        if why is not None:
            self._end(RunState.FAILED, error=why)
            self._warn(f"the run has no score: {why}")
            return
        self._end(RunState.FINISHED if math.isfinite(number) else RunState.DIVERGED, number, other)

    def _value(self, value: Any, score: Any) -> float:
        """Read the value that the run ends with: as it was given, or as it was logged last."""
        metric = self._objective.name if self._has_metric else "score"
        if score is not None and (value is not None or self._objective.is_minimized):
            raise UsageError(
                f"{metric} is {self._objective.direction}d: finish(value) takes it once, in its own sign;"
                " score= is for what is the better the higher"
            )
        said = score if value is None else value
        if said is None and metric in self._series:
            return self._series[metric].curve()[-1][1]
        return _one(metric, said)

    @property
    def _steps(self) -> int:
        """Updates so far; a loop that counts from 0 made one more than it said, up to the horizon.

        All steps of a run that finished were trained: one short of its horizon, it counted from 0 as well.
        """
        is_at_end = self.state is RunState.FINISHED and self._logged + 1 == self._horizon
        is_below = self._horizon is None or self._logged < self._horizon
        return max(self._logged, 0) + (is_at_end or (self._from_zero and is_below))

    @property
    def _is_in_memory(self) -> bool:
        return ":memory:" in (read_url(self._url).database or "")

    def _end(
        self, state: RunState, score: float | None = None, loss: float | None = None, *, error: str | None = None
    ) -> None:
        with self._lock:
            self.state, self._score, self._loss, self._error = state, score, loss, error
            self._horizon = self._horizon or max(self._steps, 1)

    def _record(self) -> Record | None:
        """Give the run as it stands; None while it has no key."""
        with self._lock:
            if self.key is None or self._horizon is None:
                return None
            return Record(
                key=self.key,
                task=task_key(self._task),
                policy=self._policy,
                horizon=self._horizon,
                seed=self._seed,
                origin=EXTERNAL,
                **self._outcome({name: series.curve() for name, series in self._series.items()}),
            )

    def _outcome(self, curves: Mapping[str, Curve]) -> dict[str, Any]:
        """What came of it: with a metric of its own as of a user's training, else with the series of our loop."""
        stride, losses = _evenly(curves.get("train_loss", ()))
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
        found = outcome(run, self._objective)
        if not self._has_metric:
            found |= {
                "curves": unmistaken(curves),
                "details": {"stride": 1, "error": self._error, "environment": dict(run.environment)},
            }
            if self._job is not None:
                found["details"]["applied"] = self._applied
        return found | {"details": found["details"] | {"attempt": self._attempt}}

    def _write_on(self) -> None:
        """Write every ten seconds, until the run has ended and is written."""
        while not self._written.is_set():
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            self._write()
        self._close()

    def _write(self) -> None:
        found = self._record()
        if found is None:
            return
        try:
            store = self._opened()
            store.add([found], tasks={found.task: self._task})
            if found.state != RunState.RUNNING:
                self._say_if_known(store, found)
                land(store, self._waiting())
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

    def _say_if_known(self, store: Store, found: Record) -> None:
        if found.details["attempt"] in [attempt.details.get("attempt") for attempt in store.attempts(found.key)]:
            log.warning(
                "run %s was recorded before with another result, which stays; this one is kept beside it:"
                " another seed makes another run",
                found.key,
            )

    def _waiting(self) -> list[Path]:
        return [folder / f"{digest(self._url)}-{self.key}-{self._attempt}.bundle" for folder in _folders(self._url)]

    def _keep(self) -> None:
        """Leave the run in a file for later."""
        found = self._record()
        assert found is not None
        for path in self._waiting():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                part.write_bytes(bundle_of(found, self._task))
                part.replace(path)
            except OSError:
                continue
            log.warning(
                "the run waits in %s until its store is back: the next record writes it, or"
                " `lrsearch store import --trust`",
                path,
            )
            return
        log.warning("run %s could be written neither to its store nor to a file", found.key)

    def _warn_away(self, error: LRSearchError) -> None:
        self._warn(f"{error}; training goes on, and the run is kept until it can be written")

    def _warn(self, said: str) -> None:
        """Say it once, the first of all troubles."""
        if not self._has_warned:
            self._has_warned = True
            log.warning("%s", said)


def land(store: Store, like: list[Path]) -> None:
    """Write the runs that wait for a store, and take their files away; `like` are places where one could be."""
    for place in like:
        for path in sorted(place.parent.glob(f"{place.name.split('-')[0]}-*.bundle")):
            try:
                read_bundle(store, path, trust=True)
                path.unlink()
            except (StoreError, OSError) as error:
                log.warning("%s could not be imported: %s", path, error)


def _folders(url: str) -> list[Path]:
    """Where runs wait for a store: beside its file or in the working folder, else at home; nobody else writes there."""
    file = file_of(read_url(url))
    return [(file.parent if file else Path()) / WAITING, Path.home() / ".cache" / WAITING]


def number(value: Any) -> float:
    """Read a number, or a tensor or array of one, without its gradient; a text is none.

    Raises:
        One of `NO_NUMBER`: if it is none.
    """
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"a text is no number: {value!r}"[:80])
    detach = getattr(value, "detach", None)
    return float(detach() if callable(detach) else value)


def _one(name: str, value: Any) -> float:
    """Read the number that a run ends with."""
    is_claim = isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
    try:
        if not is_claim:
            return number(value)
    except NO_NUMBER:
        pass
    raise UsageError(f"{name} is a number, or a tensor or array of one, got {given(value)}")


def _unit(unit: Any) -> str:
    if not (isinstance(unit, str) and unit.strip() and unit.isprintable() and len(unit) <= 40):
        raise UsageError(f"unit is a text of 1 to 40 characters, such as '%', got {given(unit)}")
    return unit


def _evenly(curve: Curve) -> tuple[int, tuple[float, ...]]:
    """The stride and the values of a curve that was logged every so many steps; no values of another."""
    strides = {after - before for (before, _), (after, _) in pairwise(curve)}
    return (strides.pop(), tuple(value for _, value in curve)) if len(strides) == 1 else (1, ())


def _task(task: Any) -> dict[str, Any]:
    """Give a task's description: whole, or of a name alone."""
    own = getattr(task, "task", task)
    if not isinstance(own, str | Task):
        raise UsageError(f"task is a Task, or the name of one, got {given(task)}")
    if isinstance(own, Task) or own in TASKS:
        return find_task(own).description
    return {"name": check_name("a task's name", own)}


def _named(
    described: Mapping[str, Any], minimize: str | None, maximize: str | None, unit: str | None
) -> Objective | None:
    """The metric that a run is recorded by: the one that is named, or a user's task's own; else None.

    Raises:
        UsageError: for two, and for one that the task has in the other direction.
        TaskError: for what is no metric.
    """
    if minimize is not None and maximize is not None:
        raise UsageError("a run is judged by one metric: name it by minimize= or by maximize=, not by both")
    own = {} if set(described) == {"name"} else {one.name: one for one in objectives_of(described)}
    name, direction = (minimize, MINIMIZE) if minimize is not None else (maximize, MAXIMIZE)
    if name is None:
        if unit is not None:
            raise UsageError("unit= is that of a metric: name it by minimize= or maximize=, or give its unit to finish")
        return next(iter(own.values())) if "objectives" in described else None
    named = Objective(name, direction)
    known = own.get(name, named)
    if known.direction != direction:
        raise UsageError(
            f"{name} of task {described['name']!r} is {known.direction}d: record it by {known.direction}={name!r}"
        )
    return known if unit is None else replace(known, unit=_unit(unit), samples=None)
