"""A count of the updates of a run that survives a killed process."""

import mmap
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

NAME, FORM = "steps", "<qqq"
"""The file's name, and its content: all updates, those that were charged to a study, and those that are saved."""
POLL_SECONDS = 0.05
"""Rule: seconds between two checks whether an attempt has ended."""


class StepCounter:
    """Counts updates in a small memory-mapped file, which stays when the process is killed.

    It holds the updates of all attempts, those that were charged to the study's budget, and those that are saved: the
    next attempt does not make them again. A count is written after its update, so a kill hides one update at most.

    The file is locked while the counter is open, so that others can wait for the end of the attempt.

    Args:
        folder: the folder of the file; None to count in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._map: mmap.mmap | None = None
        self.total, self.charged = 0, 0
        if folder is not None:
            path = folder / NAME
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if not path.exists() or path.stat().st_size != struct.calcsize(FORM):
                    path.write_bytes(struct.pack(FORM, 0, 0, 0))
                with path.open("r+b") as file:
                    self._map = mmap.mmap(file.fileno(), 0)
                    if sys.platform != "win32":
                        with suppress(OSError):  # a file system without locks
                            fcntl.flock(file, fcntl.LOCK_SH)  # until the map is closed, which has the same open file
                self.total, self.charged, _ = struct.unpack(FORM, self._map[:])
            except OSError:  # without the file only the count of a killed process is lost
                self._map = None
        self.before = self.total

    @property
    def is_open(self) -> bool:
        """Whether it counts in a file."""
        return self._map is not None

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

    def save(self, updates: int) -> None:
        """Record how many updates a later attempt need not make again: those up to the checkpoint.

        A checkpoint of an earlier version was not counted; its updates are counted now.
        """
        if self._map is not None:
            struct.pack_into("<q", self._map, 16, updates)
            self.count(max(0, updates - self.total))

    def close(self) -> None:
        """Stop counting in the file."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def refresh(self) -> None:
        """Read the count of another process from the file."""
        if self._map is not None:
            self.total, _, _ = struct.unpack(FORM, self._map[:])


def counted_in(folder: Path) -> int:
    """The updates of all attempts, from the file in a folder; 0 without one."""
    return _read(folder)[0]


def uncharged_in(folder: Path) -> int:
    """The updates that were not charged, from the file in a folder."""
    total, charged, _ = _read(folder)
    return total - charged


def lost_in(folder: Path) -> int:
    """The updates that were neither charged nor saved, from the file in a folder."""
    total, charged, saved = _read(folder)
    return total - charged - saved


def charge_count(folder: Path, updates: int) -> None:
    """Record in the file of a folder that updates were charged."""
    total, charged, _ = _read(folder)
    if total:
        with (folder / NAME).open("r+b") as file:
            file.seek(struct.calcsize("<q"))
            file.write(struct.pack("<q", min(total, charged + updates)))


def forget_count(folder: Path) -> None:
    """Remove the file in a folder, once its updates were charged."""
    (folder / NAME).unlink(missing_ok=True)


def has_ended(folder: Path, latest: float) -> bool:
    """Whether no process counts in the file of a folder; waits for it until `latest`, by the monotonic clock."""
    if sys.platform == "win32":
        return True
    while _is_locked(folder / NAME):
        if time.monotonic() > latest:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _is_locked(path: Path) -> bool:
    if sys.platform == "win32":
        return False
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no file, or a file system without locks
        return False
    return False


def _read(folder: Path) -> tuple[int, int, int]:
    try:
        total, charged, saved = struct.unpack(FORM, (folder / NAME).read_bytes())
    except (OSError, struct.error):
        return 0, 0, 0
    return total, charged, saved
