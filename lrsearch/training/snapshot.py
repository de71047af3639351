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
        model: its parameters with their gradients, and whether they take one; its modules with their parts, buffers
            and plain attributes: numbers, texts, which of them are in training mode.
        optimizer: its state and its param groups.
        also: a gradient scaler, a scheduler, a `torch.Generator` ...
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, also: Sequence[Part] = ()) -> None:
        self._modules = [
            (module, _plain(module), dict(module._modules), dict(module._parameters), _tensors(module._buffers))
            for module in model.modules()
        ]
        parameters = [*model.parameters(), *(p for group in optimizer.param_groups for p in group["params"])]
        self._parameters = [(_kept(p), _kept(p.grad), p.requires_grad) for p in dict.fromkeys(parameters)]
        self._optimizer = optimizer
        self._attributes = dict(vars(optimizer))  # a scheduler wraps its `step`, and leaves marks
        self._state = {p: _all_cloned(state) for p, state in optimizer.state.items()}
        self._groups = [
            (group, _tensors({k: v for k, v in group.items() if k != "params"})) for group in optimizer.param_groups
        ]
        self._also = [(part, _state(part)) for part in also]
        self._random = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back. A snapshot may be restored many times."""
        for parameter, gradient, takes_gradient in self._parameters:
            p = parameter[0]
            p.grad = None  # of another type or shape it would forbid what comes next
            _restored(parameter)
            p.requires_grad_(takes_gradient)
            p.grad = _restored(gradient)
        for module, plain, modules, own, buffers in self._modules:
            for name in _plain(module).keys() - plain.keys():
                delattr(module, name)
            vars(module).update(plain)
            _replace(module._modules, modules)
            _replace(module._parameters, own)
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


Kept = tuple[Any, torch.Tensor | None, Any]
"""A value: the object, the storage that it had where it is a tensor, and what was in it."""


def _plain(module: nn.Module) -> dict[str, Any]:
    """The plain attributes of a module: its mode, and counters and settings that its own code may change."""
    return {name: value for name, value in vars(module).items() if isinstance(value, bool | int | float | str)}


def _replace(parts: dict[str, Any], kept: dict[str, Any]) -> None:
    """Put back which parts there are, in their order."""
    if list(parts.items()) != list(kept.items()):
        parts.clear()
        parts.update(kept)


def _tensors(values: dict[str, Any]) -> dict[str, Kept]:
    return {name: _kept(value) for name, value in values.items()}


def _put(values: dict[str, Any], kept: dict[str, Kept]) -> None:
    for name, each in kept.items():
        values[name] = _restored(each)


def _kept(value: Any) -> Kept:
    return value, value.data if isinstance(value, torch.Tensor) else None, _cloned(value)


def _restored(kept: Kept) -> Any:
    """The same object with its type, shape and content of then."""
    value, storage, content = kept
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
