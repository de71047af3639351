"""The noise of a difference of two means: of the samples that score them where they are shares, else of repeats."""

import math
import statistics
from collections.abc import Sequence

LEAST_PAIRED = 3
"""Differences that tell a standard error by themselves; fewer say next to nothing."""
TIE = 2
"""A difference of shares of at most so many standard errors is a tie: about 95 %."""
STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
)
"""Student's t at 97.5 %, by degrees of freedom from 1 on: few repeats do not know their own noise well."""


def tie_factor(freedom: int | None) -> float:
    """How many standard errors are a tie, by the degrees of freedom behind them; None where samples tell the noise.

    >>> tie_factor(None), tie_factor(2), tie_factor(100)
    (2, 4.303, 2.086)
    """
    return TIE if freedom is None else STUDENT[min(freedom, len(STUDENT)) - 1]


def noise_of_shares(one: float, other: float, samples: int, differences: Sequence[float]) -> float:
    """The standard error of a mean difference of shares: of the samples behind them, or over seeds if that is larger.

    Args:
        one, other: the two means, in [0, 1].
        samples: of how many samples each share is.
        differences: of the pairs behind the means.
    """
    binomial = math.sqrt((other * (1 - other) + one * (1 - one)) / samples / len(differences))
    return max(binomial, _paired(differences) if len(differences) >= LEAST_PAIRED else 0.0)


def noise_of_repeats(repeats: Sequence[Sequence[float]], differences: Sequence[float]) -> tuple[float, int] | None:
    """The standard error of a mean difference from repeats, with its degrees of freedom; None where one pair is all.

    It is that of the pooled standard deviation within each policy, or over the pairs if that is larger: seeds can move
    two policies apart, and one policy can be noisier than the other.

    Args:
        repeats: scores by policy; none of them may have been chosen for being good.
        differences: of the pairs behind the means.

    >>> noise_of_repeats([[1.0, 3.0], [2.0, 4.0]], [1.0, 1.0])
    (1.4142135623730951, 2)
    """
    pairs = len(differences)
    if pairs < 2:
        return None
    freedom = sum(len(some) - 1 for some in repeats)
    variance = sum(statistics.variance(some) * (len(some) - 1) for some in repeats if len(some) > 1) / freedom
    pooled = math.sqrt(variance) * math.sqrt(2 / pairs), freedom
    paired = (_paired(differences), pairs - 1) if pairs >= LEAST_PAIRED else pooled
    return max(pooled, paired, key=lambda one: one[0])


def _paired(differences: Sequence[float]) -> float:
    return statistics.stdev(differences) / math.sqrt(len(differences))
