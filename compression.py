"""Opening plain and compressed files as streams of bytes, such that a file cut short is an error."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
import zlib
from typing import IO, Any

CHUNK = 2**16
# Compressed bytes that zstd gets at once: it returns all that is in them, up to some 32 KB for each byte.
ZSTD_CHUNK = 2**10
# Names of the formats, as `open_compressed` has them, by the ending of a file.
COMPRESSIONS = {".gz": "gz", ".xz": "xz", ".zst": "zst"}


def open_compressed(path: str, compression: str) -> IO[bytes]:
    """Open a file for reading its decompressed bytes.

    path (str): The file.
    compression (str): "gz", "xz", "zst" or "" for a plain file.
    RETURNS (IO[bytes]): A stream that can be iterated by lines; the caller closes it.
    RAISES (EOFError): While reading, when the compressed data stop early.
    """
    if compression == "gz":
        return gzip.open(path, "rb")
    if compression == "xz":
        return lzma.open(path, "rb")
    if compression == "zst":
        return io.BufferedReader(ZstdReader(path), CHUNK)
    return open(path, "rb")


def damage_errors() -> tuple[type[Exception], ...]:
    """What reading raises when compressed data are damaged or cut short.

    RETURNS (tuple[type[Exception], ...]): The errors of the formats that have been opened so far.
    """
    errors: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)
    return (*errors, sys.modules["zstandard"].ZstdError) if "zstandard" in sys.modules else errors


class ZstdReader(io.RawIOBase):
    """Decompressed bytes of a .zst file of one or many frames.

    The stream reader of `zstandard` ends without an error when a frame is cut short; this one does not.

    path (str): The file.
    """

    def __init__(self, path: str) -> None:
        import zstandard

        self._context = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._pending = memoryview(b"")
        self._compressed = b""
        self._file = open(path, "rb")  # noqa: SIM115

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            self._compressed = self._compressed or self._file.read(ZSTD_CHUNK)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the compressed file ended before its end-of-stream marker was reached")
                return 0
            if self._frame is None:
                self._frame = self._context.decompressobj()
            self._pending = memoryview(self._frame.decompress(self._compressed))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
