"""lrsearch: find the learning-rate policy of a neural network, cheaply, with the cost accounted and the reasons shown.

    >>> import lrsearch as lrs
    >>> policy = lrs.parse("TRI(k0=0.001, k1=0.006, l=2000)")
    >>> policy(2000)
    0.006

Schedules and spaces load at once; torch, Optuna, Ray and the store load when they are first used.
"""

from typing import TYPE_CHECKING, Any

from lrsearch.errors import (
    BudgetError,
    DataError,
    EngineError,
    LRSearchError,
    OutputError,
    PolicyError,
    SchedulerWarning,
    SpaceError,
    StoreError,
    TaskError,
    UsageError,
    WorkError,
)
from lrsearch.later import load_later
from lrsearch.schedules import FUNCTIONS, Duration, LRFunction, Policy, curves, from_json, parse, to_json
from lrsearch.spaces import Space

if TYPE_CHECKING:
    from lrsearch.api import (
        add_results,
        check,
        explain,
        job,
        jobs,
        open_study,
        prune,
        recipe,
        reproduce,
        search,
        similarity,
        sweep,
        train,
        verify,
        warm_start,
    )
    from lrsearch.api import optuna as optuna
    from lrsearch.api import ray as ray
    from lrsearch.compare.policy_tables import load_table
    from lrsearch.heuristics.refinement import refined
    from lrsearch.recommendation import rank, recommend
    from lrsearch.runs import Objective, Task, maximize, minimize
    from lrsearch.runs.job import Job, JobStopped
    from lrsearch.store import open_store, record
    from lrsearch.tasks import TASKS
    from lrsearch.tasks.in_memory import classification
    from lrsearch.training.functions import task
    from lrsearch.training.program import program
    from lrsearch.training.range_test import RangeTest as range_test  # noqa: N813  the word of the field

__version__ = "0.1.0"
__all__ = [
    "FUNCTIONS",
    "TASKS",
    "BudgetError",
    "DataError",
    "Duration",
    "EngineError",
    "Job",
    "JobStopped",
    "LRFunction",
    "LRSearchError",
    "Objective",
    "OutputError",
    "Policy",
    "PolicyError",
    "SchedulerWarning",
    "Space",
    "SpaceError",
    "StoreError",
    "Task",
    "TaskError",
    "UsageError",
    "WorkError",
    "add_results",
    "check",
    "classification",
    "curves",
    "explain",
    "from_json",
    "job",
    "jobs",
    "load_table",
    "maximize",
    "minimize",
    "open_store",
    "open_study",
    "parse",
    "program",
    "prune",
    "range_test",
    "rank",
    "recipe",
    "recommend",
    "record",
    "refined",
    "reproduce",
    "search",
    "similarity",
    "sweep",
    "task",
    "to_json",
    "train",
    "verify",
    "warm_start",
]

_load = load_later(
    __name__,
    {
        "add_results": "lrsearch.api",
        "check": "lrsearch.api",
        "explain": "lrsearch.api",
        "job": "lrsearch.api",
        "jobs": "lrsearch.api",
        "open_study": "lrsearch.api",
        "prune": "lrsearch.api",
        "recipe": "lrsearch.api",
        "reproduce": "lrsearch.api",
        "search": "lrsearch.api",
        "similarity": "lrsearch.api",
        "sweep": "lrsearch.api",
        "train": "lrsearch.api",
        "verify": "lrsearch.api",
        "warm_start": "lrsearch.api",
        "open_store": "lrsearch.store",
        "rank": "lrsearch.recommendation",
        "recommend": "lrsearch.recommendation",
        "record": "lrsearch.store",
        "refined": "lrsearch.heuristics.refinement",
        "load_table": "lrsearch.compare.policy_tables",
        "Objective": "lrsearch.runs",
        "Task": "lrsearch.runs",
        "maximize": "lrsearch.runs",
        "minimize": "lrsearch.runs",
        "Job": "lrsearch.runs.job",
        "JobStopped": "lrsearch.runs.job",
        "TASKS": "lrsearch.tasks",
        "classification": "lrsearch.tasks.in_memory",
        "task": "lrsearch.training.functions",
        "program": "lrsearch.training.program",
    },
)


def __getattr__(name: str) -> Any:
    """An LR function by name (`lrs.TRI`), or a name that its package loads now."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if name == "range_test":
        from lrsearch.training.range_test import RangeTest

        return RangeTest
    if name == "optuna":
        from lrsearch.api import optuna

        return optuna
    if name == "ray":
        from lrsearch.api import ray

        return ray
    return _load(name)
