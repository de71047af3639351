"""LR policies as values: the table of LR functions, `Policy`, and its text and JSON.

Every LR function of the table can be imported from here: `from lrsearch.schedules import TRI`.
"""

from lrsearch.schedules.function import LRFunction
from lrsearch.schedules.functions import FUNCTIONS
from lrsearch.schedules.json import from_json, to_json
from lrsearch.schedules.policy import Policy, curves
from lrsearch.schedules.text import parse
from lrsearch.schedules.values import Duration

__all__ = ["FUNCTIONS", "Duration", "LRFunction", "Policy", "curves", "from_json", "parse", "to_json"]


def __getattr__(name: str) -> LRFunction:
    """The LR function of a name."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
