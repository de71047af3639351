"""Evidence: what short runs showed about the learning rate. Plain frozen values, each with the key of its run."""

import math
from dataclasses import dataclass

from lrsearch.errors import UsageError

FIRST_RULES, RULES = 1, 2
"""Versions of the rules that read range tests: the first, and today's. A study keeps the rules that it began with.

Where the task does not say what guessing is worth, both read it from the probes; the first never had to.
"""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation on validation samples during a range test.

    Args:
        lr: the learning rate then.
        loss: the validation loss; inf where it was not finite.
        score: the value of the task's objective, in its own unit and sign; None where there is none.
    """

    lr: float
    loss: float
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Ramp:
    """An LR range test: one run whose learning rate rose.

    Args:
        run: the run's key.
        lrs: the learning rate at each point.
        losses: the training loss at each point; inf where it was not finite; empty where the training logs none.
        evaluations: those on validation samples, if there were any.
        steps: points of the whole test, where it ended sooner; None where these are all.
    """

    run: str
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    evaluations: tuple[Evaluation, ...] = ()
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A short run at a constant learning rate.

    Args:
        run: the run's key.
        lr: the learning rate.
        seed: the run's seed.
        loss: its `Task.level`, lower is better: a validation loss, or another metric's cost, of either sign; inf where
            it diverged.
    """

    run: str
    lr: float
    seed: int
    loss: float

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf or math.isnan(self.loss):
            raise UsageError(f"a probe needs a rate above 0 and a loss, or inf where it diverged, got {self}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The runs, and the store's recommendations, that a space is pruned by.

    Args:
        chance_loss: the loss of guessing, any finite number; None where only the probes show it, see `guessing`.
        probe_steps: steps of each probe.
        ramps: the range tests.
        probes: the runs at constant learning rates.
        stored: peak learning rates that the store recommends, transferred to this task.
        rules: how the range tests are read, see `read_ramp`.
        failed: learning rate and seed of each probe that failed: it shows nothing, and is not repeated.
    """

    chance_loss: float | None
    probe_steps: int
    ramps: tuple[Ramp, ...] = ()
    probes: tuple[Probe, ...] = ()
    stored: tuple[float, ...] = ()
    rules: int = RULES
    failed: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        if self.chance_loss is not None and not math.isfinite(self.chance_loss):
            raise UsageError(
                "the loss of guessing must be a finite number, or None where only the probes tell, got"
                f" {self.chance_loss!r}"
            )
        if self.probe_steps < 1:
            raise UsageError(f"probes must have 1 step or more, got {self.probe_steps!r}")


def log10_of(lr: float) -> float:
    """Log10 of a learning rate, a whole or half number where only rounding to four digits separates them.

    >>> log10_of(0.03162)
    -1.5
    """
    exponent = math.log10(lr)
    half = round(2 * exponent) / 2
    return half if abs(exponent - half) < 1e-3 else exponent
