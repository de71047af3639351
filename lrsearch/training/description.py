"""The task of a user's own training, from the keywords of `lrs.task` and `lrs.program`."""

from collections.abc import Mapping, Sequence
from typing import Any

from lrsearch.errors import TaskError, given, unknown
from lrsearch.runs import Objective, Task, maximize, minimize
from lrsearch.runs.task import EVALUATIONS
from lrsearch.schedules import Policy

FACTS = ("optimizer", "batch_size", "parameters", "data", "model")
LENGTH = ("horizon", "epochs", "epoch")
METRIC = ("minimize", "maximize", "objectives", "samples", "unit")
KEYWORDS = (*LENGTH, *METRIC, "version", "lr_range", "known", "evaluations", "facts", "settings", *FACTS)
PASSES = 20
"""Rule: a horizon has 20 epochs where the length of an epoch is not given."""
AUTO = "auto"
"""A version that follows the training code: the decorator replaces it by the digest of the source."""


def describe(
    name: str,
    *,
    horizon: int | None = None,
    epochs: float | None = None,
    epoch: float | None = None,
    minimize: str | None = None,
    maximize: str | None = None,
    objectives: Sequence[Objective] = (),
    samples: int | None = None,
    unit: str = "",
    version: str = "1",
    lr_range: tuple[float, float] | None = None,
    known: Sequence[Policy | str] = (),
    evaluations: int = EVALUATIONS,
    facts: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Task:
    """Return the task of a user's own training, from the keywords of `lrs.task`.

    Raises:
        TaskError: for an impossible description.

    >>> describe("toy", epochs=30, epoch=60, maximize="accuracy", samples=384, optimizer="adamw").horizon
    1800
    """
    if not isinstance(name, str):
        raise TaskError(
            "a task has a name and a length: @lrs.task('my-lm', horizon=1000, minimize='val_loss') stands"
            f" above the function, got {given(name)}"
        )
    odd = next((keyword for keyword in more if keyword not in FACTS), None)
    if odd is not None:
        raise TaskError(f"task {name!r}: {unknown('keyword', odd, KEYWORDS)}; other facts go into facts={{...}}")
    steps, passes = _length(name, horizon, epochs, epoch)
    return Task(
        name=name,
        horizon=steps,
        epoch=passes,
        objectives=_objectives(name, minimize, maximize, objectives, samples, unit),
        version=version,
        evaluations=evaluations,
        facts={**(facts or {}), **more},
        settings=settings or {},
        known=known,  # type: ignore[arg-type]  # `Task` converts both
        lr_range=lr_range,  # type: ignore[arg-type]
    )


def _length(name: str, horizon: Any, epochs: Any, epoch: Any) -> tuple[int, float]:
    if (horizon is None) == (epochs is None):
        raise TaskError(
            f"task {name!r}: give its length either as horizon=UPDATES or as epochs=NUMBER with epoch=UPDATES"
        )
    if horizon is not None:
        is_number = isinstance(horizon, int) and not isinstance(horizon, bool)
        return horizon, epoch if epoch is not None else max(1, horizon / PASSES) if is_number else 1
    if epoch is None:
        raise TaskError(f"task {name!r}: epochs={epochs!r} needs epoch=UPDATES, of one pass over the samples")
    try:
        return round(epochs * epoch), epoch
    except (TypeError, ValueError, OverflowError):
        raise TaskError(f"task {name!r}: epochs and epoch are numbers above 0, got {epochs!r} and {epoch!r}") from None


def _objectives(
    name: str, lower: str | None, higher: str | None, objectives: Sequence[Objective], samples: int | None, unit: str
) -> tuple[Objective, ...]:
    metrics = [metric for metric in (lower, higher) if metric is not None]
    if len(metrics) + bool(objectives) != 1:
        reason = "one metric is asked for: " if len(metrics) + bool(objectives) > 1 else ""
        raise TaskError(
            f"task {name!r}: {reason}give minimize='val_loss' or maximize='accuracy'; several as"
            " objectives=[lrs.minimize('a'), lrs.maximize('b')], the first of which decides"
        )
    if not metrics:
        return tuple(objectives) if isinstance(objectives, Sequence) else objectives
    make = minimize if lower is not None else maximize
    return (make(metrics[0], unit=unit, samples=samples),)
