"""What a training frees goes back to the system."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import samarkand
from samarkand.models import heap

# Blocks that are freed, each with a small one behind it that stays: by itself glibc keeps them.
SCRIPT = """
import os, sys
import torch
from samarkand.models.heap import return_free_memory
mended, size, count = sys.argv[1] == "mended", int(sys.argv[2]), int(sys.argv[3])
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
if mended:
    return_free_memory()
torch.ones(size // 4)
pairs = [(torch.ones(size // 4), torch.ones(400)) for _ in range(count)]
before = resident()
pairs = [small for _, small in pairs]
if mended:
    return_free_memory()
print(before - resident())
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")


def freed(*arguments: str | int) -> int:
    """Bytes that the system has back."""
    folder = os.path.dirname(os.path.dirname(samarkand.__file__))
    environment = {k: v for k, v in os.environ.items() if k not in ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_")}
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    run = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.parametrize(("size", "count"), [(12 * 2**20, 4), (2**20, 400)])
def test_what_is_freed_goes_back(size, count):
    assert freed("plain", size, count) < 0.6 * size * count
    assert freed("mended", size, count) > 0.9 * size * count


@pytest.mark.parametrize(("free", "trims"), [(heap.SPARE, 0), (heap.SPARE + 1, 1)])
def test_a_little_is_kept_for_later(monkeypatch, free, trims):
    called = []
    library = SimpleNamespace(mallinfo2=lambda: SimpleNamespace(fordblks=free), malloc_trim=called.append)
    monkeypatch.setattr(heap, "_glibc", lambda: library)
    heap.return_free_memory()
    assert called == [0] * trims


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_MMAP_THRESHOLD_", "65536"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536")]
)
def test_a_threshold_of_the_environment_stays(monkeypatch, name, value):
    called = []

    class Library:
        def __init__(self, *_):
            self.mallinfo2 = lambda: None

        def mallopt(self, *arguments):
            called.append(arguments)

    monkeypatch.setattr(heap.ctypes, "CDLL", Library)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    heap._glibc.__wrapped__()
    assert called == [(heap.M_MMAP_THRESHOLD, heap.LARGE)]
    monkeypatch.setenv(name, value)
    heap._glibc.__wrapped__()
    assert len(called) == 1
