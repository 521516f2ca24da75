"""The ranks of a training: one process, or those that `torchrun` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among its fellows.

    rank (int): Its number.
    world (int): How many there are.
    device (device): Its device.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """RETURNS (bool): Whether this one writes files."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """RETURNS (Tensor): The sum over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def any(self, value: bool) -> bool:
        """RETURNS (bool): Whether the value is true in any rank."""
        return bool(self.sum(torch.tensor(int(value), device=self.device))) if self.world > 1 else value

    def from_first(self, value: float) -> float:
        """RETURNS (float): The value of the first rank."""
        if self.world == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return shared.item()

    def wait(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the process group that the environment tells of, and leave it at the end.

    YIELDS (Ranks): This process; alone without `torchrun`.
    """
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if world > 1:
        if device.type == "cuda":
            dist.init_process_group("nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
    try:
        yield Ranks(rank, world, device)
    finally:
        if world > 1:
            dist.destroy_process_group()
