"""From the probes' horizon to the run's: the law, its spread, and what widens it."""

import math

import pytest

from lrsearch.errors import UsageError
from lrsearch.heuristics import Evidence, Probe
from lrsearch.heuristics.forecast import forecast
from lrsearch.heuristics.probes import best_constant_lr

PROBES = tuple(Probe(f"p{n}", 10.0 ** (n - 4), 0, loss) for n, loss in enumerate((2.0, 1.0, 0.5, 1.0, 2.0)))


def test_a_hundredfold_horizon_takes_half_a_decade_with_the_notes_spread():
    ahead = forecast(Evidence(2.3, 100, (), PROBES), 10_000)
    assert ahead.log10_lr == pytest.approx(-2 - 0.5)
    assert ahead.lr == pytest.approx(10**-2.5)
    assert ahead.spread == pytest.approx(math.sqrt(0.2**2 + 0.2**2 + 0.3**2))
    assert (ahead.low, ahead.high) == (ahead.log10_lr, ahead.log10_lr)


@pytest.mark.parametrize("horizon", [100, 1000, 1999, 2000])
def test_a_probe_over_a_twentieth_of_the_run_leaves_half_the_residual(horizon):
    spread = forecast(Evidence(2.3, 100, (), PROBES), horizon).spread
    residual = 0.3 if horizon == 2000 else 0.15
    assert spread == pytest.approx(math.hypot(0.2, 0.1 * math.log10(horizon / 100), residual))


def test_the_uncertainty_of_the_probes_is_moved_along():
    probes = tuple(Probe(f"p{n}", 10.0 ** (n - 5), 0, loss) for n, loss in enumerate((2.0, 0.5, 2.0, 0.5, 2.0)))
    evidence = Evidence(2.3, 100, (), probes)
    best, ahead = best_constant_lr(evidence), forecast(evidence, 10_000)
    assert (ahead.low, ahead.high) == (best.low - 0.5, best.high - 0.5)
    assert ahead.high - ahead.low == pytest.approx(2)


def test_nothing_learned_foretells_nothing():
    assert forecast(Evidence(2.3, 100), 1000) is None


def test_probes_without_steps_lrs_or_losses_are_refused():
    with pytest.raises(UsageError, match="1 step or more"):
        Evidence(2.3, 0)
    for lr, loss in ((0.0, 1.0), (math.inf, 1.0), (0.1, math.nan)):
        with pytest.raises(UsageError, match="a rate above 0 and a loss, or inf where it diverged"):
            Probe("p", lr, 0, loss)
