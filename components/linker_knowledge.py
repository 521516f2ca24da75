"""The knowledge base of a pipe: opened when it is first asked, saved with the pipe, found again where it was loaded."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..models.kb_store import told
from ..models.knowledge_base import KnowledgeBase
from ..replacing import replace_file

FILE = "knowledge_base.kb"


class LinkerKnowledge:
    """Where the knowledge base of a pipe is, and the knowledge base.

    Pickles by its path, as workers on the same machine need it; `to_bytes` and `copy_to` take its contents along.

    path (Optional[str | Path]): Its file; None to say later.
    name (str): Name of the pipe, for messages.
    """

    def __init__(self, path: str | Path | None, name: str) -> None:
        self.path = None if path is None else Path(path).absolute()
        self.name = name
        self._opened: KnowledgeBase | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name, "_opened": None}

    def open(self) -> KnowledgeBase:
        """The knowledge base.

        RETURNS (KnowledgeBase): It.
        RAISES (ValueError): S932 when there is none, and as `KnowledgeBase`.
        """
        if self._opened is None:
            if self.path is None:
                raise ValueError(Errors.S932.format(name=self.name))
            self._opened = KnowledgeBase(self.path)
        return self._opened

    def set_path(self, path: str | Path) -> None:
        """Use another knowledge base from now on.

        path (str | Path): Its file.
        """
        if self._opened is not None:
            self._opened.close()
        self.path, self._opened = Path(path).absolute(), None

    def copy_to(self, path: Path) -> None:
        """Write a copy; one that is there already under this path stays.

        path (Path): The file to be.
        RAISES (ValueError, OSError): As `KnowledgeBase`, and S906 when it cannot be written.
        """
        source = self.open().path
        if path.exists() and path.samefile(source):
            return
        with replace_file(path) as aside, told(source):
            # A copy by SQLite is whole, even while somebody writes to the source.
            reading = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)
            with closing(reading), closing(sqlite3.connect(aside)) as writing:
                reading.backup(writing)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The whole file; nothing when there is none."""
        if self.path is None:
            return b""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            self.copy_to(path)
            return path.read_bytes()

    def from_bytes(self, data: bytes) -> None:
        """Use the knowledge base that was saved; its file lives as long as this object.

        data (bytes): What `to_bytes` gave.
        """
        if data:
            folder = tempfile.mkdtemp(prefix="samarkand-")
            weakref.finalize(self, _remove, folder, os.getpid())
            path = Path(folder) / FILE
            path.write_bytes(data)
            self.set_path(path)


def _remove(folder: str, process: int) -> None:
    # A forked worker has the object too, and its file is not its own.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
