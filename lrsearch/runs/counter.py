"""How many updates a run has cost, also where its process was killed."""

import mmap
import struct
from pathlib import Path

NAME, FORM = "steps", "<qq"


def counted_in(folder: Path) -> int:
    """The updates of all attempts that were counted in a folder; 0 where nothing was."""
    try:
        total, _ = struct.unpack(FORM, (folder / NAME).read_bytes())
    except (OSError, struct.error):
        return 0
    return int(total)


def forget_count(folder: Path) -> None:
    """Take the count in a folder away: what was made was charged."""
    (folder / NAME).unlink(missing_ok=True)


class StepCounter:
    """Counts updates in a small file that the system keeps when the process is killed.

    It holds two numbers: updates of all attempts, and those that were told.
    """

    def __init__(self, folder: Path | None) -> None:
        self._map: mmap.mmap | None = None
        self.total, self.told = 0, 0
        if folder is not None:
            self._path = path = folder / NAME
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if not path.exists() or path.stat().st_size != struct.calcsize(FORM):
                    path.write_bytes(struct.pack(FORM, 0, 0))
                with path.open("r+b") as file:
                    self._map = mmap.mmap(file.fileno(), 0)
                self.total, self.told = struct.unpack(FORM, self._map[:])
            except OSError:  # a folder that cannot be written takes the count of a killed process, and no run
                self._map = None
        self.before = self.total

    @property
    def untold(self) -> int:
        """Updates of the attempts before this one that nobody was told of."""
        return self.before - self.told

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
        """Count in the file no more."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def forget(self) -> None:
        """Take the file away."""
        if self._map is not None:
            self.close()
            self._path.unlink(missing_ok=True)

    def refresh(self) -> None:
        """See what another process has counted in the file."""
        if self._map is not None:
            (self.total, _) = struct.unpack(FORM, self._map[:])

    def tell(self) -> None:
        """Note that all updates so far were told."""
        self.refresh()
        self.told = self.total
        if self._map is not None:
            struct.pack_into("<q", self._map, 8, self.told)
