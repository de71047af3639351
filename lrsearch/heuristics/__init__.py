"""Heuristics: evidence in, smaller space out. Pure rules; running a probe is training's job."""

from lrsearch.heuristics.evidence import Evidence, Probe, Ramp
from lrsearch.heuristics.pruner import Bound, Pruned, prune

__all__ = ["Bound", "Evidence", "Probe", "Pruned", "Ramp", "prune"]
