"""Tasks: what is trained."""

from lrsearch.tasks.catalogue import TASKS, find_task
from lrsearch.tasks.line_searches import L4, SLS
from lrsearch.tasks.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop
from lrsearch.tasks.portrait import Portrait, portray
from lrsearch.tasks.task import Split, Splits, Task

__all__ = [
    "L4", "SGD", "SLS", "TASKS", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "Portrait", "RMSprop", "Split",
    "Splits", "Task", "find_task", "portray",
]
