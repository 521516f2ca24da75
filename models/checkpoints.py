"""Checkpoints of a training: written aside and moved into place whole, read without running anything.

A checkpoint is a folder `step-00000100` with `model.safetensors`, `optimizer.safetensors` and `state.json`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import Errors, first_line

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
PREFIX, PARTIAL = "step-", ".partial"


def save_checkpoint(folder: Path, step: int, model: nn.Module, optimizer: Optimizer, state: Any, *, keep: int) -> Path:
    """Write a checkpoint and remove the oldest ones.

    folder (Path): Folder of the checkpoints; it is made.
    step (int): Steps that were taken.
    model (Module): The model.
    optimizer (Optimizer): Its optimizer.
    state (Any): Whatever else is needed to go on; JSON types.
    keep (int): Checkpoints to keep.
    RETURNS (Path): The checkpoint.
    """
    target = folder / f"{PREFIX}{step:08d}"
    partial = target.with_name(f".{target.name}{PARTIAL}")
    for leftover in folder.glob(f".{PREFIX}*{PARTIAL}"):
        shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    tensors, rest = _flatten(optimizer.state_dict())
    save_file({name: value.detach().contiguous() for name, value in model.named_parameters()}, partial / MODEL)
    save_file(tensors, partial / OPTIMIZER)
    (partial / STATE).write_text(json.dumps({"optimizer": rest, "training": state}), encoding="utf-8")
    replace_folder(partial, target)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """RETURNS (list[Path]): The checkpoints in a folder, oldest first; those that were never finished left out."""
    return sorted(path.parent for path in folder.glob(f"{PREFIX}*/{STATE}"))


def read_state(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read the state that was saved beside model and optimizer.

    path (Path): The checkpoint.
    keys (Sequence[str]): What has to be in it.
    RETURNS (dict): The state.
    RAISES (ValueError): S738 when it is missing, damaged or of another version.
    """
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))["training"]
        return {key: state[key] for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ValueError(Errors.S738.format(path=path, reason=first_line(err))) from None


def load_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Read a checkpoint into a model and its optimizer.

    path (Path): The checkpoint.
    model (Module): The model.
    optimizer (Optimizer): Its optimizer.
    RAISES (ValueError): S738 when files are missing or damaged, or weights do not fit.
    """
    try:
        weights, moments = load_file(path / MODEL), load_file(path / OPTIMIZER)
        rest = json.loads((path / STATE).read_text(encoding="utf-8"))["optimizer"]
        parameters = dict(model.named_parameters())
        if parameters.keys() != weights.keys():
            odd = ", ".join(sorted(parameters.keys() ^ weights.keys()))
            raise ValueError(f"weights that are missing or unexpected: {odd}")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])
        optimizer.load_state_dict(_unflatten(moments, rest))
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as err:
        raise ValueError(Errors.S738.format(path=path, reason=first_line(err))) from None


def replace_folder(source: Path, target: Path) -> None:
    """Move a finished folder into place, once its files are on the disk.

    source (Path): The folder.
    target (Path): Its place, on the same disk; what is there is set aside first, and removed at the end.
    """
    for path in source.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of an optimizer's state by parameter and name, and the rest as JSON."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {"param_groups": state["param_groups"], "state": {}}
    for number, entry in state["state"].items():
        plain = rest["state"].setdefault(str(number), {})
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{number}/{name}"] = value.contiguous()
            else:
                plain[name] = value
    return tensors, rest


def _unflatten(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    state = {int(number): dict(plain) for number, plain in rest["state"].items()}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state[int(number)][name] = value
    return {"state": state, "param_groups": rest["param_groups"]}
