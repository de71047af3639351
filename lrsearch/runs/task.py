"""A task describes a training as plain data. It builds and loads nothing, and its digest is its key."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from lrsearch.errors import TaskError, given
from lrsearch.later import older_name
from lrsearch.runs.objective import MAXIMIZE, MINIMIZE, Objective, finite_cost
from lrsearch.schedules import Policy, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from lrsearch.runs.run import Run
    from lrsearch.runs.stop import Stop

OWN = "own"
"""The trainer of runs that a user's function or program trained."""
LEAST_HORIZON = 16
"""Rule: updates of the shortest full run."""
EVALUATIONS = 10
"""Rule: evaluations of a full run."""
WIDEST = (1e-7, 10.0)
"""The peak learning rates of an unknown optimizer: the union of the ranges below."""
LR_RANGES = {"sgd": (1e-6, 10.0), "adam": (1e-7, 1.0)}
"""Rule: the peak learning rates that are searched before any run, by family of optimizer."""
FAMILIES = {
    "adam": "adam",
    "adamw": "adam",
    "nadam": "adam",
    "radam": "adam",
    "adamax": "adam",
    "lamb": "adam",
    "sgd": "sgd",
    "rmsprop": "rmsprop",
    "adagrad": "adagrad",
    "adadelta": "adadelta",
}
"""Optimizers with learning rates of similar effect; any other optimizer is a family of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The description of a training, so that it can be stored, compared and trained again.

    Args:
        name: the task's name.
        horizon: updates of a full run, 16 or more.
        epoch: updates of one pass over the training samples, above 0.
        objectives: the metrics; the first decides.
        version: part of the key; another version has other runs. Change it when the training changes.
        facts: plain values for the key and for similarity: `optimizer`, `batch_size`, `parameters`, `data`, `model`,
            and any other.
        settings: plain values that the training receives.
        lr_range: the peak learning rates that are searched before any run; None for those of the optimizer's family.
        known: policies that are commonly used for this training: a list of policies or their texts, or one of them.
            Durations such as `0.1dur` are of its horizon and epoch.
        evaluations: how often a full run is evaluated, 1 or more; an epoch apart at least.
        minimize, maximize: instead of `objectives`, the metric that decides.

    Raises:
        TaskError: for impossible values.

    >>> task = Task("mine", horizon=1200, epoch=60, minimize="val_loss", facts={"optimizer": "adamw"})
    >>> task.lr_range, task.objective.direction, len(task.key)
    ((1e-07, 1.0), 'minimize', 16)
    """

    name: str = field(kw_only=False)
    horizon: int
    epoch: float
    objectives: tuple[Objective, ...] = ()
    version: str = "1"
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    lr_range: tuple[float, float] = None  # type: ignore[assignment]  # a pair once the task is made
    known: tuple[Policy, ...] = ()
    evaluations: int = EVALUATIONS
    minimize: InitVar[str | None] = None
    maximize: InitVar[str | None] = None
    trainer: ClassVar[int | str] = OWN

    def __post_init__(self, minimize: str | None, maximize: str | None) -> None:
        self._check_name()
        if isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < LEAST_HORIZON:
            raise self._refused(f"horizon must be a whole number, {LEAST_HORIZON} or more, got {self.horizon!r}")
        if not _is_number(self.epoch) or not 0 < self.epoch < math.inf:
            raise self._refused(f"epoch is the updates of one pass over the samples, above 0, got {self.epoch!r}")
        if not isinstance(self.evaluations, int) or isinstance(self.evaluations, bool) or self.evaluations < 1:
            raise self._refused(f"evaluations must be a whole number, 1 or more, got {self.evaluations!r}")
        if not isinstance(self.version, str):
            raise self._refused(f"version is a text, such as '1', got {given(self.version)}")
        object.__setattr__(self, "objectives", self._objectives(minimize, maximize))
        for name in ("facts", "settings"):
            object.__setattr__(self, name, self._json_values(name))
        object.__setattr__(self, "lr_range", self._lr_range())
        object.__setattr__(self, "known", policies_of(self.name, self.known, self.horizon, self.epoch))

    @classmethod
    def of(cls, build: "Callable[[], nn.Module]", train: Any, **given: Any) -> "Task":
        """The older name of `lrs.classification`, which it calls."""
        task: Task = older_name("Task.of", "classification")(build, train, **given)
        return task

    @property
    def objective(self) -> Objective:
        """The metric that decides."""
        return self.objectives[0]

    @property
    def stop(self) -> "Stop | None":
        """The rules of early stopping of runs without rules of their own; None where they train to the horizon."""
        return None

    @property
    def can_fork(self) -> bool:
        """Whether runs with a shared prefix can train it once."""
        return False

    @property
    def chance_loss(self) -> float | None:
        """The loss of guessing, in the unit of `level`; None where it is not known in advance."""
        return None

    def level(self, run: "Run") -> float:
        """The cost of a run at a constant learning rate: lower is better, infinite where it has no score."""
        return finite_cost(self.objective, run.score)

    def evaluate_every(self, horizon: int, *, is_controller: bool = False) -> int:
        """Updates from one evaluation of a run to the next.

        A full run has `evaluations` of them, at least an epoch apart. A controller needs more: it is evaluated once an
        epoch of the full run, and over a shorter horizon proportionally more often.
        """
        if is_controller:
            return max(1, round(self.epoch * horizon / self.horizon))
        return max(math.ceil(self.epoch), math.ceil(horizon / self.evaluations))

    @property
    def description(self) -> dict[str, Any]:
        """All values that enter the key, as plain JSON values."""
        values: dict[str, Any] = {
            "name": self.name,
            "objectives": [objective.to_json() for objective in self.objectives],
            "version": self.version,
            "horizon": self.horizon,
            "epoch": _whole(self.epoch),
        }
        return values | _described(self.facts) | ({"settings": dict(self.settings)} if self.settings else {})

    @property
    def key(self) -> str:
        """The digest of the description: 16 hex digits."""
        return task_key(self.description)

    def with_horizon(self, horizon: int) -> Self:
        """The same task with another number of updates; its known policies are stretched to it."""
        known = tuple(policy.stretch(horizon / self.horizon) for policy in self.known)
        return replace(self, horizon=horizon, known=known)

    def _refused(self, why: str) -> TaskError:
        return TaskError(f"task {self.name!r}: {why}")

    def _check_name(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            raise TaskError(f"a task has a name, such as 'char-gpt', got {given(self.name)}")

    def _objectives(self, lower: str | None, higher: str | None) -> tuple[Objective, ...]:
        named = [(name, way) for name, way in ((lower, MINIMIZE), (higher, MAXIMIZE)) if name is not None]
        if len(named) + bool(self.objectives) > 1:
            raise self._refused(
                "one metric decides: give minimize='val_loss' or maximize='accuracy', or several as"
                " objectives=[lrs.minimize('a'), lrs.maximize('b')]"
            )
        objectives: Any = [Objective(name, way) for name, way in named] or self.objectives
        listed = [objectives] if isinstance(objectives, Objective) else objectives
        if not isinstance(listed, Sequence) or not listed or not all(isinstance(each, Objective) for each in listed):
            got = "" if objectives == () else f", got {given(objectives)}"
            raise self._refused(
                "name the metric: minimize='val_loss' or maximize='accuracy'; several as objectives="
                f"[lrs.minimize('a'), lrs.maximize('b')]{got}"
            )
        names = [objective.name for objective in listed]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise self._refused(f"{twice!r} is asked for twice")
        return tuple(listed)

    def _json_values(self, name: str) -> dict[str, Any]:
        """Facts or settings as plain JSON values. A whole float becomes an int: 1.2e6 and 1200000 have one key."""
        values = getattr(self, name)
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise self._refused(f"{name} is a mapping of names to plain values, got {given(values)}")
        try:
            text = json.dumps(_whole(dict(values)), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self._refused(f"{name} holds plain values: texts, finite numbers, lists, mappings; {error}") from None
        loaded: dict[str, Any] = json.loads(text)
        return loaded

    def _lr_range(self) -> tuple[float, float]:
        lr_range: Any = self.lr_range
        if lr_range is None:
            return LR_RANGES.get(_family(self.facts.get("optimizer")) or "", WIDEST)
        pair = tuple(lr_range) if isinstance(lr_range, Sequence) else ()
        if len(pair) != 2 or not all(map(_is_number, pair)) or not 0 < pair[0] < pair[1] < math.inf:
            text = "lr_range is two rising learning rates above 0, such as (1e-5, 1)"
            raise self._refused(f"{text}, got {given(lr_range)}")
        return float(pair[0]), float(pair[1])


def task_key(description: Mapping[str, Any]) -> str:
    """The digest of a task's description: 16 hex digits."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def policies_of(name: str, known: Any, horizon: int, epoch: float) -> tuple[Policy, ...]:
    """The known policies of a task, bound to its horizon and epoch.

    Raises:
        TaskError: for a value that is not a policy or the text of one.
    """
    listed = [known] if isinstance(known, Policy | str) else known
    if not isinstance(listed, Sequence) or not all(isinstance(policy, Policy | str) for policy in listed):
        raise TaskError(
            f"task {name!r}: known is a list of policies or their texts, such as [FIX(k0=0.1)], got {given(known)}"
        )
    read = (parse(policy) if isinstance(policy, str) else policy for policy in listed)
    return tuple(policy.bind(horizon=horizon, epoch=epoch) for policy in read)


def _described(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts under the keys of a classification's description, where similarity reads them."""
    more = dict(facts)
    values: dict[str, Any] = {}
    if (optimizer := more.pop("optimizer", None)) is not None:
        named = optimizer if isinstance(optimizer, Mapping) else {"name": str(optimizer)}
        values["optimizer"] = {"family": _family(optimizer), **named}
    if (batch_size := more.pop("batch_size", None)) is not None:
        values["batch_size"] = batch_size
    for name in ("data", "model"):
        if (value := more.pop(name, None)) is not None:
            values[name] = dict(value) if isinstance(value, Mapping) else {"name": str(value)}
    if (parameters := more.pop("parameters", None)) is not None:
        values["model"] = {**values.get("model", {}), "parameters": parameters}
    return values | ({"facts": more} if more else {})


def _family(optimizer: Any) -> str | None:
    name = optimizer.get("family", optimizer.get("name")) if isinstance(optimizer, Mapping) else optimizer
    return None if name is None else FAMILIES.get(str(name).lower(), str(name).lower())


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(name): _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list | tuple) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
