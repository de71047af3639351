"""A learning-rate policy is a value: an LR function with its parameters. Calling it gives the learning rate."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from lrsearch.errors import PolicyError
from lrsearch.schedules.coordinates import Coordinates
from lrsearch.schedules.fields import REQUIRED, Field
from lrsearch.schedules.function import Floats, LRFunction, State
from lrsearch.schedules.values import Duration, canonical_value, is_number, text_of

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from lrsearch.schedules.torch import ControllerScheduler, PolicyScheduler

DEEPEST = 4
LONGEST_LEAF = 40
"""No name or value of a policy, with what stands around it, has more characters."""
LONGEST_TEXT = 4096
MOST_STEPS = 1_000_000_000


@dataclass(frozen=True, slots=True, repr=False)
class Policy:
    """An LR function with its parameter values: frozen, hashable, equal if and only if its text is equal.

    Made by calling an LR function, or by `parse`; `policy(t)` is the learning rate of the update after
    t updates, t = 0 for the first.

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
        """Give the learning rate at a step >= 0: float for a number, float64 of the same shape for an array."""
        return self._shaped(step, self.at)

    def curve(self, steps: int) -> Floats:
        """Give the learning rates of updates 0 .. steps-1, shape (steps,)."""
        self.require_curve()
        return self.at(np.arange(_count(steps), dtype=np.float64))

    def momentum(self, step: Any) -> Any:
        """Give the momentum (beta1 of Adam) at a step, as `policy(step)` gives the learning rate.

        None if the policy carries none.

        >>> from lrsearch.schedules import CM, TRI
        >>> CM(policy=TRI(k0=0.1, k1=1, l=100), m0=0.95, m1=0.85).momentum(100)
        0.85
        """
        self.require_curve()
        return self._shaped(step, self.momentum_at) if self.has_momentum else None

    def at(self, t: Floats) -> Floats:
        """The formula on a one-dimensional array of steps: the one code path behind every call."""
        with np.errstate(over="ignore", under="ignore"):
            return self.function.curve(t, **self.params)

    def momentum_at(self, t: Floats) -> Floats:
        """The momentum on a one-dimensional array of steps, of a policy that carries one."""
        assert self.function.momentum is not None
        return self.function.momentum(t, **self.params)

    def height_at(self, t: Floats) -> Floats:
        """Where the learning rate is between its bounds: 0 at the lower, 1 at the higher."""
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
        """Refuse a policy that is no function of the step: an unbound one, or a controller."""
        self.require_bound()
        if self.is_controller:
            raise PolicyError(f"{self.name} needs feedback and is no function of the step: start it with"
                              " policy.scheduler(optimizer) or policy.begin()")

    def require_bound(self) -> None:
        """Refuse a policy whose lengths wait for a task."""
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
    def depth(self) -> int:
        """How deep policies nest in it; 1 for a plain one."""
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
        return self.function.momentum is not None and (
            self.function.own_momentum or any(part.has_momentum for part in self.parts)
        )

    @property
    def horizon(self) -> int | float | None:
        """The step from which the learning rate stays what it is; None if it goes on changing.

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

    @property
    def bounds(self) -> tuple[float, float]:
        """The learning rates between which it swings: what a momentum cycle mirrors."""
        if self.function.bounds is not None:
            return self.function.bounds(**self.params)
        if self.parts:
            inside = [part.bounds for part in self.parts]
            return min(low for low, _ in inside), max(high for _, high in inside)
        rates = [self.params[name] for name in ("k0", "k1") if name in self.params]
        return (min(rates), max(rates)) if len(rates) == 2 else (0, rates[0])

    def begin(self) -> State:
        """Give the first state of a controller.

        >>> from lrsearch.schedules import PLATEAU
        >>> state = PLATEAU(k0=0.1, gamma=0.5, patience=0).begin()
        >>> state.after(1.0, step=10).after(1.2, step=20).rate(step=20, u=0.5)
        0.05
        """
        if self.function.begin is None:
            raise PolicyError(f"{self.name} is a function of the step: it needs no feedback")
        self.require_bound()
        return self.function.begin(**self.params)

    def bind(self, *, horizon: float | None = None, epoch: float | None = None) -> "Policy":
        """Give the policy with its durations in steps, of a run of `horizon` steps, `epoch` steps to an epoch.

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
        """Give the same shape over r times the steps: `policy.stretch(r)(r * t) == policy(t)`.

        A schedule is re-normalised to a budget so: `policy.stretch(budget / horizon)`.

        >>> from lrsearch.schedules import STEP
        >>> STEP(k0=0.1, gamma=0.5, l=1000).stretch(1 / 4)
        STEP(k0=0.1, gamma=0.5, l=250)
        """
        self.require_bound()
        return self._map("stretched", _positive(r, "the factor"))

    def scale(self, c: float) -> "Policy":
        """Give c times the learning rate at every step."""
        return self._map("scaled", _positive(c, "the factor"))

    def rounded(self) -> "Policy":
        """Give nearly the same policy, in as many digits as a person wants to read.

        It is the policy itself where rounding would make two of its numbers one, such as close milestones.
        """
        try:
            return self._map("rounded")
        except PolicyError:
            return self

    def _map(self, change: str, *by: float) -> "Policy":
        pairs = zip(self.function.fields, self.values, strict=True)
        return self.function(**{f.name: getattr(f, change)(value, *by) for f, value in pairs})

    def coordinates(self, horizon: float) -> Coordinates:
        """Give the natural coordinates at a horizon in steps; refuse where the function has none.

        >>> from lrsearch.schedules import TRI
        >>> TRI(k0=0.006, k1=0.06, l=2000).coordinates(10_000)
        {'peak': 0.06, 'ratio': 0.1, 'cycles': 2.5}
        """
        if not self.function.roles:
            raise PolicyError(f"{self.name} has no natural coordinates: it is searched as a whole value")
        self.require_curve()
        _positive(horizon, "the horizon")
        found: Coordinates = {}
        for role in self.function.roles:
            found |= role.read(self.params, horizon)
        for part in self.parts:
            rest = horizon * (1 - found.get("warmup", 0))
            if not rest > 0:
                raise PolicyError(f"{self.form}: nothing of {horizon:g} steps is left after the warm-up")
            inner = part.coordinates(rest)
            if found.keys() & inner.keys():
                raise PolicyError(f"{self.form}: no natural coordinates for a warm-up inside a warm-up")
            found |= inner
        return found

    def scheduler(self, optimizer: "Optimizer", *, seed: int = 0) -> "PolicyScheduler | ControllerScheduler":
        """Give a torch `LRScheduler` that sets each param group to policy(t) x its share of the largest initial LR.

        A controller's scheduler takes the metric, as ReduceLROnPlateau does; its random draws follow from `seed`.
        """
        from lrsearch.schedules.torch import ControllerScheduler, PolicyScheduler

        return ControllerScheduler(optimizer, self, seed) if self.is_controller else PolicyScheduler(optimizer, self)

    def __str__(self) -> str:
        shown = (
            f"{f.name}={text_of(value)}"
            for f, value in zip(self.function.fields, self.values, strict=True)
            if f.default is REQUIRED or value != f.default
        )
        return f"{self.name}({', '.join(shown)})"

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        from lrsearch.schedules.text import parse

        return parse, (str(self),)


def make(function: LRFunction, params: Mapping[str, Any]) -> Policy:
    """Make the policy of a function; what is missing, unknown or out of range is a PolicyError that names it."""
    fields = function.fields
    missing = [f.name for f in fields if f.default is REQUIRED and f.name not in params]
    if missing or len(params) > sum(f.name in params for f in fields):
        unknown = sorted(set(params) - {f.name for f in fields})
        takes = ", ".join(f.name for f in function.fields)
        problems = (("missing", missing), ("unknown", unknown))
        said = "; ".join(f"{what} {', '.join(names)}" for what, names in problems if names)
        raise PolicyError(f"{function.name} takes {takes}; {said}"[:500])
    values = tuple([f.check(params.get(f.name, f.default), function.name) for f in fields])
    policy = Policy(function, values, all(map(_is_bound, values)))
    if policy.parts:
        _check_size(policy)
    contradiction = function.rule(**policy.params) if function.rule else None
    if contradiction:
        raise PolicyError(f"{function.name}: {contradiction}")
    return policy


def _check_size(policy: Policy) -> None:
    """Refuse what could be made but not be read back."""
    if policy.depth > DEEPEST:
        raise PolicyError(f"{policy.name}: policies nest at most {DEEPEST} deep")
    length = len(str(policy)) if _leaves(policy) * LONGEST_LEAF > LONGEST_TEXT else 0
    if length > LONGEST_TEXT:
        raise PolicyError(f"{policy.name}: a policy's text has at most {LONGEST_TEXT} characters, got {length}")


def _leaves(value: Any) -> int:
    """How many names and values there are in it."""
    if isinstance(value, Policy):
        return 1 + sum(map(_leaves, value.values))
    return sum(map(_leaves, value)) if isinstance(value, tuple) else 1


def _is_bound(value: Any) -> bool:
    if isinstance(value, int | float):
        return True
    if isinstance(value, tuple):
        return all(map(_is_bound, value))
    return value.is_bound if isinstance(value, Policy) else not isinstance(value, Duration)


def part(name: str) -> Field:
    """Another policy, that is a function of the step."""
    return Field(name, "a policy that needs no feedback", _is_part, stretched=Policy.stretch, scaled=Policy.scale,
                 rounded=Policy.rounded, is_column=False)


def parts(name: str, most: int = 16) -> Field:
    """A list of policies that are functions of the step."""

    def each(change: Callable[..., Policy]) -> Callable[..., tuple[Policy, ...]]:
        return lambda v, *by: tuple(change(item, *by) for item in v)

    return Field(name, f"a list of 2 to {most} policies that need no feedback",
                 lambda v: isinstance(v, tuple) and 2 <= len(v) <= most and all(map(_is_part, v)),
                 stretched=each(Policy.stretch), scaled=each(Policy.scale), rounded=each(Policy.rounded),
                 is_column=False)


def _is_part(v: Any) -> bool:
    return isinstance(v, Policy) and not v.is_controller


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
    """Give the learning rates of many policies at updates 0 .. steps-1, shape (policies, steps).

    Policies of one LR function are computed together.

    >>> from lrsearch.schedules import FIX, LINEAR
    >>> curves([FIX(k0=0.5), LINEAR(k0=1, l=4)], 3).tolist()
    [[0.5, 0.5, 0.5], [1.0, 0.75, 0.5]]
    """
    policies, steps = list(policies), _count(steps)
    rows: dict[LRFunction, list[int]] = {}
    for row, policy in enumerate(policies):
        policy.require_curve()
        rows.setdefault(policy.function, []).append(row)
    t = np.arange(steps, dtype=np.float64)
    found = np.empty((len(policies), steps))
    with np.errstate(over="ignore", under="ignore"):
        for function, same in rows.items():
            if all(f.is_column for f in function.fields):
                columns = np.array([policies[row].values for row in same], dtype=np.float64).T[:, :, None]
                found[same] = function.curve(t[None, :], **dict(zip((f.name for f in function.fields), columns,
                                                                    strict=True)))
            else:
                for row in same:
                    found[row] = function.curve(t, **policies[row].params)
    return found


def from_coordinates(form: str, at: Mapping[str, Any], horizon: float, table: Mapping[str, LRFunction]) -> Policy:
    """Make the policy of a form that has these natural coordinates at a horizon.

    >>> from lrsearch.schedules import FUNCTIONS
    >>> from_coordinates("WARMUP(HALFCOS)", {"warmup": 0.1, "peak": 0.1, "ratio": 0.0, "end": 1.0}, 1000, FUNCTIONS)
    WARMUP(policy=HALFCOS(k0=0.1, l=900), l=100)
    """
    name, _, inside = form.partition("(")
    function = table[name]
    params: dict[str, Any] = {}
    for role in function.roles:
        params |= role.write(at, horizon)
    if inside:
        params["policy"] = from_coordinates(inside[:-1], at, horizon * (1 - at["warmup"]), table)
    return function(**params)
