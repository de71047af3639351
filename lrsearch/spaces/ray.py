"""Spaces in Ray Tune: the only file of this package that imports it.

Tune samples a domain for each trial, and Population Based Training multiplies the values of a trial to perturb them. So
a domain samples the texts of policies, and a sampled text times a number is the text of another policy of the space.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from ray.tune.search.sample import Domain

from lrsearch.errors import PolicyError, UsageError
from lrsearch.schedules import parse
from lrsearch.spaces.space import Space

KEY = "policy"
"""The key of a trial's policy in its config."""


class PolicyText(str):
    """The text of a policy, with the space that it was sampled from.

    Args:
        text: the policy's text.
        space: the space, which has the policy.

    >>> space = Space.standard("FIX", horizon=100, epoch=10, peak=(0.01, 0.5))
    >>> PolicyText("FIX(k0=0.1)", space) * 2, PolicyText("FIX(k0=0.1)", space) * 8
    ('FIX(k0=0.2)', 'FIX(k0=0.5)')
    """

    space: Space

    def __new__(cls, text: str, space: Space) -> Self:
        """Make a text that knows its space."""
        made = super().__new__(cls, text)
        made.space = space
        return made

    def __getnewargs__(self) -> tuple[str, Space]:  # type: ignore[override]  # a text alone has no space
        return str(self), self.space

    def __mul__(self, factor: float) -> "PolicyText":  # type: ignore[override]  # a text is repeated, a policy scaled
        """The policy whose peak is scaled, within the space's range; a policy searched as a whole stays as it is."""
        values = self.space.values(parse(self))
        if "peak" not in values:
            return self
        peak = self.space.peak
        values["peak"] = min(max(values["peak"] * factor, peak.low), peak.high)
        return PolicyText(str(self.space.build(lambda name, _: values[name])), self.space)


class PolicyDomain(Domain):
    """A Tune domain that samples the texts of policies.

    Tune copies its domains for each trial. This one is not copied, so that each trial gets the next policy.

    Args:
        space: the policies.
        seed: of the policies, 0 or more; Tune's own random state is not used.

    Raises:
        UsageError: for an impossible seed.
    """

    def __init__(self, space: Space, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UsageError(f"the seed is a whole number, 0 or more, got {seed!r}")
        self.space = space
        self._generator = np.random.default_rng(seed)

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return self

    def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
        """The text of the next policy; a list of texts where `size` is above 1."""
        texts = [PolicyText(str(self.space.sample(self._generator)), self.space) for _ in range(size)]
        return texts if size > 1 else texts[0]

    def is_valid(self, value: Any) -> bool:
        """Whether a value is the text of a policy of the space."""
        try:
            return parse(value) in self.space
        except PolicyError:
            return False

    @property
    def domain_str(self) -> str:
        """The names of the LR functions."""
        return ", ".join(self.space.forms)
