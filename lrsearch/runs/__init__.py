"""The data types of training, without torch: tasks, objectives, jobs and runs."""

from lrsearch.runs.objective import Objective, maximize, minimize, objectives_of
from lrsearch.runs.optimizer import Optimizer
from lrsearch.runs.run import EXTERNAL, TRAINER_VERSION, TRAINERS, Metrics, Point, Run, RunSpec, RunState, run_key
from lrsearch.runs.stop import Stop
from lrsearch.runs.task import OWN, Task, task_key

__all__ = [
    "EXTERNAL",
    "OWN",
    "TRAINERS",
    "TRAINER_VERSION",
    "Metrics",
    "Objective",
    "Optimizer",
    "Point",
    "Run",
    "RunSpec",
    "RunState",
    "Stop",
    "Task",
    "maximize",
    "minimize",
    "objectives_of",
    "run_key",
    "task_key",
]
