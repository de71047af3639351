"""LR range tests on other losses than cross-entropy, against a dense sweep of full runs.

    python studies/range-test/losses.py [--seeds 2] [--tests 8] [--cases NAME ...]

Claim: where a range test suggests a peak, a full run at it is stable and reaches 86 % or more of the fall from
guessing to the best; and the space that probes leave, without being told what guessing is worth, holds good peaks,
with two exceptions: the likelihood, whose range ends at 0.0145 (90 % of the fall at 0.01) below good peaks from 0.018
on, and one sample an update, where 50 samples a probe teach nothing and the space stays as it is. Judged by full
cosine runs at 4 peaks in each decade: a peak is good where its mean validation loss over 2 seeds is within 5 % of the
fall from the best. Evidence: `losses.json` and `losses.txt`, made on 1 CPU core. Each case trains a small model on
made-up data: 4,000 samples to learn from, 2,000 to be judged on, 600 updates a full run, 300 a range test, 50 a
probe.
"""

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lrsearch.heuristics import Evidence, Probe, prune
from lrsearch.heuristics.probes import next_probe
from lrsearch.heuristics.range_test import range_test_optimum, read_ramp
from lrsearch.schedules import FIX, HALFCOS, Policy
from lrsearch.spaces import Space
from lrsearch.training.range_test import RangeTest

SAMPLES, VALIDATION, STEPS, TEST_STEPS, PROBE_STEPS, PER_DECADE = 4000, 2000, 600, 300, 50, 4
GOOD = 0.05
Optimizers = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Case:
    """A training: samples, a model, a loss of (model, batch), an optimizer, the learning rates that are swept."""

    samples: Callable[[torch.Generator], torch.Tensor]
    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, torch.Tensor], torch.Tensor]
    optimizer: Optimizers
    batch_size: int = 32
    low: float = 1e-6
    high: float = 10.0

    def batches(self, seed: int) -> Iterator[torch.Tensor]:
        """Batches of the learning samples without end."""
        draw = torch.Generator().manual_seed(1000 + seed)
        learned = self.split[0]
        while True:
            yield learned[torch.randint(len(learned), (self.batch_size,), generator=draw)]

    @property
    def split(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples to learn from, and those to be judged on."""
        found = self.samples(torch.Generator().manual_seed(0))
        return found[:SAMPLES], found[SAMPLES:]

    def begin(self, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        """A new model and its optimizer."""
        torch.manual_seed(seed)
        model = self.build()
        return model, self.optimizer(list(model.parameters()))

    def range_test(self, seed: int = 0, steps: int = TEST_STEPS) -> RangeTest:
        """A range test over the case's learning rates."""
        model, optimizer = self.begin(seed)
        batches = self.batches(seed)
        with RangeTest(model, optimizer, low=self.low, high=self.high, steps=steps) as test:
            while not test.is_over:
                optimizer.zero_grad()
                value = self.loss(model, next(batches))
                value.backward()
                optimizer.step()
                test.step(value)
        return test

    def train(self, policy: Policy | None, seed: int = 0, steps: int = STEPS) -> float:
        """The validation loss after a full run; of the untrained model without a policy; inf where it diverged."""
        model, optimizer = self.begin(seed)
        scheduler, batches = policy.scheduler(optimizer) if policy else None, self.batches(seed)
        for _ in range(steps if scheduler else 0):
            optimizer.zero_grad()
            self.loss(model, next(batches)).backward()
            optimizer.step()
            scheduler.step()
        with torch.no_grad():
            judged = self.loss(model, self.split[1])
        return float(judged) if math.isfinite(judged) else math.inf


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them."""
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def regression(scale: float, shift: float = 0.0, noise: float = 0.3) -> Callable[[torch.Generator], torch.Tensor]:
    """20 inputs and a target that is partly linear, partly a product."""

    def samples(draw: torch.Generator) -> torch.Tensor:
        x = torch.randn(SAMPLES + VALIDATION, 20, generator=draw)
        y = (x @ torch.randn(20, generator=draw)) / 4 + x[:, 0] * x[:, 1]
        y = y + noise * torch.randn(len(x), generator=draw)
        return torch.cat([x, (shift + scale * y)[:, None]], 1)

    return samples


def squares(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(model(batch[:, :20]), batch[:, 20:])


def labels(draw: torch.Generator) -> torch.Tensor:
    """20 inputs and one of 50 classes, the nearest of 50 places."""
    x = torch.randn(SAMPLES + VALIDATION, 20, generator=draw)
    places = torch.randn(50, 20, generator=draw)
    return torch.cat([x, torch.cdist(x, places).argmin(1, keepdim=True).float()], 1)


class Perplexity(nn.Module):
    """exp(cross-entropy) as its value, the gradient of cross-entropy: what people log beside what they train on."""

    def forward(self, scores: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(scores, y)
        return loss + (loss.exp() - loss).detach()


def perplexity(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return Perplexity()(model(batch[:, :20]), batch[:, 20].long())


def views(draw: torch.Generator) -> torch.Tensor:
    """Two views of 10 hidden numbers, 20 inputs each."""
    hidden = torch.randn(SAMPLES + VALIDATION, 10, generator=draw)
    parts = [
        hidden @ torch.randn(10, 20, generator=draw) + 0.5 * torch.randn(len(hidden), 20, generator=draw)
        for _ in range(2)
    ]
    return torch.cat(parts, 1)


def contrastive(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """InfoNCE among 64 pairs at a time, with a temperature of 0.1."""
    losses = []
    for some in batch.split(64):
        one, other = (F.normalize(model(view), dim=1) for view in (some[:, :20], some[:, 20:]))
        losses.append(F.cross_entropy(one @ other.T / 0.1, torch.arange(len(some))))
    return torch.stack(losses).mean()


def likelihood(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihood of a normal distribution whose mean and log-variance are learned."""
    mean, log_variance = model(batch[:, :20]).chunk(2, 1)
    return (0.5 * (log_variance + (batch[:, 20:] - mean) ** 2 / log_variance.exp())).mean()


class Autoencoder(nn.Module):
    """A variational autoencoder of 20 inputs with a learned scale."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode, self.log_scale = mlp(20, 32, 8), mlp(4, 32, 20), nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, log_scale = self.encode(x).chunk(2, 1)
        hidden = mean + log_scale.exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
        errors = (x - self.decode(hidden)) / self.log_scale.exp()
        return (0.5 * errors**2 + self.log_scale).sum(1) + divergence


def manifold(draw: torch.Generator) -> torch.Tensor:
    """20 inputs that follow from 3 numbers almost wholly, so that a likelihood can be high."""
    hidden = torch.randn(SAMPLES + VALIDATION, 3, generator=draw)
    clean = torch.tanh(hidden @ torch.randn(3, 20, generator=draw) / 2)
    return clean + 0.02 * torch.randn(clean.shape, generator=draw)


def hinge(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    sign = (batch[:, 20:] > 0).float() * 2 - 1
    return F.relu(1 - sign * model(batch[:, :20])).mean()


def momentum(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.1)


def plain(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


CASES = {
    "mse": Case(regression(1), lambda: mlp(20, 32, 1), squares, momentum),
    "mse in thousands": Case(regression(1000, 3000), lambda: mlp(20, 32, 1), squares, adam),
    "mse in thousands, sgd": Case(regression(1000, 3000), lambda: mlp(20, 32, 1), squares, plain, low=1e-12, high=1e-3),
    "perplexity": Case(labels, lambda: mlp(20, 64, 50), perplexity, adam),
    "perplexity, sgd": Case(labels, lambda: mlp(20, 64, 50), perplexity, momentum),
    "contrastive": Case(views, lambda: mlp(20, 32, 16), contrastive, adam, batch_size=64),
    "gaussian nll": Case(regression(0.1, 0, 0.05), lambda: mlp(20, 32, 2), likelihood, adam),
    "elbo": Case(manifold, Autoencoder, lambda model, batch: model(batch).mean(), adam),
    "hinge": Case(regression(1), lambda: mlp(20, 32, 1), hinge, momentum),
    "noisy mse, one sample": Case(regression(1, noise=1.0), lambda: mlp(20, 32, 1), squares, adam, batch_size=1),
    "noisy mse, two samples": Case(regression(2, noise=1.0), lambda: mlp(20, 32, 1), squares, momentum, batch_size=2),
}


def probed(case: Case, seeds: int = 2) -> Evidence:
    """What a search would know: range tests, then short runs of constant learning rates; no level of guessing."""
    ramps = tuple(replace(case.range_test(seed).ramp, run=f"ramp {seed}") for seed in range(seeds))
    evidence = Evidence(None, PROBE_STEPS, ramps)
    start = range_test_optimum([read_ramp(ramp) for ramp in ramps])
    while (wanted := next_probe(evidence, start, (case.low, case.high))) is not None:
        lr, seed = wanted
        probe = Probe(f"probe {lr:g} {seed}", lr, seed, case.train(FIX(k0=lr), seed, PROBE_STEPS))
        evidence = replace(evidence, probes=(*evidence.probes, probe))
    return evidence


def space_of(case: Case) -> Space:
    """The space of a full run before anything is known."""
    return Space.standard(horizon=STEPS, epoch=SAMPLES / case.batch_size, peak=(case.low, case.high))


def sweep(case: Case, seeds: int) -> dict[float, float]:
    """The mean validation loss of full cosine runs at each peak; inf where one diverged."""
    marks = range(math.ceil(PER_DECADE * math.log10(case.low)), math.floor(PER_DECADE * math.log10(case.high)) + 1)
    peaks = [float(f"{10 ** (mark / PER_DECADE):.3g}") for mark in marks]
    return {
        peak: statistics.fmean(case.train(HALFCOS(k0=peak, l=STEPS), seed) for seed in range(seeds)) for peak in peaks
    }


def measured(case: Case, seeds: int, tests: int) -> dict[str, Any]:
    """Measure one case: what range tests suggest, the space that probes leave, and the truth by a sweep."""
    advices = [case.range_test(seed).advice for seed in range(tests)]
    suggested = [advice.default.lr for advice in advices if advice.default]
    losses = sweep(case, seeds)
    guess = statistics.fmean(case.train(None, seed) for seed in range(seeds))
    best = min(losses.values())
    shares = {peak: (guess - loss) / (guess - best) for peak, loss in losses.items()}
    pruned = prune(space_of(case), probed(case))
    peak = pruned.space.peak
    return {
        "verdicts": [advice.verdict for advice in advices],
        "suggested": suggested,
        "bottoms": [advice.readings[0].optimum for advice in advices],
        "guess": guess,
        "best": best,
        "best_peak": min(losses, key=lambda one: losses[one]),
        "good": [one for one, share in shares.items() if share >= 1 - GOOD],
        "share_at_suggestion": share_at(case, statistics.median(suggested), guess, best, seeds) if suggested else None,
        "pruned": [peak.low, peak.high],
        "refusal": pruned.refusal,
        "shares": {f"{one:g}": round(share, 3) for one, share in shares.items() if math.isfinite(share)},
    }


def share_at(case: Case, peak: float, guess: float, best: float, seeds: int) -> float:
    """The share of the fall that full cosine runs at a peak reach."""
    loss = statistics.fmean(case.train(HALFCOS(k0=float(f"{peak:.3g}"), l=STEPS), seed) for seed in range(seeds))
    return (guess - loss) / (guess - best)


def told(name: str, found: dict[str, Any]) -> str:
    """Say in a line or two what was measured."""
    suggested = found["suggested"]
    rates = f"{min(suggested):.2g} .. {max(suggested):.2g}" if suggested else "nothing"
    share = found["share_at_suggestion"]
    reached = f", where a full run reaches {100 * share:.0f} % of the fall" if share is not None else ""
    good = found["good"]
    held = sum(found["pruned"][0] <= peak <= found["pruned"][1] for peak in good)
    verdicts = ", ".join(f"{found['verdicts'].count(one)} {one}" for one in sorted(set(found["verdicts"])))
    return (
        f"{name}: {verdicts}; suggested {rates}{reached}; good peaks {good[0]:.2g} .. {good[-1]:.2g}; pruned"
        f" {found['pruned'][0]:g} .. {found['pruned'][1]:g}, with {held} of {len(good)} good ones"
        + (f"; refused: {found['refusal']}" if found["refusal"] else "")
    )


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2, help="of the full runs")
    parser.add_argument("--tests", type=int, default=8, help="range tests of each case")
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    file = Path(__file__).with_suffix(".json")
    found = json.loads(file.read_text()) if file.exists() else {}
    for name in given.cases:
        found[name] = measured(CASES[name], given.seeds, given.tests)
        print(told(name, found[name]), flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
