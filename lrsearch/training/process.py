"""A process that is ours alone, set up for training."""

import ctypes
import os
import platform
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from lrsearch.tasks.classification import Classification

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
SMALL_MODEL = 200_000
SMALL_BATCH = 100e6
"""Operations of a batch's forward pass: `mnist-mlp` has 20 million, LeNet 460, `cifar10-cnn3` 2500."""

MOST_WORKERS = 4


def own_process(task: Classification, threads: int | None = None) -> None:
    """Set up a process for training a task; it changes the whole process, so call it in one of your own.

    A small model trains in one thread: several gain it nothing, and where cores are shared they wait for each
    other at every operation, which was once seen to turn 11 seconds into 337 (on a host whose load differed too).

    Args:
        task: what will be trained.
        threads: threads of one operation; None to choose by the size of the model.
    """
    keep_heap()
    if threads or is_small(task):
        torch.set_num_threads(threads or 1)


def default_workers(task: Classification) -> int:
    """Give how many processes train at a time where nobody said: the cores that this process may use, at most 4.

    One for a small model, whose runs are over before a process has started, and one where there is a GPU.
    """
    if torch.cuda.is_available() or is_small(task):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def is_small(task: Classification) -> bool:
    """Tell whether a model has so few parameters, and so little to do, that its runs gain nothing by more cores."""
    return task.parameters < SMALL_MODEL and _operations(task) < SMALL_BATCH


def _operations(task: Classification) -> int:
    """Count the operations of a batch's forward pass, without making it; 0 where the model will not be counted."""
    try:
        with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter, torch.no_grad():
            model = task.build().to("meta").eval()
            model(torch.empty(task.batch_size, *task.shape, device="meta"))
    except Exception:  # a model of anyone's may refuse in its own way
        return 0
    return int(counter.get_total_flops())


def keep_heap() -> bool:
    """Let glibc keep freed memory for the next step instead of returning it; True if it agreed.

    A convolution's buffers are otherwise unmapped and faulted in again at every step, which costs LeNet
    on a CPU up to a third of its time. It changes the whole process: call it in a process of one's own.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL("libc.so.6").mallopt
    settings = ((TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 64 * 2**20), (MMAP_THRESHOLD, 2**30))
    agreed = [mallopt(name, value) == 1 for name, value in settings]
    return all(agreed)


def peak_memory(device: torch.device) -> int | None:
    """Give the highest memory in bytes: of a GPU since it was last forgotten, else of this process; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak_memory(device: torch.device) -> None:
    """Begin to watch a GPU's memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
