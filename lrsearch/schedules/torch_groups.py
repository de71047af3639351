"""The param groups of an optimizer: each keeps its ratio to the policy's LR, also when loaded or added later."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lrsearch.errors import PolicyError

Group = dict[str, Any]
CLOSE = 1e-6
"""The relative difference of equal learning rates: float32 rounds by 6e-8, and torch's formulas drift."""


@dataclass(slots=True, eq=False)
class KnownGroup:
    """A param group with its ratio, and the LR that was last set."""

    group: Group
    ratio: float
    lr: float = 0.0
    version: int = 0  # of an LR in a tensor: reading its value would synchronize with the GPU

    def note(self) -> None:
        """Remember the group's present LR."""
        lr = self.group["lr"]
        self.lr, self.version = float(lr), _version(lr)

    def set(self, lr: float) -> None:
        """Set the group's LR to its ratio of an LR."""
        self.lr = lr * self.ratio
        present = self.group["lr"]
        if isinstance(present, Tensor):
            present.fill_(self.lr)
            self.version = _version(present)
        else:
            self.group["lr"] = self.lr

    @property
    def is_changed(self) -> bool:
        """Whether other code has set the group's LR since."""
        lr = self.group["lr"]
        return (not isinstance(lr, Tensor) or lr._version != self.version) and bool(lr != self.lr)


class ParamGroups:
    """All param groups of an optimizer.

    A ratio is initial LR / largest initial LR, times timm's `lr_scale` where the group has one. Where the LRs hold
    that factor already, as OpenMMLab writes them, it counts once. The initial LR is in the group under torch's name,
    `initial_lr`, and so in the optimizer's state.

    Args:
        optimizer: its groups without an initial LR get one.

    Raises:
        PolicyError: if all initial LRs are 0, an LR is in a tensor of whole numbers, or `lr_scale` is no number.
    """

    __slots__ = ("_default", "_has_scale", "known", "largest", "optimizer", "source")

    def __init__(self, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        initial = _initial(groups)
        self.largest = max(lr for lr in initial if lr is not None)
        if not self.largest > 0:
            raise PolicyError("every param group starts at LR 0, so their ratios are not defined")
        for group, lr in zip(groups, initial, strict=True):
            if lr is not None:
                group.setdefault("initial_lr", lr)
        self.optimizer, self._has_scale = optimizer, _has_scale(groups)
        self.known: list[KnownGroup] = []
        self.source: list[Group] | None = None
        default = optimizer.defaults.get("lr", math.nan)
        same = [group["initial_lr"] for group in groups if group["lr"] is default and "initial_lr" in group]
        self._default = float(same[0] if same else default)  # a tensor that a group shares moves with its LR
        self.see_new(0.0)

    @property
    def is_current(self) -> bool:
        """Whether the optimizer has exactly the registered groups."""
        groups = self.optimizer.param_groups
        return groups is self.source and len(groups) == len(self.known) and groups[-1] is self.known[-1].group

    @property
    def is_loaded(self) -> bool:
        """Whether the optimizer has loaded a state since the groups were registered: all groups are new objects."""
        return self.optimizer.param_groups is not self.source

    def follow(self, lr: float) -> bool:
        """Whether each group with a ratio has its ratio of an LR."""
        return all(
            math.isclose(group["lr"], lr * self._ratio(group), rel_tol=CLOSE)
            for group in self.optimizer.param_groups
            if "initial_lr" in group
        )

    def see_new(self, lr: float) -> list[KnownGroup]:
        """Register groups that were loaded or added; the added groups are set to their ratio, and returned.

        Args:
            lr: the policy's present LR.
        """
        standing = self._standing()
        present, places = self._present(standing, lr), set(map(id, standing))
        added = [
            (group, self._new_ratio(n, group, present))
            for n, group in enumerate(self.optimizer.param_groups)
            if id(group) not in places and "initial_lr" not in group
        ]
        for group, ratio in added:
            group["initial_lr"] = ratio * self.largest
        self._know(self.optimizer.param_groups)
        new = [known for known in self.known if id(known.group) not in places]
        for known in new:
            known.set(present)
        return new

    def rescale(self, largest: float) -> None:
        """Take another largest initial LR, from a loaded state. Added groups wait until `see_new`."""
        self.largest = largest
        self._know(self._standing())

    def _standing(self) -> list[Group]:
        """The groups that have a ratio already. A loaded group without its initial LR gets that of its place."""
        groups = self.optimizer.param_groups
        if not self.is_loaded:
            places = {id(known.group) for known in self.known}
            return [group for group in groups if id(group) in places]
        for group, known in zip(groups, self.known, strict=False):
            group.setdefault("initial_lr", known.group["initial_lr"])
        return [group for group in groups if "initial_lr" in group]

    def _know(self, groups: list[Group]) -> None:
        self.source, tensors = self.optimizer.param_groups, set[int]()
        for group in groups:
            if id(group["lr"]) in tensors:  # one tensor cannot hold the LRs of two groups
                group["lr"] = group["lr"].clone()
            if isinstance(group["lr"], Tensor):
                tensors.add(id(group["lr"]))
        self.known = [KnownGroup(group, self._ratio(group)) for group in groups]
        for known in self.known:
            known.note()

    def _ratio(self, group: Group) -> float:
        return float(group["initial_lr"]) / self.largest * (1.0 if self._has_scale else _scale(group))

    def _present(self, standing: list[Group], lr: float) -> float:
        """The present LR of a group with ratio 1: the policy's, or the one that other code's LRs amount to."""
        if not standing:
            return lr
        top = max(standing, key=self._ratio)
        ratio = self._ratio(top)
        if ratio == 0 or math.isclose(top["lr"], lr * ratio, rel_tol=CLOSE):
            return lr
        return float(top["lr"]) / ratio

    def _new_ratio(self, n: int, group: Group, present: float) -> float:
        """The ratio of a group that is added later, before its `lr_scale`."""
        default, own = self.optimizer.defaults.get("lr", math.nan), float(group["lr"])
        usual = self._default if isinstance(default, Tensor) else float(default)
        if group["lr"] is default or own == usual:
            ratio, why = usual / self.largest, f"the optimizer's default, over {self.largest:g}, the largest at first"
        elif own == 0:
            return 0.0
        else:
            ratio, why = own / present if present > 0 else math.inf, f"over {present:g}, the present LR of ratio 1"
        if ratio > 1 + CLOSE:
            raise PolicyError(
                f"param group {n} was added with LR {own:g}, {why}: the ratio {ratio:g} is above 1. Add"
                " it by scheduler.add_param_group(group, ratio=...), which leaves no doubt"
            )
        return min(ratio, 1.0)


def has_momentum(group: Group) -> bool:
    """Whether a momentum can be set: RMSprop has no buffer for a momentum that starts at 0."""
    return "betas" in group or ("momentum" in group and ("alpha" not in group or group["momentum"] > 0))


def momentum_of(group: Group) -> float:
    """The momentum of a group, or its first beta."""
    return float(group["momentum"] if "momentum" in group else group["betas"][0])


def set_momentum(groups: list[Group], momentum: float) -> None:
    """Set the momentum of groups, or their first beta."""
    for group in groups:
        if "momentum" in group:
            group["momentum"] = momentum
        else:
            group["betas"] = (momentum, *group["betas"][1:])


def _initial(groups: list[Group]) -> list[float | None]:
    """The initial LR of each group; None for a group that was added after others had theirs."""
    for group in groups:
        if isinstance(group["lr"], Tensor) and not group["lr"].is_floating_point():
            raise PolicyError(
                f"an LR tensor of type {group['lr'].dtype} cannot hold the policy's rates: make it float32"
            )
    if any("initial_lr" in group for group in groups):
        return [float(group["initial_lr"]) if "initial_lr" in group else None for group in groups]
    return [float(group["lr"]) for group in groups]


def _has_scale(groups: list[Group]) -> bool:
    """Whether the LRs include `lr_scale` already: they differ by the same factors."""
    both = {"initial_lr", "lr_scale"}
    pairs = [(float(group["initial_lr"]), _scale(group)) for group in groups if both <= group.keys()]
    top, most = map(max, zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return 0 < top > min(pairs)[0] and all(math.isclose(lr * most, top * scale, rel_tol=CLOSE) for lr, scale in pairs)


def _scale(group: Group) -> float:
    """The factor `lr_scale` of timm on the LR of a group."""
    try:
        scale = float(group.get("lr_scale", 1.0))
    except (TypeError, ValueError):
        scale = math.nan
    if not 0 <= scale < math.inf:
        raise PolicyError(f"lr_scale of a param group is a finite number, 0 or more, got {str(group['lr_scale'])[:80]}")
    return scale


def _version(lr: Any) -> int:
    return lr._version if isinstance(lr, Tensor) else 0
