"""A space in Optuna: the only file of spaces that knows it.

A hand-over to a study can be repeated, also by several processes at once: `enqueue_once` and `add_once`. Optuna has no
unique constraint on trials, but every storage numbers them in one order, and a RUNNING trial is taken by nobody.
So a process adds its trial as a claim: RUNNING, under a mark. Then it reads all trials: of one mark, the first claim
is released (WAITING, or COMPLETE with its value), and the others are withdrawn (FAIL). Who finds a claim of another
process waits until it is released; a claim that is not within a few seconds is of a process that died, and is released
by the one that waits.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lrsearch.errors import UsageError, given
from lrsearch.schedules import Policy, parse
from lrsearch.spaces.axes import Choice, Interval
from lrsearch.spaces.space import Space

POLICY = "lrsearch:policy"
ORIGIN = "lrsearch:origin"
SPACE = "lrsearch:space"
WITHDRAWN = "lrsearch:withdrawn"
"""User attributes of a trial."""
CLAIM = "lrsearch:claim"
RUNS = "lrsearch:runs"
"""System attributes: when a trial was claimed and its value; the keys of the runs behind a value."""
SAME_TASK = "same task"
"""The origin of what is no suggestion, but a result."""
PREFIX = re.compile("[A-Za-z0-9_-]{1,40}")
PATIENCE_SECONDS, PAUSE_SECONDS = 5.0, 0.05
"""How long a claim of another process is waited for, and how often it is looked at."""


def marked(name: str, prefix: str | None) -> str:
    """Name a user attribute of the policy with a prefix."""
    return f"{name}:{prefix}" if prefix else name


def suggest(space: Space, trial: optuna.Trial, prefix: str | None = None) -> Policy:
    """Let a trial suggest a policy: see `Space.suggest`.

    A trial that was enqueued with a policy (see `enqueue`) gives exactly that one, also where it lies
    outside the space's ranges or lattice.
    """
    check_prefix(prefix)
    if not hasattr(trial, "suggest_float"):
        raise UsageError(f"trial is an Optuna trial, such as an objective is given, got {given(trial)}")
    known = trial.user_attrs
    suggested_by = known.get(marked(SPACE, prefix))
    if suggested_by is None:
        trial.set_user_attr(marked(SPACE, prefix), space.key)
    elif suggested_by != space.key:
        named = f" under prefix={prefix!r}" if prefix else ""
        raise UsageError(f"this trial has a policy of another space{named}: name each space of a trial, as in"
                         " space.suggest(trial, prefix='g'); a policy of another length is policy.stretch(...)")

    def draw(name: str, axis: Interval | Choice) -> Any:
        label = _label(name, prefix)
        if isinstance(axis, Choice):
            return trial.suggest_categorical(label, axis.values)
        if axis.low == axis.high:
            return axis.low
        return trial.suggest_float(label, axis.low, axis.high, log=axis.log)

    suggested = space.build(draw)
    enqueued = known.get(marked(POLICY, prefix))
    return parse(enqueued) if enqueued else suggested


def enqueue(
    study: optuna.Study, space: Space, policy: Policy, origin: str, prefix: str | None = None, **attributes: Any
) -> None:
    """Put a policy last in a study's queue, marked with where it comes from.

    Raises:
        SpaceError: if the policy's LR function is not in the space.
        PolicyError: if the policy has no natural coordinates at the space's horizon.
        UsageError: for an impossible prefix.
    """
    study.enqueue_trial(_fixed(space, policy, prefix), user_attrs=_marks(policy, origin, prefix) | attributes)


def enqueue_once(
    study: optuna.Study, space: Space, policy: Policy, origin: str, prefix: str | None = None,
    patience: float = PATIENCE_SECONDS, **attributes: Any,
) -> bool:
    """Put a policy last in a study's queue, unless it was before; tell whether it was put there now.

    When it returns, the policy is in the queue, or was taken from it.

    Raises:
        SpaceError, PolicyError, UsageError: as `enqueue`.
    """
    claim = optuna.create_trial(
        state=TrialState.RUNNING, system_attrs={"fixed_params": _fixed(space, policy, prefix)},
        user_attrs=_marks(policy, origin, prefix) | attributes,
    )

    def is_same(trial: FrozenTrial) -> bool:
        is_result = trial.user_attrs.get(marked(ORIGIN, prefix)) == SAME_TASK
        return trial.user_attrs.get(marked(POLICY, prefix)) == str(policy) and not is_result

    return _hand_over(study, claim, None, is_same, patience)


def add_once(
    study: optuna.Study, space: Space, policy: Policy, scores: Mapping[str, float], prefix: str | None = None,
    patience: float = PATIENCE_SECONDS,
) -> bool:
    """Add runs of a policy of this space as a finished trial with their mean score, as far as they are new.

    Args:
        study: the study.
        space: its space.
        policy: the policy of the runs.
        scores: by the keys of the runs.
        prefix: as in `Space.suggest`.
        patience: seconds to wait for another process that adds the same.

    Returns:
        Whether a trial was added.

    Raises:
        SpaceError: if the policy's LR function is not in the space.
        PolicyError: if the policy has no natural coordinates at the space's horizon.
        ValueError: if the policy lies outside the space's ranges.
    """
    params, distributions = _inside(space, policy, prefix)
    while new := scores.keys() - _known_runs(study, policy, prefix, scores):
        claim = optuna.create_trial(
            state=TrialState.RUNNING, params=params, distributions=distributions,
            user_attrs=_marks(policy, SAME_TASK, prefix), system_attrs={RUNS: sorted(new)},
        )
        value = sum(scores[key] for key in sorted(new)) / len(new)

        def is_same(trial: FrozenTrial, new: Iterable[str] = new) -> bool:
            return _is_result(trial, policy, prefix) and bool(set(new) & set(trial.system_attrs.get(RUNS, new)))

        if _hand_over(study, claim, value, is_same, patience):
            return True
    return False


def check_prefix(prefix: str | None) -> None:
    """Refuse what cannot begin the name of a parameter."""
    if prefix is not None and not (isinstance(prefix, str) and PREFIX.fullmatch(prefix)):
        raise UsageError(f"prefix is a name of 1 to 40 letters, digits, _ or -, such as 'g', got {str(prefix)[:80]!r}")


def _label(name: str, prefix: str | None) -> str:
    return f"{prefix}.{name}" if prefix else name


def _marks(policy: Policy, origin: str, prefix: str | None) -> dict[str, Any]:
    return {marked(POLICY, prefix): str(policy), marked(ORIGIN, prefix): origin}


def _is_result(trial: FrozenTrial, policy: Policy, prefix: str | None) -> bool:
    return _marks(policy, SAME_TASK, prefix).items() <= trial.user_attrs.items() and WITHDRAWN not in trial.user_attrs


def _known_runs(study: optuna.Study, policy: Policy, prefix: str | None, asked: Iterable[str]) -> set[str]:
    """The runs of a policy that a study has: all that are asked for, where an older version added its result."""
    found = [trial for trial in study.get_trials(deepcopy=False) if _is_result(trial, policy, prefix)]
    return {key for trial in found for key in trial.system_attrs.get(RUNS, asked) if not _is_unreleased(trial)}


def _hand_over(
    study: optuna.Study, claim: FrozenTrial, value: float | None, is_same: Callable[[FrozenTrial], bool],
    patience: float,
) -> bool:
    """Add a trial unless there is one like it; tell whether it was added: see the module."""

    def alike() -> list[FrozenTrial]:
        found = study.get_trials(deepcopy=False)
        return sorted((t for t in found if is_same(t) and WITHDRAWN not in t.user_attrs), key=lambda t: t._trial_id)

    own = None
    assert claim.datetime_start is not None
    claim.system_attrs[CLAIM] = {"at": claim.datetime_start.isoformat(), "value": value}
    if not alike():
        own = study._storage.create_new_trial(study._study_id, claim)
    first = alike()[0]
    if first._trial_id == own:
        _release(study, first)
        return True
    if own is not None:
        study._storage.set_trial_user_attr(own, WITHDRAWN, f"trial {first.number} is the same")
        study._storage.set_trial_state_values(own, TrialState.FAIL)
    _wait_for(study, first, patience)
    return False


def _release(study: optuna.Study, claim: FrozenTrial) -> None:
    value = claim.system_attrs[CLAIM]["value"]
    if value is None:
        study._storage.set_trial_state_values(claim._trial_id, TrialState.WAITING)
    else:
        study._storage.set_trial_state_values(claim._trial_id, TrialState.COMPLETE, [value])


def _wait_for(study: optuna.Study, claim: FrozenTrial, patience: float) -> None:
    """Wait until another process has released its claim; release it for one that has died."""
    until = time.monotonic() + patience
    while _is_unreleased(claim):
        if time.monotonic() >= until:
            _release(study, claim)
            return
        time.sleep(PAUSE_SECONDS)
        claim = study._storage.get_trial(claim._trial_id)


def _is_unreleased(trial: FrozenTrial) -> bool:
    """Whether it is still the claim that it began as: who takes a trial from the queue starts it anew."""
    at = trial.system_attrs.get(CLAIM, {}).get("at")
    return trial.state is TrialState.RUNNING and trial.datetime_start is not None and (
        trial.datetime_start.isoformat() == at)


def _inside(
    space: Space, policy: Policy, prefix: str | None
) -> tuple[dict[str, Any], dict[str, optuna.distributions.BaseDistribution]]:
    """The parameters of a policy and their distributions."""
    check_prefix(prefix)
    values = space.values(policy)
    axes: dict[str, optuna.distributions.BaseDistribution] = {}

    def look(name: str, axis: Interval | Choice) -> Any:
        if isinstance(axis, Choice):
            axes[name] = optuna.distributions.CategoricalDistribution(axis.values)
        elif axis.low < axis.high:
            axes[name] = optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
        return values[name]

    space.build(look)
    params = {_label(name, prefix): values[name] for name in axes}
    return params, {_label(name, prefix): axis for name, axis in axes.items()}


def _fixed(space: Space, policy: Policy, prefix: str | None) -> dict[str, Any]:
    """Take the nearest choice for what is none: Optuna refuses those values, but not numbers out of range."""
    check_prefix(prefix)
    values = space.values(policy)
    fitting = dict(values)

    def look(name: str, axis: Interval | Choice) -> Any:
        if isinstance(axis, Interval):
            return fitting.get(name, axis.low)
        if fitting[name] not in axis:
            fitting[name] = min(axis.values, key=lambda choice: abs(choice - values[name]))
        return fitting[name]

    space.build(look)
    return {_label(name, prefix): value for name, value in fitting.items()}
