"""When the learning rate is not narrowed, and why: a code and a sentence."""

import math
from collections import defaultdict

from lrsearch.heuristics.decades import MOST_DECADES, is_at_edge, is_flat, levels, optimum
from lrsearch.heuristics.evidence import Evidence

LEAST_DECADES = 3


def refusal(evidence: Evidence) -> str | None:
    """Say why the evidence does not narrow the learning rate, the code first; None where it does.

    `not-reproducible`, `all-diverged`, `too-few`, `chance`, `flat`, `edge`: the first that holds.
    """
    seen = levels(evidence)
    tried = len({math.floor(level.decade) for level in seen})
    if not _is_reproducible(evidence):
        return "not-reproducible: the same learning rate and seed gave two losses"
    if seen and not any(math.isfinite(level.loss) for level in seen):
        return "all-diverged: every constant learning rate that was tried diverged"
    if tried < LEAST_DECADES:
        return f"too-few: fewer than {LEAST_DECADES} decades could be tried within the probes' share of the budget"
    if optimum(evidence) is None:
        return "chance: no constant learning rate did better than guessing"
    if is_flat(evidence):
        return "flat: all learning rates that were tried ended at about the same loss"
    if tried >= MOST_DECADES and is_at_edge(evidence):
        return f"edge: the best of {tried} decades is still the outermost"
    return None


def _is_reproducible(evidence: Evidence) -> bool:
    """Tell whether equal runs ended with equal losses; two runs that both diverged are equal."""
    losses: dict[tuple[float, int], set[float]] = defaultdict(set)
    for probe in evidence.probes:
        losses[probe.rate, probe.seed].add(probe.loss)
    return all(len(found) == 1 for found in losses.values())
