"""The C allocator of the training process."""

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3


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
