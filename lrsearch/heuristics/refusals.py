"""When the learning rate is not narrowed, and why: a code and a sentence."""

import math
from collections import defaultdict

from lrsearch.heuristics.evidence import Evidence
from lrsearch.heuristics.probes import PROBE_RULES, Level, best_constant_lr, is_at_edge, is_flat, levels
from lrsearch.words import counted


def refusal(evidence: Evidence) -> str | None:
    """Why the evidence does not narrow the learning rate, a code and a sentence; None where it does.

    `not-reproducible`, `all-diverged`, `too-few`, `chance`, `flat`, `edge`: the first that holds.
    """
    seen = levels(evidence)
    tried = len({math.floor(level.log10_lr) for level in seen})
    least = PROBE_RULES.least_decades
    if not _is_reproducible(evidence):
        return "not-reproducible: the same learning rate and seed gave two losses"
    if seen and not any(math.isfinite(level.loss) for level in seen):
        return "all-diverged: every constant learning rate that was tried diverged"
    if tried < least:
        return f"too-few: fewer than {counted(least, 'decade')} could be tried within the probes' share of the budget"
    if evidence.chance_loss is None and is_flat(evidence):
        return "flat: all learning rates that were tried ended at about the same level"
    if best_constant_lr(evidence) is None:
        return _nothing_learned(evidence, seen)
    if is_flat(evidence):
        return "flat: all learning rates that were tried ended at about the same loss"
    if tried >= PROBE_RULES.most_decades and is_at_edge(evidence):
        return f"edge: the best of {tried} decades is still the outermost"
    return None


def _nothing_learned(evidence: Evidence, seen: list[Level]) -> str:
    """Why no probe counts as better than guessing, a code and a sentence."""
    if evidence.chance_loss is not None:
        return "chance: no constant learning rate did better than guessing"
    ended = [level for level in seen if math.isfinite(level.loss)]
    if min(ended, key=lambda level: level.loss) is ended[0]:
        return (
            f"edge: the lowest of {counted(len(seen), 'learning rate')} did best, so that none shows what guessing"
            " is worth"
        )
    return "chance: no constant learning rate did clearly better than the lowest one, which counts as guessing"


def _is_reproducible(evidence: Evidence) -> bool:
    """Whether equal runs ended with equal losses; two runs that both diverged are equal."""
    losses: dict[tuple[float, int], set[float]] = defaultdict(set)
    for probe in evidence.probes:
        losses[probe.lr, probe.seed].add(probe.loss)
    return all(len(distinct) == 1 for distinct in losses.values())
