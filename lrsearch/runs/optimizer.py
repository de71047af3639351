"""The base class of optimizer descriptions; the optimizers are in `lrsearch.tasks`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from lrsearch.errors import TaskError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer(ABC):
    """The description of an optimizer with its fixed settings.

    Args:
        weight_decay: 0 or more.
        family: "sgd", "adam", "rmsprop", "adagrad", "adadelta", "sls" or "l4".
        lr_range: the range of peak learning rates that is searched before any run.
        searches: whether it is a line search. Its torch optimizer then takes `step(closure)`, where the closure returns
            the loss of the batch at the present parameters, and stores the step size in the group's "rate".

    Raises:
        TaskError: for an impossible setting; it names the optimizer and the setting.
    """

    weight_decay: float = 0.0
    family: str
    lr_range: tuple[float, float]
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    searches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits = {"weight_decay": (0, 100), **self.ranges}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
                raise TaskError(f"{type(self).__name__}: {name} must be in [{low:g}, {high:g}), got {value!r}")
        lrs = self.lr_range
        if not isinstance(lrs, tuple) or len(lrs) != 2 or not 0 < lrs[0] < lrs[1]:
            raise TaskError(f"{type(self).__name__}: lr_range must be two rising numbers above 0, got {lrs!r}")

    @property
    def summary(self) -> str:
        """The optimizer's name and settings, for people."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("family", "lr_range", "eps")}
        shown = [name if value is True else f"{name} {value:g}" for name, value in named.items() if value is not False]
        return ", ".join((type(self).__name__, *shown)).replace("_", " ")

    @abstractmethod
    def build(self, model: "nn.Module", epoch: float = 1.0) -> "TorchOptimizer":
        """The torch optimizer of a model's parameters; `epoch` is the updates of one pass over the samples."""
