"""Evidence: what short runs showed about the learning rate. Plain frozen values, each with the key of its run."""

import math
from dataclasses import dataclass

from lrsearch.errors import UsageError

FIRST_RULES, RULES = 1, 2
"""How range tests were read at first, and are today. A study keeps the rules that it began with."""


@dataclass(frozen=True, slots=True)
class Look:
    """A look at validation samples during a range test.

    Args:
        rate: the learning rate then.
        loss: the validation loss; inf where it was not finite.
        score: the validation accuracy in [0, 1]; None where there is none.
    """

    rate: float
    loss: float
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Ramp:
    """An LR range test: one run whose learning rate rose.

    Args:
        run: the run's key.
        rates: the learning rate at each point.
        losses: the training loss at each point; inf where it was not finite.
        looks: looks at validation samples, if there were any.
        steps: points of the whole test, where it ended sooner; None where these are all.
    """

    run: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    looks: tuple[Look, ...] = ()
    steps: int | None = None


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

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf or math.isnan(self.loss):
            raise UsageError(f"a probe needs a rate above 0 and a loss, or inf where it diverged, got {self}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known before a space is pruned.

    Args:
        chance_loss: the loss of guessing.
        probe_steps: steps of each probe.
        ramps: the range tests.
        probes: the constant learning rates.
        stored: peak learning rates of what the store recommends, carried over to this task.
        rules: how the range tests are read, see `read_ramp`.
    """

    chance_loss: float
    probe_steps: int
    ramps: tuple[Ramp, ...] = ()
    probes: tuple[Probe, ...] = ()
    stored: tuple[float, ...] = ()
    rules: int = RULES

    def __post_init__(self) -> None:
        if not 0 < self.chance_loss < math.inf:
            raise UsageError(f"the loss of guessing must be a finite number above 0, got {self.chance_loss!r}")
        if self.probe_steps < 1:
            raise UsageError(f"probes must have 1 step or more, got {self.probe_steps!r}")


def decade(rate: float) -> float:
    """Give log10 of a learning rate, to half decades where it is one but for rounding to four digits.

    >>> decade(0.03162)
    -1.5
    """
    exponent = math.log10(rate)
    half = round(2 * exponent) / 2
    return half if abs(exponent - half) < 1e-3 else exponent
