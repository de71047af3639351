"""Spaces in Optuna: the only file of this package that imports it.

Several processes may hand over the same policies to a study, again and at once: see `hand_over`. Optuna has no unique
constraint on trials, but every storage numbers them in one order, and no worker takes a trial that is RUNNING. So a
process adds its trial as a claim, RUNNING, and then reads all trials. Of equal trials the first stays, and the others
are withdrawn (FAIL). The first is released in the end: WAITING, or COMPLETE with its value. A process that meets the
claim of another process waits until it is released. A claim that is not released within a few seconds belongs to a
process that died: the waiting process releases it. (A process that pauses for longer between reading its claim and
releasing it would put a trial back into the queue that is being trained. A withdrawn claim whose process died before
the withdrawal stays RUNNING.)

With SQLite, Optuna itself may give one queued trial to two processes that ask at the same moment, however it was queued
(measured: in 44 of 60 rounds of two processes, Optuna 5.0); PostgreSQL and Optuna's journal files do not.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
SOURCE = "lrsearch:source"
RUN, SEED, STEPS = "lrsearch:run", "lrsearch:seed", "lrsearch:steps"
WITHDRAWN = "lrsearch:withdrawn"
"""User attributes of a trial."""
CLAIM = "lrsearch:claim"
RUNS = "lrsearch:runs"
"""System attributes: when a trial was claimed and its value; the keys of the runs behind a value."""
SUGGESTED = "suggested"
"""The origin of a policy that a sampler suggested."""
SAME_TASK = "same task"
"""The origin of a trial that is a result of the same task, not a suggestion."""
QUEUED = frozenset({"queued"})
"""The parts of an offer without runs: one place in the queue."""
PREFIX = re.compile("[A-Za-z0-9_-]{1,40}")
PATIENCE_SECONDS, PAUSE_SECONDS = 5.0, 0.05
"""How long to wait for the claim of another process, and the pause between two reads (a rule: a claim takes a few
queries)."""


def marked(name: str, prefix: str | None) -> str:
    """The name of a user attribute, for the policy with a prefix."""
    return f"{name}:{prefix}" if prefix else name


def suggest(space: Space, trial: optuna.Trial, prefix: str | None = None) -> Policy:
    """Let a trial suggest a policy: see `Space.suggest`.

    A trial that was enqueued with a policy (see `enqueue`) suggests exactly that policy, also outside the space's
    ranges or lattice. Any other trial is marked with its policy's text.
    """
    check_prefix(prefix)
    if not hasattr(trial, "suggest_float"):
        raise UsageError(f"trial is an Optuna trial, such as an objective is given, got {given(trial)}")
    attributes = trial.user_attrs
    suggested_by = attributes.get(marked(SPACE, prefix))
    if suggested_by is None:
        trial.set_user_attr(marked(SPACE, prefix), space.key)
    elif suggested_by != space.key:
        named = f" under prefix={prefix!r}" if prefix else ""
        raise UsageError(
            f"this trial has a policy of another space{named}: name each space of a trial, as in"
            " space.suggest(trial, prefix='g'); a policy of another length is policy.stretch(...)"
        )

    def draw(name: str, axis: Interval | Choice) -> Any:
        label = _label(name, prefix)
        if isinstance(axis, Choice):
            return trial.suggest_categorical(label, axis.values)
        if axis.low == axis.high:
            return axis.low
        return trial.suggest_float(label, axis.low, axis.high, log=axis.log)

    suggested = space.build(draw)
    known = attributes.get(marked(POLICY, prefix))
    if known:
        return parse(known)
    if suggested_by is None:  # a trial of an older version may have ended, and takes no more marks
        for name, value in _marks(suggested, SUGGESTED, prefix).items():
            trial.set_user_attr(name, value)
    return suggested


def define_by_run(space: Space, trial: optuna.Trial) -> dict[str, str]:
    """The config of a Ray Tune trial: see `Space.define_by_run`."""
    return {"policy": str(suggest(space, trial))}


def enqueue(
    study: optuna.Study, space: Space, policy: Policy, origin: str, prefix: str | None = None, **attributes: Any
) -> None:
    """Put a policy last in a study's queue, marked with its origin.

    Raises:
        SpaceError: if the policy's LR function is not in the space.
        PolicyError: if the policy has no natural coordinates at the space's horizon.
        UsageError: for an impossible prefix.
    """
    study.enqueue_trial(_fixed(space, policy, prefix), user_attrs=_marks(policy, origin, prefix) | attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A policy to hand over to a study.

    Args:
        policy: the policy.
        origin: the source of the policy.
        scores: of its runs, by their keys: they become a finished trial with their mean; without any, the policy is
            queued.
        attributes: other user attributes of its trial.
    """

    policy: Policy
    origin: str
    scores: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> frozenset[str]:
        """The parts that are handed over once only: each run, or a place in the queue."""
        return frozenset(self.scores) or QUEUED


def hand_over(
    study: optuna.Study,
    space: Space,
    offers: Iterable[Offer],
    prefix: str | None = None,
    patience: float = PATIENCE_SECONDS,
) -> int:
    """Hand over the policies that a study lacks; return how many were new. All are in the study afterwards.

    The new runs of a policy become one trial.

    Args:
        study: the study.
        space: its space.
        offers: the policies, which have coordinates in the space; those with scores lie inside its ranges.
        prefix: as in `Space.suggest`.
        patience: seconds to wait for a claim of another process, which counts as dead then.
    """
    check_prefix(prefix)
    added, claims = 0, list[FrozenTrial]()
    for offer in offers:
        while (other := _claim(study, space, offer, prefix, claims)) is not None:
            added += _release_all(study, claims)
            _wait_for(study, other, patience)
    return added + _release_all(study, claims)


def check_prefix(prefix: str | None) -> None:
    """Refuse a prefix that cannot begin the name of a parameter."""
    if prefix is not None and not (isinstance(prefix, str) and PREFIX.fullmatch(prefix)):
        raise UsageError(f"prefix is a name of 1 to 40 letters, digits, _ or -, such as 'g', got {str(prefix)[:80]!r}")


def _label(name: str, prefix: str | None) -> str:
    return f"{prefix}.{name}" if prefix else name


def _marks(policy: Policy, origin: str, prefix: str | None) -> dict[str, Any]:
    return {marked(POLICY, prefix): str(policy), marked(ORIGIN, prefix): origin}


def _claim(
    study: optuna.Study, space: Space, offer: Offer, prefix: str | None, claims: list[FrozenTrial]
) -> FrozenTrial | None:
    """Claim the parts of an offer that a study lacks, and append the claim to `claims`.

    Returns:
        The claim to wait for, where another process was first; else None.
    """
    firsts = _first_trials(study, offer, prefix)
    missing = offer.parts.difference(*(_parts(trial, offer) for trial in firsts))
    if not missing:
        return next(filter(_is_claim, firsts), None)
    own = study._storage.create_new_trial(study._study_id, _as_claim(space, offer, missing, prefix))
    first = next(trial for trial in _first_trials(study, offer, prefix) if _parts(trial, offer) & missing)
    if first._trial_id == own:
        claims.append(first)
        return None
    study._storage.set_trial_user_attr(own, WITHDRAWN, f"trial {first.number} is the same")
    study._storage.set_trial_state_values(own, TrialState.FAIL)
    return first


def _as_claim(space: Space, offer: Offer, parts: frozenset[str], prefix: str | None) -> FrozenTrial:
    marks = {**_marks(offer.policy, offer.origin, prefix), **offer.attributes}
    if offer.scores:
        marks[marked(RUN, prefix)] = ", ".join(sorted(parts))
        params, distributions = _inside(space, offer.policy, prefix)
        claim = optuna.create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions=distributions,
            user_attrs=marks,
            system_attrs={RUNS: sorted(parts)},
        )
        value = sum(offer.scores[key] for key in sorted(parts)) / len(parts)
    else:
        fixed = {"fixed_params": _fixed(space, offer.policy, prefix)}
        claim, value = optuna.create_trial(state=TrialState.RUNNING, user_attrs=marks, system_attrs=fixed), None
    assert claim.datetime_start is not None
    claim.system_attrs[CLAIM] = {"at": claim.datetime_start.isoformat(), "value": value}
    return claim


def _first_trials(study: optuna.Study, offer: Offer, prefix: str | None) -> list[FrozenTrial]:
    """The trials with parts of an offer that no trial before them has."""

    def is_alike(trial: FrozenTrial) -> bool:
        marks = trial.user_attrs
        is_result = marks.get(marked(ORIGIN, prefix)) == SAME_TASK
        return (
            marks.get(marked(POLICY, prefix)) == str(offer.policy)
            and is_result == bool(offer.scores)
            and WITHDRAWN not in marks
        )

    firsts: list[FrozenTrial] = []
    for trial in sorted(filter(is_alike, study.get_trials(deepcopy=False)), key=lambda trial: trial._trial_id):
        if not any(_parts(trial, offer) & _parts(other, offer) for other in firsts):
            firsts.append(trial)
    return firsts


def _parts(trial: FrozenTrial, offer: Offer) -> frozenset[str]:
    """The parts of an offer that a trial has: all, where an older version added the trial."""
    return frozenset(trial.system_attrs.get(RUNS, offer.parts))


def _release_all(study: optuna.Study, claims: list[FrozenTrial]) -> int:
    """Release claims; return how many there were."""
    count = len(claims)
    while claims:
        _release(study, claims.pop(0))
    return count


def _release(study: optuna.Study, claim: FrozenTrial) -> None:
    value = claim.system_attrs[CLAIM]["value"]
    if not _is_claim(study._storage.get_trial(claim._trial_id)):
        return  # another process, for which this one was dead, has released it
    if value is None:
        study._storage.set_trial_state_values(claim._trial_id, TrialState.WAITING)
    else:
        study._storage.set_trial_state_values(claim._trial_id, TrialState.COMPLETE, [value])


def _wait_for(study: optuna.Study, claim: FrozenTrial, patience: float) -> None:
    """Wait until another process has released its claim; release the claim of a process that has died."""
    until = time.monotonic() + patience
    while _is_claim(claim):
        if time.monotonic() >= until:
            _release(study, claim)
            return
        time.sleep(PAUSE_SECONDS)
        claim = study._storage.get_trial(claim._trial_id)


def _is_claim(trial: FrozenTrial) -> bool:
    """Whether a trial is still a claim: a worker that takes a trial from the queue sets its start anew."""
    claimed, started = trial.system_attrs.get(CLAIM, {}).get("at"), trial.datetime_start
    return trial.state is TrialState.RUNNING and started is not None and started.isoformat() == claimed


def _inside(
    space: Space, policy: Policy, prefix: str | None
) -> tuple[dict[str, Any], dict[str, optuna.distributions.BaseDistribution]]:
    """The parameters of a policy and their distributions."""
    check_prefix(prefix)
    values = space.values(policy)
    axes: dict[str, optuna.distributions.BaseDistribution] = {}

    def record(name: str, axis: Interval | Choice) -> Any:
        if isinstance(axis, Choice):
            axes[name] = optuna.distributions.CategoricalDistribution(axis.values)
        elif axis.low < axis.high:
            axes[name] = optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
        return values[name]

    space.build(record)
    params = {_label(name, prefix): values[name] for name in axes}
    return params, {_label(name, prefix): axis for name, axis in axes.items()}


def _fixed(space: Space, policy: Policy, prefix: str | None) -> dict[str, Any]:
    """The parameters of a policy, with the nearest choice for a value that is none.

    Optuna refuses such values, but not numbers out of range.
    """
    check_prefix(prefix)
    values = space.values(policy)
    fitting = dict(values)

    def fit(name: str, axis: Interval | Choice) -> Any:
        if isinstance(axis, Interval):
            return fitting.get(name, axis.low)
        if fitting[name] not in axis:
            fitting[name] = min(axis.values, key=lambda choice: abs(choice - values[name]))
        return fitting[name]

    space.build(fit)
    return {_label(name, prefix): value for name, value in fitting.items()}
