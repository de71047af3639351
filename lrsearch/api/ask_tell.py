"""An ask-and-tell study in progress: its state is in the store and in a folder."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrsearch.api.resources import writable
from lrsearch.api.studies import conclude_search, default_storage, tpe_sampler
from lrsearch.errors import BudgetError, UsageError, WorkError, given
from lrsearch.runs import Run, RunState
from lrsearch.runs.counter import counted_in, forget_count
from lrsearch.runs.executor import NoRun
from lrsearch.runs.roles import Role
from lrsearch.store import Store, Trial
from lrsearch.store.claims import LEASE_SECONDS
from lrsearch.study.decision import is_result
from lrsearch.study.funnel import Funnel
from lrsearch.study.job_folders import JobFolders, study_folder
from lrsearch.study.open_job import OpenJob
from lrsearch.study.reported import reported_run
from lrsearch.study.result import SearchResult
from lrsearch.study.strategy import Setup, committed, with_role
from lrsearch.study.study import Study, study_key
from lrsearch.words import counted


class OpenStudy:
    """A search whose jobs the user trains. Its state is in the store and the folder, so closing it loses nothing.

    A job is out from `ask` until `tell` or `release`, for all processes with the same store. `ask` returns a failed
    job again once it is released. It returns a failed strong default by itself, for a search has no answer without it.

    Args:
        setup: the study's setup.
        store: the ledger.
        out: the folder.
        storage: the Optuna storage's URL; None for `optuna.db` in `out`.
        warnings: warnings of the result.
        stack: closed with the study.
    """

    def __init__(
        self,
        setup: Setup,
        store: Store,
        out: Path,
        storage: str | None = None,
        *,
        warnings: Sequence[str] = (),
        stack: ExitStack | None = None,
    ) -> None:
        self.task, self.store, self._setup, self._warnings = setup.task, store, setup, tuple(warnings)
        self._stack = stack or ExitStack()
        self._sampler = tpe_sampler(setup, storage or default_storage(out))
        self._study: Study | None = None
        self._is_closed = False
        self.key = study_key(setup, Funnel())
        self.folder = study_folder(out.resolve(), self.task.name, self.key)
        try:
            self._folders = JobFolders(writable(self.folder))
            with self._current() as study:
                self.name = study.name
        except BaseException:
            self.close()
            raise

    def ask(self, most: int = 1) -> list[OpenJob]:
        """Hand out the next jobs: none while jobs that are out must end first, and when the study is done.

        Args:
            most: the largest number of jobs, 1 or more.

        Raises:
            UsageError: for a wrong number.
            WorkError: if the store or the folder cannot be written.
        """
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise UsageError(f"most is how many jobs to ask for, 1 or more, got {given(most)}")
        jobs: list[OpenJob] = []
        with self._current() as study:
            default = _failed_default(study)
            if default is not None:
                if not _is_paid(study, default):
                    return []
                study = self._reopened(study, default)
            while len(jobs) < most and not isinstance(trial := study.ask(by_hand=True), NoRun):
                job = OpenJob.of(trial, self.task, self._folders.job_folder(trial.number))
                try:
                    is_new = self._folders.write(trial.number, job.file.to_text() + "\n")
                except BaseException:  # also Ctrl-C: nobody has the job yet
                    study.release(trial)
                    raise
                if is_new:
                    jobs.append(job)
        return jobs

    def tell(
        self,
        number: int,
        value: Any = None,
        *,
        curves: Any = None,
        failed: str | None = None,
        steps: int | None = None,
        report: bool | str | Path = False,
    ) -> Run:
        """Record the run of a job: its metric, the curves of a range test, its report, or why it failed.

        Args:
            number: the number of the job.
            value: a number, or a mapping of metrics such as {"val_loss": 2.1}. NaN is a divergence.
            curves: the curves of a range test: {"train_loss": [...]}, one value a step or (step, value) pairs.
            failed: why the training failed. Its steps are charged, its result is left out, and the study continues.
            steps: updates that were made, where it failed or diverged; None for the job's horizon.
            report: the report of a program that was started with the job's file as LRSEARCH_JOB. True for the report
                that the file names, or the path of another.

        Returns:
            The stored run, with its `.state` and `.score`.

        Raises:
            UsageError: for a job that is not out, or a wrong report; nothing is stored then.
        """
        with self._current() as study:
            trial = self._handed_out(study, number)
            if trial.run is not None:
                again = f"; release({number}) lets it be asked for again" if _has_failed(trial) else ""
                raise UsageError(f"job {number} was told before: {self._outcome(trial.run)}{again}")
            folder = self._folders.job_folder(number)
            if report is not False:
                own = OpenJob.of(trial, self.task, folder).file.report
                report = Path(own if report is True else report)
            path = report or None
            run = reported_run(trial, self.task, value, curves=curves, failed=failed, steps=steps, report=path)
            run = replace(run, lost=max(0, counted_in(folder) - run.steps))  # steps of attempts that were killed
            stored = study.record(trial, run).stored
            forget_count(folder)
        assert stored is not None
        return stored.run

    def release(self, number: int, *, steps: int = 0) -> None:
        """Release a job: a later `ask` hands it out again.

        Args:
            number: that of a job that is out, or that failed.
            steps: updates that were trained in vain: they are charged, as are those that a program counted.

        Raises:
            UsageError: for a job that is not out, or has ended otherwise.
            BudgetError: if it failed, and the budget does not pay for it again.
        """
        with self._current() as study:
            trial = self._handed_out(study, number)
            horizon = trial.horizon
            if isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps <= horizon:
                raise UsageError(f"job {number}: steps is the updates that it made, 0 to {horizon}, got {given(steps)}")
            if trial.run is not None and not _has_failed(trial):
                raise UsageError(f"job {number} has ended, and is kept: {self._outcome(trial.run)}")
            if _has_failed(trial) and not _is_paid(study, trial):
                raise BudgetError(
                    f"job {number} failed, and the budget does not pay for its"
                    f" {counted(horizon, 'update')} again: {self._left(study):.3g} FRE are left"
                )
            self._reopened(study, trial, steps)

    def open_jobs(self) -> list[OpenJob]:
        """The jobs that are out, of all processes, in order."""
        with self._current() as study:
            trials = [study.history[number] for number in sorted(self._out(study))]
            return [OpenJob.of(trial, self.task, self._folders.job_folder(trial.number)) for trial in trials]

    @property
    def is_done(self) -> bool:
        """Whether the study has ended: no job is out, and `ask` hands out no more."""
        with self._current() as study:
            default = _failed_default(study)
            is_lost = default is not None and not _is_paid(study, default)
            return not self._out(study) and (is_lost or study.is_done)

    @property
    def budget(self) -> float:
        """Full-run equivalents (FRE) of the whole study: a hard cap."""
        return self._setup.budget

    @property
    def left(self) -> float:
        """The rest of the budget, in full-run equivalents (FRE); jobs that are out count in full."""
        with self._current() as study:
            return self._left(study)

    def result(self) -> SearchResult:
        """The result, as `search` returns it; before the study is done, the result so far.

        Raises:
            WorkError: while the strong default has not ended, against which all policies are compared.
        """
        with self._current() as study:
            if not any(map(is_result, with_role(study.history, Role.DEFAULT))):
                raise WorkError(f"{self.name} has nothing to answer yet: {self._why(study)}")
            return conclude_search(study, self._warnings)

    def close(self) -> None:
        """Close the store; the same call to `open_study` continues the study."""
        self._is_closed = True
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _current(self) -> Iterator[Study]:
        """The study as the ledger has it now, with the folder locked against other processes."""
        if self._is_closed:
            raise UsageError("the study is closed; open it again, and it goes on")
        with self._folders.locked():
            yield self._read()

    def _read(self) -> Study:
        study = self._study
        if study is None or study.history != self.store.history(self.key):
            study = self._study = Study(self._setup, Funnel(), self.store, self._sampler, lease=LEASE_SECONDS)
        study.refresh()
        failed = {trial.number for trial in study.history if _has_failed(trial)}
        study.set_claimed(self._out(study) | failed)
        return study

    def _out(self, study: Study) -> frozenset[int]:
        """The numbers of the jobs that are out: handed out, on any machine, and not ended."""
        return self._folders.numbers & {trial.number for trial in study.open_trials} | set(study.handed_out)

    def _reopened(self, study: Study, trial: Trial, steps: int = 0) -> Study:
        """The study with a job reopened for `ask`: its steps so far are charged, and from now on its horizon."""
        folder = self._folders.job_folder(trial.number)
        self._folders.remove(trial.number)
        study.release(trial)
        steps = max(steps, counted_in(folder))
        if steps or trial.run is not None:
            study.record(trial, Run(state=RunState.INTERRUPTED, steps=steps, seconds=0.0))
            forget_count(folder)
            self._study = None  # a new sampler adds the trial again
        return self._read()

    def _handed_out(self, study: Study, number: Any) -> Trial:
        """The trial of a job that `ask` has handed out, ended or not.

        Raises:
            UsageError: for any other number.
        """
        if isinstance(number, bool) or not isinstance(number, int):
            raise UsageError(f"a job is told by its number, such as 3, got {given(number)}")
        if 0 <= number < len(study.history):
            trial = study.history[number]
            is_known = self._folders.job_folder(number).is_dir() or number in study.handed_out
            if trial.run is not None or is_known:
                return trial
        out = ", ".join(map(str, sorted(self._out(study)))) or "none"
        raise UsageError(f"job {number} was never asked for in {self.name}; jobs that are out: {out}")

    def _outcome(self, run: Run) -> str:
        metric = self.task.objective
        if run.score is not None:
            return f"{run.state}, {metric.name} {metric.text(run.score)}"
        return f"{run.state}{f':{run.why}' if run.error else ''}"

    def _left(self, study: Study) -> float:
        return max(0, self._setup.cap - committed(study.history)) / self.task.horizon

    def _why(self, study: Study) -> str:
        """The reason why the default has not ended."""
        default = next(iter(with_role(study.history, Role.DEFAULT)), None)
        if default is None:
            ended = sum(trial.run is not None for trial in study.history)
            return (
                f"the strong default comes after the probes; {counted(ended, 'job')} ended so far,"
                f" {len(self._out(study))} out"
            )
        number = default.number
        if default.run is None:
            is_out = number in self._out(study)
            return f"the strong default is job {number}, {'which is out' if is_out else 'which nobody has asked for'}"
        paid = "ask hands it out again" if _is_paid(study, default) else "the budget does not pay for it again"
        return f"the strong default, job {number}, {self._outcome(default.run)}; {paid}"


def _has_failed(trial: Trial) -> bool:
    return trial.run is not None and trial.run.state is RunState.FAILED


def _failed_default(study: Study) -> Trial | None:
    return next(filter(_has_failed, with_role(study.history, Role.DEFAULT)), None)


def _is_paid(study: Study, trial: Trial) -> bool:
    """Whether the budget pays for another attempt at a failed job."""
    return committed(study.history) + trial.horizon <= study.setup.cap
