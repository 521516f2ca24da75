"""A folder of an object store, or of any other file system that fsspec knows: whole files go there and come back.

An object appears whole or not at all and cannot be renamed or appended to, so nothing else is asked of a store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Errors, first_line
from .sources import UsageError

# Letters of drives are no protocols; fsspec writes one file system inside another as in zip::s3://.
URL = re.compile(r"((?:[A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
# Protocols of folders of this machine, and of what no other process sees.
LOCAL, PRIVATE = ("file", "local"), "memory"
# What fsspec takes for patterns, and for more than one file system.
UNUSABLE = re.compile(r"[*?\[]|::")


def output_place(output: str | Path) -> str:
    """What the user called the output, in the form that the rest relies on.

    output (str | Path): A folder, or a URL.
    RETURNS (str): The path of a folder, also for file://, or a URL without a slash at its end.
    """
    found = URL.fullmatch(str(output)) if isinstance(output, str) else None
    if found is None:
        return str(Path(output))
    protocol, rest = found.groups()
    return str(Path(rest)) if protocol in LOCAL else f"{protocol}://{rest.rstrip('/')}"


def is_url(place: str) -> bool:
    """RETURNS (bool): Whether an output lies in a store."""
    return URL.fullmatch(place) is not None


def is_usable(place: str) -> bool:
    """RETURNS (bool): Whether the URL of an output names one folder."""
    found = URL.fullmatch(place)
    return found is not None and bool(found[2]) and not UNUSABLE.search(place)


def is_private(place: str) -> bool:
    """RETURNS (bool): Whether an output lies in the memory of this process."""
    found = URL.fullmatch(place)
    return found is not None and found[1] == PRIVATE


class Store:
    """The folder; files are named by their path below it.

    url (str): Its URL.
    RAISES (UsageError): S551 when fsspec cannot open it. All methods raise OSError S552 when something cannot be
        written or removed, S553 when it cannot be read.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        try:
            self._files, root = url_to_fs(url)
        except Exception as error:  # each file system has its own
            raise UsageError(Errors.S551.format(url=url, reason=first_line(error))) from error
        self._root = root.rstrip("/")

    def sizes(self, folder: str = "") -> dict[str, int]:
        """RETURNS (dict[str, int]): The files below a folder, with their bytes."""
        with self._errors(Errors.S553, folder):
            try:
                found = self._files.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        return {path.removeprefix(self._root).lstrip("/"): info.get("size") or 0 for path, info in found.items()}

    def read(self, name: str) -> bytes | None:
        """RETURNS (bytes | None): A file; None when there is none."""
        with self._errors(Errors.S553, name), suppress(FileNotFoundError):
            return self._files.cat_file(self._path(name))
        return None

    def get(self, name: str, path: Path) -> bool:
        """Bring a file to this machine.

        name (str): The file.
        path (Path): Where to; its folder is made.
        RETURNS (bool): Whether there was such a file.
        """
        with self._errors(Errors.S553, name), suppress(FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(self._path(name), str(path))
            return True
        return False

    def get_all(self, names: list[str], folder: Path) -> None:
        """Bring files to this machine, many at once where the file system can.

        names (list[str]): The files.
        folder (Path): Where to; they have the same names below it.
        """
        if not names:
            return
        with self._errors(Errors.S553, ""):
            self._files.get([self._path(name) for name in names], [str(folder / name) for name in names])

    def put(self, path: Path, name: str) -> None:
        """Write a file, or replace one.

        path (Path): What to write.
        name (str): The file.
        """
        with self._errors(Errors.S552, name):
            self._files.put_file(str(path), self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, or replace one.

        name (str): The file.
        content (bytes): What to write.
        """
        with self._errors(Errors.S552, name):
            self._files.pipe_file(self._path(name), content)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, many at once where the file system can; those that are gone do no harm."""
        paths = [self._path(name) for name in names]
        if not paths:
            return
        with self._errors(Errors.S552, ""):
            try:
                self._files.rm(paths)
            except FileNotFoundError:  # and some of the others may still be there
                for path in paths:
                    with suppress(FileNotFoundError):
                        self._files.rm_file(path)

    def address(self, name: str) -> str:
        """RETURNS (str): URL of a file."""
        return f"{self.url}/{name}" if name else self.url

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _errors(self, message: str, name: str) -> Iterator[None]:
        """Name the file in errors, which each file system has of its own types."""
        # What was listed before may have been changed by others.
        self._files.invalidate_cache()
        try:
            yield
        except Exception as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise OSError(message.format(url=self.address(name), reason=reason)) from error
