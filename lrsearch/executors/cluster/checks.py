"""A line of the table of what is checked before a sweep trains."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ClusterCheck:
    """A line of the table.

    Args:
        name: what was checked.
        is_right: whether the sweep can train.
        text: what is there, or what would do.
    """

    name: str
    is_right: bool
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)
