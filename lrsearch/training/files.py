"""Where a run's weights and its checkpoint are. It needs no torch."""

from pathlib import Path

from lrsearch.runs import RunSpec


def files(folder: Path | None, spec: RunSpec) -> tuple[Path | None, Path | None]:
    """Give the files in a folder for a run's final weights, if it is a full one, and for its checkpoint."""
    if folder is None:
        return None, None
    is_full = spec.horizon == spec.task.horizon
    return folder / f"{spec.key}.pt" if is_full else None, folder / f"{spec.key}.checkpoint"
