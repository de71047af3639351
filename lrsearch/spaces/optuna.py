"""A space in Optuna: the only file of spaces that knows it."""

from collections.abc import Mapping
from typing import Any

import optuna

from lrsearch.schedules import Policy, parse
from lrsearch.spaces.axes import Choice, Interval
from lrsearch.spaces.space import Space

POLICY = "lrsearch:policy"
ORIGIN = "lrsearch:origin"


def suggest(space: Space, trial: optuna.Trial) -> Policy:
    """Let a trial suggest a policy.

    A trial that was enqueued with a policy (see `enqueue`) gives exactly that one, also where it lies
    outside the space's ranges or lattice.
    """

    def draw(name: str, axis: Interval | Choice) -> Any:
        if isinstance(axis, Choice):
            return trial.suggest_categorical(name, axis.values)
        if axis.low == axis.high:
            return axis.low
        return trial.suggest_float(name, axis.low, axis.high, log=axis.log)

    suggested = space.build(draw)
    given = trial.user_attrs.get(POLICY)
    return parse(given) if given else suggested


def enqueue(study: optuna.Study, space: Space, policy: Policy, origin: str, **attributes: Any) -> None:
    """Put a policy first in a study's queue, marked with where it comes from.

    Raises:
        SpaceError: if the policy's LR function is not in the space.
        PolicyError: if the policy has no natural coordinates at the space's horizon.
    """
    values = _enqueueable(space, space.values(policy))
    study.enqueue_trial(values, user_attrs={POLICY: str(policy), ORIGIN: origin, **attributes})


def _enqueueable(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the nearest choice for what is none: Optuna refuses those values, but not numbers out of range."""
    fitting = dict(values)

    def look(name: str, axis: Interval | Choice) -> Any:
        if isinstance(axis, Interval):
            return fitting.get(name, axis.low)
        if fitting[name] not in axis:
            fitting[name] = min(axis.values, key=lambda choice: abs(choice - values[name]))
        return fitting[name]

    space.build(look)
    return fitting
