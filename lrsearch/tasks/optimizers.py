"""Optimizers as values: which one, and its fixed settings. The learning rate is the policy's.

Each has a range of learning rates to search, and a family: a policy may transfer to tasks with an optimizer of the same
family. `build` returns the torch optimizer, with LR 1 until the policy sets it; torch loads then. Line searches, which
evaluate the loss several times within an update, are in `line_searches`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lrsearch.errors import TaskError
from lrsearch.runs import Optimizer

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, perhaps Nesterov's; momentum 0 is plain SGD."""

    momentum: float = 0.9
    weight_decay: float = 0.0005
    nesterov: bool = False
    family: str = "sgd"
    lr_range: tuple[float, float] = (1e-6, 10.0)
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"momentum": (0, 1)}

    def __post_init__(self) -> None:
        Optimizer.__post_init__(self)
        if self.nesterov and not self.momentum:
            raise TaskError("SGD: nesterov needs a momentum above 0, got momentum=0")

    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters."""
        from torch import optim

        return optim.SGD(
            model.parameters(),
            lr=1.0,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(Optimizer):
    """Adam; with `decoupled` weight decay, AdamW."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    decoupled: bool = False
    family: str = "adam"
    lr_range: tuple[float, float] = (1e-7, 1.0)
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"beta1": (0, 1), "beta2": (0, 1), "eps": (0, 1)}

    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters."""
        from torch import optim

        kind = optim.AdamW if self.decoupled else optim.Adam
        return kind(
            model.parameters(),
            lr=1.0,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


def AdamW(*, weight_decay: float = 0.01, **settings: float) -> Adam:  # noqa: N802  the field's name
    """Adam with decoupled weight decay.

    >>> AdamW().decoupled, AdamW().weight_decay
    (True, 0.01)
    """
    return Adam(weight_decay=weight_decay, decoupled=True, **settings)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class RMSprop(Optimizer):
    """RMSprop."""

    alpha: float = 0.99
    momentum: float = 0.0
    eps: float = 1e-8
    family: str = "rmsprop"
    lr_range: tuple[float, float] = (1e-7, 1.0)
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"alpha": (0, 1), "momentum": (0, 1), "eps": (0, 1)}

    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters."""
        from torch import optim

        return optim.RMSprop(
            model.parameters(),
            lr=1.0,
            alpha=self.alpha,
            momentum=self.momentum,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adagrad(Optimizer):
    """Adagrad."""

    eps: float = 1e-10
    family: str = "adagrad"
    lr_range: tuple[float, float] = (1e-6, 10.0)
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"eps": (0, 1)}

    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters."""
        from torch import optim

        return optim.Adagrad(model.parameters(), lr=1.0, eps=self.eps, weight_decay=self.weight_decay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adadelta(Optimizer):
    """Adadelta, whose default learning rate is 1."""

    rho: float = 0.9
    eps: float = 1e-6
    family: str = "adadelta"
    lr_range: tuple[float, float] = (1e-4, 100.0)
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"rho": (0, 1), "eps": (0, 1)}

    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters."""
        from torch import optim

        return optim.Adadelta(model.parameters(), lr=1.0, rho=self.rho, eps=self.eps, weight_decay=self.weight_decay)
