"""A stored run trained again: differences of its results beside its spread over seeds, and changed circumstances."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.runs import Run, RunState
from lrsearch.runs.environment import ALONE, TRAINED
from lrsearch.runs.job import TRAIN_LOSS
from lrsearch.store import StoredRun
from lrsearch.words import counted

Series = Mapping[int, float | None]
NOT_RECORDED = "not recorded"


@dataclass(frozen=True, slots=True)
class ChangedValue:
    """A value that changed between two trainings of a run.

    Args:
        what: its name.
        then, now: both values; None where there is none.
        step: the first step at which a series differs; None for a single value.
        most: the largest difference of a series; None where one of the values is not finite.
    """

    what: str
    then: Any
    now: Any
    step: int | None = None
    most: float | None = None

    def __str__(self) -> str:
        """The change in a line."""
        if self.step is None:
            return f"{self.what}: {_text(self.then)} then, {_text(self.now)} now"
        most = "" if self.most is None else f", by at most {self.most:.3g}"
        return f"{self.what}: differs from step {self.step} on{most}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; for a series with its step and largest difference."""
        of_series = {} if self.step is None else {"step": self.step, "most": self.most}
        return {"what": self.what, "then": self.then, "now": self.now, **of_series}


@dataclass(frozen=True, slots=True)
class Reproduced:
    """A stored run, trained again.

    Args:
        stored: the stored run.
        now: the new run, which is not recorded.
        differences: differing results: state, score, losses; none where the runs are equal to the bit.
        changed: differing circumstances: versions, source, device.
        others: the scores of the same run with other seeds in the store.
    """

    stored: StoredRun
    now: Run
    differences: tuple[ChangedValue, ...]
    changed: tuple[ChangedValue, ...]
    others: tuple[float, ...]

    @property
    def same(self) -> bool:
        """Whether the runs are equal to the bit."""
        return not self.differences

    @property
    def is_recorded(self) -> bool:
        """Whether the store has the circumstances of the run; older versions did not record them."""
        return bool(self.stored.run.environment)

    @property
    def spread(self) -> float | None:
        """The standard deviation of the score over all stored seeds; None where there is one seed only."""
        own = self.stored.run.score
        return None if own is None or not self.others else statistics.stdev([own, *self.others])

    @property
    def verdict(self) -> str:
        """Whether the runs are equal, or how far apart they are, in a sentence."""
        then, now = self.stored.run, self.now
        if self.same:
            return "The same to the bit: its state, its score and all that it logged."
        if then.state is not now.state:
            return f"Not the same: it {_ended(then)} then, and {_ended(now)} now."
        if then.score is None or now.score is None or then.score == now.score:
            score = "" if then.score is None else ", though its score is"
            names = ", ".join(value.what for value in self.differences)
            return f"Not the same to the bit{score}: it differs in {names}."
        objective, apart = self.stored.objective, now.score - then.score
        return (
            f"Not the same: {objective.name} was {objective.text(then.score)}, and is {objective.text(now.score)}"
            f" ({objective.difference(apart)}): {self._beside_spread(abs(apart))}."
        )

    def _beside_spread(self, apart: float) -> str:
        """A difference of scores beside the spread over seeds, in words."""
        spread = self.spread
        if spread is None:
            return "no other seed is stored to compare that with"
        text = (
            f"the standard deviation over {counted(1 + len(self.others), 'stored seed')},"
            f" {self.stored.objective.spread(spread)}"
        )
        return f"{apart / spread:.2g} of {text}" if spread else f"{text}, is less"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        stored, now = self.stored, self.now
        return {
            "run": stored.key,
            "task": stored.task,
            "policy": str(stored.policy),
            "horizon": stored.horizon,
            "seed": stored.seed,
            "same": self.same,
            "verdict": self.verdict,
            "differences": [value.to_json() for value in self.differences],
            "changed": [value.to_json() for value in self.changed],
            "environment_recorded": self.is_recorded,
            "then": {"state": str(stored.run.state), "score": stored.run.score},
            "now": {"state": str(now.state), "score": now.score, "error": now.error},
            "other_seeds": len(self.others),
            "spread": self.spread,
        }


def differences(then: Run, now: Run, metric: str) -> tuple[ChangedValue, ...]:
    """The results of two trainings of a run that are not equal to the bit.

    Args:
        then, now: the two runs, as read from a store.
        metric: the name of their score.
    """
    values = [
        ("state", str(then.state), str(now.state)),
        ("steps", then.steps, now.steps),
        (metric, then.score, now.score),
        ("loss", then.loss, now.loss),
    ]
    values += [(name, then.scores.get(name), now.scores.get(name)) for name in sorted({*then.scores, *now.scores})]
    changed = [ChangedValue(what, old, new) for what, old, new in values if old != new]
    old_series, new_series = _series(then, metric), _series(now, metric)
    names = {**old_series, **new_series}
    curves = (_series_change(name, old_series.get(name, {}), new_series.get(name, {})) for name in names)
    return (*changed, *(curve for curve in curves if curve is not None))


def changes(then: Run, now: Run) -> tuple[ChangedValue, ...]:
    """The recorded circumstances of two trainings of a run that are not equal."""
    if not then.environment:
        changed = [] if then.source == now.source else [("source", then.source, now.source)]
    else:
        old, new = ({TRAINED: ALONE, **run.environment} for run in (then, now))
        values = [(name, old.get(name), new.get(name)) for name in {**old, **new}]
        triples = [*values, ("source", then.source, now.source)]
        changed = [(name, was, has) for name, was, has in triples if was != has]
    return tuple(ChangedValue(*values) for values in changed)


def other_seeds(stored: StoredRun, alike: Sequence[StoredRun]) -> tuple[float, ...]:
    """The scores, among some runs, of a run's task, policy and horizon with other seeds."""
    return tuple(
        other.run.score
        for other in alike
        if other.run.score is not None
        and other.seed != stored.seed
        and other.objective == stored.objective
        and (other.task_key, other.policy, other.horizon) == (stored.task_key, stored.policy, stored.horizon)
    )


def _series(run: Run, metric: str) -> dict[str, Series]:
    """The series of a run by name: values by step."""
    return {
        TRAIN_LOSS: {(n + 1) * run.stride: loss for n, loss in enumerate(run.train_losses)},
        "learning rate": {n * run.stride: lr for n, lr in enumerate(run.lrs)},
        "validation loss": {point.step: point.loss for point in run.points if point.loss is not None},
        f"{metric} at evaluations": {point.step: point.score for point in run.points},
        **{name: dict(curve) for name, curve in run.curves.items()},
    }


def _series_change(name: str, then: Series, now: Series) -> ChangedValue | None:
    """The change of a series; None where it is equal."""
    steps = [step for step in sorted({*then, *now}) if not _is_same(then.get(step), now.get(step))]
    if not steps:
        return None
    pairs = [(then.get(step), now.get(step)) for step in steps]
    gaps = [abs(old - new) for old, new in pairs if old is not None and new is not None]
    is_finite = len(gaps) == len(pairs) and all(map(math.isfinite, gaps))
    old, new = map(_finite, pairs[0])
    return ChangedValue(name, old, new, steps[0], max(gaps) if is_finite else None)


def _is_same(then: float | None, now: float | None) -> bool:
    return then == now or (then is not None and now is not None and math.isnan(then) and math.isnan(now))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _ended(run: Run) -> str:
    return {RunState.DIVERGED: "diverged", RunState.FAILED: f"failed ({run.error})"}.get(run.state, f"{run.state}")


def _text(value: Any) -> str:
    return NOT_RECORDED if value is None else str(value)
