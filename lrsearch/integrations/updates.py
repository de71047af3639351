"""When a training that nobody sees inside has made an update: by the hooks of its optimizers."""

import weakref
from collections.abc import Callable, Sequence

from torch.optim import Optimizer

from lrsearch.errors import UsageError
from lrsearch.schedules.torch_updates import attach


class UpdateHooks:
    """Calls `step` once after each update, as often as the optimizers really make one.

    An update that a gradient scaler skips is none. Of several optimizers an update is a round: it ends when each of
    them has updated, when one of them updates again, or by `end_round()`. The hooks go with this object, or by
    `remove()`.

    Args:
        optimizers: one or more.
        step: sets the next learning rates.

    Raises:
        UsageError: if an optimizer has no hooks.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    >>> steps = []
    >>> hooks = UpdateHooks([optimizer], lambda: steps.append(1))
    >>> optimizer.step()
    >>> len(steps)
    1
    """

    def __init__(self, optimizers: Sequence[Optimizer], step: Callable[[], None]) -> None:
        self._step = step
        self._updated: set[_Hooked] = set()
        self._hooked = [_Hooked(weakref.proxy(self), optimizer) for optimizer in optimizers]

    def end_round(self) -> None:
        """End a round that has begun: the optimizers that made no update in it leave one out."""
        if self._updated:
            self._updated.clear()
            self._step()

    def remove(self) -> None:
        """Count no further update. A round that has begun is none."""
        self._updated.clear()
        for hooked in self._hooked:
            hooked.remove()

    def _before(self, hooked: "_Hooked") -> None:
        if hooked in self._updated:
            self.end_round()

    def _after(self, hooked: "_Hooked") -> None:
        self._updated.add(hooked)
        if len(self._updated) == len(self._hooked):
            self.end_round()


class _Hooked:
    """The hooks of one optimizer."""

    def __init__(self, hooks: UpdateHooks, optimizer: Optimizer) -> None:
        self._hooks = hooks
        self._handles = attach(optimizer, self.before, self.after)
        if not self._handles:
            raise UsageError(f"the updates of {type(optimizer).__name__} cannot be counted: it has no step hooks")

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def before(self) -> None:
        """An update begins."""
        self._hooks._before(self)

    def after(self) -> None:
        """An update was made."""
        self._hooks._after(self)
