"""Names that a package offers, and loads when they are first used: torch, Optuna and Ray take seconds to load."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
