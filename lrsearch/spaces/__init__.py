"""Spaces: sets of policies to search."""

from lrsearch.spaces.axes import Choice, Fractions, Interval
from lrsearch.spaces.space import Space

__all__ = ["Choice", "Fractions", "Interval", "Space"]
