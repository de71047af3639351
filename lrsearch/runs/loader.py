"""The loader of a loop over epochs: its last pass stops at the end of the run."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsearch.runs.job import Job


class RunLoader:
    """Wraps a loader so that a pass stops at the end of a run; other attributes are the loader's.

    Args:
        loader: yields the batches of one pass each time it is iterated over.
        job: the run.
    """

    def __init__(self, loader: Any, job: "Job") -> None:
        self._loader, self._job, self._passes = loader, job, 0

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # unpickling reads attributes before `_loader` is set
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        self._job.begin_pass()
        set_epoch(self._loader, self._passes)
        self._passes += 1
        for batch in self._loader:
            yield batch
            if self._job.is_done:
                return


def set_epoch(loader: Any, number: int) -> None:
    """Call `set_epoch` of a loader, of its sampler and of its batch sampler, where they have one."""
    for part in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        if callable(method := getattr(part, "set_epoch", None)):
            method(number)
