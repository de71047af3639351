"""How alike two tasks are: by the response of their probes first, by their descriptions second, explained by group.

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
"""The response of the probes counts as much as all of the description: it transfers better than what is described."""
KINDS = {"adam": "adaptive", "rmsprop": "adaptive"}
"""Families of optimizers whose learning rates mean about the same; every other family is a kind of its own."""
OFFSETS = np.arange(-2.0, 1.01, 0.25)
"""Decades from the middle of the bottom at which a response is compared."""
NAMES = ("name", "optimizer")
APART = {"pretrained": "another beginning", "method": "another method"}
"""Facts in which tasks must not differ: a fine-tuning is no neighbour of a training from scratch."""
USUAL = {"pretrained": "false", "method": "full"}
"""What a task is that says nothing of it: all of a model is trained, from scratch."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The response of a task's range tests.

    Args:
        optimum: the learning rate in the middle of the bottom, the median of the tests.
        drops: the share of the whole fall of the smoothed loss, from 1 at its lowest to -1 where it blew up, at a
            quarter of a decade each from two decades below the middle to one above.
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
        """Give it as plain JSON values; a distance of inf is null."""
        return {
            "distance": self.distance if math.isfinite(self.distance) else None,
            "parts": dict(self.parts),
            "gate": self.gate,
        }


def fingerprint(ramps: "Sequence[Ramp]") -> Fingerprint | None:
    """Give the response of range tests; None where there are none, or all are flat.

    >>> from lrsearch.heuristics.evidence import Ramp
    >>> lrs = tuple(10 ** (-5 + n / 20) for n in range(121))
    >>> losses = tuple(2.0 if lr < 0.01 else 0.5 if lr < 0.1 else 9.0 for lr in lrs)
    >>> found = fingerprint([Ramp("a", lrs, losses)])
    >>> 0.02 < found.optimum < 0.05, found.drops[0], found.drops[-1]
    (True, 0.0, -1.0)
    """
    from lrsearch.heuristics.range_test import range_test_optimum, read_ramp

    readings = [read_ramp(ramp) for ramp in ramps]
    middle = range_test_optimum(readings)
    if middle is None:
        return None
    at = math.log10(middle) + OFFSETS
    curves = [
        _drops(ramp.lrs, np.asarray(reading.smoothed), at)
        for ramp, reading in zip(ramps, readings, strict=True)
        if reading.optimum
    ]
    return Fingerprint(middle, tuple(np.median(curves, axis=0).tolist()))


def compare(
    asked: Description, known: Description, own: Fingerprint | None = None, other: Fingerprint | None = None
) -> Similarity:
    """Give how far two tasks are: see `compare_many`.

    >>> mnist = {"name": "a", "data": {"train": 54_000, "classes": 10}, "optimizer": {"family": "sgd"}, "horizon": 100}
    >>> found = compare(mnist, mnist | {"horizon": 1000})
    >>> round(found.parts["training"], 3), found.parts["data"]
    (0.707, 0.0)
    >>> compare(mnist, mnist | {"optimizer": {"family": "adam"}}).gate
    'another kind of optimizer: adam, not sgd'
    """
    return compare_many(asked, [(known, other)], own)[0]


def compare_many(
    asked: Description, known: Sequence[tuple[Description, Fingerprint | None]], own: Fingerprint | None = None
) -> list[Similarity]:
    r"""Give how far many tasks are from one.

    The distance is $\sqrt{\sum_g w_g d_g^2 / \sum_g w_g}$ over the groups of which both sides know something, where
    $d_g$ is the root mean square of what differs: sizes in decades, momentum in decades of the steps it remembers,
    weight decay in decades of 1 + decay / 0.0001, names by 0 or 1. The response is the distance of the two middles in
    decades and the root mean square of the two curves' difference around them; it weighs as much as all other groups.

    Gates: another learning task, another kind of optimizer, or another `pretrained` or `method` among the facts, is
    never alike; a task of which the name is all that is known is alike to those of equal name only.

    Args:
        asked: the description of the task that is asked for.
        known: the others, each with the fingerprint of its range tests, if it has any.
        own: the fingerprint of the one that is asked for, if there is one.

    Source: missing values as in scikit-learn's `nan_euclidean_distances`.
    """
    gates = [_gate(asked, other) for other, _ in known]
    tables = {
        group: _group_distances(asked, [other for other, _ in known], group) for group in WEIGHTS if group != "response"
    }
    tables["response"] = np.array([_response(own, other) for _, other in known])
    return [
        _similarity(gates[at], {group: float(tables[group][at]) for group in WEIGHTS})
        if not _is_name(asked, other)
        else _by_name(asked, other)
        for at, (other, _) in enumerate(known)
    ]


def distance(a: Description, b: Description) -> float:
    """Give how far two tasks are by their descriptions alone: 0 for the same, inf where they cannot be compared."""
    return compare(a, b).distance


def _similarity(gate: str | None, parts: Mapping[str, float]) -> Similarity:
    found = {group: part for group, part in parts.items() if not math.isnan(part)}
    if gate or not found:
        return Similarity(math.inf, found, gate or "nothing is known of both")
    weight = sum(WEIGHTS[group] for group in found)
    return Similarity(math.sqrt(sum(WEIGHTS[group] * part**2 for group, part in found.items()) / weight), found)


def _is_name(a: Description, b: Description) -> bool:
    return any(set(one) <= {"name"} for one in (a, b))


def _by_name(a: Description, b: Description) -> Similarity:
    if a.get("name") is not None and a.get("name") == b.get("name"):
        return Similarity(0.0)
    return Similarity(math.inf, gate="only a name is known of one of them, and the names differ")


def _gate(asked: Description, other: Description) -> str | None:
    mine, theirs = _learning(asked), _learning(other)
    if mine and theirs and mine != theirs:
        return f"another learning task: {theirs}, not {mine}"
    mine, theirs = _family(asked), _family(other)
    if mine and theirs and KINDS.get(mine, mine) != KINDS.get(theirs, theirs):
        return f"another kind of optimizer: {theirs}, not {mine}"
    return next(
        (
            f"{what}: {name} is {theirs}, not {mine}"
            for name, what in APART.items()
            if (mine := _fact(asked, name)) != (theirs := _fact(other, name))
        ),
        None,
    )


def _fact(description: Description, name: str) -> str:
    """A fact of a user's task as a text, capitals aside; where nobody says it, what is usual."""
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


def _group_distances(asked: Description, known: Sequence[Description], group: str) -> Numbers:
    """Give the root mean square difference in a group to each known task; nan where nothing of it is in common."""
    from sklearn.metrics.pairwise import nan_euclidean_distances

    if not known:
        return np.empty(0)
    mine = _features(asked, group)
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
    """A fact where it is a number: a user's facts may be any plain values."""
    return fact if isinstance(fact, int | float) and not isinstance(fact, bool) else None


def _drops(lrs: Sequence[float], smoothed: Numbers, at: Numbers) -> Numbers:
    first = smoothed[: max(1, len(smoothed) // 10)].mean()
    fallen = np.clip((first - smoothed) / (first - smoothed.min()), -1, 1)
    return np.interp(at, np.log10(lrs), np.where(np.isfinite(fallen), fallen, -1.0))
