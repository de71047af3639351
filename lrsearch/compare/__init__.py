"""Comparisons: the cost of searches, strategies side by side."""
