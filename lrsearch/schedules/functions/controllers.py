"""Controllers: LR functions that need feedback, each a frozen state that a report turns into the next.

`lr(step, u)` is the learning rate of the update after `step` updates, u an even draw from [0, 1). `after` takes a
report of a metric that is better when lower, such as the validation loss; with maximize=1, PLATEAU takes a metric that
is better when higher. A metric that is not finite counts as worse than any.
"""

import math
import sys
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Self

from lrsearch.schedules.fields import factor, flag, lr, reports, steps, threshold, whole
from lrsearch.schedules.function import controller
from lrsearch.schedules.functions.decaying import FIX, floor_below_start
from lrsearch.schedules.making import parts
from lrsearch.schedules.policy import Policy

SMALLEST_POWER, LARGEST_POWER = -300, 5
"""Of ten, in ASLR's learning rate: it stays a normal float, and within the range of all learning rates."""
WORST = sys.float_info.max
"""In place of a metric that is not finite."""


def _unfit(policies: tuple[Policy, ...], start: int) -> str | None:
    if any(policy.has_momentum for policy in policies):
        return "its policies carry no momentum: it sets learning rates only"
    if start >= len(policies):
        return f"start is the place of one of {len(policies)} policies, counted from 0, got {start}"
    return None


def _number(metric: float) -> float:
    """The metric as a finite float; the worst there is where it is not finite."""
    value = float(metric)
    return value if math.isfinite(value) else WORST


@dataclass(frozen=True, slots=True)
class AslrState:
    """Walks the centre of a range of learning rates while the loss does not improve: 0.1, 0.2, 0.1, 0.09, 0.1, 0.2 ...

    The centre is d 10^e with a whole digit d; it goes one digit up, two down, three up, and so on, until a report
    is better than all before it. Each update of each param group draws its own rate evenly from half a digit
    below to half a digit above.

    >>> state = ASLR(k0=0.1).begin()
    >>> for loss in (1.0, 2.0, 2.0, 2.0): state = state.after(loss, step=0)
    >>> state.lr(step=0, u=0.5)
    0.09
    """

    digit: int
    power: int
    best: float | None = None
    direction: int = 1
    radius: int | None = None
    walked: int = 0

    @classmethod
    def begin(cls, k0: float) -> Self:
        """Round the start to one digit."""
        sign, digits, power = Decimal(f"{k0:.0e}").as_tuple()
        del sign
        return cls(digits[0], int(power))

    def after(self, metric: float, step: int) -> Self:
        """Walk on if the loss is worse than the best, and start a new walk if it is better."""
        loss = _number(metric)
        if self.best is None or loss < self.best:
            return replace(self, best=loss, radius=None)
        return self._walk() if loss > self.best or loss == WORST else self

    def lr(self, step: int, u: float) -> float:
        """Draw from half a digit below the centre to half a digit above."""
        if u == 0.5:
            return float(f"{self.digit}e{self.power}")
        return (self.digit - 0.5 + u) * 10.0**self.power

    def _walk(self) -> Self:
        direction, radius, walked = self.direction, self.radius, self.walked
        if radius is None:
            direction, radius, walked = 1, 1, 0
        elif walked >= radius:
            direction, radius, walked = -direction, radius + 1, 0
        digit, power = self.digit + direction, self.power
        if digit == 0:
            digit, power = 9, power - 1
        elif digit == 10:
            digit, power = 1, power + 1
        if not SMALLEST_POWER <= power <= LARGEST_POWER:
            digit, power = self.digit, self.power
        return replace(self, digit=digit, power=power, direction=direction, radius=radius, walked=walked + 1)


ASLR = controller(
    "ASLR",
    "Khodamoradi et al. 2021",
    lr("k0"),
    sample={"k0": 0.1},
    rule=lambda k0: None if k0 >= 10.0**SMALLEST_POWER else "k0 must be above 0",
)(AslrState)


@dataclass(frozen=True, slots=True)
class PlateauState:
    """Shrinks by gamma, never below k1, after more than `patience` reports in a row that are not better than the best.

    Better means below best (1 - threshold); with maximize=1, for a metric that is better when higher, above
    best (1 + threshold). For `cooldown` reports after a drop none is counted as bad; a drop of
    eps or less is not made.

    >>> state = PLATEAU(k0=0.1, gamma=0.5, patience=0).begin()
    >>> state.after(1.0, step=10).after(1.0, step=20).lr(step=20, u=0.5)
    0.05
    """

    current: float
    gamma: float
    patience: float
    cooldown: float
    threshold: float
    floor: float
    eps: float
    best: float | None = None
    bad: int = 0
    cooling: float = 0
    sign: int = 1

    @classmethod
    def begin(
        cls,
        k0: float,
        gamma: float,
        patience: float,
        cooldown: float,
        threshold: float,
        k1: float,
        eps: float,
        maximize: int,
    ) -> Self:
        """Start at k0; a metric that is better when higher is negated, which turns the threshold round."""
        sign = -1 if maximize else 1
        return cls(k0, gamma, patience, cooldown, sign * threshold, k1, eps, sign=sign)

    def after(self, metric: float, step: int) -> Self:
        """Count a report, and drop once too many were bad."""
        loss = _number(self.sign * metric)
        better = loss < (WORST if self.best is None else self.best * (1 - self.threshold))
        bad, cooling = 0 if better else self.bad + 1, self.cooling
        if cooling > 0:
            bad, cooling = 0, cooling - 1
        current = self.current
        if bad > self.patience:
            lower = max(current * self.gamma, self.floor)
            current = lower if current - lower > self.eps else current
            bad, cooling = 0, self.cooldown
        return replace(self, current=current, best=loss if better else self.best, bad=bad, cooling=cooling)

    def lr(self, step: int, u: float) -> float:
        """The present learning rate."""
        return float(self.current)


PLATEAU = controller(
    "PLATEAU",
    "torch, ReduceLROnPlateau",
    lr("k0"),
    factor("gamma"),
    reports("patience", 0, 10),
    reports("cooldown", 0, 0),
    threshold("threshold", 1e-4),
    lr("k1", 0),
    lr("eps", 0),
    flag("maximize"),
    rule=floor_below_start,
    sample={"k0": 0.1, "gamma": 0.5, "patience": 1},
)(PlateauState)


@dataclass(frozen=True, slots=True)
class ChangeOnPlateauState:
    """Goes to the policy before on a plateau up to step l, and to the one after it from then on.

    Policies are listed from bold to cautious. A plateau is when there were more than `patience` reports and, among
    the last `patience`, none is better than the one before it by `threshold` or more; for `cooldown` reports after
    a change none is made. Each policy counts from the step at which it took over.

    >>> policy = CHANGEONPLATEAU(policies=[FIX(k0=0.5), FIX(k0=0.25)], l=80, start=1, patience=2, cooldown=0)
    >>> state = policy.begin()
    >>> for step, loss in enumerate((1.0, 1.0, 1.0)): state = state.after(loss, step)
    >>> state.lr(step=3, u=0.5)
    0.5
    """

    policies: tuple[Policy, ...]
    until: float
    patience: float
    cooldown: float
    threshold: float
    at: int
    since: int = 0
    recent: tuple[float, ...] = ()
    cooling: float = 0

    @classmethod
    def begin(
        cls, policies: tuple[Policy, ...], l: float, start: int, patience: float, cooldown: float, threshold: float
    ) -> Self:
        """Start with the policy at place `start`."""
        return cls(policies, l, patience, cooldown, threshold, start)

    def after(self, metric: float, step: int) -> Self:
        """Remember a report, and change the policy on a plateau."""
        most = math.ceil(self.patience) + 1
        reported = replace(self, recent=(*self.recent, _number(metric))[-most:])
        if self.cooling > 0:
            return replace(reported, cooling=self.cooling - 1)
        if len(reported.recent) < most or not reported._flat():
            return reported
        at = min(max(self.at + (-1 if step < self.until else 1), 0), len(self.policies) - 1)
        since = step if at != self.at else self.since
        return replace(reported, at=at, since=since, cooling=self.cooldown)

    def lr(self, step: int, u: float) -> float:
        """The learning rate of the present policy, whose steps count from the change to it."""
        return self.policies[self.at](max(step - self.since, 0))

    def _flat(self) -> bool:
        return not any(before - loss >= self.threshold for before, loss in pairwise(self.recent[1:]))


CHANGEONPLATEAU = controller(
    "CHANGEONPLATEAU",
    "LRBench's repository; Wu et al. 2022",
    parts("policies"),
    steps("l"),
    whole("start", 0, 15, 0),
    reports("patience", 2, 5),
    reports("cooldown", 0, 5),
    threshold("threshold", 0.05),
    rule=lambda policies, start, **_: _unfit(policies, start),
    sample={"policies": [FIX(k0=0.1), FIX(k0=0.01)], "l": 80, "start": 1},
)(ChangeOnPlateauState)
