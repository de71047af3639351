"""A space: a set of policies to search, LR functions with ranges for their natural coordinates."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lrsearch.errors import PolicyError, SpaceError, given, unknown
from lrsearch.schedules import FUNCTIONS, Policy, parse
from lrsearch.schedules.coordinates import Bounds, Coordinates, Restarts, Stages
from lrsearch.schedules.making import from_coordinates
from lrsearch.spaces.axes import Axis, Choice, Fractions, Interval

if TYPE_CHECKING:
    from optuna import Trial

    from lrsearch.spaces.flat import FlatSpace

Draw = Callable[[str, Any], Any]

STANDARD_FORMS = (
    "FIX",
    "STEP",
    "NSTEP",
    "EXP",
    "INV",
    "POLY",
    "HALFCOS",
    "TRI",
    "TRI2",
    "TRIEXP",
    "SIN",
    "SIN2",
    "SINEXP",
    "COS",
    "WARMUP(HALFCOS)",
)
"""The LR functions of a space where none is named: LRBench's table, and the strong default."""
WARMED = tuple(
    name for name, f in FUNCTIONS.items() if f.family == "decaying" and any("end" in role.names for role in f.roles)
)
"""LR functions that can be searched after a warm-up: those that fall once, to an end."""
FORMS = (
    *(name for name, f in FUNCTIONS.items() if f.roles and f.family != "combinator"),
    *(f"WARMUP({name})" for name in WARMED),
)
"""Every LR function with natural coordinates: those that can be searched by name."""
STANDARD_AXES: Mapping[str, Axis] = {
    "to_zero": Choice((False, True)),
    "cycles": Interval(0.5, 100),
    "decay": Interval(1e-6, 1),
    "power": Interval(0.25, 4),
    "end": Interval(1.0, 1.0),
    "warmup": Interval(0.005, 0.5, log=False),
    "milestones": Fractions(Choice((1, 2, 3, 4, 5, 6)), Interval(0.01, 0.99, log=False)),
    "growth": Interval(1.0, 4.0),
    "beta": Interval(0.0, 0.95, log=False),
    "levels": Choice((2, 3, 4, 5, 6, 7)),
    "height": Interval(0.0, 1.0, log=False),
    "drop": Interval(0.0, 1.0, log=False),
}
"""The raw range of each coordinate: wider than the pruner's, so that pruning decides (a rule)."""
GROWING = Interval(0.5, 8)
"""Cycles of SGDR, whose cycles may grow: eight that double are 255 times the first (a rule)."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One LR function of a space with its own axes; or one whole policy, whose form is its text."""

    form: str
    axes: tuple[tuple[str, Axis], ...]

    @property
    def whole(self) -> Policy | None:
        """The policy, where it is searched as a whole value; None for an LR function."""
        return parse(self.form) if "=" in self.form else None


@dataclass(frozen=True, slots=True)
class Space:
    """Policies to search at a horizon: choose a function, then its coordinates.

    `peak` and `ratio` mean the same in every function and are shared; the rest belongs to a branch.

    Args:
        horizon: steps of a full run.
        epoch: steps of one pass over the training split.
        peak: the range of the highest learning rate.
        ratio: the range of floor / peak, where the floor is above 0.
        branches: the LR functions.

    >>> space = Space.standard("TRI", "SINEXP", horizon=10_000, epoch=600)
    >>> FUNCTIONS["TRI"](k0=0.006, k1=0.06, l=2000) in space
    True
    """

    horizon: int
    epoch: float
    peak: Interval
    ratio: Interval
    branches: tuple[Branch, ...]

    @classmethod
    def standard(
        cls, *functions: str | Policy, horizon: int, epoch: float, peak: tuple[float, float] = (1e-6, 10.0)
    ) -> "Space":
        """The raw space of some LR functions, or of LRBench's table and the strong default.

        Args:
            functions: names such as "TRI", "REX" or "WARMUP(HALFCOS)", each with natural coordinates; or texts of
                policies, each searched as a whole value, such as a CHAIN or a controller.
            horizon: steps of a full run, 1 or more.
            epoch: steps of one pass over the training split, above 0.
            peak: the range of peak learning rates, (1e-6, 10) for SGD.

        Raises:
            SpaceError: for an unknown function or an impossible number.
        """
        if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
            raise SpaceError(f"horizon must be a whole number of steps, 1 or more, got {horizon!r}")
        if isinstance(epoch, bool) or not isinstance(epoch, int | float) or not 0 < epoch < math.inf:
            raise SpaceError(f"epoch must be a number of steps above 0, got {epoch!r}")
        forms = tuple(dict.fromkeys(_standard_form(name, horizon, epoch) for name in functions)) or STANDARD_FORMS
        branches = tuple(Branch(form, () if "=" in form else _standard_axes(form)) for form in forms)
        return cls(horizon, epoch, Interval(*peak), Interval(1e-5, 1.0), branches)

    @property
    def forms(self) -> tuple[str, ...]:
        """The LR functions' names."""
        return tuple(branch.form for branch in self.branches)

    @property
    def key(self) -> str:
        """A digest of all ranges: 16 hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def build(self, draw: Draw) -> Policy:
        """Build a policy from a source of values: `draw(name, axis)` is called for each in turn.

        The names are those of the parameters in Optuna: `function`, `peak`, `ratio`, `<FUNCTION>.<coordinate>`.
        """
        form = draw("function", Choice(self.forms))
        whole = self.branch(form).whole
        if whole:
            return whole
        at: Coordinates = {"peak": draw("peak", self.peak)}
        for name, axis in self.branch(form).axes:
            label = f"{form}.{name}"
            if name == "to_zero":
                at["ratio"] = 0.0 if draw(label, axis) else draw("ratio", self.ratio)
            elif isinstance(axis, Fractions):
                count = draw(label, axis.counts)
                at[name] = tuple(sorted({draw(f"{label}{n}", axis.each) for n in range(1, count + 1)}))
            elif isinstance(axis, Interval):
                at[name] = axis.snap(draw(label, axis))
            else:
                at[name] = draw(label, axis)
        return from_coordinates(form, at, self.horizon, FUNCTIONS)

    def sample(self, rng: np.random.Generator) -> Policy:
        """Draw a policy: functions equally likely, coordinates evenly on their scales."""
        return self.build(lambda name, axis: axis.draw(rng))

    def suggest(self, trial: "Trial", prefix: str | None = None) -> Policy:
        """Let an Optuna trial suggest a policy. The same space suggests the same policy again.

        The trial is marked with user attributes: `lrsearch:policy`, the policy's text, and `lrsearch:origin`, which is
        "suggested" where nothing else is known.

        Args:
            trial: the Optuna trial.
            prefix: a name for one of several policies in a trial, 1 to 40 letters, digits, `_` or `-`. Its
                parameters are `<prefix>.function`, `<prefix>.peak` and so on.

        Raises:
            UsageError: if the trial has a policy of another space under this prefix, or under none.

        >>> import optuna
        >>> generator = Space.standard("COS", horizon=1000, epoch=50)
        >>> critic = Space.standard("FIX", horizon=5000, epoch=50, peak=(1e-4, 1e-3))
        >>> trial = optuna.create_study().ask()
        >>> policies = generator.suggest(trial, prefix="g"), critic.suggest(trial, prefix="c")
        >>> [policy.form for policy in policies], "c.peak" in trial.params
        (['COS', 'FIX'], True)
        """
        from lrsearch.spaces.optuna import suggest

        return suggest(self, trial, prefix)

    def define_by_run(self, trial: "Trial") -> dict[str, str]:
        """Suggest a policy to Ray Tune, as `OptunaSearch(space=space.define_by_run, metric=..., mode=...)`.

        The config of a Tune trial then has the text of its policy under "policy", beside the parameters in Optuna.

        >>> import optuna
        >>> Space.standard("FIX(k0=0.1)", horizon=1000, epoch=50).define_by_run(optuna.create_study().ask())
        {'policy': 'FIX(k0=0.1)'}
        """
        from lrsearch.spaces.optuna import define_by_run

        return define_by_run(self, trial)

    def to_ray(self, seed: int = 0) -> dict[str, Any]:
        """The `param_space` of a `ray.tune.Tuner`; or the `hyperparam_mutations` of Population Based Training.

        Each trial gets the text of a policy: `lrs.parse(config["policy"])`. A perturbed policy has another peak.

        Args:
            seed: of the policies: the same seed samples the same policies in turn.

        Raises:
            UsageError: for an impossible seed.

        >>> domain = Space.standard("TRI", "SINEXP", horizon=1000, epoch=50).to_ray(seed=1)["policy"]
        >>> parse(domain.sample()).form in ("TRI", "SINEXP")
        True
        """
        from lrsearch.spaces.ray import KEY, PolicyDomain

        return {KEY: PolicyDomain(self, seed)}

    def flat(self) -> "FlatSpace":
        """The same policies in unconditional coordinates, for samplers that search no conditional parameters.

        Each trial has all parameters: `function`, and each coordinate that any of the functions has, under its own
        name. Functions share them, and ignore those that they do not have. Optuna's GP, QMC and CMA-ES need it.

        >>> import optuna
        >>> trial, space = optuna.create_study().ask(), Space.standard("TRI", "EXP", horizon=1000, epoch=50).flat()
        >>> space.suggest(trial) in space, sorted(trial.params)
        (True, ['cycles', 'decay', 'function', 'peak', 'ratio', 'to_zero'])
        """
        from lrsearch.spaces.flat import FlatSpace

        return FlatSpace(self.horizon, self.epoch, self.peak, self.ratio, self.branches)

    def grid(self, points: int) -> "Space":
        """The space of the policies at a few marks on each axis, each a whole value, for an exhaustive search.

        Args:
            points: marks on each continuous axis, its ends included; an axis with a lattice keeps its own.

        Raises:
            SpaceError: if there are more than 1,000 policies, or for an impossible number.

        >>> Space.standard("FIX", "EXP", horizon=1000, epoch=50, peak=(0.01, 1)).grid(2).forms[:3]
        ('FIX(k0=0.01)', 'FIX(k0=1)', 'EXP(k0=0.01, gamma=0.98628)')
        """
        from lrsearch.spaces.grid import grid

        return grid(self, points)

    def rounded(self, policy: Policy) -> Policy:
        """Nearly the same policy in few digits, for people; policies searched as whole values stay as they are."""
        return policy if str(policy) in self.forms else policy.rounded()

    def coordinates(self, policy: Policy) -> Coordinates:
        """A policy's natural coordinates at this horizon."""
        return policy.coordinates(self.horizon)

    def values(self, policy: Policy) -> dict[str, Any]:
        """The values by name from which `build` makes this policy, inside the ranges or not.

        Raises:
            SpaceError: if the policy's LR function is not in the space.
            PolicyError: if the policy has no natural coordinates at this horizon.
        """
        if str(policy) in self.forms:
            return {"function": str(policy)}
        form = policy.form
        if form not in self.forms:
            raise SpaceError(unknown("LR function in this space", form, self.forms))
        at = self.coordinates(policy)
        values: dict[str, Any] = {"function": form, "peak": at["peak"]}
        for name, _ in self.branch(form).axes:
            label = f"{form}.{name}"
            if name == "to_zero":
                values[label] = at["ratio"] == 0
                if at["ratio"] > 0:
                    values["ratio"] = at["ratio"]
            elif name == "milestones":
                values[label] = len(at[name])
                values |= {f"{label}{n}": fraction for n, fraction in enumerate(at[name], 1)}
            else:
                values[label] = at[name]
        return values

    def __contains__(self, policy: Policy) -> bool:
        try:
            values = self.values(policy)
        except (PolicyError, SpaceError):
            return False
        inside = True

        def check(name: str, axis: Any) -> Any:
            nonlocal inside
            inside = inside and values[name] in axis
            return values[name]

        self.build(check)
        return inside

    def misfit(self, policy: Policy) -> str:
        """Why no values of this space, inside its ranges or not, make a policy's curve; "" where some do.

        A range of one value is no parameter in Optuna, so a policy must have that value. A choice must have the
        policy's value.

        >>> space = Space.standard("HALFCOS", horizon=60, epoch=10)
        >>> space.misfit(FUNCTIONS["HALFCOS"](k0=0.1, l=180)), space.misfit(FUNCTIONS["HALFCOS"](k0=99, l=60))
        ('its HALFCOS.end is 3, and 1 in the space', '')
        """
        try:
            values = self.values(policy)
        except (PolicyError, SpaceError) as error:
            return str(error)
        missed: list[str] = []

        def check(name: str, axis: Any) -> Any:
            value = values[name]
            if isinstance(axis, Choice) and value not in axis:
                missed.append(f"its {name} is {value}, and one of {', '.join(map(str, axis.values))} in the space")
            elif isinstance(axis, Interval) and axis.low == axis.high and value not in axis:
                missed.append(f"its {name} is {value:g}, and {axis.low:g} in the space")
            return value

        self.build(check)
        return "; ".join(missed)

    def to_json(self) -> dict[str, Any]:
        """All ranges as JSON values, under the names of the parameters in Optuna.

        >>> Space.standard("HALFCOS", horizon=100, epoch=10).to_json()["ranges"]["peak"]
        {'low': 1e-06, 'high': 10.0, 'log': True}
        """
        shared: dict[str, Axis] = {"function": Choice(self.forms), "peak": self.peak, "ratio": self.ratio}
        own = {f"{branch.form}.{name}": axis for branch in self.branches for name, axis in branch.axes}
        return {
            "horizon": self.horizon,
            "epoch": self.epoch,
            "ranges": {name: axis.to_json() for name, axis in (shared | own).items()},
        }

    def branch(self, form: str) -> Branch:
        """The branch of an LR function."""
        return next(branch for branch in self.branches if branch.form == form)

    def narrowed(self, peak: Interval, ratio: Interval, own: Callable[[str, str, Axis], Axis]) -> "Space":
        """The space with other ranges; `own(form, name, axis)` returns the axis of a branch."""
        branches = tuple(
            Branch(branch.form, tuple((name, own(branch.form, name, axis)) for name, axis in branch.axes))
            for branch in self.branches
        )
        return replace(self, peak=peak, ratio=ratio, branches=branches)

    def log_volume(self, raw: "Space") -> float:
        """Log10 of the share of a raw space's prior mass that is in this space; 0 for all of it.

        LR functions count equally; a lattice counts as its hull, so epoch multiples reduce nothing.
        """
        shares = sum(self._share(branch, raw) for branch in self.branches if branch.form in raw.forms)
        return math.log10(shares / len(raw.branches)) if shares else -math.inf

    def _share(self, branch: Branch, raw: "Space") -> float:
        if branch.whole:
            return 1.0
        share = self.peak.share(raw.peak)
        others: dict[str, Any] = dict(raw.branch(branch.form).axes)
        for name, axis in branch.axes:
            if name == "to_zero" and isinstance(axis, Choice):
                ratio = self.ratio.share(raw.ratio)
                share *= sum(1.0 if zero else ratio for zero in axis.values) / len(others[name].values)
            else:
                share *= axis.share(others[name])
        return share


def _standard_form(name: str | Policy, horizon: int, epoch: float) -> str:
    if not isinstance(name, str | Policy):
        raise SpaceError(
            f"an LR function is given by its name, as in Space.standard('TRI', 'REX', horizon=...,"
            f" epoch=...), got {given(name)}"
        )
    if isinstance(name, Policy) or "=" in name:
        policy = name if isinstance(name, Policy) else parse(name)
        return str(policy.bind(horizon=horizon, epoch=epoch))
    if name.strip().upper() in FUNCTIONS and name.strip().upper() not in ("WARMUP", *FORMS):
        example = FUNCTIONS[name.strip().upper()].example
        raise SpaceError(
            f"{name.strip().upper()} has no natural coordinates, so it has no ranges to search: give whole"
            f" policies, such as {example}"
        )
    folded = {form.lower(): form for form in FORMS} | {"warmup": "WARMUP(HALFCOS)"}
    if name.strip().lower() not in folded:
        raise SpaceError(unknown("LR function to search", name, FORMS))
    return folded[name.strip().lower()]


def _standard_axes(form: str) -> tuple[tuple[str, Axis], ...]:
    names = coordinate_names(form)
    own = ["to_zero" if name == "ratio" else name for name in names if name != "peak"]
    special: dict[str, Axis] = {}
    for role in (role for name in form.rstrip(")").split("(") for role in FUNCTIONS[name].roles):
        match role:
            case Stages():
                inside = Choice((role.count - 1 - role.warmup,))
                special["milestones"] = Fractions(inside, Interval(0.01, 0.99, log=False))
            case Restarts():
                special["cycles"] = GROWING
            case Bounds(to_zero=False):
                special["to_zero"] = Choice((False,))
    return tuple((name, special.get(name, STANDARD_AXES[name])) for name in own)


def coordinate_names(form: str) -> tuple[str, ...]:
    """The names of an LR function's coordinates, those of a policy inside it last.

    >>> coordinate_names("WARMUP(HALFCOS)")
    ('warmup', 'peak', 'ratio', 'end')
    """
    name, _, inside = form.partition("(")
    own = tuple(coordinate for role in FUNCTIONS[name].roles for coordinate in role.names)
    return own + (coordinate_names(inside[:-1]) if inside else ())
