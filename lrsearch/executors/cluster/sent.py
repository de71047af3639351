"""A task's source as it is sent to the machines of a cluster."""

import os
import sys
from pathlib import Path
from typing import Any

from lrsearch.errors import LRSearchError, TaskError
from lrsearch.runs.executor import TrainerSource


def pickled(source: TrainerSource) -> bytes:
    """A source, pickled with the import paths of this process.

    Raises:
        TaskError: if it cannot be sent.
    """
    import cloudpickle  # type: ignore[import-untyped]

    try:
        data: bytes = cloudpickle.dumps(source)
    except LRSearchError:
        raise
    except Exception as error:  # the parts of a task may refuse to be pickled with any error
        raise TaskError(f"task {source.task.name!r} cannot be sent to a cluster: {error}") from error
    envelope: bytes = cloudpickle.dumps(_Envelope(str(Path.cwd()), tuple(sys.path), data))
    return envelope


class _Envelope:
    """The pickled source, with the current folder and the import paths that it needs before it can be read."""

    def __init__(self, folder: str, paths: tuple[str, ...], data: bytes) -> None:
        self.folder, self.paths, self.data = folder, paths, data

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.folder, self.paths, self.data)


def _opened(folder: str, paths: tuple[str, ...], data: bytes) -> Any:
    """Read the source in a training process; code that goes to our own workers.

    Relative paths, such as those of a command, are of the folder in which the sweep was started.
    """
    import cloudpickle

    if Path(folder).is_dir():
        os.chdir(folder)
    sys.path.extend(path for path in paths if path not in sys.path)
    return cloudpickle.loads(data)
