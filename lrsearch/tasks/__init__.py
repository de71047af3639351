"""Tasks: what is trained."""

from lrsearch.tasks.catalogue import TASKS, find_task
from lrsearch.tasks.task import SGD, Split, Splits, Task

__all__ = ["SGD", "TASKS", "Split", "Splits", "Task", "find_task"]
