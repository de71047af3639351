"""`Pool` as `lrsearch.training` offered it, until 0.3: of a classification, whose `ask` says None."""

import warnings
from collections.abc import Callable
from pathlib import Path

from lrsearch.executors import pool
from lrsearch.runs.executor import DONE, WAIT, Ended, Group, NoRun, Progress
from lrsearch.tasks.classification import Classification
from lrsearch.training.source import ClassificationSource


class Pool(pool.Pool):
    """The older form of `lrsearch.executors.pool.Pool`.

    Args:
        task: the task.
        workers: processes.
        data_dir: where its data set lies; None for the default place.
    """

    def __init__(self, task: Classification, workers: int, data_dir: Path | None = None) -> None:
        warnings.warn(
            "lrsearch.training.Pool(task, workers, data_dir) is lrsearch.executors.pool.Pool("
            "ClassificationSource(task, data_dir), workers) now; the older name goes in 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(ClassificationSource(task, data_dir), workers)

    @property
    def workers(self) -> int:
        """The number of processes: `slots` now."""
        return self.slots

    def train(
        self,
        ask: Callable[[], Group | NoRun | None],
        ended: Ended,
        *,
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Train groups; None says that what is open must end first, or that nothing is left."""

        def asked() -> Group | NoRun:
            group = ask()
            return group if group is not None else WAIT if self._open else DONE

        super().train(asked, ended, folder=folder, progress=progress)
