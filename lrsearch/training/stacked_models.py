"""Several models of one task as one: their parameters are stacked, and one step of SGD updates all of them.

A row is one model. The model is mapped over the rows by torch.func.vmap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from lrsearch.tasks import SGD, Split
from lrsearch.training.loop import Trainer, at_least_float, write_weights
from lrsearch.training.training_log import EVALUATION_BATCH

Rows = dict[str, torch.Tensor]
"""Parameters or buffers by name, each with the rows as its first dimension."""


@dataclass(slots=True)
class StackedModels:
    """The stacked parameters and buffers of several models, and one of the models as their template."""

    trainer: Trainer
    template: nn.Module
    parameters: Rows
    buffers: Rows

    @classmethod
    def of(cls, trainer: Trainer, seeds: Sequence[int]) -> "StackedModels":
        """New models of a trainer's task, one for each seed."""
        models = [trainer.new_model(seed) for seed in seeds]
        parameters, buffers = stack_module_state(models)
        return cls(trainer, models[0], parameters, buffers)

    def forward(self, x: torch.Tensor, *, shared: bool) -> torch.Tensor:
        """The logits of each row's batch, or of one batch that all rows share: shape (rows, batch, classes)."""

        def forward_row(parameters: Rows, buffers: Rows, batch: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = functional_call(self.template, (parameters, buffers), (batch,))
            return logits

        with self.trainer.precision():
            scores: torch.Tensor = vmap(forward_row, in_dims=(0, 0, None if shared else 0), randomness="error")(
                self.parameters, self.buffers, x
            )
        return at_least_float(scores)

    def gradients(self, loss: torch.Tensor) -> Rows:
        """The gradient of each parameter that requires one and that the loss depends on, by name."""
        learning = {name: p for name, p in self.parameters.items() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(learning.values()), allow_unused=True)
        return {name: gradient for name, gradient in zip(learning, gradients, strict=True) if gradient is not None}

    def keep(self, alive: torch.Tensor) -> None:
        """Remove the other rows."""
        self.parameters = {
            name: p.detach()[alive].requires_grad_(p.requires_grad) for name, p in self.parameters.items()
        }
        self.buffers = {name: b[alive] for name, b in self.buffers.items()}

    def state(self, row: int) -> tuple[Rows, Rows]:
        """The parameters and the buffers of one row."""
        return {name: p[row] for name, p in self.parameters.items()}, {n: b[row] for n, b in self.buffers.items()}

    def write(self, row: int, path: Path) -> None:
        """Write one row's weights in the format of a single run."""
        parameters, buffers = self.state(row)
        self.template.load_state_dict({**parameters, **buffers}, strict=False)
        write_weights(path, self.template)

    @torch.no_grad()
    def predict(self, row: int, split: Split) -> torch.Tensor:
        """The logits of a split by one row, shape (n, classes)."""
        state = self.state(row)
        self.template.eval()
        with self.trainer.precision():
            parts = [functional_call(self.template, state, (x,)) for x in torch.split(split.x, EVALUATION_BATCH)]
        self.template.train()
        return at_least_float(torch.cat(parts))


@torch.no_grad()
def sgd_step(
    parameters: Rows, gradients: Rows, buffers: Rows, lrs: torch.Tensor, momenta: torch.Tensor, optimizer: SGD
) -> None:
    """Make one step of torch's SGD in place, with a learning rate and a momentum for each row.

    Where a row's momentum is 0, its momentum buffer does not change.
    """
    at_rest = momenta <= 0
    rests = bool(at_rest.any())
    for name, gradient in gradients.items():
        p = parameters[name]
        column = (-1, *(1,) * (p.ndim - 1))
        lr, momentum = lrs.to(p.dtype).view(column), momenta.to(p.dtype).view(column)
        g = gradient.add(p, alpha=optimizer.weight_decay) if optimizer.weight_decay else gradient
        before = buffers.get(name)
        after = g.clone() if before is None else (momentum * before if rests else before.mul_(momentum)).add_(g)
        descent = g + momentum * after if optimizer.nesterov else after
        if rests:
            still = at_rest.view(column)
            after = torch.where(still, torch.zeros_like(p) if before is None else before, after)
            descent = torch.where(still, g, descent)
        buffers[name] = after
        p.sub_(lr * descent)
