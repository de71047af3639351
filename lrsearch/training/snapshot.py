"""A snapshot of a training in progress, which can be restored to the bit."""

import copy
import random
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer


class Stateful(Protocol):
    """A further part of a training: a gradient scaler, an average of weights, a scheduler."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restore a state."""


Part = Stateful | torch.Generator


class Snapshot:
    """The present state of a model, its optimizer, further parts, and all random generators.

    Args:
        model: the parameters with their gradients and `requires_grad`; the modules with their children, buffers and
            plain attributes: numbers, texts, training mode.
        optimizer: its state and its param groups.
        also: a gradient scaler, a scheduler, a `torch.Generator` ...
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, also: Sequence[Part] = ()) -> None:
        self._modules = [
            (module, _attributes_of(module), dict(module._modules), dict(module._parameters), _tensors(module._buffers))
            for module in model.modules()
        ]
        parameters = [*model.parameters(), *(p for group in optimizer.param_groups for p in group["params"])]
        self._parameters = [(_saved(p), _saved(p.grad), p.requires_grad) for p in dict.fromkeys(parameters)]
        self._optimizer = optimizer
        self._attributes = dict(vars(optimizer))  # a scheduler wraps `step` and sets attributes
        self._state = {p: _all_cloned(state) for p, state in optimizer.state.items()}
        self._groups = [
            (group, _tensors({k: v for k, v in group.items() if k != "params"})) for group in optimizer.param_groups
        ]
        self._also = [(part, _state(part)) for part in also]
        self._random = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    @torch.no_grad()
    def restore(self) -> None:
        """Restore everything. A snapshot may be restored many times."""
        for parameter, gradient, takes_gradient in self._parameters:
            p = parameter[0]
            p.grad = None  # torch refuses new data whose type or shape differs from the gradient's
            _restored(parameter)
            p.requires_grad_(takes_gradient)
            p.grad = _restored(gradient)
        for module, attributes, modules, parameters, buffers in self._modules:
            for name in _attributes_of(module).keys() - attributes.keys():
                delattr(module, name)
            vars(module).update(attributes)
            _replace(module._modules, modules)
            _replace(module._parameters, parameters)
            for name in module._buffers.keys() - buffers.keys():
                del module._buffers[name]
            _put(module._buffers, buffers)
        self._restore_optimizer()
        for part, state in self._also:
            if isinstance(part, torch.Generator):
                part.set_state(state)
            else:
                part.load_state_dict(copy.deepcopy(state))
            if isinstance(part, torch.amp.GradScaler):
                part._per_optimizer_states.clear()  # gradients unscaled inside are restored as scaled
        python_state, numpy_state, torch_state = self._random
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
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


Saved = tuple[Any, torch.Tensor | None, Any]
"""A value: the object, its storage where it is a tensor, and a copy of its content."""


def _attributes_of(module: nn.Module) -> dict[str, Any]:
    """The plain attributes of a module: its mode, and counters and settings that its own code may change."""
    return {name: value for name, value in vars(module).items() if isinstance(value, bool | int | float | str)}


def _replace(parts: dict[str, Any], saved: dict[str, Any]) -> None:
    """Restore which parts there are, and their order."""
    if list(parts.items()) != list(saved.items()):
        parts.clear()
        parts.update(saved)


def _tensors(values: dict[str, Any]) -> dict[str, Saved]:
    return {name: _saved(value) for name, value in values.items()}


def _put(values: dict[str, Any], saved: dict[str, Saved]) -> None:
    for name, value in saved.items():
        values[name] = _restored(value)


def _saved(value: Any) -> Saved:
    return value, value.data if isinstance(value, torch.Tensor) else None, _cloned(value)


def _restored(saved: Saved) -> Any:
    """The same object, with the type, shape and content of the snapshot."""
    value, storage, content = saved
    if storage is None:
        return _cloned(content)
    value.data = storage
    storage.copy_(content)
    return value


def _all_cloned(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _cloned(value) for name, value in values.items()}


def _cloned(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


def _state(part: Part) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else copy.deepcopy(part.state_dict())
