"""Large blocks go back to the system when a training frees them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import samarkand
from samarkand.models import heap

# A large block that is freed, then one with a small one behind it: by itself glibc keeps the second.
SCRIPT = """
import os, sys
import torch
if sys.argv[1] == "mended":
    from samarkand.models.heap import return_large_blocks
    return_large_blocks()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
torch.ones(3 << 20)
large = torch.ones(3 << 20)
small = [torch.ones(300) for _ in range(1000)]
before = resident()
del large
print(before - resident())
"""


def freed(how: str) -> int:
    """Bytes that the system has back."""
    folder = os.path.dirname(os.path.dirname(samarkand.__file__))
    environment = {k: v for k, v in os.environ.items() if k not in ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_")}
    command = [sys.executable, "-c", SCRIPT, how]
    run = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_large_blocks_go_back():
    assert freed("plain") < 2**20
    assert freed("mended") > 11 * 2**20


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_MMAP_THRESHOLD_", "65536"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536")]
)
def test_a_threshold_of_the_environment_stays(monkeypatch, name, value):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setenv(name, value)
    monkeypatch.setattr(heap.ctypes, "CDLL", refuse)
    heap.return_large_blocks.__wrapped__()
