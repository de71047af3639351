"""A trial of Ray Tune that trains a function under `@lrs.task`: its evaluations are what Tune is reported."""

import math
import shutil
from pathlib import Path
from typing import Any

from ray import tune

from lrsearch.errors import UsageError, WorkError
from lrsearch.runs import Run, RunSpec, RunState, Task
from lrsearch.runs.counter import NAME as COUNT
from lrsearch.runs.job import Job, JobStopped, OnProgress
from lrsearch.schedules import parse
from lrsearch.spaces.ray import KEY
from lrsearch.training.function_places import Train
from lrsearch.training.function_trainer import FunctionTrainer

STEP = "step"
"""The key of the updates so far in a trial's reports."""
FOLDER = "job"
"""The folder of a job, in the folder of its trial."""


class TuneJob(Job):
    """A job that reports each evaluation to Ray Tune, with the files of its folder as a checkpoint.

    Where Tune stops the trial, the run is to stop, and its training ends.
    """

    reported: float | None = None
    stopped_by_tune = False

    def log(self, step: int | None = None, /, **values: Any) -> None:
        """Log values at a step, as `Job.log`; report the metric where it is among them."""
        before = len(self.points)
        super().log(step, **values)
        if len(self.points) > before:
            self.report(self.points[-1].step, self.points[-1].score)

    def report(self, step: int, value: float, **others: float) -> None:
        """Report the metric after a number of updates.

        Raises:
            JobStopped: if Tune stops the trial.
        """
        self.reported = self.reportable(value)
        metrics = {**others, STEP: step, self._objective.name: self.reported}
        try:
            tune.report(metrics, checkpoint=self._checkpoint())
        except SystemExit:
            self.stopped_at, self.stopped_by_tune = step, True
            raise JobStopped("Ray Tune stops the trial") from None

    def reportable(self, value: float) -> float:
        """The metric as schedulers can order it: one that is not finite is the worst of all."""
        return value if math.isfinite(value) else self._objective.cost(math.inf)

    def _checkpoint(self) -> tune.Checkpoint | None:
        """The files of the folder; None where the training wrote none."""
        is_empty = all(path.name == COUNT for path in self.folder.iterdir())
        return None if is_empty else tune.Checkpoint(str(self.folder))


class TuneTrainer(FunctionTrainer):
    """Trains the run of a Tune trial.

    Args:
        function: takes a `Job`, and returns its metric, a mapping of metrics, or None.
        task: the task that it trains.
        folder: for the run's checkpoints.
    """

    def __init__(self, function: Train, task: Task, folder: Path) -> None:
        super().__init__(function, task)
        self.folder = folder

    def _job(self, spec: RunSpec, folder: Path | None, watch: OnProgress | None, is_range_test: bool | None) -> Job:
        self.job = TuneJob(spec, folder=self.folder, on_progress=watch, is_range_test=False)
        return self.job


def train_trial(config: dict[str, Any], function: Train, task: Task, seed: int) -> None:
    """Train the policy of a trial, from the checkpoint that Tune has for it.

    Args:
        config: the trial's config, with the text of its policy.
        function: trains a job.
        task: the task that it trains.
        seed: of the run.

    Raises:
        UsageError: if the config has no policy.
        WorkError: if the training fails.
    """
    if KEY not in config:
        raise UsageError(f"a trial has its policy's text under {KEY!r}; this one has: {', '.join(config)}")
    policy = parse(config[KEY]).bind(horizon=task.horizon, epoch=task.epoch)
    trainer = TuneTrainer(function, task, _restored_folder())
    run = trainer.train(RunSpec(task, policy, task.horizon, seed))
    _report_end(trainer.job, run)


def _restored_folder() -> Path:
    """The folder of the job, with the files of the trial's checkpoint."""
    folder = Path(tune.get_context().get_trial_dir()) / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        checkpoint.to_directory(str(folder))
    return folder


def _report_end(job: TuneJob, run: Run) -> None:
    """Report the end of a run, where no evaluation was it: what its training returned, or that it diverged.

    A trial that Tune gave the checkpoint of a whole run has nothing left to train, and nothing to report.

    Raises:
        WorkError: if it failed.
        SystemExit: if Tune stopped the trial.
        KeyboardInterrupt: if it was interrupted.
    """
    if job.stopped_by_tune:
        raise SystemExit(0)  # as Tune ended the thread itself; a function that returns would report once more
    if run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    if run.state is RunState.FAILED:
        if run.cause == "missing" and job.resumed and not job.trained:
            return
        raise WorkError(f"training {job.policy} on {job.spec.task.name} failed:{run.why}")
    value = math.nan if run.score is None else run.score
    if job.reportable(value) != job.reported:
        job.report(run.steps, value, **run.scores)
