"""Tasks: shipped tasks, optimizers, data sets and models. Torch loads with the first data or model."""

from typing import TYPE_CHECKING

from lrsearch.later import load_later
from lrsearch.runs import Optimizer, Task
from lrsearch.tasks.catalogue import TASKS, find_classification, find_task
from lrsearch.tasks.classification import Classification
from lrsearch.tasks.line_searches import L4, SLS
from lrsearch.tasks.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop
from lrsearch.tasks.splits import Split, Splits

if TYPE_CHECKING:
    from lrsearch.tasks.meta_features import MetaFeatures, features_of

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
    "MetaFeatures",
    "Optimizer",
    "RMSprop",
    "Split",
    "Splits",
    "Task",
    "features_of",
    "find_classification",
    "find_task",
]

__getattr__ = load_later(
    __name__, {"MetaFeatures": "lrsearch.tasks.meta_features", "features_of": "lrsearch.tasks.meta_features"}
)
