"""Inputs of layers that are split over processes, whose gradients are summed while something else is recomputed.

Each process has the gradient of its own part alone. The sum is started when that is known, and waited for when the
first operator reads it. Time between the two costs nothing (Lynx, arXiv 2406.08756): there the region below, whose
backward pass comes next, is recomputed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from .recompute_region import recompute, region_below


def sum_input_gradients(layer: nn.Module, mesh: DeviceMesh) -> None:
    """Let a layer that torch has split by output sum the gradients of its input while something is recomputed.

    torch itself (`ColwiseParallel`) waits for that sum in the node that starts it.

    layer (Module): The layer; its first argument is the same in all processes.
    mesh (DeviceMesh): The processes.
    """
    layer.register_forward_pre_hook(partial(_replicated, mesh), prepend=True)


def _replicated(mesh: DeviceMesh, layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return _Replicated.apply(args[0], mesh), *args[1:]


class _Replicated(torch.autograd.Function):
    """A tensor of all processes as a DTensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mesh: DeviceMesh) -> Tensor:
        from torch.distributed.tensor import DTensor, Replicate

        ctx.below = region_below()
        return DTensor.from_local(x, mesh, [Replicate()], run_check=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from torch.distributed.tensor import Replicate

        total = grad.redistribute(placements=[Replicate()], async_op=True).to_local()
        if ctx.below is not None:
            recompute(ctx.below)
        return total, None
