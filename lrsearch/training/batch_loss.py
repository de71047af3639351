"""The loss of one batch as a line search needs it: asked again and again, and always the same function."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.func import functional_call

Forward = Callable[[torch.Tensor], torch.Tensor]


class BatchLoss:
    """The loss of a model on one batch, a function of the model's parameters alone.

    The first call is the update's own forward pass: it moves torch's random state, and buffers such as BatchNorm's
    running statistics, as any other. Later calls draw the same numbers again (dropout's masks), start from the same
    buffers, and leave no trace.

    Args:
        model: the model.
        loss: gives the loss of the batch from the model, or from what stands for it.
        devices: the accelerators whose random state the model uses.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[Forward], torch.Tensor], devices: Sequence[torch.device] = ()
    ) -> None:
        self.calls = 0
        self._model, self._loss, self._devices = model, loss, devices
        self._buffers = _copies(dict(model.named_buffers()))
        self._draws = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]

    def __call__(self) -> torch.Tensor:
        """Give the loss at the present parameters."""
        self.calls += 1
        return self._loss(self._model) if self.calls == 1 else self._again()

    def _again(self) -> torch.Tensor:
        with torch.random.fork_rng(devices=self._devices):
            processor, accelerators = self._draws
            torch.set_rng_state(processor)
            for device, draws in zip(self._devices, accelerators, strict=True):
                torch.cuda.set_rng_state(draws, device)
            return self._loss(partial(functional_call, self._model, _copies(self._buffers)))


def _copies(buffers: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in buffers.items()}
