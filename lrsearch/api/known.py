"""Policies that a caller brings along: read, bound to the task, stretched to its horizon, or left out by name."""

import logging
from collections.abc import Iterable
from typing import Any

from lrsearch.errors import PolicyError, UsageError, given
from lrsearch.schedules import Policy, parse
from lrsearch.spaces import Space
from lrsearch.words import counted

log = logging.getLogger(__name__)


def known_policies(known: Any, space: Space) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
    """Give a caller's policies as a search of a space tries them, and what to know of them.

    Durations are of the space's horizon. A policy that the space cannot describe and that ends at another step is
    stretched to the horizon. What is left out is named with the reason, and logged.

    Args:
        known: policies or their texts, or one of them.
        space: what is searched.

    Returns:
        The policies in their order, each once; and a sentence for each that was stretched or left out.

    Raises:
        UsageError: for what is no policy.

    >>> space = Space.standard("TRI", "FIX", horizon=1000, epoch=50)
    >>> known_policies(["TRI(k0=0.01, k1=0.1, l=0.1dur)", "FIX(k0=0.1)"], space)[0]
    (TRI(k0=0.01, k1=0.1, l=100), FIX(k0=0.1))
    >>> known_policies(["SIN(k0=0.01, k1=0.1, l=100)"], space)[1]
    ('SIN(k0=0.01, k1=0.1, l=100) is not tried: SIN is not among the functions searched, TRI, FIX',)
    """
    tried: dict[Policy, None] = {}
    notes = []
    for policy in _read(known, space):
        found = fit(policy, space)
        if found is None:
            notes.append(f"{policy} is not tried: {_why_not(policy, space)}")
        elif found in tried:
            notes.append(
                f"{policy} is not tried again: it is given twice"
                + ("" if found == policy else f", the other time as {found}")
            )
        else:
            tried[found] = None
            if found != policy:
                notes.append(
                    f"{policy} ends after {counted(policy.horizon or 0, 'step', form='g')}, the task after"
                    f" {space.horizon}: it is tried as {found}"
                )
    for note in notes:
        log.warning("%s", note)
    return tuple(tried), tuple(notes)


def fit(policy: Policy, space: Space) -> Policy | None:
    """The policy itself where the space can describe it, or else stretched to the horizon, or else None."""
    if not space.misfit(policy):
        return policy
    if policy.is_controller or not policy.horizon or policy.horizon == space.horizon:
        return None
    stretched = policy.stretch(space.horizon / policy.horizon)
    return None if space.misfit(stretched) else readable(stretched, space)


def readable(policy: Policy, space: Space) -> Policy:
    """The policy in fewer digits, where the space can describe that as well."""
    rounded = policy.rounded()
    return policy if space.misfit(rounded) else rounded


def _read(known: Any, space: Space) -> list[Policy]:
    listed = [known] if isinstance(known, Policy | str) else known
    if not isinstance(listed, Iterable):
        raise UsageError(f"known is a list of policies or their texts, such as ['FIX(k0=0.1)'], got {given(known)}")
    found = []
    for one in listed:
        if not isinstance(one, Policy | str):
            raise UsageError(f"known holds policies or their texts, such as 'FIX(k0=0.1)', got {given(one)}")
        try:
            policy = parse(one) if isinstance(one, str) else one
            found.append(policy.bind(horizon=space.horizon, epoch=space.epoch))
        except PolicyError as error:
            raise PolicyError(f"known: {error}") from None
    return found


def _why_not(policy: Policy, space: Space) -> str:
    """Why a space has no place for a policy."""
    if policy.form not in space.forms and str(policy) not in space.forms:
        return f"{policy.form} is not among the functions searched, {', '.join(space.forms)}"
    return space.misfit(policy)
