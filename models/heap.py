"""The heap of a process that trains on a CPU."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

M_MMAP_THRESHOLD = -3
LARGE = 4 * 2**20


@cache
def return_large_blocks() -> None:
    """Let glibc map large blocks by themselves, so that the system has them back when they are freed.

    A training allocates the gradients of its tables at each step. Glibc raises its own threshold when it sees such
    blocks freed, puts the next ones between small blocks that stay, and the process grows by megabytes a step. Other
    C libraries are left alone, and so is a threshold that the environment sets.
    """
    is_set = "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if platform.libc_ver()[0] == "glibc" and not is_set:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
