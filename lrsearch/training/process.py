"""A process that is ours alone, set up for training."""

import ctypes
import platform

import torch

from lrsearch.tasks import Task

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
SMALL_MODEL = 200_000


def own_process(task: Task, threads: int | None = None) -> None:
    """Set up a process for training a task; it changes the whole process, so call it in one of your own.

    A small model trains in one thread: several gain it nothing, and where cores are shared they wait for each
    other at every operation, which was once seen to turn 11 seconds into 337 (on a host whose load differed too).

    Args:
        task: what will be trained.
        threads: threads of one operation; None to choose by the size of the model.
    """
    keep_heap()
    if threads or task.parameters < SMALL_MODEL:
        torch.set_num_threads(threads or 1)


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
