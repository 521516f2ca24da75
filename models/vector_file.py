"""Vectors in a file that only grows: float32, row after row, mapped into memory for reading."""

from __future__ import annotations

import math
import os
import zlib
from pathlib import Path

import numpy as np

from ..errors import Errors

BLOCK_ROWS = 16_384


class VectorFile:
    """The rows of a file that were committed. Bytes beyond them are of a write that never ended.

    path (Path): The file.
    width (int): Numbers in a row.
    rows (int): Rows that were committed.
    RAISES (ValueError): S823 when the file is shorter.
    """

    def __init__(self, path: Path, width: int, rows: int) -> None:
        self.path, self.width, self.rows = path, width, rows
        size = path.stat().st_size if path.exists() else 0
        if size < rows * width * 4:
            reason = f"{path.name} has {size:,} bytes of {rows * width * 4:,}"
            raise ValueError(Errors.S823.format(path=path.parent, reason=reason))
        self._rows = np.empty((0, width), dtype=np.float32)
        if rows:
            self._rows = np.asarray(np.memmap(path, dtype="<f4", mode="r", shape=(rows, width)))

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Rows, shape (rows, width): a view for a slice, a copy for numbers."""
        return self._rows[rows]

    def check(self, checksums: dict[int, int], first: int = 0) -> None:
        """Compare blocks with their checksums.

        checksums (dict[int, int]): CRC-32 by number of the block.
        first (int): The row from whose block on to compare.
        RAISES (ValueError): S823 with the first rows that are not what was written.
        """
        for number in range(first // BLOCK_ROWS, math.ceil(self.rows / BLOCK_ROWS)):
            start = number * BLOCK_ROWS
            block = self._rows[start : start + BLOCK_ROWS]
            if zlib.crc32(block) != checksums.get(number):
                reason = f"{self.path.name} has changed in rows {start:,} to {start + len(block):,}"
                raise ValueError(Errors.S823.format(path=self.path.parent, reason=reason))


def append_rows(path: Path, width: int, rows: int, vectors: np.ndarray, last: int) -> dict[int, int]:
    """Write rows after the committed ones, and bring them to disk. They count when the caller commits them.

    path (Path): The file; it is made when it is not there.
    width (int): Numbers in a row.
    rows (int): Rows that were committed; what follows them is cut off.
    vectors (np.ndarray): The new rows, shape (n, width), float32.
    last (int): Checksum of the last block when that is not full, else 0.
    RETURNS (dict[int, int]): CRC-32 of the blocks that are new or have grown, by number.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(rows * width * 4)
        file.seek(0, os.SEEK_END)
        file.write(memoryview(np.ascontiguousarray(vectors, dtype="<f4")).cast("B") if vectors.size else b"")
        file.flush()
        os.fsync(file.fileno())
    return extend_checksums(rows, vectors, last)


def extend_checksums(rows: int, vectors: np.ndarray, last: int) -> dict[int, int]:
    """Checksums of blocks after rows were added.

    rows (int): Rows before.
    vectors (np.ndarray): The new rows, shape (n, width), float32.
    last (int): Checksum of the last block when that is not full, else 0.
    RETURNS (dict[int, int]): CRC-32 of the blocks that are new or have grown, by number.
    """
    checksums: dict[int, int] = {}
    start = 0
    while start < len(vectors):
        number, filled = divmod(rows + start, BLOCK_ROWS)
        part = np.ascontiguousarray(vectors[start : start + BLOCK_ROWS - filled], dtype="<f4")
        checksums[number] = zlib.crc32(part, last if filled else 0)
        start += len(part)
    return checksums
