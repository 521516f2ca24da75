"""Recomputation of a pipeline stage: how much of it, from the stage's own free memory, and the means to do it.

A stage of n blocks whose activations take A_full bytes, and A_kept when only the blocks' inputs are kept, holds
    peak = in_flight ((1 - r) A_full + r A_kept) + rebuilt + static
and r is the least share of its blocks for which that is within the budget. What is rebuilt at once is one block, two
where one is recomputed while the one above it sums a gradient, or all r n of them where the schedule recomputes ahead
of the gradient. Early stages have more micro-batches in flight, so r falls from stage to stage (Merak, arXiv
2206.04959, has a fixed formula for that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint
from torch.utils.checkpoint import checkpoint

from .graph_costs import Unit
from .recompute_region import enter_region, recompute
from .schedule_simulator import StageTimes

# Since torch 2.9; without it nothing can be recomputed before a backward pass begins.
_Group = getattr(torch.utils.checkpoint, "GraphExecGroup", None)


@dataclass(frozen=True)
class Room:
    """What a stage may hold.

    in_flight (int): Micro-batches held at once.
    copies (float): Bytes that are always held, for each byte of weights.
    budget (float): Bytes that there are.
    may_recompute (bool): False keeps everything.
    ahead (bool): All of a stage is recomputed before a backward pass begins, and not block after block within it.
    early (bool): Otherwise, a block is recomputed when the backward pass of the one above it is not yet done.
    """

    in_flight: int
    copies: float
    budget: float
    may_recompute: bool = True
    ahead: bool = False
    early: bool = False


class GrowingStage:
    """A stage to which units are added, and that recomputes as few of its last blocks as its room allows.

    More units need no less memory, so what is recomputed stays so: adding all units takes time linear in them.

    room (Room): What it may hold; its peak may pass the budget when all blocks are recomputed.
    count (int): Blocks that it recomputes.
    """

    def __init__(self, room: Room) -> None:
        self.room, self.count = room, 0
        self._forward = self._backward = self._recompute = 0.0
        self._held = self._rebuilt = self._weights = 0
        self._largest: list[int] = []
        self._names: set[str] = set()
        self._kept: list[Unit] = []

    @property
    def over(self) -> float:
        """RETURNS (float): Bytes that its peak is over the budget, 0 if it is not."""
        room = self.room
        peak = room.in_flight * self._held + self._rebuilt + room.copies * self._weights
        return max(0.0, peak - room.budget)

    @property
    def seconds(self) -> float:
        """RETURNS (float): Time of a micro-batch."""
        return self._forward + self._backward + self._recompute

    def add(self, unit: Unit) -> None:
        """Add a unit at the end.

        unit (Unit): The unit; a parameter that units share counts once.
        """
        self._forward += unit.forward
        self._backward += unit.backward
        self._held += unit.inputs + unit.saved
        for name, size in unit.parameters.items():
            if name not in self._names:
                self._names.add(name)
                self._weights += size
        if unit.block and self.count:
            self._give_up(unit)
        elif unit.block:
            self._kept.append(unit)
        while self.room.may_recompute and self._kept and self.over > 0:
            self._give_up(self._kept.pop())

    def times(self) -> StageTimes:
        """RETURNS (StageTimes): The stage as it is, without a link."""
        return StageTimes(
            self._forward, self._backward, self._recompute, 0.0,
            float(self._held), float(self._rebuilt), self.room.copies * self._weights,
        )  # fmt: skip

    def _give_up(self, block: Unit) -> None:
        """Recompute a block."""
        self.count += 1
        self._held -= block.saved
        self._recompute += block.forward
        if self.room.early and self.count > 1:
            self._recompute -= block.hidden
        self._largest = sorted((*self._largest, block.saved))[-1 - self.room.early :]
        self._rebuilt = self._rebuilt + block.saved if self.room.ahead else sum(self._largest)


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
            recompute(entrance)
    return group
