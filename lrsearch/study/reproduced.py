"""A stored run trained again: what differs in its results, how far beside its spread over seeds, and what changed."""

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
    """One thing that is other than it was.

    Args:
        what: its name.
        then, now: both values; None where there is none.
        step: of a series, the first step at which it differs.
        most: of a series, the largest difference; None where one of the values is not finite.
    """

    what: str
    then: Any
    now: Any
    step: int | None = None
    most: float | None = None

    def __str__(self) -> str:
        """It in a line."""
        if self.step is None:
            return f"{self.what}: {_said(self.then)} then, {_said(self.now)} now"
        most = "" if self.most is None else f", by at most {self.most:.3g}"
        return f"{self.what}: differs from step {self.step} on{most}"

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values; of a series with its step and largest difference."""
        of_series = {} if self.step is None else {"step": self.step, "most": self.most}
        return {"what": self.what, "then": self.then, "now": self.now, **of_series}


@dataclass(frozen=True, slots=True)
class Reproduced:
    """A stored run, trained again.

    Args:
        stored: the run as it is stored.
        now: what came of it now; it is not recorded.
        differences: of results: state, score, losses; none where it is the same to the bit.
        changed: of what it was trained with: versions, source, device.
        others: the scores of the same run with other seeds in the store.
    """

    stored: StoredRun
    now: Run
    differences: tuple[ChangedValue, ...]
    changed: tuple[ChangedValue, ...]
    others: tuple[float, ...]

    @property
    def same(self) -> bool:
        """Whether it is the same to the bit."""
        return not self.differences

    @property
    def is_recorded(self) -> bool:
        """Whether the store says what it was trained with; runs of older versions do not."""
        return bool(self.stored.run.environment)

    @property
    def spread(self) -> float | None:
        """The standard deviation of its score over the stored seeds, its own included; None where there is no other."""
        own = self.stored.run.score
        return None if own is None or not self.others else statistics.stdev([own, *self.others])

    @property
    def verdict(self) -> str:
        """Whether it is the same, or how far off, in a sentence."""
        then, now = self.stored.run, self.now
        if self.same:
            return "The same to the bit: its state, its score and all that it logged."
        if then.state is not now.state:
            return f"Not the same: it {_ended(then)} then, and {_ended(now)} now."
        if then.score is None or now.score is None or then.score == now.score:
            score = "" if then.score is None else ", though its score is"
            return f"Not the same to the bit{score}: it differs in {', '.join(one.what for one in self.differences)}."
        objective, apart = self.stored.objective, now.score - then.score
        return (
            f"Not the same: {objective.name} was {objective.text(then.score)}, and is {objective.text(now.score)}"
            f" ({objective.difference(apart)}): {self._beside(abs(apart))}."
        )

    def _beside(self, apart: float) -> str:
        spread = self.spread
        if spread is None:
            return "no other seed is stored to compare that with"
        told = (
            f"the standard deviation over {counted(1 + len(self.others), 'stored seed')},"
            f" {self.stored.objective.spread(spread)}"
        )
        return f"{apart / spread:.2g} of {told}" if spread else f"{told}, is less"

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        stored, now = self.stored, self.now
        return {
            "run": stored.key,
            "task": stored.task,
            "policy": str(stored.policy),
            "horizon": stored.horizon,
            "seed": stored.seed,
            "same": self.same,
            "verdict": self.verdict,
            "differences": [one.to_json() for one in self.differences],
            "changed": [one.to_json() for one in self.changed],
            "environment_recorded": self.is_recorded,
            "then": {"state": str(stored.run.state), "score": stored.run.score},
            "now": {"state": str(now.state), "score": now.score, "error": now.error},
            "other_seeds": len(self.others),
            "spread": self.spread,
        }


def differences(then: Run, now: Run, metric: str) -> tuple[ChangedValue, ...]:
    """What two trainings of one run came to that is not equal to the bit.

    Args:
        then, now: both as a store gives them back.
        metric: the name of their score.
    """
    plain = [
        ("state", str(then.state), str(now.state)),
        ("steps", then.steps, now.steps),
        (metric, then.score, now.score),
        ("loss", then.loss, now.loss),
    ]
    plain += [(name, then.scores.get(name), now.scores.get(name)) for name in sorted({*then.scores, *now.scores})]
    found = [ChangedValue(*one) for one in plain if one[1] != one[2]]
    series, other = _series(then, metric), _series(now, metric)
    curves = (_apart(name, series.get(name, {}), other.get(name, {})) for name in {**series, **other})
    return (*found, *(one for one in curves if one is not None))


def changes(then: Run, now: Run) -> tuple[ChangedValue, ...]:
    """What two trainings of one run were made with that is not equal, as far as it is recorded."""
    if not then.environment:
        changed = [] if then.source == now.source else [("source", then.source, now.source)]
    else:
        old, new = ({TRAINED: ALONE, **run.environment} for run in (then, now))
        pairs = [(name, old.get(name), new.get(name)) for name in {**old, **new}]
        changed = [one for one in [*pairs, ("source", then.source, now.source)] if one[1] != one[2]]
    return tuple(ChangedValue(*one) for one in changed)


def other_seeds(stored: StoredRun, alike: Sequence[StoredRun]) -> tuple[float, ...]:
    """The scores of a run's task, policy and horizon with other seeds, among some runs."""
    return tuple(
        one.run.score
        for one in alike
        if one.run.score is not None
        and one.seed != stored.seed
        and one.objective == stored.objective
        and (one.task_key, one.policy, one.horizon) == (stored.task_key, stored.policy, stored.horizon)
    )


def _series(run: Run, metric: str) -> dict[str, Series]:
    """All that a run says step by step."""
    return {
        TRAIN_LOSS: {(n + 1) * run.stride: loss for n, loss in enumerate(run.train_losses)},
        "learning rate": {n * run.stride: lr for n, lr in enumerate(run.lrs)},
        "validation loss": {point.step: point.loss for point in run.points if point.loss is not None},
        f"{metric} at evaluations": {point.step: point.score for point in run.points},
        **{name: dict(curve) for name, curve in run.curves.items()},
    }


def _apart(name: str, then: Series, now: Series) -> ChangedValue | None:
    """Where a series differs, from which step on and by how much."""
    steps = [step for step in sorted({*then, *now}) if not _is_same(then.get(step), now.get(step))]
    if not steps:
        return None
    pairs = [(then.get(step), now.get(step)) for step in steps]
    gaps = [abs(one - other) for one, other in pairs if one is not None and other is not None]
    is_finite = len(gaps) == len(pairs) and all(map(math.isfinite, gaps))
    return ChangedValue(name, _finite(pairs[0][0]), _finite(pairs[0][1]), steps[0], max(gaps) if is_finite else None)


def _is_same(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _ended(run: Run) -> str:
    return {RunState.DIVERGED: "diverged", RunState.FAILED: f"failed ({run.error})"}.get(run.state, f"{run.state}")


def _said(value: Any) -> str:
    return NOT_RECORDED if value is None else str(value)
