"""Freed memory is kept for the next step.

The C library hands large blocks back to the system when they are freed and asks for them again at the next step; the
system clears every page of them. On a processor that is a fifth to a third of a small model's training time.
"""

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # what glibc's malloc.h calls M_...
BLOCK = 32 * 2**20  # the largest that malloc takes from its own memory, by glibc's own limit
KEPT = 2**29


def keep_memory() -> bool:
    """Has this process keep up to 512 MiB that it frees. False where the C library cannot (it is not glibc)."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, BLOCK)) and bool(mallopt(TRIM_THRESHOLD, KEPT))
