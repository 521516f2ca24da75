"""Compressed files as streams."""

from __future__ import annotations

import tracemalloc

import zstandard
from samarkand.compression import open_compressed


def test_a_repetitive_zst_is_read_in_bounded_memory(tmp_path):
    """One call of zstd returned all of the file, and each read copied what was left."""
    size = 2**27
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(bytes(size)))
    assert path.stat().st_size < 2**14
    tracemalloc.start()
    try:
        with open_compressed(str(path), "zst") as stream:
            assert sum(map(len, iter(lambda: stream.read(2**20), b""))) == size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size * 3 / 4
