"""The updates of an optimizer between two steps of its scheduler."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


def attach(
    optimizer: Optimizer, before: Callable[[], None], after: Callable[[], None] | None = None
) -> list[RemovableHandle]:
    """Call two methods of one object before and after each update, as long as that object lives.

    Where an optimizer's step calls its parent's, hooks run twice: `after` is called once, `before` may be called again.

    Returns:
        What removes the hooks before; none if the optimizer takes none. For Accelerate's wrapper its inner one does.
    """
    while not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        inner = getattr(optimizer, "optimizer", None)
        if not isinstance(inner, Optimizer):
            return []
        optimizer = inner
    is_updating = False
    call_before, call_after = _weak(before), _weak(after) if after is not None else None

    def begin(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        nonlocal is_updating
        is_updating = True
        call_before()

    def end(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        nonlocal is_updating
        if is_updating and call_after is not None:
            is_updating = False
            call_after()

    handles = [optimizer.register_step_pre_hook(begin)]
    if call_after is not None:
        handles.append(optimizer.register_step_post_hook(end))
    weakref.finalize(before.__self__, _remove, handles).atexit = False  # type: ignore[attr-defined]
    return handles


def may_be_skipped(optimizer: Optimizer) -> bool:
    """Whether an update that was not made may have been skipped on purpose, for gradients that are not finite.

    Gradients that were freed show nothing: then it may have been skipped if some GradScaler has scaled a loss.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norms = [float(gradient.detach().float().norm()) for gradient in gradients]
    if any(norm > 0 or norm != norm for norm in norms):
        return not all(norm < torch.inf for norm in norms)
    # the type of an object, not isinstance: a proxy among all objects may raise when its class is read
    scalers = (value for value in gc.get_objects() if issubclass(type(value), torch.amp.GradScaler))
    return any(scaler._scale is not None for scaler in scalers)


def _weak(method: Callable[[], None]) -> Callable[[], None]:
    this, function = weakref.ref(method.__self__), method.__func__  # type: ignore[attr-defined]

    def call() -> None:
        if (scheduler := this()) is not None:
            function(scheduler)

    return call


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
