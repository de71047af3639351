"""Tasks: what is trained. Torch loads when data or a model is wanted."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lrsearch.runs import Optimizer, Task
from lrsearch.tasks.catalogue import TASKS, find_task
from lrsearch.tasks.line_searches import L4, SLS
from lrsearch.tasks.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop
from lrsearch.tasks.splits import Split, Splits

if TYPE_CHECKING:
    from lrsearch.tasks.portrait import Portrait, portray

__all__ = [
    "L4", "SGD", "SLS", "TASKS", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "Portrait", "RMSprop", "Split",
    "Splits", "Task", "find_task", "portray",
]

_LATER = {"Portrait": "lrsearch.tasks.portrait", "portray": "lrsearch.tasks.portrait"}


def __getattr__(name: str) -> Any:
    """Load the module that a name is in: the portraits need torch."""
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'lrsearch.tasks' has no attribute {name!r}")
