"""The torch optimizers of the line searches, which `line_searches` describes.

They take `step(closure)`. The closure returns the loss of the batch at the present parameters, the same function at
every call, and calls no `backward`. The step size is stored in the param group's "rate".
"""

from collections.abc import Callable

import torch
from torch import nn

Closure = Callable[[], torch.Tensor]
Tensors = list[torch.Tensor]
MOST_TRIES = 100
"""Rule: step sizes that SLS tries in one update; 0.9^100 is below 3e-5."""


class _Searching(torch.optim.Optimizer):
    """An optimizer with one param group, which holds the state of the search, and so the state dict does.

    Args:
        model: the model with the parameters.
        settings: the settings of the search, and its initial state.
    """

    def __init__(self, model: nn.Module, **settings: float) -> None:
        super().__init__(model.parameters(), {"lr": 1.0, "rate": 0.0, **settings})

    @torch.no_grad()
    def step(self, closure: Closure) -> torch.Tensor:  # type: ignore[override]
        """Make one update and return the loss before it."""
        with torch.enable_grad():
            loss = closure()
            loss.backward()  # type: ignore[no-untyped-call]
        group = self.param_groups[0]
        moving = [p for p in group["params"] if p.grad is not None]
        group["rate"] = self._move(moving, [p.grad for p in moving], loss.detach(), closure)
        return loss

    def _move(self, parameters: Tensors, gradients: Tensors, loss: torch.Tensor, closure: Closure) -> float:
        """Move the parameters and return the step size."""
        raise NotImplementedError


class TorchSLS(_Searching):
    """Backtracking on Armijo's condition. The next search begins at the group's "start", at most at the LR."""

    def _move(self, parameters: Tensors, gradients: Tensors, loss: torch.Tensor, closure: Closure) -> float:
        group, before = self.param_groups[0], [p.clone() for p in parameters]
        step, slope = min(group["start"], group["lr"]), _squares(gradients)
        if not (step and torch.isfinite(loss + slope)):
            return 0.0
        start = group["start"]
        for _ in range(MOST_TRIES):
            _place(parameters, before, gradients, step)
            if closure() <= loss - group["c"] * step * slope:
                group["start"] = start * group["growth"]
                return float(step)
            step = start = step * group["shrink"]
        _place(parameters, before, gradients, 0.0)
        return 0.0


class TorchL4(_Searching):
    """Steps along the mean gradient to the point where the linearised loss is its estimated minimum."""

    def _move(self, parameters: Tensors, gradients: Tensors, loss: torch.Tensor, closure: Closure) -> float:
        group = self.param_groups[0]
        now = float(loss)
        lowest = min(now, group.get("lowest", group["gamma0"] * now))
        mean = self._mean(parameters, gradients)
        step = group["lr"] * (now - group["gamma"] * lowest) / (float(_squares(mean)) + group["eps"])
        _place(parameters, parameters, mean, step)
        group["lowest"] = lowest * (1 + 1 / group["tau"])
        return float(step)

    def _mean(self, parameters: Tensors, gradients: Tensors) -> Tensors:
        """Update the running means of the gradients; return them, corrected for their start at 0."""
        group = self.param_groups[0]
        new = 1 - group["momentum"]
        group["weight"] += new * (1 - group["weight"])
        for p, gradient in zip(parameters, gradients, strict=True):
            self.state[p].setdefault("mean", torch.zeros_like(p)).lerp_(gradient, new)
        return [self.state[p]["mean"] / group["weight"] for p in parameters]


def _squares(tensors: Tensors) -> torch.Tensor:
    """The sum of the squares of all numbers."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()


def _place(parameters: Tensors, before: Tensors, directions: Tensors, step: float) -> None:
    """Set the parameters to `before` minus a step along the directions."""
    for p, start, direction in zip(parameters, before, directions, strict=True):
        p.copy_(start).sub_(direction, alpha=step)
