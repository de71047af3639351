"""A job is a run in training: the object that a training function receives."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from lrsearch.errors import UsageError, given
from lrsearch.runs.counter import StepCounter
from lrsearch.runs.evaluations import cycle_ends, evaluation_steps
from lrsearch.runs.loader import NO_BATCH, RunLoader, set_epoch
from lrsearch.runs.run import OfSpec, Point, RunSpec
from lrsearch.runs.series import Log
from lrsearch.runs.stop import Stop
from lrsearch.words import counted

if TYPE_CHECKING:
    import torch

    from lrsearch.schedules.torch_jobs import JobControllerScheduler, JobScheduler, SchedulerSet

TRAIN_LOSS = "train_loss"
REPORT_EVERY = 25
"""Rule: steps between two calls of `on_progress`, which may interrupt the run."""
NOT_FINITE = 25
"""Rule: so many training losses in a row that are not finite are a divergence; AMP skips single updates."""
PATIENCE = 2
"""Rule: evaluations after a stop that the loop ignored, until `log` raises `JobStopped`."""
RANGE_TEST = "RAMP"
"""The LR function of range tests."""
OnProgress = Callable[[int], None]


class JobStopped(SystemExit):
    """Ends the training of a run that was to stop and went on. A program that does not catch it exits with 0."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.code = 0


class Job(OfSpec):
    """A run in training: its policy's scheduler, its log, and when to evaluate and to stop.

    Args:
        spec: the identity of the run.
        folder: for its checkpoints, the same on a retry; None for a temporary one.
        device: a torch device, such as "cuda:0"; None for the GPU if there is one, else the CPU.
        on_progress: called with the number of steps done every now and then; it may raise `KeyboardInterrupt`.
        is_range_test: whether only its training losses are read, without evaluations; None to decide by its policy.
        feeds_controller: whether a controller gets the objective's cost; otherwise the loop passes it a loss.

    >>> from lrsearch import FIX, Task, minimize
    >>> task = Task(name="toy", horizon=20, epoch=5, objectives=(minimize("val_loss"),))
    >>> job = Job(RunSpec(task, FIX(k0=0.1), 20, seed=0))
    >>> for step in range(1, 1 + job.horizon):
    ...     job.log(step, train_loss=1 / step)
    ...     if job.is_evaluation_due(step):
    ...         job.log(step, val_loss=2 / step)
    >>> job.horizon, job.epoch, job.epochs, job.points[-1]
    (20, 5, 4.0, Point(step=20, loss=None, score=0.1))
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        folder: Path | None = None,
        device: str | None = None,
        on_progress: OnProgress | None = None,
        is_range_test: bool | None = None,
        feeds_controller: bool = True,
    ) -> None:
        if not isinstance(spec, RunSpec):
            raise UsageError(f"a job is made of a RunSpec, and given to a function under @lrs.task, got {given(spec)}")
        self.spec = spec
        self.is_range_test = spec.policy.form == RANGE_TEST if is_range_test is None else is_range_test
        self._folder, self._device, self._on_progress = folder, device, on_progress
        self._feeds_controller = feeds_controller and spec.policy.is_controller
        self._objective = spec.task.objective
        self._scheduler: JobScheduler | JobControllerScheduler | SchedulerSet | None = None
        self._evaluations = frozenset() if self.is_range_test else evaluation_steps(spec)
        self._cycle_ends, self._stop = cycle_ends(spec), spec.stop or Stop()
        self._values = Log()
        self._counter = StepCounter(folder)
        self._logged = 0
        self._began_at = 0
        self._evaluations_since_stop = 0
        self.lrs: list[float] = []
        self.points: list[Point] = []
        self.skipped = 0
        self.changed: str | None = None
        self.stopped_at: int | None = None
        self.has_diverged = False
        self.first_step_at: float | None = None
        self.notes: tuple[str, ...] = ()

    @property
    def epochs(self) -> float:
        """Passes over the training samples in this run."""
        return self.horizon / self.epoch

    @property
    def key(self) -> str:
        """The run's key in the store."""
        return self.spec.key

    @property
    def device(self) -> str:
        """The device to train on: "cuda:0", "cuda" or "cpu"."""
        if self._device is None:
            import torch

            self._device = "cuda" if torch.cuda.is_available() else "cpu"
        return self._device

    @property
    def folder(self) -> Path:
        """A folder for checkpoints: the same when the run is started again."""
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="lrsearch-job-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @property
    def resumed(self) -> bool:
        """Whether an attempt before this one made updates: its checkpoints may be in the folder."""
        return self._counter.before > 0

    @property
    def step(self) -> int:
        """Updates done, counted by the scheduler; without a scheduler the last logged step."""
        return max(self._scheduler.last_epoch, 0) if self._scheduler is not None else self._logged

    @property
    def has_scheduler(self) -> bool:
        """Whether the training uses this job's scheduler, so that its learning rates are checked."""
        return self._scheduler is not None

    @property
    def values(self) -> Log:
        """The logged values as numbers."""
        self._values.read()
        return self._values

    @property
    def trained(self) -> int:
        """Updates made in this attempt."""
        return max(0, self.step - self._began_at)

    @property
    def uncharged(self) -> int:
        """Updates of earlier attempts that were not charged to the study."""
        return self._counter.uncharged

    @property
    def lost(self) -> int:
        """Updates of earlier attempts that were not charged, without those that this attempt resumed from."""
        return self._counter.uncharged - self._began_at if self._counter.before else 0

    def scheduler(self, *optimizers: "torch.optim.Optimizer", last_step: int = 0, auto_step: bool = False) -> Any:
        """The scheduler of this run's policy: call its `step()` after every update.

        The learning rates of all param groups of all optimizers keep their ratios, scaled so that the largest is the
        policy's. For one optimizer it is a torch `LRScheduler`, for several one object with the same methods.

        Args:
            optimizers: torch optimizers, one or more.
            last_step: updates made before, where the training resumes from a checkpoint.
            auto_step: step by itself after each update of the optimizer; a `step()` by hand is refused then.

        Raises:
            UsageError: for a second call, no optimizer, `auto_step` with several, or a step beyond the horizon.
            PolicyError: if every param group starts at LR 0, the optimizer has no momentum for the policy's, or no
                hooks for `auto_step`.
        """
        if self._scheduler is not None:
            raise UsageError(
                "job.scheduler was called before: give it all optimizers in one call, as"
                " job.scheduler(generator, discriminator)"
            )
        if not optimizers:
            raise UsageError("job.scheduler takes the optimizers of the training, one or more")
        if isinstance(last_step, bool) or not isinstance(last_step, int) or not 0 <= last_step <= self.horizon:
            raise UsageError(f"last_step is the updates made so far, 0 to {self.horizon}, got {last_step!r}")
        if auto_step and len(optimizers) > 1:
            raise UsageError(
                f"auto_step follows the updates of one optimizer, got {len(optimizers)}: call scheduler.step() where"
                " all of them have made theirs"
            )
        from lrsearch.schedules.torch_jobs import SchedulerSet, job_schedulers

        scheduler = job_schedulers(self.policy, optimizers, self, self.seed)
        self._scheduler = scheduler
        if last_step:
            for each in scheduler.schedulers if isinstance(scheduler, SchedulerSet) else (scheduler,):
                each.step(epoch=last_step)
            self.resumed_at(last_step)
        if auto_step and not isinstance(scheduler, SchedulerSet):
            scheduler.start_auto_step()
        return scheduler

    def batches(self, loader: Iterable[Any], *, accumulate: int = 1) -> Iterator[Any]:
        """The batches of this run: `accumulate` for each of its updates, pass after pass over the loader.

        Before each pass it calls `set_epoch` of the loader or its sampler, where there is one. After a resume it
        continues within the same pass. It ends early where the run is to stop.

        Args:
            loader: yields the batches of one pass each time it is iterated over.
            accumulate: batches of one update, 1 or more.

        Raises:
            UsageError: for a loader without batches, or an impossible number.
        """
        if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
            raise UsageError(f"accumulate is a whole number of batches, 1 or more, got {accumulate!r}")
        at, end = self.step * accumulate, self.horizon * accumulate
        skipped = at if at else 0
        passes = 0
        if skipped and (size := _length(loader)):
            passes, skipped = divmod(skipped, size)
        while at < end:
            set_epoch(loader, passes)
            is_empty = True
            for batch in loader:
                is_empty = False
                if skipped:
                    skipped -= 1
                    continue
                if at >= end or (at % accumulate == 0 and self.should_stop):
                    return
                at += 1
                yield batch
            if is_empty:
                raise UsageError(NO_BATCH)
            passes += 1

    def loader(self, loader: Iterable[Any]) -> RunLoader:
        """The loader of a loop over epochs: its pass stops where the run ends.

        A pass that begins after the end of the run raises `JobStopped`, which ends the training. So the loop may count
        more epochs than the run has. The end is read from `job.step`, so use `job.scheduler` as well. Before each pass
        it calls `set_epoch` of the loader or its sampler, where there is one. It has the loader's attributes.

        Args:
            loader: a DataLoader, or any iterable that yields the batches of one pass each time.

        >>> from lrsearch import FIX, Task
        >>> job = Job(RunSpec(Task("toy", horizon=16, epoch=10, minimize="val_loss"), FIX(k0=0.1), 16, seed=0))
        >>> batches = job.loader(range(10))
        >>> for epoch in range(2):
        ...     for batch in batches:
        ...         job.log(job.step + 1, train_loss=0.5)
        ...     print(f"epoch {epoch} ended at step {job.step}")
        epoch 0 ended at step 10
        epoch 1 ended at step 16
        """
        return RunLoader(loader, self)

    def log(self, step: int | None = None, /, **values: Any) -> None:
        """Log values at a step. A tensor is read later, without a device sync per step.

        Range tests read `train_loss`. The objective's metric is logged at evaluations.

        Args:
            step: updates so far, from 1 on; None for `job.step`.
            values: numbers, or tensors and arrays of one. A list has one value for each of the last updates, as where
                a loop over an epoch returns its losses.

        Raises:
            UsageError: for a value that is not a number, or an impossible step.
            JobStopped: two evaluations after a stop that the training ignored.
        """
        at = self.step if step is None else step
        if type(at) is not int or at < 0:
            at = _whole(at)
        add = self._values.add
        for name, value in values.items():
            if type(value) is list:
                self._add_each(at, name, value)
            else:
                add(at, name, value)
        if self._objective.name in values:
            self._evaluated(at)
        if at > self._logged:
            if self._scheduler is None:
                self._count_logged(at)
            self._logged = at
            if self._scheduler is None and self._is_report_due(at):
                self._report(at)

    def is_evaluation_due(self, step: int | None = None) -> bool:
        """Whether to evaluate now: ten times in a full run, an epoch apart at least, and at the last step."""
        return (self.step if step is None else step) in self._evaluations

    @property
    def should_stop(self) -> bool:
        """Whether the run must end now: it diverged, reached its target, or ran out of patience."""
        return self.stopped_at is not None or self.has_diverged

    @property
    def is_done(self) -> bool:
        """Whether all updates of the run are made, or it must stop."""
        return self.step >= self.horizon or self.should_stop

    @property
    def last_evaluation(self) -> int:
        """The step of the run's last evaluation: the horizon, or the step of an early stop."""
        return self.horizon if self.stopped_at is None else self.stopped_at

    def stepped(self, updates: int | None, lr: float | None = None) -> None:
        """Count an update; the scheduler calls it.

        Args:
            updates: optimizer updates since the scheduler's last step; None where they are not counted.
            lr: the update's learning rate, of a controller.
        """
        at = self.step
        if self.first_step_at is None:
            self.first_step_at = time.perf_counter()
        self._counter.count()
        if updates is not None and updates != 1:
            self._count_updates(at, updates)
        if lr is not None:
            self.lrs.append(lr)
        if self._is_report_due(at):
            self._report(at)

    def resumed_at(self, step: int) -> None:
        """Record the update from which this attempt resumes; the scheduler calls it."""
        if not self._counter.counted:
            self._began_at = step

    def begin_pass(self) -> None:
        """Check that the run has not ended, before a pass over the samples.

        Raises:
            JobStopped: if it has ended.
        """
        if self.is_done:
            raise JobStopped(f"the run ended at step {self.step}, and its training began another pass over the samples")

    def changed_lr(self, update: int, lr: float, expected: float) -> None:
        """Record that something else set the learning rate of an update; the scheduler calls it."""
        if self.changed is None:
            self.changed = (
                f"at update {update} a param group had LR {lr:g} where the policy has {expected:g}:"
                " something else sets it too"
            )

    def close(self) -> None:
        """Stop counting in the folder's file, because this attempt has ended."""
        self._counter.close()

    @property
    def has_folder(self) -> bool:
        """Whether the folder exists: it was given, or `folder` was read."""
        return self._folder is not None

    def _add_each(self, at: int, name: str, values: list[Any]) -> None:
        """Log one value for each of the last updates."""
        last = self.values.last(name)
        before = last[0] if last is not None else 0
        if not values:
            raise UsageError(f"{name} is an empty list: log one value for each update, or one number")
        if len(values) > at - before:
            raise UsageError(
                f"{name} is a list of {counted(len(values), 'value')}, of {counted(at - before, 'update')}"
                " since it was logged last: log one value for each update, or one number"
            )
        for step, value in enumerate(values, at - len(values) + 1):
            self._values.add(step, name, value)

    def _count_logged(self, at: int) -> None:
        """Count updates by the logged steps, where there is no scheduler."""
        self._counter.count(at - self._logged if self._logged else 1)  # a resumed loop may begin at any step

    def _count_updates(self, at: int, updates: int) -> None:
        """Record skipped updates, and several updates at one LR."""
        if updates == 0:
            self.skipped += 1
        elif self.changed is None and (at > 1 or updates > 2):  # a first update often initialises the optimizer's state
            self.changed = (
                f"by update {at} the optimizer made {counted(updates, 'update')} at one LR: call"
                " scheduler.step() after every optimizer.step()"
            )

    def _is_report_due(self, at: int) -> bool:
        return at % REPORT_EVERY == 0 or at in self._evaluations or at >= self.horizon

    def _report(self, at: int) -> None:
        if self._on_progress is not None:
            self._on_progress(at)
        self._see_divergence()

    def _see_divergence(self) -> None:
        losses = self.values.series.get(TRAIN_LOSS, ())
        recent = losses[-NOT_FINITE:]
        if len(recent) == NOT_FINITE and not any(math.isfinite(loss) for _, loss in recent):
            self.has_diverged = True

    def _evaluated(self, at: int) -> None:
        """Read a value of the objective: it may end the run, and feeds a controller."""
        self._require_stop()
        value = self.values.series[self._objective.name][-1][1]
        point = Point(at, None, value)
        if self.points and self.points[-1].step == at:
            self.points[-1] = point
        else:
            self.points.append(point)
        if not math.isfinite(value):
            self.has_diverged = True
        elif self.stopped_at is None and (self._reaches_target(value) or self._is_out_of_patience(at)):
            self.stopped_at = at
        if self._feeds_controller and self._scheduler is not None and math.isfinite(value):
            self._scheduler.step(self._objective.cost(value))  # type: ignore[arg-type]  # a controller takes a metric

    def _require_stop(self) -> None:
        self._evaluations_since_stop += self.should_stop
        if self._evaluations_since_stop >= PATIENCE:
            raise JobStopped(
                f"the run was to stop at step {self.last_evaluation}: end the loop where job.should_stop is true"
            )

    def _reaches_target(self, value: float) -> bool:
        """Whether a value reaches the run's target, if it has one."""
        return self._stop.target is not None and self._objective.is_reached(value, self._stop.target)

    def _is_out_of_patience(self, at: int) -> bool:
        """Whether the last `patience` evaluations that count were not better than the best before."""
        patience, ends = self._stop.patience, self._cycle_ends
        costs = [self._objective.cost(p.score) for p in self.points if not ends or p.step in ends]
        if patience is None or (ends and at not in ends) or len(costs) <= patience:
            return False
        return min(costs[-patience:]) >= min(costs[:-patience])


def _whole(step: Any) -> int:
    try:
        whole = int(step)
    except (TypeError, ValueError):
        whole = -1
    if isinstance(step, bool) or whole != step or whole < 0:
        raise UsageError(f"a step is the number of updates so far, 0 or more, got {given(step)}")
    return whole


def _length(loader: Any) -> int | None:
    try:
        return len(loader) or None
    except TypeError:
        return None
