"""Names that a package loads when they are first used, as torch, Optuna and Ray take seconds, and older names."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

GOES = "0.3"
"""The release in which older names go."""


def load_later(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package.

    Args:
        package: the package's name.
        modules: for each name that is loaded when it is first used, the module that it is in.

    >>> load_later("shapes", {"pi": "math"})("pi")
    3.141592653589793
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return load


def older_name(was: str, now: str) -> Any:
    """The public name that took an older one's place; a warning says so.

    Args:
        was: the older name, as users write it.
        now: the public name of today, below `lrs.`.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     older_name("Task.of", "classification").__name__, str(said[0].message)
    ('classification', 'Task.of is lrs.classification now; the older name goes in 0.3')
    """
    warn_older(was, f"lrs.{now}", stacklevel=4)
    return getattr(import_module(__package__), now)


def warn_older(was: str, now: str, stacklevel: int = 3) -> None:
    """Warn that a name is an older one, where it is used: by whoever called what called this."""
    warnings.warn(f"{was} is {now} now; the older name goes in {GOES}", DeprecationWarning, stacklevel=stacklevel)
