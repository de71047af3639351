"""Evidence: what short runs showed about the learning rate. Plain frozen values, each with the key of its run."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ramp:
    """An LR range test: one run whose learning rate rose.

    Args:
        run: the run's key.
        rates: the learning rate at each point.
        losses: the training loss at each point; inf where it was not finite.
    """

    run: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """A short run at a constant learning rate.

    Args:
        run: the run's key.
        rate: the learning rate.
        seed: the run's seed.
        loss: the validation loss at its end; inf where it diverged.
    """

    run: str
    rate: float
    seed: int
    loss: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known before a space is pruned.

    Args:
        chance_loss: the loss of guessing.
        probe_steps: steps of each probe.
        ramps: the range tests.
        probes: the constant learning rates.
    """

    chance_loss: float
    probe_steps: int
    ramps: tuple[Ramp, ...] = ()
    probes: tuple[Probe, ...] = ()


def decade(rate: float) -> float:
    """Give log10 of a learning rate, to half decades where it is one but for rounding to four digits.

    >>> decade(0.03162)
    -1.5
    """
    exponent = math.log10(rate)
    half = round(2 * exponent) / 2
    return half if abs(exponent - half) < 1e-3 else exponent
