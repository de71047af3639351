"""Tasks: what is trained. Torch loads when data or a model is wanted."""

from typing import TYPE_CHECKING

from lrsearch.later import load_later
from lrsearch.runs import Optimizer, Task
from lrsearch.tasks.catalogue import TASKS, find_classification, find_task
from lrsearch.tasks.classification import Classification
from lrsearch.tasks.line_searches import L4, SLS
from lrsearch.tasks.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop
from lrsearch.tasks.splits import Split, Splits

if TYPE_CHECKING:
    from lrsearch.tasks.portrait import Portrait, portray

__all__ = [
    "L4",
    "SGD",
    "SLS",
    "TASKS",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Classification",
    "Optimizer",
    "Portrait",
    "RMSprop",
    "Split",
    "Splits",
    "Task",
    "find_classification",
    "find_task",
    "portray",
]

__getattr__ = load_later(__name__, {"Portrait": "lrsearch.tasks.portrait", "portray": "lrsearch.tasks.portrait"})
