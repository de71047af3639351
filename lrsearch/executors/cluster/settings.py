"""The settings of a sweep, as its driver receives them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

RUNS_PER_GPU = 4
"""Runs at a time on a GPU, where the user gives no share: a rule, as small models leave most of it idle."""
CHECKED, READY, ORDER, STOP, END = "checked", "ready", "order", "stop", "end"
"""Kinds of what the process of the study and the driver say to each other, beside the workers' messages."""
GPU_UNITS = 10_000
"""Ray counts parts of a GPU in ten-thousandths."""


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """The settings of a sweep.

    Args:
        address: "local" to start a cluster on this machine; "auto" or host:port to join one.
        workers: runs at a time; None for as many as fit into the cluster.
        cpus: for each run.
        gpus: for each run; a part of one, or several. None for a part of one where there are GPUs.
        seconds_per_run: for an attempt of a run; None for no limit.
        name: the name of the Tune run.
        ray_folder: the folder for Ray Tune's files.
        temporary: the folder for the files of a cluster that is started; None to join one.
        mark: a file in the folder of the sweep, by which a machine sees that it shares the folder.
        needed: paths of data and programs that every machine must have.
        source_bytes: the size of the pickled source, which goes through Ray's shared memory.
    """

    address: str
    workers: int | None
    cpus: float
    gpus: float | None
    seconds_per_run: float | None
    name: str
    ray_folder: str
    temporary: str | None
    mark: str
    needed: tuple[str, ...]
    source_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of `to_json`."""
        return cls(**{**values, "needed": tuple(values["needed"])})


def share(resources: Mapping[str, float], settings: SweepSettings) -> tuple[int, float]:
    """The number of runs at a time, and the GPUs or the part of a GPU for each.

    Args:
        resources: all CPUs and GPUs of the cluster.
        settings: what the user gave.
    """
    gpus = resources.get("GPU", 0.0)
    most = max(1, int(resources.get("CPU", 1.0) / settings.cpus)) if settings.cpus else 1
    if settings.gpus is not None:
        fit = int(gpus / settings.gpus + 1e-9) if settings.gpus else most
        return settings.workers or max(1, min(most, fit)), settings.gpus
    if not gpus:
        return settings.workers or most, 0.0
    runs = settings.workers or min(most, RUNS_PER_GPU * int(gpus))
    return runs, GPU_UNITS // math.ceil(runs / int(gpus)) / GPU_UNITS
