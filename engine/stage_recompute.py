"""Recomputation of a pipeline stage: how much of it, from the stage's own free memory, and the means to do it.

A stage of n blocks whose activations take A_full bytes, and A_kept when only the blocks' inputs are kept, holds
    peak = in_flight ((1 - r) A_full + r A_kept) + static
and r is the least share of its blocks for which that is within the budget. Early stages have more micro-batches in
flight, so r falls from stage to stage (Merak, arXiv 2206.04959, has a fixed formula for that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint
from torch.utils.checkpoint import checkpoint

from .graph_costs import Unit
from .recompute_region import enter_region
from .schedule_simulator import StageTimes

# Since torch 2.9; without it nothing can be recomputed before a backward pass begins.
_Group = getattr(torch.utils.checkpoint, "GraphExecGroup", None)


def stage_times(
    units: Sequence[Unit], in_flight: int, static: float, budget: float, *, may_recompute: bool = True
) -> tuple[StageTimes, int]:
    """Times and bytes of a stage that recomputes as few of its last blocks as its memory allows.

    units (Sequence[Unit]): The stage.
    in_flight (int): Micro-batches held at once.
    static (float): Bytes that are always held.
    budget (float): Bytes that there are.
    may_recompute (bool): False keeps everything.
    RETURNS (tuple[StageTimes, int]): The stage, and how many blocks it recomputes. Its peak may pass the budget still.
    """
    blocks = [unit for unit in units if unit.block]
    held = float(sum(unit.inputs + unit.saved for unit in units))
    rebuilt = recompute = 0.0
    count = 0
    while may_recompute and count < len(blocks) and in_flight * held + rebuilt + static > budget:
        count += 1
        held -= blocks[-count].saved
        rebuilt += blocks[-count].saved
        recompute += blocks[-count].forward
    forward, backward = sum(unit.forward for unit in units), sum(unit.backward for unit in units)
    return StageTimes(forward, backward, recompute, 0.0, held, rebuilt, static), count


def run_recomputed(function: Callable[..., Any], *values: Any) -> tuple[Any, Any]:
    """Call a function and keep only its arguments.

    function (Callable): Of tensors; what is random in it comes out the same again.
    values (Any): Its arguments.
    RETURNS (tuple[Any, Any]): Its result, and what `recompute_now` takes, or None.
    """
    entrances: list[Any] = []
    result = checkpoint(partial(enter_region, function, entrances), *values, use_reentrant=False)
    return result, entrances[0] if entrances else None


def recompute_now(entrances: Sequence[Any]) -> AbstractContextManager:
    """Recompute before the backward pass begins.

    entrances (Sequence[Any]): Of `run_recomputed`.
    RETURNS (ContextManager): In which the backward pass uses what was recomputed, rather than do it again.
    """
    if _Group is None or not entrances:
        return nullcontext()
    group = _Group()
    with group:
        for entrance in entrances:
            _ = entrance.saved_tensors
    return group
