"""Keeping standard input, which can be read only once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from .files import write_aside, write_errors
from .sources import STDIN, Source


def spooled(source: Source, path: Path, *, limit: int | None) -> Source:
    """A source that can be read again: standard input becomes a file, unless it is one already.

    source (Source): Any source.
    path (Path): Where standard input is kept.
    limit (Optional[int]): Lines with text that are needed; the rest is not waited for.
    RETURNS (Source): What to read.
    RAISES (OSError): S511 when the file cannot be written.
    """
    if source.path != STDIN:
        return source
    if not path.is_file():
        with write_aside(path) as file, write_errors(path):
            if limit is None:
                shutil.copyfileobj(sys.stdin.buffer, file)
            else:
                file.writelines(_first(sys.stdin.buffer, limit))
    return replace(source, path=str(path))


def _first(lines: IO[bytes], limit: int) -> Iterator[bytes]:
    for line in lines:
        yield line
        limit -= bool(line.strip())
        if not limit:
            return
