"""Checkpoints of parallel training: written whole or not at all, checked before anything is loaded.

They are `torch.distributed.checkpoint` folders, whose tensors bear the names of the model, so that any other number of
processes can read them. All processes call these functions together and see the same file system.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from ..errors import Errors, first_line

_SHOWN = 3


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; one that is there is replaced once the new one is complete.

    path (Union[str, Path]): The folder.
    state (dict[str, Any]): Tensors by name. What several processes hold under one name has to be the same.
    """
    path = Path(path)
    part, old = _beside(path, ".part"), _beside(path, ".old")
    if _rank() == 0:
        shutil.rmtree(part, ignore_errors=True)
    _wait()
    with _quiet():
        dcp.save(state, checkpoint_id=part, no_dist=not dist.is_initialized())
    _wait()
    if _rank() == 0:
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
        shutil.rmtree(old, ignore_errors=True)
    _wait()


def load_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Read a checkpoint into the tensors of a state.

    path (Union[str, Path]): The folder.
    state (dict[str, Any]): Tensors of this process by name; together, the processes have every name.
    RAISES (ValueError): S725 when files are missing or cut short, S726 when names or shapes are others; then no
        process has changed anything.
    """
    path = Path(path)
    # A process that died between two renames leaves the checkpoint before under this name.
    path = path if path.exists() else _beside(path, ".old") if _beside(path, ".old").exists() else path
    problem, metadata = _read(path)
    problem = problem or _difference(path, metadata, _gathered({name: tuple(x.shape) for name, x in state.items()}))
    problem = next((found for found in _gathered({"": problem}, join=False) if found), None)
    if problem:
        raise ValueError(problem)
    with _quiet():
        dcp.load(state, checkpoint_id=path, no_dist=not dist.is_initialized())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that one process is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _read(path: Path) -> tuple[str | None, Metadata | None]:
    """What is missing of a checkpoint, and its metadata."""
    try:
        metadata = dcp.FileSystemReader(path).read_metadata()
    except Exception as error:
        reason = ".metadata" if isinstance(error, FileNotFoundError) else f".metadata ({first_line(error)})"
        return Errors.S725.format(path=path, missing=reason), None
    ends: dict[str, int] = {}
    for place in (metadata.storage_data or {}).values():
        ends[place.relative_path] = max(ends.get(place.relative_path, 0), place.offset + place.length)
    short = sorted(name for name, end in ends.items() if not _has(path / name, end))
    return (Errors.S725.format(path=path, missing=_listed(short)) if short else None), metadata


def _has(file: Path, size: int) -> bool:
    return file.exists() and file.stat().st_size >= size


def _difference(path: Path, metadata: Metadata | None, wanted: dict[str, tuple[int, ...]]) -> str | None:
    """How names and shapes differ from those of a checkpoint."""
    found = metadata.state_dict_metadata if metadata else {}
    shapes = {n: tuple(entry.size) for n, entry in found.items() if isinstance(entry, TensorStorageMetadata)}
    kinds = {
        "missing": sorted(wanted.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - wanted.keys()),
        "of another shape": sorted(name for name in wanted.keys() & shapes.keys() if wanted[name] != shapes[name]),
    }
    parts = [f"{_listed(names)} {kind}" for kind, names in kinds.items() if names]
    return Errors.S726.format(path=path, difference="; ".join(parts)) if parts else None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _gathered(mine: dict[str, Any], *, join: bool = True) -> Any:
    """The dicts of all processes as one, or their values in the order of ranks."""
    every = [mine]
    if dist.is_initialized():
        every = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(every, mine)
    if join:
        return {name: value for part in every for name, value in part.items()}
    return [value for part in every for value in part.values()]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()


def named_state(names: dict[str, Tensor], optimizer: dict[Tensor, dict[str, Any]]) -> dict[str, Tensor]:
    """Parameters and buffers with what an optimizer keeps of them, by name.

    names (dict[str, Tensor]): Parameters and buffers.
    optimizer (dict[Tensor, dict[str, Any]]): The optimizer's state by parameter.
    RETURNS (dict[str, Tensor]): "model.NAME" and "optimizer.NAME.KEY".
    """
    state = {f"model.{name}": tensor.detach() for name, tensor in names.items()}
    for name, tensor in names.items():
        for key, value in optimizer.get(tensor, {}).items():
            state[f"optimizer.{name}.{key}"] = value
    return state
