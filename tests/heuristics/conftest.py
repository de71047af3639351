"""Tasks that train nothing: a loss for every learning rate, and a walk over it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from lrsearch.heuristics import Evidence, Probe, Ramp
from lrsearch.heuristics.probes import next_probe

CHANCE = 2.3
LRS = tuple(np.geomspace(1e-6, 10, 300).tolist())


@dataclass(frozen=True)
class Bowl:
    """A task whose best constant learning rate is 10^best; past `cliff` decades above it, runs end as `beyond`."""

    best: float
    cliff: float = 1.2
    beyond: float = math.inf
    width: float = 0.8
    noise: float = 0.0

    def loss(self, lr: float, seed: int = 0) -> float:
        x = math.log10(lr) - self.best
        if x > self.cliff:
            return self.beyond
        jitter = np.random.default_rng([seed, round(1000 * (10 + math.log10(lr)))]).normal(0, 1) * self.noise
        return float(CHANCE - 2 * math.exp(-((x / self.width) ** 2) / 2) + jitter)

    def ramp(self, run: str) -> Ramp:
        """A range test; its lowest loss lies 0.7 decades above the best constant learning rate."""
        shifted = Bowl(self.best + 0.7, 0.5, math.inf, self.width)
        return Ramp(run, LRS, tuple(shifted.loss(lr) for lr in LRS))


Walk = Callable[..., Evidence]


@pytest.fixture
def walk() -> Walk:
    """Probe a loss until the walk has seen enough."""

    def drive(loss, start=None, domain=(1e-6, 10.0), ramps=(), most=60, probe_steps=100) -> Evidence:
        probes: list[Probe] = []
        while len(probes) < most:
            evidence = Evidence(CHANCE, probe_steps, tuple(ramps), tuple(probes))
            wanted = next_probe(evidence, start, domain)
            if wanted is None:
                return evidence
            lr, seed = wanted
            probes.append(Probe(f"probe-{len(probes)}", lr, seed, loss(lr, seed)))
        raise AssertionError(f"the walk does not end: {[probe.lr for probe in probes]}")

    return drive


@pytest.fixture
def bowl() -> type[Bowl]:
    return Bowl
