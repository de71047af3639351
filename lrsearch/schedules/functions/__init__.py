"""The table of LR functions. A new one is one decorated function, or one wave, in these files and no other edit."""

from itertools import chain

from lrsearch.schedules.function import LRFunction
from lrsearch.schedules.functions import combinators, controllers, cyclic, decaying, oneshot, waves

FUNCTIONS: dict[str, LRFunction] = {
    value.name: value
    for value in chain(
        vars(decaying).values(),
        waves.FAMILY,
        *(vars(file).values() for file in (cyclic, oneshot, combinators, controllers)),
    )
    if isinstance(value, LRFunction)
}


def find(name: str) -> LRFunction:
    """The LR function of a name."""
    return FUNCTIONS[name]


globals().update(FUNCTIONS)
__test__ = {name: function.doc for name, function in FUNCTIONS.items()}
