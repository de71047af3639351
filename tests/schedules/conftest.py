"""One generator of valid random policies, for whatever LR functions the table holds."""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.schedules import FUNCTIONS, LRFunction, Policy
from lrsearch.schedules.fields import Field

Random = np.random.Generator
Policies = Callable[..., Iterator[Policy]]


def _power(rng: Random, low: float, high: float) -> float:
    """Draw evenly between two powers of ten; half of the draws have two digits, as people write them."""
    drawn = 10 ** rng.uniform(low, high)
    return float(f"{drawn:.2g}") if rng.random() < 0.5 else drawn


def _or(rng: Random, value: float, special: float, share: float = 0.1) -> float:
    return special if rng.random() < share else value


def _milestones(rng: Random) -> list[float]:
    count = int(rng.integers(1, 7))
    whole = rng.random() < 0.5
    steps = {math.ceil(step) if whole else step for step in 10 ** rng.uniform(0, 5, count)}
    return sorted(map(float, steps))


DRAWS: dict[str, Callable[[Random], object]] = {
    "a learning rate": lambda rng: _or(rng, _power(rng, -6, 1), 0),
    "a factor in": lambda rng: _or(rng, _power(rng, -6, 0), 1),
    "a factor per step": lambda rng: _or(rng, 1 - _power(rng, -6, -1), 1),
    "a number in [0": lambda rng: _or(rng, _power(rng, -8, 1), 0),
    "an exponent": lambda rng: _power(rng, -1, 1),
    "a number of steps": lambda rng: _or(rng, math.ceil(_power(rng, 0, 5)), _power(rng, 0, 5), 0.3),
    "a list of": _milestones,
}


def _value(field: Field, rng: Random, depth: int) -> object:
    if field.rule == "a policy":
        names = [name for name in FUNCTIONS if depth < 3 or name != "WARMUP"]
        return _policy(FUNCTIONS[names[int(rng.integers(len(names)))]], rng, depth + 1)
    return next(draw for rule, draw in DRAWS.items() if field.rule.startswith(rule))(rng)


def _policy(function: LRFunction, rng: Random, depth: int = 1) -> Policy:
    while True:
        values = {field.name: _value(field, rng, depth) for field in function.fields}
        try:
            return function(**values)
        except PolicyError as error:
            assert "k0" in str(error), "only the order of k0 and k1 is left to chance"


@pytest.fixture
def policies() -> Policies:
    """Give a source of random policies: `policies(seed, count)`, or `policies(seed, count, function)`."""

    def source(seed: int, count: int, function: LRFunction | None = None) -> Iterator[Policy]:
        rng = np.random.default_rng(seed)
        table = list(FUNCTIONS.values())

        def stream() -> Iterator[Policy]:
            while True:
                yield _policy(function or table[int(rng.integers(len(table)))], rng)

        return islice(stream(), count)

    return source
