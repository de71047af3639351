"""A call that makes another tool's scheduler: a value that can be printed, compared, and executed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lrsearch.errors import PolicyError

if TYPE_CHECKING:
    from torch.optim import Optimizer

Arguments = tuple[tuple[str, Any], ...]
POSITIONS: dict[str, tuple[str, ...]] = {
    "StepLR": ("step_size", "gamma"),
    "MultiStepLR": ("milestones", "gamma"),
    "ConstantLR": ("factor", "total_iters"),
    "LinearLR": ("start_factor", "end_factor", "total_iters"),
    "ExponentialLR": ("gamma",),
    "PolynomialLR": ("total_iters", "power"),
    "CosineAnnealingLR": ("T_max", "eta_min"),
    "CosineAnnealingWarmRestarts": ("T_0", "T_mult", "eta_min"),
    "CyclicLR": ("base_lr", "max_lr", "step_size_up", "step_size_down", "mode", "gamma"),
    "OneCycleLR": ("max_lr", "total_steps", "epochs", "steps_per_epoch", "pct_start", "anneal_strategy"),
    "ReduceLROnPlateau": ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"),
    "SequentialLR": ("schedulers", "milestones"),
    "ChainedScheduler": ("schedulers",),
}
"""torch's schedulers that can be made, with the names of their arguments after the optimizer, in order."""
ABSOLUTE = ("base_lr", "max_lr", "eta_min", "min_lr", "lr_end", "eps")
"""Arguments that are learning rates: they are the same for every param group."""
TIMESCALE_SINCE = (5, 4)
"""The first transformers whose `get_scheduler` passes the timescale on."""
FOREIGN_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A scheduler of torch, or a schedule of transformers, with its arguments and the optimizer's learning rate.

    Args:
        name: the class in torch.optim.lr_scheduler, or the schedule's name in transformers.
        arguments: the keyword arguments in order; calls inside a SequentialLR are calls.
        lr: the learning rate that the optimizer must have.
        tool: "torch" or "huggingface".
        specific: the schedule's own arguments, transformers' scheduler_specific_kwargs.

    >>> call = Call(name="StepLR", arguments=(("step_size", 1000), ("gamma", 0.5)), lr=0.1)
    >>> print(call)
    torch.optim.lr_scheduler.StepLR(optimizer, step_size=1000, gamma=0.5)  # optimizer with lr=0.1
    """

    name: str
    arguments: Arguments
    lr: float
    tool: str = "torch"
    specific: Arguments = ()

    @property
    def source(self) -> str:
        """Python source of the call; the optimizer is called `optimizer`."""
        arguments = "".join(f", {name}={_source(value)}" for name, value in self.arguments)
        if self.tool == "huggingface":
            own = ", ".join(f'"{name}": {_source(value)}' for name, value in self.specific)
            specific = f", scheduler_specific_kwargs={{{own}}}" if own else ""
            return f'transformers.get_scheduler("{self.name}", optimizer{arguments}{specific})'
        if self.name == "ChainedScheduler":
            return f"torch.optim.lr_scheduler.ChainedScheduler({arguments[2:]})"
        return f"torch.optim.lr_scheduler.{self.name}(optimizer{arguments})"

    def __str__(self) -> str:
        return f"{self.source}  # optimizer with lr={self.lr!r}"

    def build(self, optimizer: "Optimizer") -> Any:
        """Make the real scheduler, after setting the optimizer's learning rate: its param groups keep their ratios.

        Raises:
            PolicyError: if the tool refuses the arguments, or the groups' ratios would change.

        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
        >>> scheduler = Call(name="ExponentialLR", arguments=(("gamma", 0.5),), lr=0.25).build(optimizer)
        >>> scheduler.get_last_lr()
        [0.25]
        """
        _set_lr(optimizer, self)
        return self._made(optimizer)

    def _made(self, optimizer: "Optimizer") -> Any:
        arguments = {name: _inside(value, optimizer) for name, value in self.arguments}
        try:
            if self.tool == "huggingface":
                own = dict(self.specific)
                return _get_scheduler(own)(self.name, optimizer, **arguments, scheduler_specific_kwargs=own)
            make = _torch_classes()[self.name]
            return make(**arguments) if self.name == "ChainedScheduler" else make(optimizer, **arguments)
        except PolicyError:
            raise
        except FOREIGN_ERRORS as error:
            raise PolicyError(f"{self.tool} refuses {self.source[:300]}: {error}"[:500]) from error

    def _lrs(self) -> list[str]:
        """The names of arguments that are learning rates, those of calls inside included."""
        own = [name for name, value in (*self.arguments, *self.specific) if name in ABSOLUTE and value != 0]
        inside = (item for _, value in self.arguments if isinstance(value, tuple) for item in value)
        return own + [name for item in inside if isinstance(item, Call) for name in item._lrs()]


def _source(value: Any) -> str:
    if isinstance(value, Call):
        return value.source
    if isinstance(value, tuple):
        return f"[{', '.join(map(_source, value))}]"
    if isinstance(value, float) and math.isinf(value):
        return 'float("inf")'
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _inside(value: Any, optimizer: "Optimizer") -> Any:
    """The argument in the tool's own types."""
    if isinstance(value, Call):
        return value._made(optimizer)
    return [_inside(item, optimizer) for item in value] if isinstance(value, tuple) else value


def _set_lr(optimizer: "Optimizer", call: Call) -> None:
    groups = optimizer.param_groups
    before = [float(group.get("initial_lr", group["lr"])) for group in groups]
    largest = max(before)
    if not largest > 0:
        raise PolicyError("every param group starts at LR 0, so their ratios are not defined")
    lrs = call._lrs()
    if lrs and min(before) < largest:
        named = ", ".join(dict.fromkeys(lrs))
        raise PolicyError(
            f"{call.name} has the same {named} for every param group, and these groups differ:"
            " policy.scheduler(optimizer) keeps their ratios"
        )
    if call.tool == "huggingface":
        optimizer.defaults["lr"] = call.lr
    for group, lr in zip(groups, before, strict=True):
        group.pop("initial_lr", None)
        if hasattr(group["lr"], "fill_"):
            group["lr"].fill_(call.lr * (lr / largest))
        else:
            group["lr"] = call.lr * (lr / largest)


def _torch_classes() -> dict[str, Callable[..., Any]]:
    from torch.optim.lr_scheduler import (
        ChainedScheduler,
        ConstantLR,
        CosineAnnealingLR,
        CosineAnnealingWarmRestarts,
        CyclicLR,
        ExponentialLR,
        LinearLR,
        MultiStepLR,
        OneCycleLR,
        PolynomialLR,
        ReduceLROnPlateau,
        SequentialLR,
        StepLR,
    )

    known: Sequence[type[Any]] = (
        ChainedScheduler,
        ConstantLR,
        CosineAnnealingLR,
        CosineAnnealingWarmRestarts,
        CyclicLR,
        ExponentialLR,
        LinearLR,
        MultiStepLR,
        OneCycleLR,
        PolynomialLR,
        ReduceLROnPlateau,
        SequentialLR,
        StepLR,
    )
    return {scheduler.__name__: scheduler for scheduler in known}


def _get_scheduler(specific: Mapping[str, Any]) -> Callable[..., Any]:
    try:
        from transformers import get_scheduler
    except ImportError:
        raise PolicyError("transformers is not installed: pip install transformers") from None
    installed = version("transformers")
    if "timescale" in specific and tuple(map(int, installed.split(".")[:2])) < TIMESCALE_SINCE:
        raise PolicyError(f"transformers {installed} ignores the timescale of inverse_sqrt: upgrade it to 5.4 or later")
    make: Callable[..., Any] = get_scheduler
    return make
