"""Line searches as optimizers: they choose each step size by the loss of its batch, limited by the policy's LR.

Their torch optimizers are in `torch_line_searches`. Weight decay is not supported. Neither paper uses it, and the
closure's loss has no L2 penalty: SLS would test another function than the one it descends, and L4 would aim at another
minimum.
"""

import math
from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lrsearch.errors import TaskError
from lrsearch.runs import Optimizer

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSearch(Optimizer, ABC):
    """The base class of line searches."""

    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Optimizer.__post_init__(self)
        if self.weight_decay:
            raise TaskError(
                f"{type(self).__name__}: weight_decay must be 0, got {self.weight_decay!r}: the loss that"
                " is searched has no part for it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SLS(LineSearch):
    r"""Stochastic line search: gradient descent with the largest step that Armijo's condition accepts on the batch.

    $L(w - \eta g) \le L(w) - c\,\eta\,\lVert g \rVert^2$, where g is the gradient of the batch's loss L at w.

    A search starts at gamma^(1/epoch) times the previous step, so that steps may grow gamma-fold in an epoch, and
    shrinks by beta until the condition holds. **The policy's LR is the largest allowed step**, and the first one that
    it tries (the paper's eta_max, 10 there). Under a constant policy the search decides alone; a falling one limits
    it. Where the LR limited an accepted step, the next search starts from the step without the limit. After 100 tries
    the parameters do not change, and the next search starts as this one did.

    Each try is a forward pass, about 1.2 an update with these settings. Where the loss is at rounding level, as when
    the training loss is 1e-4, only steps too small to change it are accepted, and later steps stay that small.

    Args:
        c: the required share of the decrease that the gradient predicts, in [0, 1).
        beta: the factor on a rejected step, in [0.01, 1).
        gamma: the growth of steps allowed in an epoch, as a factor, 1 or more.

    Source: Vaswani et al. 2019, "Painless Stochastic Gradient", arXiv 1905.09997, Algorithms 1 and 2 (option 2).

    >>> SLS().summary
    'SLS, weight decay 0, c 0.1, beta 0.9, gamma 2'
    """

    c: float = 0.1
    beta: float = 0.9
    gamma: float = 2.0
    family: str = "sls"
    lr_range: tuple[float, float] = (0.01, 100.0)
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"c": (0, 1), "beta": (0.01, 1), "gamma": (1, 1e6)}

    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters."""
        from lrsearch.tasks.torch_line_searches import TorchSLS

        return TorchSLS(model, c=self.c, shrink=self.beta, growth=self.gamma ** (1 / epoch), start=math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class L4(LineSearch):
    r"""L4 on momentum gradients (L4Mom): a step to where the linearised loss is an estimate of its minimum.

    $\eta = \alpha\,(L - \gamma L_{\min}) / (v^T v + \epsilon)$, along v, the running mean of the gradients, corrected
    for its start at 0.

    **The policy's LR is alpha**, the share of that step which is made: 0.15 in the paper, which advises 0.1 to 0.3.
    The estimate is the lowest loss so far, with the first one counted gamma0-fold; it rises by 1/tau at every update.
    One forward pass an update, as for gradient descent; the closure returns the loss.

    Args:
        momentum: weight of the past in the running mean, in [0, 1); a policy with momentum sets its own.
        gamma: the minimum as a share of the lowest loss, in [0, 1).
        gamma0: the first lowest loss as a share of the first loss, in [0, 1).
        tau: updates after which the estimate is forgotten, 1 or more.
        eps: a term that keeps the denominator above 0, in [0, 1).

    Source: Rolinek and Martius 2018, "L4: Practical loss-based stepsize adaptation", arXiv 1802.05074, Algorithm 1.

    >>> L4().summary
    'L4, weight decay 0, momentum 0.9, gamma 0.9, gamma0 0.75, tau 1000'
    """

    momentum: float = 0.9
    gamma: float = 0.9
    gamma0: float = 0.75
    tau: float = 1000.0
    eps: float = 1e-12
    family: str = "l4"
    lr_range: tuple[float, float] = (0.001, 1.0)
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "momentum": (0, 1),
        "gamma": (0, 1),
        "gamma0": (0, 1),
        "tau": (1, 1e9),
        "eps": (0, 1),
    }

    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters."""
        from lrsearch.tasks.torch_line_searches import TorchL4

        return TorchL4(
            model, momentum=self.momentum, gamma=self.gamma, gamma0=self.gamma0, tau=self.tau, eps=self.eps, weight=0.0
        )
