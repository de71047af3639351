"""A learning rate on another task: each correction by name, in decades, with its uncertainty."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.recommendation.similarity import Description, number_of

HORIZON_CONSTANT = (0.25, 0.10)
HORIZON_DECAYING = (0.15, 0.15)
"""Decades that the best learning rate falls for each tenfold of the steps, and their standard deviation. Measured: 0.23
on DeepOBS for constant LRs, 0.1 to 0.3 on MLPs for MNIST and CIFAR-10 for decaying ones."""
MOMENTUM_UNCERTAINTY = 0.4
"""Decades. Measured on DeepOBS, SGD against momentum 0.99: the median error of lr / (1 - momentum)."""
TRANSFER_UNCERTAINTY = 0.3
"""Decades. Measured on DeepOBS: the median error of a guess from one probe."""
UNPROBED_UNCERTAINTY = 0.5
"""Decades, where a task has no range test (a rule). On DeepOBS, stored LRs alone err by 0.45 at the median."""
OPTIMIZER_UNCERTAINTY = 0.5
"""Decades, between optimizers of one kind (a rule)."""
BATCH_EXPONENT = {"sgd": 1.0, "adam": 0.5, "rmsprop": 0.5}
"""Of the batch size. Published: linear for SGD (Goyal et al. 2017), the square root for Adam (Malladi et al. 2022)."""


@dataclass(frozen=True, slots=True)
class Correction:
    """One reason to move a learning rate.

    Args:
        name: `horizon`, `batch size`, `momentum`, `optimizer`, `another task` or `no probe`.
        decades: how far it moves the learning rate; 0 where it only adds uncertainty.
        uncertainty: its standard deviation in decades.
        probed: whether it also counts where both tasks have a range test, which replaces all other corrections.
    """

    name: str
    decades: float
    uncertainty: float
    probed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {"name": self.name, "decades": self.decades, "doubt": self.uncertainty, "probed": self.probed}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Correction":
        """Read the values of `to_json`."""
        return cls(values["name"], values["decades"], values["doubt"], values.get("probed", False))


def corrections(source: Description, target: Description, constant: bool = False) -> tuple[Correction, ...]:
    r"""The corrections of a learning rate from one task to another.

    - horizon: $k \sim N^{-b}$, b = 0.25 +- 0.10 for constant learning rates, 0.15 +- 0.15 for those that decay.
    - batch size: $k \sim B$ with SGD, $\sqrt B$ with Adam and RMSprop; half of the correction is its uncertainty.
    - momentum: $k / (1 - m)$ stays, +- 0.4 decades.
    - optimizer: another optimizer of the same kind only adds half a decade of uncertainty.
    - another task: another data set or model adds 0.3 decades of uncertainty, the error of a guess from one probe.
    - no probe: half a decade more where one of both has no range test.

    With range tests on both sides only the horizon and another task are left: the rest shows in the tests.

    Args:
        source: the description of the task that the learning rate is from.
        target: the description of the task that it is for.
        constant: whether the learning rate is constant.

    Source: the budget law, momentum and single-guess errors were measured on the DeepOBS baselines and on two small
    own tasks; linear scaling is Goyal et al. 2017, the square root for Adam Malladi et al. 2022.

    >>> task = {"data": {"name": "a"}, "model": {"name": "b"}, "optimizer": {"family": "sgd", "momentum": 0.9},
    ...         "batch_size": 32, "horizon": 1000}
    >>> moves = corrections(task, task | {"batch_size": 64, "horizon": 10_000})
    >>> [(correction.name, round(correction.decades, 3)) for correction in moves]
    [('horizon', -0.15), ('batch size', 0.301)]
    >>> corrections(task, task)
    ()
    """
    other = not is_same_training_of(source, target)
    moves = [
        _horizon(source, target, constant),
        _batch(source, target),
        _momentum(source, target),
        _optimizer(source, target),
    ]
    if other:
        moves += [
            Correction("another task", 0.0, TRANSFER_UNCERTAINTY, probed=True),
            Correction("no probe", 0.0, UNPROBED_UNCERTAINTY),
        ]
    return tuple(correction for correction in moves if correction and (correction.decades or correction.uncertainty))


def is_same_training_of(source: Description, target: Description) -> bool:
    """Whether two tasks train the same model on the same data, as far as their names say."""
    if any(set(description) <= {"name"} for description in (source, target)):
        return source.get("name") == target.get("name")
    return all(
        _part(source, part).get("name") is not None
        and _part(source, part).get("name") == _part(target, part).get("name")
        for part in ("data", "model")
    )


def applying(moves: Sequence[Correction], probed: bool) -> tuple[Correction, ...]:
    """The corrections that count, with range tests on both sides or without."""
    return tuple(correction for correction in moves if correction.probed or not probed)


def uncertainty_of(moves: Sequence[Correction]) -> float:
    """The uncertainty of corrections together, in decades: the root of the sum of their squares."""
    return math.sqrt(sum(correction.uncertainty**2 for correction in moves))


def _horizon(source: Description, target: Description, constant: bool) -> Correction | None:
    exponent, uncertainty = HORIZON_CONSTANT if constant else HORIZON_DECAYING
    longer = _decades(source.get("horizon"), target.get("horizon"))
    return Correction("horizon", -exponent * longer, uncertainty * abs(longer), probed=True) if longer else None


def _batch(source: Description, target: Description) -> Correction | None:
    exponent = BATCH_EXPONENT.get(str(_part(target, "optimizer").get("family")), 1.0)
    larger = exponent * _decades(source.get("batch_size"), target.get("batch_size"))
    return Correction("batch size", larger, abs(larger) / 2) if larger else None


def _momentum(source: Description, target: Description) -> Correction | None:
    before, after = (number_of(_part(task, "optimizer").get("momentum")) for task in (source, target))
    if before is None or after is None or before == after or max(before, after) >= 1:
        return None
    return Correction("momentum", math.log10((1 - after) / (1 - before)), MOMENTUM_UNCERTAINTY)


def _optimizer(source: Description, target: Description) -> Correction | None:
    before, after = (_part(task, "optimizer").get("family") for task in (source, target))
    return Correction("optimizer", 0.0, OPTIMIZER_UNCERTAINTY) if before and after and before != after else None


def _part(description: Description, part: str) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = description.get(part) or {}
    return fields


def _decades(before: Any, after: Any) -> float:
    low, high = number_of(before) or 0.0, number_of(after) or 0.0
    return math.log10(high / low) if low > 0 and high > 0 else 0.0
