"""What the store keeps of a run, as plain values that any backend and any bundle gives back unchanged."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from lrsearch.errors import StoreError, TaskError
from lrsearch.runs import Objective, Run, RunSpec, RunState, objectives_of

LOOKS = ("val_loss", "val_score")
"""The series that are a run's looks at the validation split."""
LOOP = (*LOOKS, "train_loss", "rate")
"""The series of lrsearch's own loop; of a user's training `train_loss` is the mean of each stride."""
OWN_SERIES = "own:"
"""Before the name of a user's curve that would else be taken for one of the loop's."""
OBJECTIVE = ("metric", "direction", "unit")
"""What runs before schema 3 did not say."""
OF_METRIC = "metric"
"""The detail `points` where a run's points are its curve of the metric's own name."""
LONGEST_NAME, LARGEST = 1000, 2**63 - 1
RUN_KEY, TASK_KEY = re.compile("[0-9a-f]{24}"), re.compile("[0-9a-f]{16}")
STATES = frozenset(RunState)
Curve = tuple[tuple[int, float], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run as it is stored and as it travels. A score, a loss or a time of -0.0 is 0.0: SQLite keeps no other zero.

    Args:
        key: the digest of task, policy, horizon, seed and trainer version.
        task: the key of its task.
        policy: the policy's text.
        horizon, seed: as asked for.
        origin: where it comes from.
        state: how it ended.
        metric, direction, unit: of the score: its objective's; the unit is empty where it has none.
        score, loss: as it ended, the score in its own unit and sign; None where there is none, and NaN or infinite
            where it was.
        steps, seconds: trained.
        lost_steps: trained in attempts that did not end.
        details: what else a run says, as JSON values.
        curves: points (step, value) by series, in order of steps: those of lrsearch's own loop, `val_loss`,
            `val_score`, `train_loss` and `lr`, and by their names those that a user logged.

    Raises:
        StoreError: for what is not of its kind, and for texts and numbers that not every database can hold.
    """

    key: str
    task: str
    policy: str
    horizon: int
    seed: int
    origin: str
    state: str
    metric: str
    direction: str
    unit: str = ""
    score: float | None
    loss: float | None
    steps: int
    seconds: float
    lost_steps: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, form, key in (("run", RUN_KEY, self.key), ("task", TASK_KEY, self.task)):
            if not isinstance(key, str) or not form.fullmatch(key):
                raise StoreError(f"the key of a {what} is a digest in hex digits, got {str(key)[:40]!r}")
        if self.state not in STATES:
            raise StoreError(f"run {self.key}: {str(self.state)[:40]!r} is no state; there are {', '.join(RunState)}")
        for name in (self.origin, *(name.removeprefix(OWN_SERIES) for name in self.curves)):
            check_name("a name", name)
        for number in (self.horizon, self.seed, self.steps, self.lost_steps):
            if abs(number) > LARGEST:
                raise StoreError(f"run {self.key}: {number} is too large a number for a store; 63 bits are kept")
        if self.seconds is None or not math.isfinite(self.seconds):
            raise StoreError(f"run {self.key}: its seconds are a finite number, got {self.seconds}")
        self._check_objective()
        self._check_details()
        for name in ("score", "loss", "seconds"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, value + 0.0)

    def _check_objective(self) -> None:
        try:
            Objective(self.metric, self.direction, self.unit)
        except TaskError as error:
            raise StoreError(f"run {self.key}: {error}") from None

    def _check_details(self) -> None:
        try:
            canonical(dict(self.details))
        except (TypeError, ValueError, RecursionError) as error:
            raise StoreError(f"run {self.key}: its details are no JSON: {error}") from None

    @classmethod
    def of(cls, spec: RunSpec, run: Run, origin: str) -> Self:
        """Take a run apart. The steps of one that did not end are lost: it will be trained again."""
        kept, lost = (run.steps, 0) if run.state.is_final else (0, run.trained)
        return cls(
            key=spec.key,
            task=spec.task_key,
            policy=str(spec.policy),
            horizon=spec.horizon,
            seed=spec.seed,
            origin=origin,
            **outcome(run, spec.task.objective) | {"steps": kept},
            lost_steps=lost + run.lost,
        )

    @property
    def objective(self) -> Objective:
        """The metric that its score is of."""
        return Objective(self.metric, self.direction, self.unit)

    def run(self) -> Run:
        """Put the run together again."""
        numbers = {"steps": self.steps, "seconds": self.seconds, "score": finite(self.score), "loss": finite(self.loss)}
        own = {name.removeprefix(OWN_SERIES): curve for name, curve in self.curves.items() if name not in LOOP}
        curves = {
            "train_losses": [finite(loss) for _, loss in self.curves.get("train_loss", ())],
            "rates": [lr for _, lr in self.curves.get("rate", ())],
            "curves": own,
            "stride": 1,
            "error": None,
        }
        scores = {name: heard(value) for name, value in self.details.get("scores", {}).items()}
        details = dict(self.details) | {"points": self._points(own), "scores": scores}
        return Run.from_json(curves | details, state=self.state, **numbers)

    def _points(self, own: Mapping[str, Curve]) -> list[tuple[int, float | None, float]]:
        """A run's points: with losses, or the metric's curve, or as they are told apart from it."""
        apart = self.details.get("points")
        if apart is None:
            looks = zip(*(self.curves.get(name, ()) for name in LOOKS), strict=False)
            return [(step, loss, score) for (step, loss), (_, score) in looks]
        curve = own.get(self.metric, ()) if apart == OF_METRIC else [(step, float(value)) for step, value in apart]
        return [(step, None, value) for step, value in curve]

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON values; what is not finite is a text."""
        values = {name: getattr(self, name) for name in self.__slots__}
        curves = {name: [[step, told(value)] for step, value in curve] for name, curve in sorted(self.curves.items())}
        return values | {
            "score": told(self.score),
            "loss": told(self.loss),
            "details": dict(self.details),
            "curves": curves,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read it back."""
        curves = {
            name: tuple((step, heard(value)) for step, value in curve) for name, curve in values["curves"].items()
        }
        return cls(**{**values, "score": heard(values["score"]), "loss": heard(values["loss"]), "curves": curves})


def of_before(values: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, Any]:
    """A run's JSON values from before runs had a metric, as they are now: the metric is its task's first.

    Args:
        values: what `Record.to_json` gave then: a recorded run's unit was a detail.
        description: of its task.
    """
    objective, details = objectives_of(description)[0], dict(values["details"])
    unit = details.pop("unit", None) or objective.unit
    return {
        **values,
        "metric": objective.name,
        "direction": objective.direction,
        "unit": unit,
        "details": details,
        "curves": unmistaken(values["curves"]),
    }


def unmistaken(curves: Mapping[str, T]) -> dict[str, T]:
    """Curves among which a user's may be the loop's series, where none of the others is read as another name's."""
    return {OWN_SERIES + name if name.startswith(OWN_SERIES) else name: curve for name, curve in curves.items()}


def series_of(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The series of a user's curves: of their own names, where these are not taken for another.

    >>> sorted(series_of({"val_loss": (), "bleu": ()}))
    ['bleu', 'own:val_loss']
    """
    return {
        OWN_SERIES + name if name in LOOP or name.startswith(OWN_SERIES) else name: tuple(
            (step, float(value)) for step, value in curve
        )
        for name, curve in curves.items()
    }


def outcome(run: Run, objective: Objective) -> dict[str, Any]:
    """Give what a record says of what came of a run."""
    curves = {
        "val_loss": tuple((point.step, float(point.loss)) for point in run.points if point.loss is not None),
        "val_score": tuple((point.step, float(point.score)) for point in run.points if point.loss is not None),
        "train_loss": tuple(
            (at * run.stride, math.nan if loss is None else float(loss)) for at, loss in enumerate(run.train_losses)
        ),
        "rate": tuple((at * run.stride, float(lr)) for at, lr in enumerate(run.lrs)),
    }
    details = {
        name: value
        for name, value in run.to_json().items()
        if name not in ("points", "train_losses", "rates", "curves", "scores")
    }
    if run.scores:
        details["scores"] = {name: told(float(value)) for name, value in run.scores.items()}
    return {
        "state": str(run.state),
        "metric": objective.name,
        "direction": objective.direction,
        "unit": objective.unit,
        "score": _float(run.score),
        "loss": _float(run.loss),
        "steps": run.steps,
        "seconds": float(run.seconds),
        "details": details | _points(run, objective.name),
        "curves": {name: curve for name, curve in curves.items() if curve} | series_of(run.curves),
    }


def _points(run: Run, metric: str) -> dict[str, Any]:
    """The detail `points` of a run of which only the metric is known at each."""
    points = [(point.step, point.score) for point in run.points if point.loss is None]
    if not points:
        return {}
    return {
        "points": OF_METRIC
        if tuple(points) == tuple(run.curves.get(metric, ()))
        else [[step, told(float(value))] for step, value in points]
    }


def told(value: float | None) -> float | str | None:
    """Give a value for JSON, which has no word for what is not finite."""
    return value if value is None or math.isfinite(value) else kind_of(value)


def heard(value: float | str | None) -> float | None:
    """Read back what `told` gave."""
    return None if value is None else float(value)


def kind_of(value: float | None) -> str:
    """Say what a value is: "finite", "inf", "-inf", "nan" or "none"."""
    if value is None:
        return "none"
    return "finite" if math.isfinite(value) else str(float(value))


def finite(value: float | None) -> float | None:
    """Give a value where there is a finite one."""
    return value if value is not None and math.isfinite(value) else None


def canonical(values: Any) -> str:
    """Give the one JSON text of JSON values: what stores and bundles hold."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(values: Any) -> str:
    """Give the digest of JSON values: 16 hex digits."""
    return hashlib.sha256(canonical(values).encode()).hexdigest()[:16]


def seal(row: Mapping[str, Any]) -> str:
    """Give the digest of a row: of all its columns but the digest itself, and the number that a database gave it."""
    return digest({name: value for name, value in row.items() if name not in ("digest", "id")})


def check_name(what: str, name: Any) -> str:
    """Refuse what not every database can hold as a name.

    Raises:
        StoreError: it says why.
    """
    try:
        length = len(name.encode()) if isinstance(name, str) and name.strip() and "\0" not in name else 0
    except UnicodeEncodeError:
        raise StoreError(f"{what} has half of a character in it: {name[:40]!r}") from None
    if not 0 < length <= LONGEST_NAME:
        raise StoreError(f"{what} is a text of 1 to {LONGEST_NAME:,} bytes without NUL, got {str(name)[:40]!r}")
    return str(name)


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
