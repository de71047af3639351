"""A count of the updates of a run that survives a killed process."""

import mmap
import struct
from pathlib import Path

NAME, FORM = "steps", "<qq"
"""The file's name, and its content: all updates, and those that were charged to a study."""


def counted_in(folder: Path) -> int:
    """The updates of all attempts, from the file in a folder; 0 without one."""
    try:
        total, _ = struct.unpack(FORM, (folder / NAME).read_bytes())
    except (OSError, struct.error):
        return 0
    return int(total)


def forget_count(folder: Path) -> None:
    """Remove the file in a folder, once its updates were charged."""
    (folder / NAME).unlink(missing_ok=True)


class StepCounter:
    """Counts updates in a small memory-mapped file, which stays when the process is killed.

    It holds two numbers: the updates of all attempts, and those that were charged to the study's budget.

    Args:
        folder: the folder of the file; None to count in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._map: mmap.mmap | None = None
        self.total, self.charged = 0, 0
        if folder is not None:
            self._path = path = folder / NAME
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if not path.exists() or path.stat().st_size != struct.calcsize(FORM):
                    path.write_bytes(struct.pack(FORM, 0, 0))
                with path.open("r+b") as file:
                    self._map = mmap.mmap(file.fileno(), 0)
                self.total, self.charged = struct.unpack(FORM, self._map[:])
            except OSError:  # without the file only the count of a killed process is lost
                self._map = None
        self.before = self.total

    @property
    def uncharged(self) -> int:
        """Updates of earlier attempts that were not charged."""
        return self.before - self.charged

    @property
    def counted(self) -> int:
        """Updates of this attempt."""
        return self.total - self.before

    def count(self, updates: int = 1) -> None:
        """Count updates."""
        self.total += updates
        if self._map is not None:
            struct.pack_into("<q", self._map, 0, self.total)

    def close(self) -> None:
        """Stop counting in the file."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def forget(self) -> None:
        """Remove the file."""
        if self._map is not None:
            self.close()
            self._path.unlink(missing_ok=True)

    def refresh(self) -> None:
        """Read the count of another process from the file."""
        if self._map is not None:
            (self.total, _) = struct.unpack(FORM, self._map[:])

    def charge(self) -> None:
        """Record that all updates so far were charged."""
        self.refresh()
        self.charged = self.total
        if self._map is not None:
            struct.pack_into("<q", self._map, 8, self.charged)
