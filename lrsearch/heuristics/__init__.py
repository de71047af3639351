"""Heuristics: evidence in, smaller space out. Pure rules; running a probe is training's job."""

from lrsearch.heuristics.evidence import Evidence, Probe, Ramp
from lrsearch.heuristics.forecast import Forecast
from lrsearch.heuristics.pruner import Bound, Contradiction, Pruned, prune

__all__ = ["Bound", "Contradiction", "Evidence", "Forecast", "Probe", "Pruned", "Ramp", "prune"]
