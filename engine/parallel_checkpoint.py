"""Checkpoints of parallel training: written whole or not at all, checked before anything is loaded.

They are `torch.distributed.checkpoint` folders, whose tensors bear the names of the model, so that any other number of
processes can read them; what no tensor can say is written as several, NAME/PART. All processes call these functions
together and see the same file system.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.optim import Optimizer

from ..errors import Errors, first_line
from .adapprox import Adapprox
from .checkpoint_files import CheckpointReader, damaged_files, write_sums
from .moment_shards import MomentShards, whole_shape

State = dict[str, Tensor | MomentShards]
SETTINGS = "settings.json"
_SHOWN = 3
# Settings of an optimizer that a checkpoint keeps.
_PLAIN = (bool, int, float, str, tuple)


def save_checkpoint(path: str | Path, state: dict[str, Tensor], settings: dict[str, Any]) -> None:
    """Write a checkpoint; one that is there is replaced once the new one is complete.

    path (Union[str, Path]): The folder.
    state (dict[str, Tensor]): Of `in_tensors`. What several processes hold under one name has to be the same.
    settings (dict[str, Any]): Whatever else is needed, the same in all processes, in JSON types: "optimizer", of
        `optimizer_settings`, among it.
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
        (part / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
        write_sums(part)
        if path.exists():
            # Without it, the old one is all there is until the new one has its place.
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(part, path)
        shutil.rmtree(old, ignore_errors=True)
    _wait()


def load_checkpoint(path: str | Path, state: State) -> dict[str, Any]:
    """Read a checkpoint into a state.

    path (Union[str, Path]): The folder.
    state (dict[str, Union[Tensor, MomentShards]]): What this process has by name; together, the processes have every
        name. What an optimizer has of parameters that never had a gradient when it was saved stays as it is.
    RETURNS (dict[str, Any]): The settings that were saved with it.
    RAISES (ValueError): S725 when files are missing or damaged, S726 when names or shapes are others; then no process
        has changed anything.
    """
    path = Path(path)
    # A process that died between two renames leaves the checkpoint before under this name.
    path = path if path.exists() else _beside(path, ".old") if _beside(path, ".old").exists() else path
    problem, metadata, settings = _read(path)
    idle = tuple(f"optimizer.{name}." for group in settings.get("optimizer", ()) for name in group["idle"])
    state = {name: value for name, value in state.items() if not name.startswith(idle)}
    shards = {name: value for name, value in state.items() if isinstance(value, MomentShards)}
    wanted = _gathered({name: tuple(value.shape) for name, value in state.items()})
    in_parts = _gathered(dict.fromkeys(shards))
    problem = problem or _difference(path, metadata, wanted, in_parts)
    problem = next((found for found in _gathered({"": problem}, join=False) if found), None)
    if problem:
        raise ValueError(problem)
    with _quiet():
        tensors = {name: value for name, value in state.items() if name not in shards}
        dcp.load(tensors, storage_reader=CheckpointReader(path, metadata), no_dist=not dist.is_initialized())
        # Which parts a process needs, and how many, is its own affair: it reads them alone, and frees them again.
        parts = _parts(metadata, shards)
        for name, value in shards.items():
            value.load(parts[name], partial(_read_parts, path, metadata, name))
    return settings


def in_tensors(state: State) -> dict[str, Tensor]:
    """A state as tensors alone.

    state (dict[str, Union[Tensor, MomentShards]]): The state.
    RETURNS (dict[str, Tensor]): The same, with "NAME/PART" for each part of this process.
    """
    tensors = {}
    for name, value in state.items():
        if isinstance(value, MomentShards):
            tensors |= {f"{name}/{part}": tensor for part, tensor in value.parts().items()}
        else:
            tensors[name] = value
    return tensors


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that one process is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _read(path: Path) -> tuple[str | None, Metadata | None, dict[str, Any]]:
    """What is missing of a checkpoint or damaged, as far as this process looks, its metadata and its settings."""
    damaged = damaged_files(path, _rank(), dist.get_world_size() if dist.is_initialized() else 1)
    if damaged:
        return Errors.S725.format(path=path, missing=_listed(damaged)), None, {}
    name = SETTINGS
    try:
        settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        name = ".metadata"
        return None, CheckpointReader(path).read_metadata(), settings
    except Exception as error:
        return Errors.S725.format(path=path, missing=f"{name} ({first_line(error)})"), None, {}


def _difference(
    path: Path, metadata: Metadata, wanted: dict[str, tuple[int, ...]], in_parts: Collection[str]
) -> str | None:
    """How names and shapes differ from those of a checkpoint."""
    found = metadata.state_dict_metadata
    shapes = {n: tuple(entry.size) for n, entry in found.items() if isinstance(entry, TensorStorageMetadata)}
    parts = _parts(metadata, in_parts)
    shapes = {name: shape for name, shape in shapes.items() if name.rpartition("/")[0] not in parts}
    shapes |= {name: whole_shape(of_it) for name, of_it in parts.items()}
    kinds = {
        "missing": sorted(wanted.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - wanted.keys()),
        "of another shape": sorted(name for name in wanted.keys() & shapes.keys() if wanted[name] != shapes[name]),
    }
    texts = [f"{_listed(names)} {kind}" for kind, names in kinds.items() if names]
    return Errors.S726.format(path=path, difference="; ".join(texts)) if texts else None


def _parts(metadata: Metadata, owners: Collection[str]) -> dict[str, list[str]]:
    """Parts that a checkpoint has of what is written in parts."""
    parts: dict[str, list[str]] = {}
    for name in metadata.state_dict_metadata:
        owner, _, part = name.rpartition("/")
        if owner in owners:
            parts.setdefault(owner, []).append(part)
    return parts


def _read_parts(path: Path, metadata: Metadata, name: str, parts: list[str]) -> dict[str, Tensor]:
    entries = {part: metadata.state_dict_metadata[f"{name}/{part}"] for part in parts}
    tensors = {part: torch.empty(entry.size, dtype=entry.properties.dtype) for part, entry in entries.items()}
    state = {f"{name}/{part}": tensor for part, tensor in tensors.items()}
    dcp.load(state, storage_reader=CheckpointReader(path, metadata), no_dist=True)
    return tensors


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


def named_state(names: dict[str, Tensor], optimizer: Optimizer) -> State:
    """Parameters and buffers with what an optimizer keeps of them, by name.

    names (dict[str, Tensor]): Parameters and buffers.
    optimizer (Optimizer): The optimizer.
    RETURNS (dict[str, Union[Tensor, MomentShards]]): "model.NAME" and "optimizer.NAME.KEY".
    """
    state: State = {f"model.{name}": tensor.detach() for name, tensor in names.items()}
    for name, tensor in names.items():
        state |= {f"optimizer.{name}.{key}": value for key, value in _kept(optimizer, tensor).items()}
    return state


def _kept(optimizer: Optimizer, tensor: Tensor) -> State:
    if isinstance(optimizer, Adapprox):
        return optimizer.checkpoint_state(tensor)
    return optimizer.state.get(tensor, {})


def optimizer_settings(names: dict[str, Tensor], optimizer: Optimizer) -> list[dict[str, Any]]:
    """Settings of an optimizer, of all processes together.

    names (dict[str, Tensor]): Parameters and buffers of this process.
    optimizer (Optimizer): The optimizer.
    RETURNS (list[dict[str, Any]]): "settings" with the names of their "parameters", and those of these that never had a
        gradient ("idle"), of which the optimizer keeps nothing.
    """
    mine = {}
    for name, group in _groups(names, optimizer).items():
        plain = {key: value for key, value in group.items() if isinstance(value, _PLAIN)}
        mine[name] = json.dumps(plain, sort_keys=True), not _kept(optimizer, names[name])
    every: dict[str, tuple[str, bool]] = _gathered(mine)
    # Of an optimizer without a state, nothing would tell the two apart.
    keeps = not all(is_idle for _, is_idle in every.values())
    found: dict[str, dict[str, Any]] = {}
    for name, (plain, is_idle) in sorted(every.items()):
        entry = found.setdefault(plain, {"settings": json.loads(plain), "parameters": [], "idle": []})
        entry["parameters"].append(name)
        if is_idle and keeps:
            entry["idle"].append(name)
    return list(found.values())


def restore_settings(names: dict[str, Tensor], optimizer: Optimizer, saved: list[dict[str, Any]]) -> None:
    """Give the groups of an optimizer the settings that their parameters had, and forget what it keeps of idle ones.

    names (dict[str, Tensor]): Parameters and buffers of this process.
    optimizer (Optimizer): The optimizer, with the state of the checkpoint.
    saved (list[dict[str, Any]]): Of `optimizer_settings`.
    """
    settings = {name: entry["settings"] for entry in saved for name in entry["parameters"]}
    for name, group in _groups(names, optimizer).items():
        # JSON makes lists of tuples.
        group |= {k: tuple(v) if isinstance(v, list) else v for k, v in settings[name].items() if k in group}
    for name in (name for entry in saved for name in entry["idle"] if name in names):
        optimizer.state.pop(names[name], None)


def _groups(names: dict[str, Tensor], optimizer: Optimizer) -> dict[str, dict[str, Any]]:
    """The group of each parameter by name."""
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return {name: groups[id(tensor)] for name, tensor in names.items() if id(tensor) in groups}
