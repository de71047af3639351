"""The executor of worker processes on this machine: each opens the source once, and trains one group after the other.

On a CPU each worker has one thread. Several threads of one training step wait for each other at every operation, so
several processes use the cores better.
"""

import os
import sys
from contextlib import ExitStack
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from lrsearch.errors import LRSearchError, TaskError
from lrsearch.executors.processes import ProcessWorkers
from lrsearch.executors.worker import MachineShare
from lrsearch.executors.worker_executor import WorkerExecutor
from lrsearch.runs.executor import Limits, TrainerSource
from lrsearch.training.groups import require_workers

GPU_FILES = ("nvidia[0-9]*", "nvhost-gpu", "kfd", "dxg")
"""Device files in /dev of Linux where there is a GPU: NVIDIA's, Jetson's, AMD's, WSL's."""


class Pool(WorkerExecutor):
    """Trains groups of runs of one task in worker processes, several at a time.

    A script that uses a pool keeps its own work under `if __name__ == "__main__":`, for the workers import it.

    Args:
        source: opens the task's trainer in every worker.
        workers: processes.
        limits: the time that training may take.

    Raises:
        UsageError: if `workers` is not 1 or more.
        TaskError: if the source cannot be sent to another process.
        WorkError: if no process can be started, or the source cannot share its data.
    """

    def __init__(self, source: TrainerSource, workers: int, limits: Limits | None = None) -> None:
        require_workers(workers)
        limits = limits or Limits()
        with ExitStack() as stack:
            shared = stack.enter_context(source.shared())
            processes = ProcessWorkers(
                partial(_pickled, shared), _machine_shares(workers), limits.seconds_per_run, stack.pop_all()
            )
        super().__init__(processes, source.task, workers, limits)


def _pickled(source: TrainerSource) -> bytes:
    """A source as it is sent to a process.

    Raises:
        TaskError: if it cannot be.
    """
    try:
        return bytes(ForkingPickler.dumps(source))
    except LRSearchError:
        raise
    except Exception as error:  # the parts of a task may refuse to be pickled with any error
        raise TaskError(
            f"task {source.task.name!r} cannot be handed to another process: {error}; define its"
            " functions at the top of a module"
        ) from error


def _machine_shares(workers: int) -> list[MachineShare]:
    """The share of the machine for each worker."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus()
    threads = max(1, cores // workers)
    return [MachineShare(threads, f"cuda:{n % gpus}" if gpus else None) for n in range(workers)]


def _gpus() -> int:
    """The number of GPUs. Torch, which takes seconds to load, counts them only where the machine may have one."""
    if sys.platform == "linux" and not any(any(Path("/dev").glob(pattern)) for pattern in GPU_FILES):
        return 0
    import torch

    return torch.cuda.device_count()
