"""A learning-rate policy as a value: an LR function with its parameters, called with a step."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from lrsearch.errors import PolicyError
from lrsearch.schedules.coordinates import Coordinates
from lrsearch.schedules.fields import REQUIRED
from lrsearch.schedules.function import Floats, LRFunction, State
from lrsearch.schedules.values import Duration, canonical_value, is_number, text_of
from lrsearch.words import counted

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from lrsearch.schedules.torch import ControllerScheduler, PolicyScheduler

MOST_STEPS = 1_000_000_000
"""Of a curve in one array: 8 GB (a rule)."""


@dataclass(frozen=True, slots=True, repr=False)
class Policy:
    """An LR function with its parameter values: frozen, hashable, equal if and only if its text is equal.

    An LR function that is called, or `parse`, returns one. `policy(t)` is the learning rate of the update after t
    updates, t = 0 for the first.

    >>> from lrsearch.schedules import TRI
    >>> policy = TRI(k0=0.001, k1=0.006, l=2000)
    >>> policy(2000), str(policy)
    (0.006, 'TRI(k0=0.001, k1=0.006, l=2000)')
    """

    function: LRFunction
    values: tuple[Any, ...]
    is_bound: bool = field(default=True, compare=False)

    @overload
    def __call__(self, step: int | float) -> float: ...
    @overload
    def __call__(self, step: npt.NDArray[Any]) -> Floats: ...
    def __call__(self, step: Any) -> Any:
        """The learning rate at a step >= 0: float for a number, float64 of the same shape for an array."""
        return self._shaped(step, self.at)

    def curve(self, steps: int) -> Floats:
        """The learning rates of updates 0 .. steps-1, shape (steps,)."""
        self.require_curve()
        return self.at(np.arange(_count(steps), dtype=np.float64))

    def momentum(self, step: Any) -> Any:
        """The momentum (beta1 of Adam) at a step, in the shape of `policy(step)`; None if the policy carries none.

        >>> from lrsearch.schedules import CM, TRI
        >>> CM(policy=TRI(k0=0.1, k1=1, l=100), m0=0.95, m1=0.85).momentum(100)
        0.85
        """
        self.require_curve()
        return self._shaped(step, self.momentum_at) if self.has_momentum else None

    def at(self, t: Floats) -> Floats:
        """The formula on a one-dimensional array of steps: the only code path behind every call."""
        with np.errstate(over="ignore", under="ignore"):
            return self.function.curve(t, **self.params)

    def momentum_at(self, t: Floats) -> Floats:
        """The momentum on a one-dimensional array of steps, of a policy that carries one."""
        assert self.function.momentum is not None
        return self.function.momentum(t, **self.params)

    def height_at(self, t: Floats) -> Floats:
        """The place of the learning rate between its bounds: 0 at the lower, 1 at the higher."""
        if self.function.height is not None:
            return self.function.height(t, **self.params)
        low, high = self.bounds
        if low == high:
            return np.ones(t.shape)
        return np.clip((self.at(t) - low) / (high - low), 0, 1)

    def _shaped(self, step: Any, formula: Callable[[Floats], Floats]) -> Any:
        self.require_curve()
        try:
            t = np.asarray(step, dtype=np.float64)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            t = np.asarray(np.nan)
        if isinstance(step, str | bytes) or not np.all((t >= 0) & (t < np.inf)):
            raise PolicyError(f"{self.name}: a step is a finite number, 0 or more, got {str(step)[:80]}")
        values = formula(np.ascontiguousarray(t).reshape(-1))
        return float(values[0]) if t.ndim == 0 else values.reshape(t.shape)

    def require_curve(self) -> None:
        """Refuse a policy that is no function of the step: it is unbound, or a controller."""
        self.require_bound()
        if self.is_controller:
            raise PolicyError(
                f"{self.name} needs feedback and is no function of the step: start it with"
                " policy.scheduler(optimizer) or policy.begin()"
            )

    def require_bound(self) -> None:
        """Refuse a policy with durations, whose lengths in steps depend on a task."""
        if not self.is_bound:
            raise PolicyError(f"{self} has lengths that wait for a task: bind(horizon=..., epoch=...) it first")

    @property
    def name(self) -> str:
        """The LR function's name."""
        return self.function.name

    @property
    def params(self) -> dict[str, Any]:
        """The parameters by name, defaults included."""
        return {f.name: value for f, value in zip(self.function.fields, self.values, strict=True)}

    @property
    def parts(self) -> tuple["Policy", ...]:
        """The policies inside it."""
        listed = (value if isinstance(value, tuple) else (value,) for value in self.values)
        return tuple(item for items in listed for item in items if isinstance(item, Policy))

    @property
    def form(self) -> str:
        """The names of the function and of the policies inside it: `WARMUP(HALFCOS)`."""
        return f"{self.name}({', '.join(part.form for part in self.parts)})" if self.parts else self.name

    @property
    def numbers(self) -> int:
        """How many numbers describe it, those of the policies inside included; defaults are not counted.

        >>> from lrsearch.schedules import parse
        >>> parse("NSTEP(k0=0.1, gamma=0.1, l=[30, 60])").numbers, parse("WARMUP(policy=FIX(k0=1), l=5)").numbers
        (4, 2)
        """
        listed = (value if isinstance(value, tuple) else (value,) for _, value in self._stated())
        return sum(item.numbers if isinstance(item, Policy) else 1 for items in listed for item in items)

    @property
    def depth(self) -> int:
        """How deep policies nest in it; 1 for a policy without parts."""
        return 1 + max((part.depth for part in self.parts), default=0)

    @property
    def key(self) -> str:
        """A digest of the text: 16 hex digits, the same on every machine."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:16]

    @property
    def is_controller(self) -> bool:
        """Whether it needs feedback, as PLATEAU does, and so is no function of the step."""
        return self.function.begin is not None

    @property
    def has_momentum(self) -> bool:
        """Whether it carries a momentum beside the learning rate."""
        if self.function.momentum is None:
            return False
        return self.function.own_momentum or any(part.has_momentum for part in self.parts)

    @property
    def horizon(self) -> int | float | None:
        """The step from which the learning rate is constant; None if it goes on changing.

        >>> from lrsearch.schedules import LINEAR, TRI
        >>> LINEAR(k0=0.1, l=1000).horizon, TRI(k0=0, k1=1, l=5).horizon
        (1000, None)
        """
        self.require_curve()
        return self.function.end(**self.params) if self.function.end else None

    @property
    def period(self) -> int | float | None:
        """The steps of one cycle, heights aside; None if it does not repeat at equal distances.

        >>> from lrsearch.schedules import FIX, TRI
        >>> TRI(k0=0, k1=1, l=5).period, FIX(k0=1).period
        (10, None)
        """
        self.require_curve()
        return self.function.period(**self.params) if self.function.period else None

    def cycle_ends(self, steps: int) -> tuple[int, ...]:
        """The numbers of steps, up to `steps`, after which it turns up again; the last is `steps` itself.

        >>> from lrsearch.schedules import FIX, SGDR, TRI
        >>> TRI(k0=0, k1=1, l=5).cycle_ends(25), SGDR(k0=1, k1=0, l=4, growth=2).cycle_ends(12)
        ((11, 21, 25), (4, 12))
        >>> FIX(k0=1).cycle_ends(25)
        (25,)
        """
        self.require_curve()
        curve = self.curve(steps)
        turns = np.flatnonzero(np.diff(curve))
        falls = np.diff(curve)[turns] < 0
        ends = [int(turns[n]) + 1 for n in range(1, len(turns)) if falls[n - 1] and not falls[n]]
        return (*ends, steps) if not ends or ends[-1] != steps else tuple(ends)

    @property
    def bounds(self) -> tuple[float, float]:
        """The learning rates between which it swings; a momentum cycle mirrors them."""
        if self.function.bounds is not None:
            return self.function.bounds(**self.params)
        if self.parts:
            inside = [part.bounds for part in self.parts]
            return min(low for low, _ in inside), max(high for _, high in inside)
        lrs = [self.params[name] for name in ("k0", "k1") if name in self.params]
        return (min(lrs), max(lrs)) if len(lrs) == 2 else (0, lrs[0])

    def begin(self) -> State:
        """The first state of a controller.

        >>> from lrsearch.schedules import PLATEAU
        >>> state = PLATEAU(k0=0.1, gamma=0.5, patience=0).begin()
        >>> state.after(1.0, step=10).after(1.2, step=20).lr(step=20, u=0.5)
        0.05
        """
        if self.function.begin is None:
            raise PolicyError(f"{self.name} is a function of the step: it needs no feedback")
        self.require_bound()
        return self.function.begin(**self.params)

    def bind(self, *, horizon: float | None = None, epoch: float | None = None) -> "Policy":
        """The policy with its durations in steps, for a run of `horizon` steps with `epoch` steps in an epoch.

        >>> from lrsearch.schedules import HALFCOS, WARMUP
        >>> WARMUP(policy=HALFCOS(k0=0.1, l="0.9dur"), l="2ep").bind(horizon=1000, epoch=60)
        WARMUP(policy=HALFCOS(k0=0.1, l=900), l=120)
        """
        horizon = None if horizon is None else _positive(horizon, "the horizon")
        epoch = None if epoch is None else _positive(epoch, "the epoch")

        def bound(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(bound, value))
            if isinstance(value, Duration):
                return value.steps(horizon, epoch)
            return value.bind(horizon=horizon, epoch=epoch) if isinstance(value, Policy) else value

        return self if self.is_bound else self.function(**{name: bound(value) for name, value in self.params.items()})

    def stretch(self, r: float) -> "Policy":
        """The same shape over r times the steps: `policy.stretch(r)(r * t) == policy(t)`.

        `policy.stretch(budget / horizon)` re-normalises a schedule to a budget.

        >>> from lrsearch.schedules import STEP
        >>> STEP(k0=0.1, gamma=0.5, l=1000).stretch(1 / 4)
        STEP(k0=0.1, gamma=0.5, l=250)
        """
        self.require_bound()
        return self._map("stretched", _positive(r, "the factor"))

    def scale(self, c: float) -> "Policy":
        """The policy with c times the learning rate at every step."""
        return self._map("scaled", _positive(c, "the factor"))

    def rounded(self) -> "Policy":
        """Nearly the same policy, in few digits, for people.

        It is the policy itself where two of its numbers, such as close milestones, would be rounded to one.
        """
        try:
            return self._map("rounded")
        except PolicyError:
            return self

    def _map(self, change: str, *by: float) -> "Policy":
        pairs = zip(self.function.fields, self.values, strict=True)
        return self.function(**{f.name: getattr(f, change)(value, *by) for f, value in pairs})

    def coordinates(self, horizon: float) -> Coordinates:
        """The natural coordinates at a horizon in steps.

        Raises:
            PolicyError: if the LR function has none, or the horizon ends within a warm-up.

        >>> from lrsearch.schedules import TRI
        >>> TRI(k0=0.006, k1=0.06, l=2000).coordinates(10_000)
        {'peak': 0.06, 'ratio': 0.1, 'cycles': 2.5}
        """
        if not self.function.roles:
            raise PolicyError(f"{self.name} has no natural coordinates: it is searched as a whole value")
        self.require_curve()
        _positive(horizon, "the horizon")
        coordinates: Coordinates = {}
        for role in self.function.roles:
            coordinates |= role.read(self.params, horizon)
        for part in self.parts:
            rest = horizon * (1 - coordinates.get("warmup", 0))
            if not rest > 0:
                raise PolicyError(
                    f"{self.form}: nothing of {counted(horizon, 'step', form='g')} is left after the warm-up"
                )
            inner = part.coordinates(rest)
            if coordinates.keys() & inner.keys():
                raise PolicyError(f"{self.form}: no natural coordinates for a warm-up inside a warm-up")
            coordinates |= inner
        return coordinates

    def scheduler(
        self, optimizer: "Optimizer", *, seed: int = 0, adopt: bool = False, auto_step: bool = False
    ) -> "PolicyScheduler | ControllerScheduler":
        """Make a torch `LRScheduler` that sets each param group to policy(t) x its ratio.

        A group's ratio is its initial LR / the largest initial LR, times timm's `lr_scale` where it has one. (Where the
        LRs differ as `lr_scale` does, as OpenMMLab writes them, it counts once.) A group that is added later has its
        ratio from the first update on. With its own `lr` that is its lr / the present LR of ratio 1. With the
        optimizer's default `lr`, it is the default / the largest initial LR. `scheduler.add_param_group(group, ratio=)`
        takes the ratio itself.

        A controller's scheduler takes the metric, as ReduceLROnPlateau does; its random draws follow from `seed`.

        Args:
            optimizer: any torch optimizer.
            seed: of a controller's random draws.
            adopt: take the step from the state of another policy in `load_state_dict`, with a warning, to train on
                under a longer policy. Without it such a state is refused. Not for controllers.
            auto_step: step by itself after each update of the optimizer; a `step()` by hand is refused then.

        Raises:
            PolicyError: if every param group starts at LR 0, a momentum finds no place, a controller is to adopt, or
                the optimizer has no hooks for `auto_step`.
        """
        from lrsearch.schedules.torch import ControllerScheduler, PolicyScheduler

        if adopt and self.is_controller:
            raise PolicyError(
                f"{self.name} needs feedback: its LR follows from the losses it was told, not from a step"
                " that it could adopt"
            )
        made = (
            ControllerScheduler(optimizer, self, seed)
            if self.is_controller
            else PolicyScheduler(optimizer, self, adopt)
        )
        return made.start_auto_step() if auto_step else made

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={text_of(value)}' for name, value in self._stated())})"

    __repr__ = __str__

    def _stated(self) -> list[tuple[str, Any]]:
        """The parameters without those at their default, (name, value)."""
        pairs = zip(self.function.fields, self.values, strict=True)
        return [(f.name, value) for f, value in pairs if f.default is REQUIRED or value != f.default]

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        from lrsearch.schedules.text import parse

        return parse, (str(self),)


def _positive(value: Any, what: str) -> float:
    number = canonical_value(value)
    if not (is_number(number) and number > 0):
        raise PolicyError(f"{what} must be a finite number above 0, got {str(value)[:80]}")
    return float(number)


def _count(steps: Any) -> int:
    number = canonical_value(steps)
    if not isinstance(number, int) or not 0 <= number <= MOST_STEPS:
        raise PolicyError(f"a curve has a whole number of steps, 0 to {MOST_STEPS:g}, got {str(steps)[:80]}")
    return number


def curves(policies: Iterable[Policy], steps: int) -> Floats:
    """The learning rates of many policies at updates 0 .. steps-1, shape (policies, steps).

    Policies of one LR function are computed together.

    >>> from lrsearch.schedules import FIX, LINEAR
    >>> curves([FIX(k0=0.5), LINEAR(k0=1, l=4)], 3).tolist()
    [[0.5, 0.5, 0.5], [1.0, 0.75, 0.5]]
    """
    policies, steps = list(policies) if isinstance(policies, Iterable) else [policies], _count(steps)
    if not all(isinstance(policy, Policy) for policy in policies):
        raise PolicyError("policies is a list of policies, such as [FIX(k0=0.1)]")
    rows: dict[LRFunction, list[int]] = {}
    for row, policy in enumerate(policies):
        policy.require_curve()
        rows.setdefault(policy.function, []).append(row)
    t = np.arange(steps, dtype=np.float64)
    lrs = np.empty((len(policies), steps))
    with np.errstate(over="ignore", under="ignore"):
        for function, same in rows.items():
            if all(f.is_column for f in function.fields):
                columns = np.array([policies[row].values for row in same], dtype=np.float64).T[:, :, None]
                params = dict(zip((f.name for f in function.fields), columns, strict=True))
                lrs[same] = function.curve(t[None, :], **params)
            else:
                for row in same:
                    lrs[row] = function.curve(t, **policies[row].params)
    return lrs
