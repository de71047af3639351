"""The loader of a loop over epochs: its passes end where the run does."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrsearch.runs.job import Job


class RunLoader:
    """A loader whose passes end where a run does; its other attributes are the loader's own.

    Args:
        loader: gives the batches of one pass each time it is iterated over.
        job: the run.
    """

    def __init__(self, loader: Any, job: "Job") -> None:
        self._loader, self._job, self._passes = loader, job, 0

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # while it is unpickled
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
    """Tell a loader or its sampler the number of the pass that begins, where it has a place for it."""
    for one in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        if callable(take := getattr(one, "set_epoch", None)):
            take(number)
