"""Replacing files whole: a reader finds the old one or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_in_the_way(folder: Path) -> Path | None:
    """What keeps a folder from being made.

    folder (Path): The folder.
    RETURNS (Optional[Path]): The file that stands in its place, or in that of a folder above it.
    """
    return next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Write a file aside and move it into place when the block ends well.

    path (Path): The file to be; its folder is made.
    YIELDS (Path): Where to write, with the same suffixes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
