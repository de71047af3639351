"""The executor on a Ray cluster, for `sweep` and for tables of policies."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrsearch.errors import UsageError, given
from lrsearch.executors.cluster.checks import ClusterCheck
from lrsearch.runs.executor import Executor, Limits, TrainerSource
from lrsearch.training.groups import require_workers
from lrsearch.training.program import ProgramSource

Checked = Callable[[Sequence[ClusterCheck]], None]


@dataclass(frozen=True, slots=True)
class Resources:
    """The cluster, and what a run gets of it.

    Args:
        address: "local" to start a cluster on this machine; "auto" or host:port to join one.
        workers: runs at a time; None for as many as fit into the cluster.
        cpus_per_run: CPUs of a run.
        gpus_per_run: GPUs of a run, a part of one or several; None for a part where there are GPUs.

    Raises:
        UsageError: for impossible numbers.

    >>> Resources(gpus_per_run=1.5)
    Traceback (most recent call last):
        ...
    lrsearch.errors.UsageError: gpus_per_run is a part of a GPU, such as 0.25, or a whole number of GPUs, got 1.5
    """

    address: str = "local"
    workers: int | None = None
    cpus_per_run: float = 1
    gpus_per_run: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.address, str) or not self.address:
            raise UsageError(f"address is local, auto or host:port, got {given(self.address)}")
        if self.workers is not None:
            require_workers(self.workers)
        for name in ("cpus_per_run", "gpus_per_run"):
            _require_amount(name, getattr(self, name))
        if not self.cpus_per_run:
            raise UsageError("cpus_per_run is above 0, such as 0.5: a worker without a CPU has no place in a cluster")


@contextmanager
def open_cluster(
    source: TrainerSource,
    resources: Resources,
    out: Path,
    data_dir: str | Path | None = None,
    checked: Checked | None = None,
    limits: Limits | None = None,
) -> Iterator[Executor]:
    """Open the executor on a Ray cluster."""
    from lrsearch.executors.cluster.workers import RayExecutor

    files = source.command.files if isinstance(source, ProgramSource) else ()
    with RayExecutor(
        source,
        out,
        address=resources.address,
        workers=resources.workers,
        cpus=resources.cpus_per_run,
        gpus=resources.gpus_per_run,
        needed=(*files, *([Path(data_dir)] if data_dir else ())),
        limits=limits,
        checked=checked or (lambda checks: None),
    ) as executor:
        yield executor


def _require_amount(name: str, amount: Any) -> None:
    """Refuse what is no amount of a resource: Ray knows parts of one, and whole numbers."""
    if amount is None:
        return
    unit = name.split("_")[0].upper().removesuffix("S")
    right = isinstance(amount, int | float) and not isinstance(amount, bool) and amount >= 0
    if not right or (amount > 1 and amount != int(amount)):
        raise UsageError(
            f"{name} is a part of a {unit}, such as 0.25, or a whole number of {unit}s, got {given(amount)}"
        )
