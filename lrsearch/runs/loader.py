"""The loader of a loop over epochs: its last pass stops at the end of the run."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lrsearch.errors import UsageError

if TYPE_CHECKING:
    from lrsearch.runs.job import Job

NO_BATCH = (
    "the loader gave no batch: a generator is used up after one pass; give a DataLoader, a list, or an object that can"
    " be iterated over again"
)


class RunLoader:
    """Wraps a loader so that a pass stops at the end of a run; other attributes are the loader's.

    Args:
        loader: yields the batches of one pass each time it is iterated over.
        job: the run.
    """

    def __init__(self, loader: Any, job: "Job") -> None:
        self._loader, self._job = loader, job
        self._passes: int | None = None

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # unpickling reads attributes before `_loader` is set
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        self._job.begin_pass()
        if self._passes is None:  # a resumed run goes on in the pass that its step lies in
            self._passes = math.floor(self._job.step / self._job.epoch + 1e-9)
        set_epoch(self._loader, self._passes)
        self._passes += 1
        is_empty = True
        for batch in self._loader:
            is_empty = False
            yield batch
            if self._job.is_done:
                return
        if is_empty:
            raise UsageError(NO_BATCH)


def set_epoch(loader: Any, number: int) -> None:
    """Call `set_epoch` of a loader, of its sampler and of its batch sampler, where they have one."""
    for part in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        if callable(method := getattr(part, "set_epoch", None)):
            method(number)
