"""Policies of the user: read, bound to the task, and stretched to its horizon or left out with a warning."""

import logging
from collections.abc import Iterable
from typing import Any

from lrsearch.errors import PolicyError, UsageError, given
from lrsearch.schedules import Policy, parse
from lrsearch.spaces import Space
from lrsearch.words import counted

log = logging.getLogger(__name__)


def known_policies(known: Any, space: Space) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
    """The user's policies as a search of a space tries them, and notes about them.

    Durations are of the space's horizon. A policy that the space cannot describe and that ends at another step is
    stretched to the horizon. A note names each policy that is left out, with the reason; notes are logged.

    Args:
        known: policies or their texts, or a single one.
        space: the space to search.

    Returns:
        The policies in their order, each once; and a sentence for each that was stretched or left out.

    Raises:
        UsageError: for anything else than policies and their texts.

    >>> space = Space.standard("TRI", "FIX", horizon=1000, epoch=50)
    >>> known_policies(["TRI(k0=0.01, k1=0.1, l=0.1dur)", "FIX(k0=0.1)"], space)[0]
    (TRI(k0=0.01, k1=0.1, l=100), FIX(k0=0.1))
    >>> known_policies(["SIN(k0=0.01, k1=0.1, l=100)"], space)[1]
    ('SIN(k0=0.01, k1=0.1, l=100) is not tried: SIN is not among the functions searched, TRI, FIX',)
    """
    tried: dict[Policy, None] = {}
    notes = []
    for policy in _read(known, space):
        fitted = fit(policy, space)
        if fitted is None:
            notes.append(f"{policy} is not tried: {_why_not(policy, space)}")
        elif fitted in tried:
            other = "" if fitted == policy else f", the other time as {fitted}"
            notes.append(f"{policy} is not tried again: it is given twice{other}")
        else:
            tried[fitted] = None
            if fitted != policy:
                notes.append(
                    f"{policy} ends after {counted(policy.horizon or 0, 'step', form='g')}, the task after"
                    f" {space.horizon}: it is tried as {fitted}"
                )
    for note in notes:
        log.warning("%s", note)
    return tuple(tried), tuple(notes)


def fit(policy: Policy, space: Space) -> Policy | None:
    """The policy where the space can describe it; else the policy stretched to the horizon; else None."""
    if not space.misfit(policy):
        return policy
    if policy.is_controller or not policy.horizon or policy.horizon == space.horizon:
        return None
    stretched = policy.stretch(space.horizon / policy.horizon)
    return None if space.misfit(stretched) else readable(stretched, space)


def readable(policy: Policy, space: Space) -> Policy:
    """The policy in fewer digits, where the space can describe the rounded policy as well."""
    rounded = policy.rounded()
    return policy if space.misfit(rounded) else rounded


def _read(known: Any, space: Space) -> list[Policy]:
    listed = [known] if isinstance(known, Policy | str) else known
    if not isinstance(listed, Iterable):
        raise UsageError(f"known is a list of policies or their texts, such as ['FIX(k0=0.1)'], got {given(known)}")
    policies = []
    for item in listed:
        if not isinstance(item, Policy | str):
            raise UsageError(f"known holds policies or their texts, such as 'FIX(k0=0.1)', got {given(item)}")
        try:
            policy = parse(item) if isinstance(item, str) else item
            policies.append(policy.bind(horizon=space.horizon, epoch=space.epoch))
        except PolicyError as error:
            raise PolicyError(f"known: {error}") from None
    return policies


def _why_not(policy: Policy, space: Space) -> str:
    """The reason why a space cannot describe a policy."""
    if policy.form not in space.forms and str(policy) not in space.forms:
        return f"{policy.form} is not among the functions searched, {', '.join(space.forms)}"
    return space.misfit(policy)
