"""An object store in a folder: objects are put whole, and nothing is renamed, copied, appended to or locked.

Other processes find it as they find one that is installed: by an entry point.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, Any

import pytest
from fsspec import AbstractFileSystem, register_implementation

PACKAGE = "bucket_filesystem-1.dist-info"
ENTRY_POINT = "[fsspec.specs]\nbucket = bucket_filesystem.BucketFileSystem\n"


class BucketFileSystem(AbstractFileSystem):
    """The objects of bucket://NAME are the files below NAME in the folder that BUCKET_ROOT names."""

    protocol = "bucket"

    def ls(self, path: str, detail: bool = True, **more: Any) -> list[Any]:
        here = self._file(path)
        if not here.exists():
            raise FileNotFoundError(path)
        found = [here] if here.is_file() else sorted(here.iterdir())
        root = Path(os.environ["BUCKET_ROOT"])
        entries = [
            {
                "name": entry.relative_to(root).as_posix(),
                "size": entry.stat().st_size,
                "type": "directory" if entry.is_dir() else "file",
            }
            for entry in found
        ]
        return entries if detail else [entry["name"] for entry in entries]

    def put_file(self, lpath: str, rpath: str, *arguments: Any, **more: Any) -> None:
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read())

    def pipe_file(self, path: str, value: bytes, *arguments: Any, **more: Any) -> None:
        # Nobody sees an object before it is whole.
        aside = Path(f"{os.environ['BUCKET_ROOT']}.{os.getpid()}")
        aside.write_bytes(value)
        self._file(path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, self._file(path))

    def rm_file(self, path: str) -> None:
        os.unlink(self._file(path))

    def cp_file(self, path1: str, path2: str, **more: Any) -> None:
        raise NotImplementedError("a bucket renames and copies nothing")

    def _open(self, path: str, mode: str = "rb", *arguments: Any, **more: Any) -> IO[bytes]:
        if mode != "rb":
            raise NotImplementedError("a bucket takes whole objects")
        return open(self._file(path), mode)

    def _file(self, path: str) -> Path:
        return Path(os.environ["BUCKET_ROOT"]) / self._strip_protocol(path)


def install(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Let bucket:// be known to this process and to those that it starts; the folder with the objects."""
    packages, root = folder / "packages", folder / "bucket"
    (packages / PACKAGE).mkdir(parents=True)
    (packages / PACKAGE / "METADATA").write_text("Metadata-Version: 2.1\nName: bucket-filesystem\nVersion: 1\n")
    (packages / PACKAGE / "entry_points.txt").write_text(ENTRY_POINT)
    shutil.copy(__file__, packages)
    root.mkdir()
    patch.setenv("BUCKET_ROOT", str(root))
    patch.setenv("PYTHONPATH", str(packages), prepend=os.pathsep)
    patch.syspath_prepend(packages)
    register_implementation("bucket", BucketFileSystem, clobber=True)
    return root
