"""A snapshot of a training in progress: it can be put back, to the bit, whatever happened since."""

import copy
import random
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer


class Stateful(Protocol):
    """What else takes part in a training: a gradient scaler, an average of weights, a scheduler."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take up a state."""


Part = Stateful | torch.Generator


class Snapshot:
    """The state of a model, its optimizer, what else takes part, and all random generators, now.

    Args:
        model: its parameters with their gradients, its buffers, and which of its modules are in training mode.
        optimizer: its state and its param groups.
        also: a gradient scaler, a scheduler, a `torch.Generator` ...
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, also: Sequence[Part] = ()) -> None:
        self._modules = [(module, module.training, _tensors(module._buffers)) for module in model.modules()]
        parameters = [*model.parameters(), *(p for group in optimizer.param_groups for p in group["params"])]
        self._parameters = [(p, p.detach().clone(), p.grad, _cloned(p.grad)) for p in dict.fromkeys(parameters)]
        self._optimizer = optimizer
        self._attributes = dict(vars(optimizer))  # a scheduler wraps its `step`, and leaves marks
        self._state = {p: _all_cloned(state) for p, state in optimizer.state.items()}
        self._groups = [(group, _tensors({k: v for k, v in group.items() if k != "params"}))
                        for group in optimizer.param_groups]
        self._also = [(part, _state(part)) for part in also]
        self._random = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back. A snapshot may be restored many times."""
        for p, value, gradient, kept in self._parameters:
            p.copy_(value)
            p.grad = _restored(gradient, kept)
        for module, mode, buffers in self._modules:
            module.training = mode
            for name in [name for name in module._buffers if name not in buffers]:
                del module._buffers[name]
            _put(module._buffers, buffers)
        self._restore_optimizer()
        for part, state in self._also:
            if isinstance(part, torch.Generator):
                part.set_state(state)
            else:
                part.load_state_dict(copy.deepcopy(state))
            if isinstance(part, torch.amp.GradScaler):
                part._per_optimizer_states.clear()  # what was unscaled inside is not so outside
        python, numpy, ours = self._random
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(ours)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)

    def _restore_optimizer(self) -> None:
        vars(self._optimizer).clear()
        vars(self._optimizer).update(self._attributes)
        self._optimizer.param_groups[:] = [group for group, _ in self._groups]
        self._optimizer.state.clear()
        for p, state in self._state.items():
            self._optimizer.state[p] = _all_cloned(state)
        for group, values in self._groups:
            for name in [name for name in group if name not in values and name != "params"]:
                del group[name]
            _put(group, values)


Kept = dict[str, tuple[Any, Any]]


def _tensors(values: dict[str, Any]) -> Kept:
    """Keep each value: the object itself, and what was in it."""
    return {name: (value, _cloned(value)) for name, value in values.items()}


def _put(values: dict[str, Any], kept: Kept) -> None:
    for name, (value, content) in kept.items():
        values[name] = _restored(value, content)


def _restored(value: Any, content: Any) -> Any:
    """Give the same object with its content of then."""
    if isinstance(value, torch.Tensor):
        value.detach().copy_(content)
        return value
    return _cloned(content)


def _all_cloned(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _cloned(value) for name, value in values.items()}


def _cloned(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


def _state(part: Part) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else copy.deepcopy(part.state_dict())
