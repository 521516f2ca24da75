"""The file of vectors: only what was committed counts, and damage is noticed."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models import vector_file
from samarkand.models.vector_file import VectorFile, append_rows, extend_checksums

WIDTH = 3


def numbers(rows: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(vector_file, "BLOCK_ROWS", 4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8))
def test_appended_rows_are_read_and_checked(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("vectors") / "v.f32"
    vectors, checksums, rows = numbers(sum(sizes)), {}, 0
    for size in sizes:
        last = checksums.get(rows // vector_file.BLOCK_ROWS, 0)
        checksums |= append_rows(path, WIDTH, rows, vectors[rows : rows + size], last)
        rows += size
    file = VectorFile(path, WIDTH, rows)
    assert np.array_equal(file[:], vectors)
    file.check(checksums)
    blocks = [vectors[i : i + 4] for i in range(0, rows, 4)]
    assert checksums == {number: zlib.crc32(block.tobytes()) for number, block in enumerate(blocks)}


def test_rows_that_were_not_committed_do_not_count(tmp_path):
    path = tmp_path / "v.f32"
    append_rows(path, WIDTH, 0, numbers(2), 0)
    append_rows(path, WIDTH, 2, numbers(5, 100), 0)
    assert np.array_equal(VectorFile(path, WIDTH, 2)[:], numbers(2))
    with path.open("ab") as file:
        file.write(b"half a row")
    append_rows(path, WIDTH, 2, numbers(1, 50), 0)
    assert path.stat().st_size == 3 * WIDTH * 4
    assert np.array_equal(VectorFile(path, WIDTH, 3)[:], np.concatenate([numbers(2), numbers(1, 50)]))


def test_rows_by_number_are_copies(tmp_path):
    append_rows(tmp_path / "v.f32", WIDTH, 0, numbers(5), 0)
    file = VectorFile(tmp_path / "v.f32", WIDTH, 5)
    assert np.array_equal(file[np.array([4, 0])], numbers(5)[[4, 0]])
    with pytest.raises(ValueError, match="read-only"):
        file[0:1][:] = 0


def test_no_rows_need_no_file(tmp_path):
    assert VectorFile(tmp_path / "v.f32", WIDTH, 0)[:].shape == (0, WIDTH)
    with pytest.raises(ValueError, match=r"S823.*v.f32 has 0 bytes of 12"):
        VectorFile(tmp_path / "v.f32", WIDTH, 1)


def test_damage_is_found_in_its_block(tmp_path):
    path = tmp_path / "v.f32"
    checksums = append_rows(path, WIDTH, 0, numbers(11), 0)
    assert checksums == extend_checksums(0, numbers(11), 0)
    data = bytearray(path.read_bytes())
    data[5 * WIDTH * 4] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"S823.*rows 4 to 8"):
        VectorFile(path, WIDTH, 11).check(checksums)
    VectorFile(path, WIDTH, 11).check(checksums, first=9)
    with pytest.raises(ValueError, match=r"S823.*132 bytes of 144"):
        VectorFile(path, WIDTH, 12)
