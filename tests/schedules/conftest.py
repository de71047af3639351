"""One generator of valid random policies, for whatever LR functions the table holds."""

import math
import re
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.schedules import FUNCTIONS, LRFunction, Policy
from lrsearch.schedules.fields import Field
from lrsearch.schedules.making import DEEPEST
from lrsearch.schedules.values import canonical_value

Random = np.random.Generator
Policies = Callable[..., Iterator[Policy]]

HORIZON, EPOCH = 100_000, 1000
"""The task of which a policy that waits was drawn: bound to it, the lengths are those of a policy that does not."""
PLAIN = [name for name, f in FUNCTIONS.items() if f.family not in ("combinator", "controller")]
COMBINATORS = [name for name, f in FUNCTIONS.items() if f.family == "combinator"]
BY_CHANCE = "k0|must be above 0|carry a momentum|carry no momentum|carries a momentum|start is the place"
"""What is left to chance: the order of learning rates, whose momentum meets whose, and where a controller starts."""


def _power(rng: Random, low: float, high: float) -> float:
    """Draw evenly between two powers of ten; half of the draws have two digits, as people write them."""
    drawn = 10 ** rng.uniform(low, high)
    return float(f"{drawn:.2g}") if rng.random() < 0.5 else drawn


def _or(rng: Random, value: float, special: float, share: float = 0.1) -> float:
    return special if rng.random() < share else value


def _length(rng: Random) -> float:
    return _or(rng, math.ceil(_power(rng, 0, 5)), _power(rng, 0, 5), 0.3)


def _milestones(rng: Random, count: int) -> list[float]:
    steps = (10 ** rng.uniform(0, 5, count)).tolist()
    whole = set(map(math.ceil, steps))
    return sorted(whole if len(whole) == count and rng.random() < 0.5 else steps)


def _heights(rng: Random, count: int) -> list[float]:
    heights = [round(height, 3) if rng.random() < 0.5 else height for height in rng.uniform(size=count).tolist()]
    heights[int(rng.integers(count))] = 1.0
    return heights


def _waiting(rng: Random, length: object) -> object:
    """The same length in epochs or parts of the run; in a list some of them."""
    if isinstance(length, list):
        return [_waiting(rng, one) for one in length]
    return [length, f"{length / EPOCH!r}ep", f"{length / HORIZON!r}dur"][int(rng.integers(3))]


NUMBERS: dict[str, Callable[[Random], object]] = {
    "a learning rate": lambda rng: _or(rng, _power(rng, -6, 1), 0),
    "a factor in": lambda rng: _or(rng, _power(rng, -6, 0), 1),
    "a factor per step": lambda rng: _or(rng, 1 - _power(rng, -6, -1), 1),
    "a number in [0": lambda rng: _or(rng, _power(rng, -8, 1), 0),
    "an exponent": lambda rng: _power(rng, -1, 1),
    "a growth": lambda rng: _or(rng, _power(rng, -0.7, 0.7), 1, 0.3),
    "a fraction": lambda rng: _or(rng, rng.uniform(0, 0.99), 0),
    "a height": lambda rng: _or(rng, rng.uniform(), float(rng.integers(2))),
    "a list of 2 to 64 heights": lambda rng: _heights(rng, int(rng.integers(2, 65))),
    "a whole number": lambda rng: int(rng.integers(4 if rng.random() < 0.7 else 17)),
    "a threshold": lambda rng: _or(rng, _power(rng, -6, 0), 0),
    "a number of reports": lambda rng: _or(rng, int(rng.integers(12)), rng.uniform(0, 12), 0.2),
}


def _drawn(field: Field, rng: Random, depth: int, waits: float, before: dict[str, object]) -> object:
    def part() -> Policy:
        names = COMBINATORS if depth + 1 < DEEPEST and rng.random() < 0.3 else PLAIN
        return _policy(FUNCTIONS[names[int(rng.integers(len(names)))]], rng, depth + 1, waits)

    if "polic" in field.rule:
        return part() if field.rule.startswith("a policy") else [part() for _ in range(rng.integers(2, 5))]
    if "step numbers" not in field.rule and "number of steps" not in field.rule:
        return next(draw for rule, draw in NUMBERS.items() if field.rule.startswith(rule))(rng)
    if field.rule.startswith("a number of steps") and not (field.rule.endswith("durations") and rng.random() < 0.5):
        length: object = _length(rng)
    else:
        fixed = re.match(r"a list of (\d+) rising", field.rule)
        count = int(fixed[1]) if fixed else int(rng.integers(1, 7))
        length = _milestones(rng, len(before["policies"]) - 1 if field.name == "at" else count)
    return _waiting(rng, length) if rng.random() < waits else length


def _value(field: Field, rng: Random, depth: int, waits: float, before: dict[str, object]) -> object:
    while True:
        value = _drawn(field, rng, depth, waits, before)
        if field.accepts(canonical_value(value)):
            return value


def _policy(function: LRFunction, rng: Random, depth: int = 1, waits: float = 0) -> Policy:
    while True:
        values: dict[str, object] = {}
        for field in function.fields:
            values[field.name] = _value(field, rng, depth, waits, values)
        try:
            return function(**values)
        except PolicyError as error:
            assert re.search(BY_CHANCE, str(error)), error


def _source(seed: int, count: int, function: LRFunction | None = None, waits: float = 0) -> Iterator[Policy]:
    rng = np.random.default_rng(seed)
    table = list(FUNCTIONS.values())

    def stream() -> Iterator[Policy]:
        while True:
            yield _policy(function or table[int(rng.integers(len(table)))], rng, waits=waits)

    return islice(stream(), count)


@pytest.fixture(scope="session")
def policies() -> Policies:
    """Give a source of random policies: `policies(seed, count)`, or of one LR function: `policies(seed, count, TRI)`.

    Of a share `waits` of their lengths some wait for a task.
    """
    return _source


@pytest.fixture(scope="session")
def ten_thousand() -> list[Policy]:
    """Random policies of the whole table, controllers among them; some wait for a task."""
    return list(_source(21, 10_000, waits=0.1))
