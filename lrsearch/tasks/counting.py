"""The number of parameters of a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lrsearch.errors import TaskError


def count_parameters(name: str, build: Callable[[], nn.Module]) -> int:
    """Count a model's parameters, on the meta device where its constructor allows that; no random state changes."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"), _Undrawn():
                return sum(parameter.numel() for parameter in build().parameters())
        except Exception:  # noqa: S110  a constructor that needs real tensors is called again below
            pass
        try:
            return sum(parameter.numel() for parameter in build().parameters())
        except Exception as error:
            raise TaskError(f"task {name!r}: its model cannot be built: {type(error).__name__}: {error}") from error


class _Undrawn(TorchFunctionMode):
    """Skips the drawing of normal numbers, for which torch would import its compiler on the meta device."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a torch function; those that fill a tensor with normal numbers return it unchanged."""
        keywords = dict(named or {})
        if function in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else keywords["tensor"]
        return function(*args, **keywords)
