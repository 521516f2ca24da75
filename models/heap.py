"""The heap of a process that trains on a CPU."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

M_MMAP_THRESHOLD = -3
LARGE = 4 * 2**20
# Bytes that are free inside of the heap, above which they go back to the system.
SPARE = 256 * 2**20


class _Figures(ctypes.Structure):
    """What `mallinfo2` tells."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def return_free_memory() -> None:
    """Give memory that is free back to the system, if there is much of it; to be called after each step.

    A training frees and allocates gradients and activations at each step. Before version 2.38, glibc seldom uses a
    free block for an aligned one of the same size, which is what torch asks for
    (https://sourceware.org/bugzilla/show_bug.cgi?id=14581), and the process grows by megabytes a step. Other C
    libraries are left alone.
    """
    libc = _glibc()
    if libc is not None and libc.mallinfo2().fordblks > SPARE:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    """Glibc, told to map large blocks one by one, unless the environment sets from what size on it does so."""
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if not hasattr(libc, "mallinfo2"):
        return None
    libc.mallinfo2.restype = _Figures
    is_set = "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if not is_set:
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
    return libc
