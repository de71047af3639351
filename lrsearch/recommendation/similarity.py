"""The distance of two tasks, by group: first the response of their range tests, then their descriptions.

A description is a task's `description`, or as much of it as is known: what is missing on either side is neutral.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lrsearch.heuristics.evidence import Ramp

Description = Mapping[str, Any]
Numbers = npt.NDArray[np.float64]

WEIGHTS = {"response": 3.0, "data": 1.0, "model": 1.0, "training": 1.0}
"""The response counts as much as all of the description. Measured on DeepOBS: a learning rate from a probe errs by 0.3
decades at the median, one from stored tasks by 0.45."""
KINDS = {"adam": "adaptive", "rmsprop": "adaptive"}
"""Families of optimizers with learning rates of about the same meaning; every other family is its own kind."""
OFFSETS = np.arange(-2.0, 1.01, 0.25)
"""Decades from the range-test optimum at which responses are compared."""
NAMES = ("name", "optimizer")
"""Fields that are equal or not: their difference is 0 or 1."""
APART = {"pretrained": "another beginning", "method": "another method"}
"""Facts in which tasks must not differ: a fine-tuning is no neighbour of a training from scratch."""
USUAL = {"pretrained": "false", "method": "full"}
"""The facts of a task that does not state them: all of a model is trained, from scratch."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The response of a task's range tests.

    Args:
        optimum: the range-test optimum, the median of the tests.
        drops: the share of the whole fall of the smoothed loss, from 1 at its lowest to -1 where it blew up, at each
            quarter of a decade from two decades below the optimum to one above.
    """

    optimum: float
    drops: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Similarity:
    """How far two tasks are from each other, and why.

    Args:
        distance: 0 for the same; inf where they cannot be compared.
        parts: the distance by group, in decades or shares that differ: `response`, `data`, `model`, `training`; a group
            of which nothing is known on one side is left out.
        gate: why they cannot be compared; None where they can.
    """

    distance: float
    parts: Mapping[str, float] = field(default_factory=dict)
    gate: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; a distance of inf is null."""
        return {
            "distance": self.distance if math.isfinite(self.distance) else None,
            "parts": dict(self.parts),
            "gate": self.gate,
        }


def fingerprint(ramps: "Sequence[Ramp]") -> Fingerprint | None:
    """The response of range tests; None where there are none, or all are flat.

    >>> from lrsearch.heuristics.evidence import Ramp
    >>> lrs = tuple(10 ** (-5 + n / 20) for n in range(121))
    >>> losses = tuple(2.0 if lr < 0.01 else 0.5 if lr < 0.1 else 9.0 for lr in lrs)
    >>> response = fingerprint([Ramp("a", lrs, losses)])
    >>> 0.02 < response.optimum < 0.05, response.drops[0], response.drops[-1]
    (True, 0.0, -1.0)
    """
    from lrsearch.heuristics.range_test import range_test_optimum, read_ramp

    readings = [read_ramp(ramp) for ramp in ramps]
    optimum = range_test_optimum(readings)
    if optimum is None:
        return None
    at = math.log10(optimum) + OFFSETS
    curves = [
        _drops(ramp.lrs, np.asarray(reading.smoothed), at)
        for ramp, reading in zip(ramps, readings, strict=True)
        if reading.optimum
    ]
    return Fingerprint(optimum, tuple(np.median(curves, axis=0).tolist()))


def compare(
    description: Description, known: Description, own: Fingerprint | None = None, other: Fingerprint | None = None
) -> Similarity:
    """How far two tasks are from each other: see `compare_many`.

    >>> mnist = {"name": "a", "data": {"train": 54_000, "classes": 10}, "optimizer": {"family": "sgd"}, "horizon": 100}
    >>> similarity = compare(mnist, mnist | {"horizon": 1000})
    >>> round(similarity.parts["training"], 3), similarity.parts["data"]
    (0.707, 0.0)
    >>> compare(mnist, mnist | {"optimizer": {"family": "adam"}}).gate
    'another kind of optimizer: adam, not sgd'
    """
    return compare_many(description, [(known, other)], own)[0]


def compare_many(
    description: Description, known: Sequence[tuple[Description, Fingerprint | None]], own: Fingerprint | None = None
) -> list[Similarity]:
    r"""How far each known task is from the described one.

    The distance is $\sqrt{\sum_g w_g d_g^2 / \sum_g w_g}$ over the groups of which both descriptions have something.
    $d_g$ is the root mean square of the differences: sizes in decades, momentum in decades of the steps it remembers,
    weight decay in decades of 1 + decay / 0.0001, names by 0 or 1. The response is the distance of the two optima in
    decades and the root mean square of the two curves' difference around them; it weighs as much as all other groups.

    Gates: tasks of another learning task, another kind of optimizer, or another `pretrained` or `method` among the
    facts are infinitely far. A task that is only a name has distance 0 to tasks of that name, else inf.

    Args:
        description: that of the task to compare with.
        known: the other descriptions, each with the fingerprint of its range tests, if it has any.
        own: the fingerprint of the described task, if it has any.

    Source: missing values as in scikit-learn's `nan_euclidean_distances`.
    """
    gates = [_gate(description, other) for other, _ in known]
    tables = {
        group: _group_distances(description, [other for other, _ in known], group)
        for group in WEIGHTS
        if group != "response"
    }
    tables["response"] = np.array([_response(own, other) for _, other in known])
    return [
        _similarity(gates[at], {group: float(tables[group][at]) for group in WEIGHTS})
        if not _is_name(description, other)
        else _by_name(description, other)
        for at, (other, _) in enumerate(known)
    ]


def distance(a: Description, b: Description) -> float:
    """How far two tasks are by their descriptions alone: 0 for the same, inf where they cannot be compared."""
    return compare(a, b).distance


def _similarity(gate: str | None, parts: Mapping[str, float]) -> Similarity:
    known = {group: part for group, part in parts.items() if not math.isnan(part)}
    if gate or not known:
        return Similarity(math.inf, known, gate or "nothing is known of both")
    weight = sum(WEIGHTS[group] for group in known)
    squares = sum(WEIGHTS[group] * part**2 for group, part in known.items())
    return Similarity(math.sqrt(squares / weight), known)


def _is_name(a: Description, b: Description) -> bool:
    return any(set(description) <= {"name"} for description in (a, b))


def _by_name(a: Description, b: Description) -> Similarity:
    if a.get("name") is not None and a.get("name") == b.get("name"):
        return Similarity(0.0)
    return Similarity(math.inf, gate="only a name is known of one of them, and the names differ")


def _gate(description: Description, other: Description) -> str | None:
    mine, theirs = _learning(description), _learning(other)
    if mine and theirs and mine != theirs:
        return f"another learning task: {theirs}, not {mine}"
    mine, theirs = _family(description), _family(other)
    if mine and theirs and KINDS.get(mine, mine) != KINDS.get(theirs, theirs):
        return f"another kind of optimizer: {theirs}, not {mine}"
    return next(
        (
            f"{what}: {name} is {theirs}, not {mine}"
            for name, what in APART.items()
            if (mine := _fact(description, name)) != (theirs := _fact(other, name))
        ),
        None,
    )


def _fact(description: Description, name: str) -> str:
    """A fact of a user's task as a text, capitals aside; the usual one where the task does not state it."""
    value = (description.get("facts") or {}).get(name)
    return USUAL[name] if value is None else str(value).casefold()


def _learning(description: Description) -> str | None:
    named = description.get("learning")
    known = "classification" if (description.get("data") or {}).get("classes") else None
    return str(named) if named else known


def _family(description: Description) -> str | None:
    family = (description.get("optimizer") or {}).get("family")
    return str(family) if family else None


def _response(own: Fingerprint | None, other: Fingerprint | None) -> float:
    if own is None or other is None:
        return math.nan
    apart = math.log10(own.optimum / other.optimum)
    shape = float(np.mean((np.array(own.drops) - np.array(other.drops)) ** 2))
    return math.sqrt((apart**2 + shape) / 2)


def _group_distances(description: Description, known: Sequence[Description], group: str) -> Numbers:
    """The root mean square difference in a group to each known task; nan where they have no field in common."""
    from sklearn.metrics.pairwise import nan_euclidean_distances

    if not known:
        return np.empty(0)
    mine = _features(description, group)
    rows = np.array(
        [
            [_difference(name, mine[name], theirs[name]) for name in mine]
            for theirs in (_features(other, group) for other in known)
        ]
    )
    origin = np.zeros((1, len(mine)))
    return np.asarray(nan_euclidean_distances(origin, rows)[0] / math.sqrt(len(mine)))


def _difference(name: str, mine: Any, theirs: Any) -> float:
    if mine is None or theirs is None:
        return math.nan
    return float(mine != theirs) if name in NAMES else float(mine - theirs)


def _features(description: Description, group: str) -> dict[str, Any]:
    data, model, optimizer = (description.get(part) or {} for part in ("data", "model", "optimizer"))
    if group == "data":
        return {
            "train": _decades(data.get("train")),
            "classes": _decades(data.get("classes")),
            "inputs": _inputs(data.get("shape")),
            "name": data.get("name"),
        }
    if group == "model":
        return {"parameters": _decades(model.get("parameters")), "name": model.get("name")}
    momentum, decay = (number_of(optimizer.get(name)) for name in ("momentum", "weight_decay"))
    return {
        "batch_size": _decades(description.get("batch_size")),
        "horizon": _decades(description.get("horizon")),
        "momentum": None if momentum is None or momentum >= 1 else -math.log10(1 - momentum),
        "weight_decay": None if decay is None or decay < 0 else math.log10(1 + decay / 0.0001),
        "optimizer": optimizer.get("family"),
    }


def _inputs(shape: Any) -> float | None:
    sizes = [number_of(size) for size in shape] if isinstance(shape, Sequence) else []
    known = [size for size in sizes if size is not None]
    return _decades(math.prod(known)) if sizes and len(known) == len(sizes) else None


def _decades(size: Any) -> float | None:
    number = number_of(size)
    return math.log10(number) if number is not None and number > 0 else None


def number_of(fact: Any) -> float | None:
    """The fact where it is a number, else None: a user's facts may be any JSON values."""
    return fact if isinstance(fact, int | float) and not isinstance(fact, bool) else None


def _drops(lrs: Sequence[float], smoothed: Numbers, at: Numbers) -> Numbers:
    first = smoothed[: max(1, len(smoothed) // 10)].mean()
    fallen = np.clip((first - smoothed) / (first - smoothed.min()), -1, 1)
    return np.interp(at, np.log10(lrs), np.where(np.isfinite(fallen), fallen, -1.0))
