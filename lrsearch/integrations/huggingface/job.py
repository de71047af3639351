"""A job as a Trainer's training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from transformers import EarlyStoppingCallback, Trainer, set_seed

from lrsearch.errors import UsageError
from lrsearch.integrations.huggingface.policy import TrainerPolicy
from lrsearch.runs.job import Job


class TrainerJob(TrainerPolicy):
    """Lets a Trainer train a job: its horizon, seed, evaluations, stop and folder.

    Args:
        trainer: the Trainer; its `max_steps`, `seed` and `output_dir` become the job's.
        job: the job.

    Raises:
        UsageError: if the Trainer has no `eval_dataset`, stops by itself, changes the batch size or trains with
            DeepSpeed.
    """

    replaced: ClassVar[tuple[str, ...]] = (*TrainerPolicy.replaced, "training_step", "train")

    def __init__(self, trainer: Trainer, job: Job) -> None:
        super().__init__(trainer, job)
        _require_trainable(trainer, job)
        self.job = job
        trainer.args.max_steps, trainer.args.output_dir = job.horizon, str(job.folder)
        trainer.args.seed = job.seed
        set_seed(job.seed)  # the Trainer has set its own, 42 where nothing was given

    def require_evaluations(self) -> None:
        """A job evaluates by itself."""

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, from the last checkpoint in the job's folder where the job is resumed."""
        if resume_from_checkpoint is None and self.job.resumed:
            resume_from_checkpoint = last_checkpoint(self.job.folder)
        return self.call_original("train", resume_from_checkpoint, *args, **kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the loss of an update; evaluate and stop when the job says so."""
        if self.trainer.accelerator.optimizer_step_was_skipped:
            self.trainer.lr_scheduler.step()  # the Trainer counts this step, and so does the job's horizon
        self.job.log(train_loss=self.take_loss())
        control.should_evaluate = self.job.is_evaluation_due()
        control.should_training_stop |= self.job.should_stop

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the evaluations to the job."""
        control.should_evaluate = False

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the objectives."""
        if self.trainer.is_in_train and self.job.is_evaluation_due():
            self.job.log(**self._objectives(kwargs["metrics"]))
            control.should_training_stop |= self.job.should_stop

    def _objectives(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The job's objectives among the metrics of an evaluation; of several `eval_dataset`s each has its own."""
        names = [one.name for one in self.job.spec.task.objectives]
        there = {name: value for name in names if (value := metric_of(name, metrics)) is not None}
        if len(there) < len(names) and not isinstance(self.trainer.eval_dataset, dict):
            missing = ", ".join(repr(name) for name in names if name not in there)
            known = ", ".join(sorted(metrics))
            raise UsageError(f"the evaluation has no metric {missing}; compute_metrics returns it. It has: {known}")
        return there


def metric_of(name: str, metrics: Mapping[str, float]) -> float | None:
    """A metric of an evaluation, whose names begin with `eval_`; the name may leave that out, or have `val_` there.

    >>> metrics = {"eval_loss": 0.5, "eval_accuracy": 0.8}
    >>> [metric_of(name, metrics) for name in ("val_loss", "eval_loss", "accuracy", "f1")]
    [0.5, 0.5, 0.8, None]
    """
    bare = name.removeprefix("eval_").removeprefix("val_")
    return next((metrics[key] for key in (f"eval_{name}", f"eval_{bare}", name) if key in metrics), None)


def last_checkpoint(folder: Path) -> str | None:
    """The last whole checkpoint in a folder: its `trainer_state.json` is written last. None where there is none."""
    whole = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def _require_trainable(trainer: Trainer, job: Job) -> None:
    if trainer.eval_dataset is None and not job.is_range_test:
        raise UsageError(f"a job is judged by {job.spec.task.objective.name!r}: give the Trainer an eval_dataset")
    if any(isinstance(one, EarlyStoppingCallback) for one in trainer.callback_handler.callbacks):
        raise UsageError("a job says when a training stops: leave the EarlyStoppingCallback out of the Trainer")
    if trainer.args.auto_find_batch_size:
        raise UsageError("auto_find_batch_size makes another training of a job: set a batch size that fits")
