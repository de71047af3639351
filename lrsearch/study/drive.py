"""Drives a study: asks it for trials, has an executor train them, and tells it the runs."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from lrsearch.runs import Run, RunSpec, RunState
from lrsearch.runs.counter import counted_in
from lrsearch.runs.executor import Executor, Group, Lost, NoRun
from lrsearch.store import Trial
from lrsearch.store.claims import Taken
from lrsearch.study.driven import Driven, train_all
from lrsearch.study.study import Study
from lrsearch.training.charges import settle, unreported
from lrsearch.training.groups import groups
from lrsearch.training.run_folder import gather

Progress = Callable[[Trial, int], None]
ORPHAN_SECONDS = 10.0
"""Rule: seconds to wait for the processes of a killed search to end; a worker ends within 5, a program within 3."""


def drive(
    study: Study,
    executor: Executor,
    progress: Progress | None = None,
    folder: Path | None = None,
    lost: Lost | None = None,
) -> Driven:
    """Train the trials of a study until it is done. First it is charged for what killed attempts trained.

    Args:
        study: the study.
        executor: trains runs of its task.
        progress: called with a trial and its steps done, every few steps.
        folder: for the weights of full runs and the checkpoints of runs in progress; None to keep none.
        lost: called with every attempt of a run that ended with its process.

    Returns:
        The lost attempts, how much the workers have trained, and whether the deadline ended it.

    Raises:
        KeyboardInterrupt: after the interrupted runs are recorded.
        WorkError: if a process that trains died, or if the default failed.
    """
    with study.claims.working() if study.claims else nullcontext():
        charge_killed(study, folder)
        dispatcher = _Dispatcher(study, executor, progress, folder)
        return train_all(
            executor,
            dispatcher.ask,
            dispatcher.ended,
            charge=dispatcher.charge,
            folder=folder,
            progress=dispatcher.stepped,
            lost=lost,
        )


def charge_killed(study: Study, folder: Path | None) -> None:
    """Charge a study for the updates of attempts that were killed before they were reported, as interrupted runs.

    Args:
        study: the study, before it proposes new runs, so that its budget pays for these updates first.
        folder: the folder of its weights and checkpoints; None where it has none, and nothing was counted.
    """
    study.refresh()
    lapsed = study.claims.lapsed() if study.claims else frozenset[str]()
    latest = time.monotonic() + ORPHAN_SECONDS
    for trial in list(study.history):
        spec, stored = trial.spec(study.setup.task), trial.stored
        if stored is not None and stored.run.state.is_final:
            settle(folder, spec, stored.run)  # its process was killed before it had settled the run
        elif spec.key in lapsed or (folder is not None and (folder / spec.key).is_dir()):
            taken = study.take(trial)
            if taken is not None:
                _charge(study, trial, _killed(folder, spec, taken, latest), folder)
                study.release(trial)


def _charge(study: Study, trial: Trial, run: Run | None, folder: Path | None) -> None:
    if run is not None:
        study.charge(trial, run)
        settle(folder, trial.spec(study.setup.task), run)


def _killed(folder: Path | None, spec: RunSpec, taken: Taken, latest: float) -> Run | None:
    """The killed attempts of a run as one interrupted run; None where nothing is to be charged.

    The count in the run's folder has every update. A process of another machine leaves only what it had reported.
    """
    if folder is not None and counted_in(folder / spec.key):
        return unreported(folder, spec, latest)
    return Run(state=RunState.INTERRUPTED, steps=taken.lost, seconds=0.0) if taken.lost else None


class _Dispatcher:
    """Hands the trials of a study to an executor in groups, and their runs back to the study."""

    def __init__(self, study: Study, executor: Executor, progress: Progress | None, folder: Path | None) -> None:
        self.study, self.executor, self.progress, self.folder = study, executor, progress, folder
        self.queue: deque[Group] = deque()
        self.trials: dict[str, Trial] = {}

    def ask(self) -> Group | NoRun:
        while True:
            if not self.queue:
                trials = self.study.offers()
                if isinstance(trials, NoRun):
                    return trials
                self._enqueue(trials)
            group = self.queue.popleft()
            specs = tuple(spec for spec in group.specs if self._take(spec))
            if specs:
                return replace(group, specs=specs)

    def _enqueue(self, trials: list[Trial]) -> None:
        task = self.study.setup.task
        specs = {trial.number: trial.spec(task) for trial in trials}
        self.trials |= {specs[trial.number].key: trial for trial in trials}
        short = [specs[trial.number] for trial in trials if trial.is_short(task)]
        slots = self.executor.slots * self.study.processes
        self.queue.extend(groups(list(specs.values()), short, self.executor.lockstep.rows, slots))

    def _take(self, spec: RunSpec) -> bool:
        """Claim a run, and gather and charge what a killed process of this machine or another one has left of it."""
        taken = self.study.take(self.trials[spec.key])
        if taken is not None and (taken.lost or taken.has_ended):
            latest = time.monotonic() + (ORPHAN_SECONDS if taken.has_ended else 0)
            if self.folder is not None:
                gather(self.folder.parent, self.folder)
            _charge(self.study, self.trials[spec.key], _killed(self.folder, spec, taken, latest), self.folder)
        return taken is not None

    def ended(self, spec: RunSpec, run: Run) -> None:
        trial = self.trials[spec.key]
        self.study.record(trial, run)
        settle(self.folder, spec, run)
        self.study.require_sound(trial, run)

    def charge(self, spec: RunSpec, run: Run) -> bool:
        return self.study.charge(self.trials[spec.key], run)

    def stepped(self, spec: RunSpec, steps: int) -> None:
        if self.study.claims:
            self.study.claims.report(spec.key, steps)
        if self.progress:
            self.progress(self.trials[spec.key], steps)
