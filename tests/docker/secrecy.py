"""Searches all that a secret could be read from: command lines, environments and files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK = 2**20


def processes(secret: str) -> list[str]:
    """The command lines and environments of this machine's processes that hold a secret."""
    paths = [path / name for path in Path("/proc").glob("[0-9]*") for name in ("cmdline", "environ")]
    return [str(path) for path in paths if _holds(path, secret.encode())]


def files(folders: Iterable[Path], secret: str) -> list[str]:
    """The files in folders that hold a secret."""
    return [str(path) for folder in folders for path in _all(folder) if _holds(path, secret.encode())]


def _all(folder: Path) -> Iterator[Path]:
    """Regular files: others have no end, or wait."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _holds(path: Path, secret: bytes) -> bool:
    """Whether a file holds a secret; not where it has gone meanwhile."""
    rest = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                if secret in rest + chunk:
                    return True
                rest = chunk[-len(secret) :]
    except OSError:
        return False
    return False
