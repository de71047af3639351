"""What a learning rate becomes on another task: each correction by name, in decades, with its own doubt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.recommendation.similarity import Description, number_of

HORIZON_CONSTANT = (0.25, 0.10)
HORIZON_DECAYING = (0.15, 0.15)
"""Decades that the best learning rate falls for each tenfold of the steps, and their standard deviation."""
MOMENTUM_UNCERTAINTY = 0.4
TRANSFER_UNCERTAINTY = 0.3
UNPROBED_UNCERTAINTY = 0.5
OPTIMIZER_UNCERTAINTY = 0.5
BATCH_EXPONENT = {"sgd": 1.0, "adam": 0.5, "rmsprop": 0.5}


@dataclass(frozen=True, slots=True)
class Correction:
    """One reason to move a learning rate.

    Args:
        name: `horizon`, `batch size`, `momentum`, `optimizer`, `another task` or `no probe`.
        decades: how far it moves the learning rate; 0 where it only adds doubt.
        uncertainty: its standard deviation in decades.
        probed: whether it counts where both tasks have a range test as well, which shows all others by itself.
    """

    name: str
    decades: float
    uncertainty: float
    probed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"name": self.name, "decades": self.decades, "doubt": self.uncertainty, "probed": self.probed}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Correction":
        """Read it back."""
        return cls(values["name"], values["decades"], values["doubt"], values.get("probed", False))


def corrections(known: Description, asked: Description, constant: bool = False) -> tuple[Correction, ...]:
    r"""Give what moves a learning rate from a task to another.

    - horizon: $k \sim N^{-b}$, b = 0.25 +- 0.10 for constant learning rates, 0.15 +- 0.15 for those that decay.
    - batch size: $k \sim B$ with SGD, $\sqrt B$ with Adam and RMSprop, half of the correction in doubt.
    - momentum: $k / (1 - m)$ is kept, +- 0.4 decades.
    - optimizer: another one of the same kind only adds half a decade of doubt.
    - another task: another data set or model adds 0.3 decades of doubt, the error of a guess from one probe.
    - no probe: the same, half a decade more of it where one of both has no range test.

    With range tests on both sides only the horizon and another task are left: the rest shows in the tests.

    Args:
        known: the description of the task that the learning rate is from.
        asked: of the task that it is for.
        constant: whether it is a constant one.

    Source: the budget law, momentum and single-guess errors were measured on the DeepOBS baselines and on two small
    tasks of our own; linear scaling is Goyal et al. 2017, the square root for Adam Malladi et al. 2022.

    >>> task = {"data": {"name": "a"}, "model": {"name": "b"}, "optimizer": {"family": "sgd", "momentum": 0.9},
    ...         "batch_size": 32, "horizon": 1000}
    >>> [(one.name, round(one.decades, 3)) for one in corrections(task, task | {"batch_size": 64, "horizon": 10_000})]
    [('horizon', -0.15), ('batch size', 0.301)]
    >>> corrections(task, task)
    ()
    """
    other = not is_same_training_of(known, asked)
    found = [_horizon(known, asked, constant), _batch(known, asked), _momentum(known, asked), _optimizer(known, asked)]
    if other:
        found += [
            Correction("another task", 0.0, TRANSFER_UNCERTAINTY, probed=True),
            Correction("no probe", 0.0, UNPROBED_UNCERTAINTY),
        ]
    return tuple(one for one in found if one and (one.decades or one.uncertainty))


def is_same_training_of(known: Description, asked: Description) -> bool:
    """Tell whether two tasks train the same model on the same data, as far as their names say."""
    if any(set(one) <= {"name"} for one in (known, asked)):
        return known.get("name") == asked.get("name")
    return all(
        _part(known, part).get("name") is not None and _part(known, part).get("name") == _part(asked, part).get("name")
        for part in ("data", "model")
    )


def applying(found: Sequence[Correction], probed: bool) -> tuple[Correction, ...]:
    """Give those corrections that count, with range tests on both sides or without."""
    return tuple(one for one in found if one.probed or not probed)


def uncertainty_of(found: Sequence[Correction]) -> float:
    """Give the doubt of corrections together, in decades: the root of the sum of their squares."""
    return math.sqrt(sum(one.uncertainty**2 for one in found))


def _horizon(known: Description, asked: Description, constant: bool) -> Correction | None:
    exponent, uncertainty = HORIZON_CONSTANT if constant else HORIZON_DECAYING
    longer = _decades(known.get("horizon"), asked.get("horizon"))
    return Correction("horizon", -exponent * longer, uncertainty * abs(longer), probed=True) if longer else None


def _batch(known: Description, asked: Description) -> Correction | None:
    exponent = BATCH_EXPONENT.get(str(_part(asked, "optimizer").get("family")), 1.0)
    larger = exponent * _decades(known.get("batch_size"), asked.get("batch_size"))
    return Correction("batch size", larger, abs(larger) / 2) if larger else None


def _momentum(known: Description, asked: Description) -> Correction | None:
    before, after = (number_of(_part(one, "optimizer").get("momentum")) for one in (known, asked))
    if before is None or after is None or before == after or max(before, after) >= 1:
        return None
    return Correction("momentum", math.log10((1 - after) / (1 - before)), MOMENTUM_UNCERTAINTY)


def _optimizer(known: Description, asked: Description) -> Correction | None:
    before, after = (_part(one, "optimizer").get("family") for one in (known, asked))
    return Correction("optimizer", 0.0, OPTIMIZER_UNCERTAINTY) if before and after and before != after else None


def _part(description: Description, part: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = description.get(part) or {}
    return found


def _decades(before: Any, after: Any) -> float:
    low, high = number_of(before) or 0.0, number_of(after) or 0.0
    return math.log10(high / low) if low > 0 and high > 0 else 0.0
