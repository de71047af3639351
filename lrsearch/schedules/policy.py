"""A learning-rate policy is a value: an LR function with its parameters. Calling it gives the learning rate."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from lrsearch.errors import PolicyError
from lrsearch.schedules.coordinates import Coordinates, Role
from lrsearch.schedules.fields import REQUIRED, Field, canonical_value, is_number

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from lrsearch.schedules.torch import PolicyScheduler

Floats = npt.NDArray[np.float64]
Curve = Callable[..., Floats]
DEEPEST = 4


@dataclass(frozen=True, slots=True, eq=False)
class LRFunction:
    """A family of curves with parameters. Calling it with them gives a `Policy`.

    Args:
        name: its name in every text: TRI, STEP ...
        family: "fixed", "decaying", "cyclic", "one-shot" or "combinator".
        source: where it was published.
        fields: its parameters in the order in which they are written.
        roles: its natural coordinates, empty if it has none.
        curve: the formula, (steps, **parameters) -> learning rates, in float64.
        rule: tells what is wrong between parameters that are fine one by one; None if nothing.
        doc: its description.
    """

    name: str
    family: str
    source: str
    fields: tuple[Field, ...]
    roles: tuple[Role, ...]
    curve: Curve
    rule: Callable[..., str | None]
    doc: str

    def __call__(self, /, **params: Any) -> "Policy":
        """Make a policy; a PolicyError names what is missing, unknown or out of range."""
        unknown = sorted(set(params) - {field.name for field in self.fields})
        missing = [f.name for f in self.fields if f.default is REQUIRED and f.name not in params]
        if unknown or missing:
            takes = ", ".join(field.name for field in self.fields)
            problems = (("missing", missing), ("unknown", unknown))
            said = "; ".join(f"{what} {', '.join(names)}" for what, names in problems if names)
            raise PolicyError(f"{self.name} takes {takes}; {said}"[:500])
        values = tuple(field.check(params.get(field.name, field.default), self.name) for field in self.fields)
        contradiction = self.rule(**dict(zip((f.name for f in self.fields), values, strict=True)))
        if contradiction:
            raise PolicyError(f"{self.name}: {contradiction}")
        policy = Policy(self, values)
        if policy.depth > DEEPEST:
            raise PolicyError(f"{self.name}: policies nest at most {DEEPEST} deep")
        return policy

    def __repr__(self) -> str:
        return self.name


def lr_function(
    family: str,
    source: str,
    *fields: Field,
    roles: tuple[Role, ...] = (),
    rule: Callable[..., str | None] | None = None,
) -> Callable[[Curve], LRFunction]:
    """Make an LR function of a formula; its name is the formula's name."""

    def wrap(curve: Curve) -> LRFunction:
        return LRFunction(curve.__name__, family, source, fields, roles, curve, rule or (lambda **_: None),
                          curve.__doc__ or "")

    return wrap


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

    @overload
    def __call__(self, step: int | float) -> float: ...
    @overload
    def __call__(self, step: npt.NDArray[Any]) -> Floats: ...
    def __call__(self, step: Any) -> Any:
        """Give the learning rate at a step >= 0: float for a number, float64 of the same shape for an array."""
        t = np.asarray(step, dtype=np.float64)
        if not np.all((t >= 0) & (t < np.inf)):
            raise PolicyError(f"{self.name}: a step is a finite number, 0 or more, got {str(step)[:80]}")
        values = self.at(np.ascontiguousarray(t).reshape(-1))
        return float(values[0]) if t.ndim == 0 else values.reshape(t.shape)

    def at(self, t: Floats) -> Floats:
        """The formula on a one-dimensional array of steps: the one code path behind every call."""
        with np.errstate(over="ignore", under="ignore"):
            return self.function.curve(t, **self.params)

    def curve(self, steps: int) -> Floats:
        """Give the learning rates of updates 0 .. steps-1, shape (steps,)."""
        return self.at(np.arange(steps, dtype=np.float64))

    @property
    def name(self) -> str:
        """The LR function's name."""
        return self.function.name

    @property
    def params(self) -> dict[str, Any]:
        """The parameters by name, defaults included."""
        return {field.name: value for field, value in zip(self.function.fields, self.values, strict=True)}

    @property
    def form(self) -> str:
        """The names of the function and of the policies inside it: `WARMUP(HALFCOS)`."""
        inside = [value.form for value in self.values if isinstance(value, Policy)]
        return f"{self.name}({', '.join(inside)})" if inside else self.name

    @property
    def depth(self) -> int:
        """How deep policies nest in it; 1 for a plain one."""
        return 1 + max((value.depth for value in self.values if isinstance(value, Policy)), default=0)

    @property
    def key(self) -> str:
        """A digest of the text: 16 hex digits, the same on every machine."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:16]

    def stretch(self, r: float) -> "Policy":
        """Give the same shape over r times the steps: `policy.stretch(r)(r * t) == policy(t)`.

        >>> from lrsearch.schedules import STEP
        >>> STEP(k0=0.1, gamma=0.5, l=1000).stretch(1 / 4)
        STEP(k0=0.1, gamma=0.5, l=250)
        """
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
        return self.function(**{field.name: getattr(field, change)(value, *by) for field, value in pairs})

    def coordinates(self, horizon: float) -> Coordinates:
        """Give the natural coordinates at a horizon in steps; refuse where the function has none.

        >>> from lrsearch.schedules import TRI
        >>> TRI(k0=0.006, k1=0.06, l=2000).coordinates(10_000)
        {'peak': 0.06, 'ratio': 0.1, 'cycles': 2.5}
        """
        if not self.function.roles:
            raise PolicyError(f"{self.name} has no natural coordinates: it is searched as a whole value")
        _positive(horizon, "the horizon")
        found: Coordinates = {}
        for role in self.function.roles:
            found |= role.read(self.params, horizon)
        for value in self.values:
            if isinstance(value, Policy):
                rest = horizon * (1 - found.get("warmup", 0))
                if not rest > 0:
                    raise PolicyError(f"{self.form}: nothing of {horizon:g} steps is left after the warm-up")
                inner = value.coordinates(rest)
                if found.keys() & inner.keys():
                    raise PolicyError(f"{self.form}: no natural coordinates for a warm-up inside a warm-up")
                found |= inner
        return found

    def scheduler(self, optimizer: "Optimizer") -> "PolicyScheduler":
        """Give a torch `LRScheduler` that sets each param group to policy(t) x its share of the largest initial LR."""
        from lrsearch.schedules.torch import PolicyScheduler

        return PolicyScheduler(optimizer, self)

    def __str__(self) -> str:
        shown = (
            f"{field.name}={_text(value)}"
            for field, value in zip(self.function.fields, self.values, strict=True)
            if field.default is REQUIRED or value != field.default
        )
        return f"{self.name}({', '.join(shown)})"

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        from lrsearch.schedules.text import parse

        return parse, (str(self),)


def part(name: str) -> Field:
    """Another policy."""
    return Field(name, "a policy", lambda v: isinstance(v, Policy), stretched=Policy.stretch, scaled=Policy.scale,
                 rounded=Policy.rounded)


def _positive(value: Any, what: str) -> float:
    number = canonical_value(value)
    if not (is_number(number) and number > 0):
        raise PolicyError(f"{what} must be a finite number above 0, got {str(value)[:80]}")
    return float(number)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-").replace("e+", "e")
    return str(value)


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
