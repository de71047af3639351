"""The loss of one batch for a line search: all evaluations within an update compute the same function."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.func import functional_call

Forward = Callable[[torch.Tensor], torch.Tensor]


class BatchLoss:
    """The loss of a model on one batch, a function of the model's parameters alone.

    The first call is the update's own forward pass. It advances torch's random state, and updates buffers such as
    BatchNorm's running statistics. Later calls draw the same random numbers again (dropout's masks) and start from the
    same buffers; they change neither.

    Args:
        model: the model.
        loss: computes the loss of the batch from a forward function, the model or a copy with other buffers.
        devices: the accelerators whose random state the model uses.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[Forward], torch.Tensor], devices: Sequence[torch.device] = ()
    ) -> None:
        self.calls = 0
        self._model, self._loss, self._devices = model, loss, devices
        self._buffers = _copies(dict(model.named_buffers()))
        self._random_states = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]

    def __call__(self) -> torch.Tensor:
        """Return the loss at the present parameters."""
        self.calls += 1
        return self._loss(self._model) if self.calls == 1 else self._recompute()

    def _recompute(self) -> torch.Tensor:
        with torch.random.fork_rng(devices=self._devices):
            cpu_state, gpu_states = self._random_states
            torch.set_rng_state(cpu_state)
            for device, gpu_state in zip(self._devices, gpu_states, strict=True):
                torch.cuda.set_rng_state(gpu_state, device)
            return self._loss(partial(functional_call, self._model, _copies(self._buffers)))


def _copies(buffers: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in buffers.items()}
