"""The executor of workers: it distributes groups of runs over them, and trains again what a worker lost."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from lrsearch.errors import EngineError, LRSearchError, WorkError
from lrsearch.executors.worker import GRACE_SECONDS
from lrsearch.executors.workers import Died, Failed, Gone, Message, Opened, Order, Refused, RunEnded, Stepped, Workers
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.executor import (
    LATER,
    LATER_SECONDS,
    WAIT,
    Ask,
    Ended,
    Group,
    Limits,
    Lockstep,
    Lost,
    NoRun,
    OutOfTime,
    Progress,
    Usage,
    nothing_to_wait_for,
)
from lrsearch.runs.lost import Cause, Death, LostAttempt
from lrsearch.words import counted

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    """The group that a worker trains, and what is known of it."""

    specs: list[RunSpec]
    in_lockstep: bool
    began: float
    steps: dict[str, int] = field(default_factory=dict)
    is_interrupted: bool = False

    def spec(self, key: str) -> RunSpec:
        return next(spec for spec in self.specs if spec.key == key)

    def interrupted(self, spec: RunSpec, now: float) -> Run:
        """The run of an attempt that ended with its process, with the steps that were reported."""
        return Run(state=RunState.INTERRUPTED, steps=self.steps.get(spec.key, 0), seconds=now - self.began)


class WorkerExecutor:
    """Distributes groups of runs over workers, each to the next free one.

    A run whose worker dies is trained again, before new groups are asked for. Runs that waited behind it in its group
    are trained again as well, and it alone counts as lost.

    Args:
        workers: the workers.
        task: the task that they train.
        slots: the number of workers.
        limits: the deadline.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        workers: Workers,
        task: Task,
        slots: int,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workers, self.task, self.slots = workers, task, slots
        self._limits, self._clock = limits or Limits(), clock
        self._lockstep: Lockstep | None = None
        self._free: dict[int, float] = {}
        """Since when each free worker is free."""
        self._open: dict[int, _Open] = {}
        self._left = set(range(slots))
        self._refusal: str | None = None
        self._queue = deque[Group]()
        self._attempts = Counter[tuple[str, Cause]]()
        self._busy = self._waited = 0.0
        self._folder: Path | None = None
        self._stopped_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers and their child processes, in the middle of a run if need be."""
        self.workers.close(GRACE_SECONDS)

    @property
    def lockstep(self) -> Lockstep:
        """Whether short runs of its task train in lockstep: from the first worker that has opened the source.

        Raises:
            WorkError: if no worker can open it.
        """
        while self._lockstep is None:
            self._require_worker()
            self._note(self._receive())
        return self._lockstep

    @property
    def usage(self) -> Usage:
        """How much of their time the workers have trained; the time before a worker has opened is not counted."""
        return Usage(self.slots, self._busy + self._waited, self._busy)

    def train(
        self,
        ask: Ask,
        ended: Ended,
        *,
        folder: Path | None = None,
        progress: Progress | None = None,
        lost: Lost | None = None,
    ) -> None:
        """Train groups as workers become free: see `Executor.train`.

        When interrupted, or when a run fails, it stops the open runs, reports them as well, and then raises. When
        interrupted again, it ends the workers and raises at once.
        """
        self._folder = folder
        self._free = dict.fromkeys(self._free, self._clock())
        try:
            self._train(ask, ended, progress or (lambda spec, steps: None), lost or (lambda attempt: None))
        finally:
            self._waited += sum(self._clock() - since for since in self._free.values())

    def _train(self, ask: Ask, ended: Ended, progress: Progress, lost: Lost) -> None:
        failure: BaseException | None = None
        last: tuple[RunSpec, Run] | None = None
        while True:
            try:
                if last is not None:
                    ended(*last)
                    last = None
                is_later = failure is None and self._fill(ask) is LATER
                self._check_deadline(failure)
                if not (self._open or is_later) and (failure is not None or not self._queue):
                    break
                last = self._next(progress, lost, ended)
            except KeyboardInterrupt as error:  # it may have interrupted `ended`, which gets a final run once more
                if isinstance(failure, KeyboardInterrupt):
                    self._abandon(ended, last)
                    raise
                failure, last = error, last if last and last[1].state.is_final else None
                self._stop()
            except LRSearchError as error:
                failure, last = failure or error, None
                self._stop()
                if not self._left:
                    self._abandon(ended, None)
        if failure:
            raise failure

    def _stop(self) -> None:
        self._stopped_at = self._clock()
        self._queue.clear()
        self.workers.stop()

    def _abandon(self, ended: Ended, last: tuple[RunSpec, Run] | None) -> None:
        """End the workers at once, and pass their runs on as interrupted, and a run that has ended once more."""
        self.workers.close(0.0)
        if last is not None and last[1].state.is_final:
            with suppress(KeyboardInterrupt):
                ended(*last)
        for worker in list(self._open):
            group = self._open.pop(worker)
            for spec in group.specs:
                with suppress(KeyboardInterrupt):
                    ended(spec, group.interrupted(spec, self._clock()))

    def _fill(self, ask: Ask) -> NoRun | None:
        """Ask for groups, one for each worker that has none, and send them to those that are free.

        Returns:
            Why there was no group for a worker; None where there was one for each.
        """
        self._require_worker()
        none = None
        while none is None and len(self._open) + len(self._queue) < len(self._left):
            group = ask()
            if isinstance(group, NoRun):
                none = group
            else:
                self._queue.append(group)
        if none is WAIT and not self._open and not self._queue:
            raise nothing_to_wait_for(self.task)
        while self._queue and self._free:
            self._begin(min(self._free), self._queue.popleft())
        return none

    def _begin(self, worker: int, group: Group) -> None:
        now = self._clock()
        self._waited += now - self._free.pop(worker)
        self._open[worker] = _Open(list(group.specs), group.in_lockstep, now)
        self.workers.begin(worker, Order.of(group, self._folder))

    def _check_deadline(self, failure: BaseException | None) -> None:
        """Raise where the deadline has passed, and again where a run has not stopped soon after."""
        if self._limits.deadline is None or (failure is not None and not isinstance(failure, OutOfTime)):
            return
        latest = self._limits.deadline if self._stopped_at is None else self._stopped_at + GRACE_SECONDS
        if self._clock() > latest:
            raise OutOfTime

    def _next(self, progress: Progress, lost: Lost, ended: Ended) -> tuple[RunSpec, Run] | None:
        """Wait for a message and handle it. Returns the run if the message is an ended run."""
        message = self._receive()
        if isinstance(message, RunEnded):
            return self._end_run(message, lost)
        if isinstance(message, Stepped) and message.worker in self._open:
            group = self._open[message.worker]
            group.steps[message.key] = message.steps
            if self._stopped_at is None:
                progress(group.spec(message.key), message.steps)
        elif isinstance(message, Died):
            return self._lose(message, lost, ended)
        elif message is not None:
            self._note(message)
        return None

    def _receive(self) -> Message | None:
        return self.workers.receive(LATER_SECONDS)

    def _note(self, message: Message | None) -> None:
        """Handle a message that is of no run.

        Raises:
            WorkError: if a trainer is broken, or no worker is left.
        """
        if isinstance(message, Opened):
            self._lockstep = self._lockstep or message.lockstep
            self._free[message.worker] = self._clock()
        elif isinstance(message, Failed):
            self._close_group(message.worker, is_free=True)
            raise self._cannot_train(message.why)
        elif isinstance(message, Refused):
            self._left.discard(message.worker)
            self._refusal = message.why
            self._require_worker()
            log.warning("%s trains on %d of %d workers: %s", self.task.name, len(self._left), self.slots, message.why)
        elif isinstance(message, Gone):
            self._left.clear()
            raise EngineError(message.why)

    def _end_run(self, message: RunEnded, lost: Lost) -> tuple[RunSpec, Run] | None:
        """Remove an ended run from its group. An interruption that nobody asked for is a lost attempt."""
        group = self._open.get(message.worker)
        if group is None or message.key not in (spec.key for spec in group.specs):
            return self._take_late(message)
        spec = group.spec(message.key)
        seconds = self._clock() - group.began
        group.specs.remove(spec)
        is_lost = message.run.state is RunState.INTERRUPTED and self._stopped_at is None
        if not group.specs:
            self._close_group(message.worker, is_free=not is_lost)  # its process ends too
        if not is_lost:
            return spec, message.run
        if group.is_interrupted and not message.run.steps:  # it waited behind the run that was interrupted
            self._queue.append(Group((spec,)))
            return None
        group.is_interrupted = True
        return self._try_again(spec, Death(Cause.TERMINATED, "by SIGTERM"), replace(message.run, seconds=seconds), lost)

    def _take_late(self, message: RunEnded) -> tuple[RunSpec, Run] | None:
        """A result of a worker that was lost: it counts, where the run waits to be trained again."""
        for group in self._queue:
            spec = next((spec for spec in group.specs if spec.key == message.key), None)
            if spec is not None and message.run.state is not RunState.INTERRUPTED:
                self._queue.remove(group)
                if others := tuple(other for other in group.specs if other is not spec):
                    self._queue.appendleft(replace(group, specs=others))
                return spec, message.run
        return None

    def _lose(self, message: Died, lost: Lost, ended: Ended) -> tuple[RunSpec, Run] | None:
        """Train the runs of a dead worker's group again. Where all stop, pass them on as interrupted."""
        group = self._close_group(message.worker, is_free=False)
        if group is None or not group.specs:
            return None
        runs = {spec.key: group.interrupted(spec, self._clock()) for spec in group.specs}
        if self._stopped_at is not None:
            for spec in group.specs:
                ended(spec, runs[spec.key])
            return None
        first, *others = group.specs
        if others and group.in_lockstep:
            self._queue.appendleft(Group(tuple(others), True))
        else:
            self._queue.extendleft(Group((spec,)) for spec in reversed(others))
        return self._try_again(first, message.death, runs[first.key], lost)

    def _try_again(self, spec: RunSpec, death: Death, run: Run, lost: Lost) -> tuple[RunSpec, Run] | None:
        """Record a lost attempt, and queue the run again; the failed run where it was lost too often."""
        self._attempts[spec.key, death.cause] += 1
        number = sum(count for (key, _), count in self._attempts.items() if key == spec.key)
        is_last = self._attempts[spec.key, death.cause] >= death.cause.attempts
        is_paid = lost(LostAttempt(spec, number, death, run, is_last)) is not False
        if is_paid and not is_last:
            self._queue.appendleft(Group((spec,)))
            return None
        why = f"its process ended {counted(number, 'time')}, the last time {death}"
        if not is_paid:
            why += "; the budget does not pay for another attempt"
        return spec, Run(state=RunState.FAILED, steps=0, seconds=0.0, error=why, cause="lost")

    def _close_group(self, worker: int, *, is_free: bool) -> _Open | None:
        """The group of a worker, which it no longer trains."""
        self._free.pop(worker, None)
        group = self._open.pop(worker, None)
        now = self._clock()
        if group is not None:
            self._busy += now - group.began
        if is_free:
            self._free[worker] = now
        return group

    def _require_worker(self) -> None:
        if not self._left:
            raise self._no_worker_left()

    def _cannot_train(self, why: str) -> WorkError:
        return WorkError(f"a worker process cannot train {self.task.name}: {why}")

    def _no_worker_left(self) -> WorkError:
        """The error where no worker is left."""
        if self._refusal is not None:
            return self._cannot_train(self._refusal)
        return WorkError(f"no worker process is left to train {self.task.name}")
