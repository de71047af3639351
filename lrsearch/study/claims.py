"""Which jobs of a study are out, in files: what is asked for by hand is out for days, over restarts and processes."""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lrsearch.errors import OutputError

CLAIM = "job.json"
JOBS, LOCK = "jobs", "lock"


@dataclass(frozen=True, slots=True)
class Claims:
    """The jobs of a study that somebody has, each a folder with a file that one process alone can make.

    Args:
        folder: the study's.
    """

    folder: Path

    def place(self, number: int) -> Path:
        """The folder of a job."""
        return self.folder / JOBS / str(number)

    def take(self, number: int, text: str) -> bool:
        """Take a job for whoever asks, and say whether nobody else has it.

        Args:
            number: the job's.
            text: what its file says, for people and programs.

        Raises:
            OutputError: if the file cannot be written.
        """
        file = self.place(number) / CLAIM
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x") as opened:
                try:
                    opened.write(text)
                except OSError:
                    file.unlink()
                    raise
        except FileExistsError:
            return False
        except OSError as error:
            raise OutputError(f"cannot write to {file.parent}: {error.strerror}; give another folder as out") from None
        return True

    def give_back(self, number: int) -> None:
        """Give a job back; its folder and what lies in it stay."""
        (self.place(number) / CLAIM).unlink(missing_ok=True)

    @property
    def taken(self) -> frozenset[int]:
        """The numbers of all jobs that were taken and not given back, told or not."""
        found = (file.parent.name for file in (self.folder / JOBS).glob(f"*/{CLAIM}"))
        return frozenset(int(name) for name in found if name.isdecimal())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine out; the system opens the lock where a process is killed."""
        with (self.folder / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def study_folder(out: Path, task: str, key: str) -> Path:
    """The folder of a study: called as it is, where its task's name makes the name of a folder.

    >>> study_folder(Path("runs"), "../my lm", "0123456789abcdef").as_posix()
    'runs/..-my-lm-01234567'
    """
    return out / f"{re.sub(r'[^a-zA-Z0-9_.-]+', '-', task)}-{key[:8]}"
