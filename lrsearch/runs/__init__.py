"""The words of training, without torch: what is trained, a run of it, and what came of it."""

from lrsearch.runs.optimizer import Optimizer
from lrsearch.runs.run import (
    STRANGER,
    TRAINER_VERSION,
    TRAINERS,
    Metrics,
    Point,
    Run,
    RunSpec,
    RunState,
    run_key,
)
from lrsearch.runs.task import METRICS, PRECISIONS, Augment, Task, task_key

__all__ = [
    "METRICS", "PRECISIONS", "STRANGER", "TRAINERS", "TRAINER_VERSION", "Augment", "Metrics", "Optimizer", "Point",
    "Run", "RunSpec", "RunState", "Task", "run_key", "task_key",
]
