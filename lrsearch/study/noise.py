"""The noise of a difference of two means: from the number of samples for shares, else from repeats."""

import math
import statistics
from collections.abc import Sequence

LEAST_PAIRED = 3
"""Differences from which a standard error is estimated; fewer have too few degrees of freedom. A rule."""
TIE = 2
"""Standard errors up to which a difference of shares is a tie: about 95 % of a normal distribution."""
STUDENT_TO_10 = 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228
STUDENT_TO_20 = 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086
STUDENT = STUDENT_TO_10 + STUDENT_TO_20
"""Student's t at 97.5 %, for 1 to 20 degrees of freedom (published tables): few repeats estimate noise badly."""


def tie_factor(freedom: int | None) -> float:
    """The standard errors up to which a difference is a tie.

    Args:
        freedom: degrees of freedom of the noise; None where it comes from the number of samples of shares.

    >>> tie_factor(None), tie_factor(2), tie_factor(100)
    (2, 4.303, 2.086)
    """
    return TIE if freedom is None else STUDENT[min(freedom, len(STUDENT)) - 1]


def noise_of_shares(mean: float, other: float, samples: int, differences: Sequence[float]) -> float:
    """The standard error of a mean difference of shares: the binomial one, or that over seeds if it is larger.

    Args:
        mean, other: the two means, in [0, 1].
        samples: the number of samples behind each share.
        differences: the differences of the pairs, one a seed.
    """
    binomial = math.sqrt((other * (1 - other) + mean * (1 - mean)) / samples / len(differences))
    return max(binomial, _paired(differences) if len(differences) >= LEAST_PAIRED else 0.0)


def noise_of_repeats(repeats: Sequence[Sequence[float]], differences: Sequence[float]) -> tuple[float, int] | None:
    """The standard error of a mean difference from repeats, with its degrees of freedom; None with one pair alone.

    It comes from the pooled standard deviation within the policies, or from the pairs if that is larger. Seeds can
    move two policies apart, and one policy can be noisier than the other.

    Args:
        repeats: the scores of each policy. No score may have been selected for being good: that would bias the noise.
        differences: the differences of the pairs, one a seed.

    >>> noise_of_repeats([[1.0, 3.0], [2.0, 4.0]], [1.0, 1.0])
    (1.4142135623730951, 2)
    """
    pairs = len(differences)
    if pairs < 2:
        return None
    freedom = sum(len(scores) - 1 for scores in repeats)
    squares = sum(statistics.variance(scores) * (len(scores) - 1) for scores in repeats if len(scores) > 1)
    variance = squares / freedom
    pooled = math.sqrt(variance) * math.sqrt(2 / pairs), freedom
    paired = (_paired(differences), pairs - 1) if pairs >= LEAST_PAIRED else pooled
    return max(pooled, paired, key=lambda noise: noise[0])


def _paired(differences: Sequence[float]) -> float:
    return statistics.stdev(differences) / math.sqrt(len(differences))
