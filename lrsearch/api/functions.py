"""A user's own training outside of a search: check it, and train it once with a policy."""

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrsearch.api.resources import opened_store, writable
from lrsearch.errors import UsageError, WorkError, given
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.conclusion import NOT_CHECKED
from lrsearch.runs.job import TRAIN_LOSS
from lrsearch.schedules import Policy, parse
from lrsearch.store import Store
from lrsearch.study.probing import check_run
from lrsearch.study.rules import PROBING
from lrsearch.training.settings import with_settings
from lrsearch.training.user_source import is_user_training, user_source
from lrsearch.words import counted

SEEDS = 2**31
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome of two updates and one evaluation of a training.

    Args:
        task: the task.
        run: the run.
        sent: how the training reaches other processes, in words.
    """

    task: Task
    run: Run
    sent: str

    @property
    def notes(self) -> tuple[str, ...]:
        """Features of a search that the training rules out, in sentences."""
        notes = []
        if self.run.applied == NOT_CHECKED:
            notes.append("It did not ask for job.scheduler(optimizer): whether a policy is applied is not checked.")
        if not self.run.train_losses:
            notes.append(f"It logs no {TRAIN_LOSS}: range tests tell nothing, and constant LRs are tried instead.")
        return tuple(notes)

    def __str__(self) -> str:
        """The outcome, in lines."""
        objective = self.task.objective
        startup = self.run.startup_seconds
        lines = [
            f"{self.task.name}: {counted(PROBING.check_steps, 'update')} and one evaluation in {self.run.seconds:.2f} s"
            + (f", {startup:.2f} s of them before the first update" if startup is not None else ""),
            f"{objective.name}, which a search will {objective.direction}: {objective.text(self.run.score)}",
        ]
        others = [f"{name} {value:.5g}" for name, value in sorted(self.run.scores.items())]
        logged = sorted({*self.run.curves, *((TRAIN_LOSS,) if self.run.train_losses else ())})
        lines += [f"other metrics: {', '.join(others)}"] if others else []
        lines += [f"logged: {', '.join(logged)}"] if logged else []
        return "\n".join(
            [*lines, f"policy applied: {self.run.applied}", f"other processes get it {self.sent}", *self.notes]
        )


def changed_source(task: Any, store: Store) -> tuple[str, ...]:
    """A warning where the source of a training changed and its version did not; it is logged, too."""
    if not is_user_training(task):
        return ()
    source = user_source(task)
    own, key = source.digest, source.task.key
    older = [
        stored
        for stored in store.runs(task=source.task.name, trusted=True)
        if stored.task_key == key and stored.run.state.is_final and stored.run.source not in (None, own)
    ]
    if own is None or not older:
        return ()
    warning = (
        f"the source of {source.task.name!r} changed and its version stayed {source.task.version!r}:"
        f" {counted(len(older), 'stored run')} of the source before can be reused; give it another version to train"
        " anew"
    )
    log.warning("%s", warning)
    return (warning,)


def check(task: Any, *, settings: Mapping[str, Any] | None = None, device: str | None = None) -> Checked:
    """Check a training function by two updates and one evaluation, at its lowest learning rate.

    A search of a function begins with the same check, so that errors show before an hour is spent.

    Args:
        task: a function under `@lrs.task`, or `lrs.program(...)`.
        settings: values for it, as in `search`.
        device: the device, such as "cuda:0"; None for the GPU if there is one.

    Returns:
        The outcome, to be printed; `.run` has the metric, `.notes` the features of a search that are ruled out.

    Raises:
        UsageError: for any other object.
        WorkError: if it fails, with its own traceback; or if the metric is missing, or the policy is not applied.

    >>> import lrsearch as lrs
    >>> @lrs.task("toy", horizon=100, epoch=10, minimize="val_loss")
    ... def toy(job):
    ...     for step in range(1, 1 + job.horizon):
    ...         job.log(step, train_loss=1.0 / step)
    ...     return 0.5
    >>> check(toy).run.score
    0.5
    """
    source = user_source(with_settings(task, settings))
    with closing(source.open(device=device)) as trainer:
        run = trainer.train(check_run(source.task))
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    if run.state is RunState.FAILED:
        raise WorkError(f"{source.task.name} failed within {counted(PROBING.check_steps, 'update')}:{run.why}")
    if run.state is RunState.DIVERGED:
        low = source.task.lr_range[0]
        raise WorkError(
            f"{source.task.name} diverged within {counted(PROBING.check_steps, 'update')} at learning rate"
            f" {low:g}, the lowest of its lr_range: its {source.task.objective.name} is not finite"
        )
    return Checked(source.task, run, source.sent)


def train(
    task: Any,
    policy: str | Policy,
    *,
    seed: int = 0,
    horizon: int | None = None,
    store: str | Store | None = None,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> Run:
    """Train once, in this process, with a policy.

    Args:
        task: a function under `@lrs.task`, or `lrs.program(...)`.
        policy: the policy over the horizon; durations such as `0.1dur` are of the horizon.
        seed: the seed of all random numbers, 0 or more.
        horizon: updates; None for the task's.
        store: a store that records the run; None to record nothing.
        folder: the parent of the run's folder for checkpoints, which its key names; None for a temporary folder.
        settings: values for the function, as in `search`.
        device: the device, such as "cuda:0".

    Returns:
        The run: its `.score`, `.state`, `.curves`, and whether the policy was `.applied`.

    Raises:
        UsageError: for a wrong task, policy or number.
        WorkError: if the training fails, with its own traceback.
        KeyboardInterrupt: when interrupted.
    """
    source = user_source(with_settings(task, settings))
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise UsageError(f"the seed is a whole number from 0 to 2**31 - 1, got {seed!r}")
    steps = source.task.horizon if horizon is None else horizon
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"horizon is a whole number of updates, 1 or more, got {steps!r}")
    if not isinstance(policy, str | Policy):
        raise UsageError(f"a policy is a policy or its text, such as 'FIX(k0=0.1)', got {given(policy)}")
    bound = (parse(policy) if isinstance(policy, str) else policy).bind(horizon=steps, epoch=source.task.epoch)
    spec = RunSpec(source.task, bound, steps, seed)
    with closing(source.open(device=device)) as trainer:
        run = trainer.train(spec, folder=writable(folder) if folder else None)
    if store is not None:
        with opened_store(store, Path()) as ledger:
            ledger.record(spec, run)
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    if run.state is RunState.FAILED:
        raise WorkError(f"training {bound} on {source.task.name} failed:{run.why}")
    return run
