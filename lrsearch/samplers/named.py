"""Optuna's samplers by name, for studies of users' own: each gets a space that it can search, or is refused."""

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import BaseStorage, InMemoryStorage

from lrsearch.errors import UsageError, given, unknown
from lrsearch.spaces import Interval, Space
from lrsearch.spaces.flat import FlatSpace, is_conditional

STARTUP = 10
"""Trials that Optuna's TPE draws at random before it learns. It is Optuna's default, stated so that reports can
print it."""
UNCONDITIONAL = ("gp", "qmc", "cmaes")
"""Samplers that search only the parameters that all trials have, and draw the others at random."""


def make_sampler(name: str, *, space: Space | None, storage: BaseStorage, seed: int | None = None) -> BaseSampler:
    """Make a sampler of Optuna.

    Args:
        name: "tpe" (grouped by function), "gp", "cmaes", "qmc", "random", or "exhaustive": each policy of a space once.
        space: the space that it will search; None where it is not known, for "tpe" and "random" only.
        storage: the study's storage.
        seed: of its random numbers; None for others each time.

    Raises:
        UsageError: for an unknown name, or a space or storage that the sampler is wrong for; the message says what
            would do.
    """
    if not isinstance(name, str) or name not in SAMPLERS:
        raise UsageError(f"{unknown('sampler', name, SAMPLERS)}; or give a sampler of Optuna")
    if name in UNCONDITIONAL or name == "exhaustive":
        _check_space(name, space)
    if name == "cmaes":
        _check_cmaes(storage)
    return made(name, seed)


def made(name: str, seed: int | None) -> BaseSampler:
    """The sampler of a name in `SAMPLERS`, whatever space it will search."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[name](seed)


def _qmc(seed: int | None) -> BaseSampler:
    """A Sobol sequence, which has a seed only where it is scrambled."""
    return QMCSampler(seed=seed, scramble=seed is not None, warn_independent_sampling=False)


SAMPLERS: Mapping[str, Callable[[int | None], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=STARTUP),
    "gp": lambda seed: GPSampler(seed=seed, warn_independent_sampling=False),
    "cmaes": lambda seed: CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "qmc": _qmc,
    "random": lambda seed: RandomSampler(seed=seed),
    "exhaustive": lambda seed: BruteForceSampler(seed=seed),
}
"""Makers of samplers by name, each from a seed. They do not warn of what their spaces leave to chance: the choice of a
function in CMA-ES, which knows no categories."""


def _check_space(name: str, space: Any) -> None:
    if not isinstance(space, Space):
        raise UsageError(f"sampler {name!r} needs the space that it will search: give space=..., got {given(space)}")
    if name == "exhaustive":
        if continuous := _continuous(space):
            raise UsageError(
                f"an exhaustive search needs a space of a few policies, and {', '.join(continuous[:3])} of this one"
                " can be any number: give space.grid(3), the policies at three marks on each axis"
            )
    elif is_conditional(space):
        raise UsageError(
            f"sampler {name!r} models only the parameters that all policies of a space have, and would draw the"
            " others at random: give space.flat() here and in the objective"
        )


def _continuous(space: Space) -> list[str]:
    """The names of a space's coordinates that are real numbers in Optuna."""
    choices = {name for branch in space.branches for name, axis in branch.axes if not isinstance(axis, Interval)}
    known = set() if isinstance(space, FlatSpace) else choices
    return [name for name, hull in space.flat().hulls.items() if hull.low < hull.high and name not in known]


def _check_cmaes(storage: BaseStorage) -> None:
    if not isinstance(storage, InMemoryStorage):
        raise UsageError(
            "Optuna's CMA-ES unpickles its state from the storage, so whoever can write there can run code here: use a"
            " study in memory; or where you trust all who write, give sampler=optuna.samplers.CmaEsSampler()"
        )
    if find_spec("cmaes") is None:
        raise UsageError("sampler 'cmaes' needs the package cmaes: pip install 'lrsearch[cmaes]'")
