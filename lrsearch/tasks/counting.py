"""How many numbers a model learns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lrsearch.errors import TaskError


def count_parameters(name: str, build: Callable[[], nn.Module]) -> int:
    """Count what a model learns, without memory where its constructor allows that; random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"), _Undrawn():
                return sum(parameter.numel() for parameter in build().parameters())
        except Exception:  # noqa: S110  a constructor that needs memory is tried with it below
            pass
        try:
            return sum(parameter.numel() for parameter in build().parameters())
        except Exception as error:
            raise TaskError(f"task {name!r}: its model cannot be built: {type(error).__name__}: {error}") from error


class _Undrawn(TorchFunctionMode):
    """Draws no normal numbers: for a tensor without memory, torch would import its compiler to do so."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, but for those that fill a tensor with normal numbers: they give it as it is."""
        given = dict(named or {})
        if function in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else given["tensor"]
        return function(*args, **given)
