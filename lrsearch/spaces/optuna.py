"""A space in Optuna: the only file of spaces that knows it."""

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
    """
    values = space.values(policy)
    study.enqueue_trial(values, user_attrs={POLICY: str(policy), ORIGIN: origin, **attributes})
