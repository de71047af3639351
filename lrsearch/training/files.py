"""The paths of a run's weights and of its checkpoint. Without torch."""

from pathlib import Path

from lrsearch.runs import RunSpec


def files(folder: Path | None, spec: RunSpec) -> tuple[Path | None, Path | None]:
    """The paths in a folder for a run's final weights, None below the full horizon, and for its checkpoint."""
    if folder is None:
        return None, None
    is_full = spec.horizon == spec.task.horizon
    return folder / f"{spec.key}.pt" if is_full else None, folder / f"{spec.key}.checkpoint"
