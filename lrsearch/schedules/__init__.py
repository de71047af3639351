"""LR policies as values: the table of LR functions, `Policy`, and their text."""

from lrsearch.schedules.functions import (
    COS,
    EXP,
    FIX,
    FUNCTIONS,
    HALFCOS,
    INV,
    NSTEP,
    POLY,
    RAMP,
    SIN,
    SIN2,
    SINEXP,
    STEP,
    TRI,
    TRI2,
    TRIEXP,
    WARMUP,
)
from lrsearch.schedules.policy import LRFunction, Policy
from lrsearch.schedules.text import parse

__all__ = [
    "COS", "EXP", "FIX", "FUNCTIONS", "HALFCOS", "INV", "NSTEP", "POLY", "RAMP", "SIN", "SIN2", "SINEXP", "STEP",
    "TRI", "TRI2", "TRIEXP", "WARMUP", "LRFunction", "Policy", "parse",
]
