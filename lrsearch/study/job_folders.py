"""The folders of the jobs that a study has handed out, each with the job's file."""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lrsearch.errors import OutputError

FILE = "job.json"
JOBS, LOCK = "jobs", "lock"


@dataclass(frozen=True, slots=True)
class JobFolders:
    """The folders of a study's jobs. A job's file says that it is out, for all processes that share the folder.

    Args:
        folder: the study's folder.
    """

    folder: Path

    def job_folder(self, number: int) -> Path:
        """The folder of a job."""
        return self.folder / JOBS / str(number)

    def write(self, number: int, text: str) -> bool:
        """Write the file of a job. Returns False where there is one already.

        Args:
            number: the job's number.
            text: the text of its file, for people and programs.

        Raises:
            OutputError: if the file cannot be written.
        """
        file = self.job_folder(number) / FILE
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

    def remove(self, number: int) -> None:
        """Remove the file of a job; its folder and the other files in it stay."""
        (self.job_folder(number) / FILE).unlink(missing_ok=True)

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of all jobs with a file, ended or not."""
        names = (file.parent.name for file in (self.folder / JOBS).glob(f"*/{FILE}"))
        return frozenset(int(name) for name in names if name.isdecimal())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes of this machine; the system releases the lock of a killed process."""
        with (self.folder / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def study_folder(out: Path, task: str, key: str) -> Path:
    """The folder of a study, named by its task and key; characters that no folder name takes become dashes.

    >>> study_folder(Path("runs"), "../my lm", "0123456789abcdef").as_posix()
    'runs/..-my-lm-01234567'
    """
    return out / f"{re.sub(r'[^a-zA-Z0-9_.-]+', '-', task)}-{key[:8]}"
