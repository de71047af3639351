"""The Hugging Face Trainer under a policy, a job or a space: one line after any Trainer was built.

attach(trainer, "TRI(k0=1e-5, k1=1e-4, l=200)")   # a policy or its text
attach(trainer, job)                              # in a function under @lrs.task
attach(trainer, space)                            # then trainer.hyperparameter_search(...) searches it
TrainerRangeTest(trainer, steps=100)             # the next trainer.train() is the range test
"""

from transformers import Trainer

from lrsearch.errors import UsageError, given
from lrsearch.integrations.huggingface.job import TrainerJob
from lrsearch.integrations.huggingface.policy import TrainerPolicy
from lrsearch.integrations.huggingface.range_test import TrainerRangeTest
from lrsearch.integrations.huggingface.search import TrainerSearch
from lrsearch.integrations.source import read_source
from lrsearch.runs.job import Job
from lrsearch.schedules import Policy
from lrsearch.spaces import Space

__all__ = ["TrainerRangeTest", "attach"]


def attach(trainer: Trainer, source: Policy | str | Job | Space, *, adopt: bool = False) -> None:
    """Let a Trainer's learning rates come from a policy, a job or a space. A second call replaces the first.

    With a policy, `trainer.train()` sets its LR at each update, and resumes it from a checkpoint. With a job it trains
    the job's horizon: it logs `train_loss` and the objective, evaluates and stops when the job says so, keeps its
    checkpoints in the job's folder and resumes from them. With a space, `trainer.hyperparameter_search` searches it.

    Args:
        trainer: a Trainer, or one of its subclasses.
        source: a policy, its text, a job or a space.
        adopt: whether a checkpoint of another policy may be resumed; its step is taken, and a warning given. For a
            policy alone.

    Raises:
        UsageError: for another object than a Trainer, one with DeepSpeed, settings of the Trainer that a job or a
            controller excludes, or if a job, a controller or a space is to adopt a checkpoint.
        PolicyError: for another source.
    """
    if not isinstance(trainer, Trainer):
        raise UsageError(f"attach takes a transformers.Trainer first, got {given(trainer)}")
    read = source if isinstance(source, Space) else read_source(source)
    if adopt and (not isinstance(read, Policy) or read.is_controller):
        raise UsageError(
            "a job, a controller and a space do not adopt the checkpoint of another policy: leave out adopt"
        )
    if isinstance(read, Space):
        attached: TrainerPolicy = TrainerSearch(trainer, read)
    elif isinstance(read, Job):
        attached = TrainerJob(trainer, read)
    else:
        attached = TrainerPolicy(trainer, read, adopt)
    attached.attach()
