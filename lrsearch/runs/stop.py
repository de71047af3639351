"""Rules of early stopping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Stop:
    """When a run ends before its horizon. Its state is then "stopped", and its score that of its last evaluation.

    Args:
        patience: stop after so many evaluations in a row that were not better than the best before. For a policy with
            cycles only evaluations at the ends of cycles count, where the learning rate is low.
        target: stop at the first evaluation that is as good as this value.
    """

    patience: int | None = None
    target: float | None = None

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Self | None:
        """Read the rules from a run's description; None where it has none."""
        patience, target = description.get("patience"), description.get("target")
        return cls(patience, target) if patience or target is not None else None

    @property
    def description(self) -> dict[str, Any]:
        """The rules as plain JSON values, as they enter a run's key; absent rules are left out."""
        return ({"patience": self.patience} if self.patience else {}) | (
            {"target": self.target} if self.target is not None else {}
        )
