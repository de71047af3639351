"""Settings of a process that does nothing but train: threads, heap, peak memory."""

import ctypes
import os
import platform
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from lrsearch.tasks.classification import Classification

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
SMALL_MODEL = 200_000
"""Parameters. Rule: between `mnist-mlp` (101,770) and LeNet (431,080)."""
SMALL_BATCH = 100e6
"""Operations of a batch's forward pass. Rule: between `mnist-mlp` (20 million) and LeNet (460 million)."""
MOST_WORKERS = 4
"""Rule: processes where the user names no number."""


def own_process(task: Classification, threads: int | None = None) -> None:
    """Set up this process for training a task. It changes the whole process, so call it in a process of your own.

    A small model trains in one thread. Several threads do not make it faster, and on shared cores they wait for each
    other at every operation (measured once: 337 s instead of 11 s, on a host whose load differed too).

    Args:
        task: the task to train.
        threads: threads of one operation; None to choose by the size of the model.
    """
    keep_heap()
    if threads or is_small(task):
        torch.set_num_threads(threads or 1)


def default_workers(task: Classification) -> int:
    """The default number of worker processes: the cores that this process may use, at most 4.

    It is 1 for a small model, whose runs end before a process has started, and 1 where there is a GPU.
    """
    if torch.cuda.is_available() or is_small(task):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def is_small(task: Classification) -> bool:
    """Whether a model has so few parameters and operations that more cores do not make its runs faster."""
    return task.parameters < SMALL_MODEL and _operations(task) < SMALL_BATCH


def _operations(task: Classification) -> int:
    """The operations of a batch's forward pass, counted on the meta device; 0 where the model cannot be counted."""
    try:
        with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter, torch.no_grad():
            model = task.build().to("meta").eval()
            model(torch.empty(task.batch_size, *task.shape, device="meta"))
    except Exception:  # a user's model may raise any exception on the meta device
        return 0
    return int(counter.get_total_flops())


def keep_heap() -> bool:
    """Make glibc keep freed memory for the next step instead of returning it to the system; True where it worked.

    Otherwise a convolution's buffers are unmapped and faulted in again at every step, which costs LeNet on a CPU up to
    a third of its time. It changes the whole process: call it in a process of your own.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL("libc.so.6").mallopt
    settings = ((TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 64 * 2**20), (MMAP_THRESHOLD, 2**30))
    results = [mallopt(name, value) == 1 for name, value in settings]
    return all(results)


def peak_memory(device: torch.device) -> int | None:
    """The peak memory in bytes: of a GPU since `forget_peak_memory`, else of this process; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak_memory(device: torch.device) -> None:
    """Reset a GPU's peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
