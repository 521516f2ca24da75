"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import Errors, is_coded

# Names that every command which reads a corpus gives its side files.
QUARANTINE = "quarantine.jsonl"
SUMMARY = "run.json"
# Ending of files that are not complete.
ASIDE = ".part"


class AsideFile:
    """A file written under a hidden name in its folder until it is committed.

    Until then, and whatever happens, what stands under the final name stays as it was.

    path (Path): The final name; its folder is made when it is not there.
    folder (Optional[Path]): Where the file is until then, on the same disk; beside its final name by default.
    """

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.path = path
        # No two processes write to the same file, not even of two machines that share the folder.
        # Of a long name the start, or with the rest it would be too long.
        self._aside = (folder or path.parent) / f".{path.name[:32]}.{secrets.token_hex(8)}{ASIDE}"
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file: IO[bytes] = open(self._aside, "wb")  # noqa: SIM115

    def commit(self) -> None:
        """Bring the file to disk and give it its name.

        RAISES (OSError): S511 when that fails.
        """
        with write_errors(self.path):
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            os.replace(self._aside, self.path)
            _sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what was written."""
        # A full disk makes close() fail again, which must not hide the first error.
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self._aside.unlink()


@contextmanager
def write_aside(path: Path, folder: Path | None = None) -> Iterator[IO[bytes]]:
    """Write a file aside; it is committed at the end of the block, or discarded when the block raises.

    path (Path): The final name.
    folder (Optional[Path]): Where the file is until then, as `AsideFile` has it.
    YIELDS (IO[bytes]): The file to write to.
    RAISES (OSError): S511 when it cannot be opened or put in its place.
    """
    aside = AsideFile(path, folder)
    try:
        yield aside.file
        aside.commit()
    except BaseException:
        aside.discard()
        raise


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Name the file in the errors of a block that writes to it.

    path (Path): The final name of the file.
    RAISES (OSError): S511 for any `OSError` of the block that is not of the catalogue.
    """
    try:
        yield
    except OSError as error:
        if is_coded(error):
            raise
        raise OSError(Errors.S511.format(path=path, reason=error.strerror or error)) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; only POSIX systems can open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
