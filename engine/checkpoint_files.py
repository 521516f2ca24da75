"""The files of a `torch.distributed.checkpoint` folder: checked for damage, and read without running anything."""

from __future__ import annotations

import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

SUMS = "checksums.json"
_CHUNK = 2**22
_METADATA = "torch.distributed.checkpoint.metadata"
# What torch names in its metadata, dtypes apart.
_NAMED = {
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    *((_METADATA, name) for name in ("ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta")),
    *((_METADATA, name) for name in ("TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING")),
}


class CheckpointReader(dcp.FileSystemReader):
    """Reads a checkpoint. Its metadata are a pickle, in which nothing but what torch writes there is allowed.

    path (Path): The folder.
    metadata (Optional[Metadata]): Its metadata, if they were read before.
    """

    def __init__(self, path: Path, metadata: Metadata | None = None) -> None:
        super().__init__(path)
        self._known = metadata

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """RETURNS (Metadata): The metadata; UnpicklingError when they name anything else."""
        if self._known is None:
            with (Path(self.path) / ".metadata").open("rb") as file:
                self._known = _Unpickler(file).load()
            self._known.storage_meta = self._known.storage_meta or StorageMeta()
            self._known.storage_meta.load_id = self.load_id
        return self._known


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _NAMED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which has no place in it")


def write_sums(folder: Path) -> None:
    """Write checksums of all files, once these are on the disk.

    folder (Path): The folder of a checkpoint that is complete.
    """
    sums = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sums[path.name] = _sum(path)
    # Its own sum too: a wrong digit in this file would else be told as damage of another.
    sums[SUMS] = _sum_of_sums(sums)
    with (folder / SUMS).open("w", encoding="utf-8") as file:
        json.dump(sums, file)
        file.flush()
        os.fsync(file.fileno())


def damaged_files(folder: Path, part: int = 0, parts: int = 1) -> list[str]:
    """Names of files that are missing or are not what was written.

    folder (Path): The folder.
    part (int): Which part of the files to check.
    parts (int): How many parts there are, one for each process.
    RETURNS (list[str]): The names, in order; the file of checksums itself when it is damaged.
    """
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        intact = sums.pop(SUMS) == _sum_of_sums(sums)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        intact = False
    if not intact:
        return [SUMS]
    names = sorted(sums)[part::parts]
    return [name for name in names if not (folder / name).is_file() or _sum(folder / name) != sums[name]]


def _sum_of_sums(sums: dict[str, int]) -> int:
    return zlib.crc32(json.dumps(sums, sort_keys=True).encode())


def _sum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
