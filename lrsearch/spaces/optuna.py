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


def add(study: optuna.Study, space: Space, policy: Policy, value: float, origin: str) -> None:
    """Add a policy of this space to a study as a finished trial, marked with where its value comes from.

    Raises:
        SpaceError: if the policy's LR function is not in the space.
        PolicyError: if the policy has no natural coordinates at the space's horizon.
        ValueError: if the policy lies outside the space's ranges.
    """
    values = space.values(policy)
    axes: dict[str, optuna.distributions.BaseDistribution] = {}

    def look(name: str, axis: Interval | Choice) -> Any:
        if isinstance(axis, Choice):
            axes[name] = optuna.distributions.CategoricalDistribution(axis.values)
        elif axis.low < axis.high:
            axes[name] = optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
        return values[name]

    space.build(look)
    study.add_trial(optuna.create_trial(
        value=value, params={name: values[name] for name in axes}, distributions=axes,
        user_attrs={POLICY: str(policy), ORIGIN: origin},
    ))


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
