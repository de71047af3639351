"""When a run ends before its horizon, on purpose."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Stop:
    """When a run ends before its horizon: its state is then "stopped", its score that of its last evaluation.

    Args:
        patience: after so many evaluations in a row that were no better than the best before. Of a policy with cycles
            only evaluations at their ends count, where the learning rate is low.
        target: at the first evaluation that is as good as this.
    """

    patience: int | None = None
    target: float | None = None

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Self | None:
        """Read it from a run's description; None where its runs do not end early."""
        patience, target = description.get("patience"), description.get("target")
        return cls(patience, target) if patience or target is not None else None

    @property
    def description(self) -> dict[str, Any]:
        """It as plain JSON values, as they stand in a run's key; what is not given is left out."""
        return ({"patience": self.patience} if self.patience else {}) | (
            {"target": self.target} if self.target is not None else {}
        )
