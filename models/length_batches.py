"""Batches of texts of like length, which need little padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

# Batches that are sorted together: more make batches more even in length, and less random.
POOL = 64


class LengthBatchSampler(DefaultBatchSampler):
    """Random batches whose texts are of like length, in random order. Each row comes once an epoch.

    dataset (Dataset): The rows.
    lengths (np.ndarray): Length of each row, shape (rows,).
    settings: As `DefaultBatchSampler` takes them; the last batch is dropped where it is not full.
    """

    def __init__(self, dataset: Any, *, lengths: np.ndarray, **settings: Any) -> None:
        super().__init__(dataset, **settings | {"drop_last": True})
        self.lengths = torch.from_numpy(np.asarray(lengths))

    def __iter__(self) -> Iterator[list[int]]:
        """YIELDS (list[int]): The rows of a batch."""
        chance = torch.Generator().manual_seed(self.seed + self.epoch)
        rows = torch.randperm(len(self.lengths), generator=chance)[: len(self) * self.batch_size]
        pools = rows.split(POOL * self.batch_size)
        rows = torch.cat([pool[self.lengths[pool].argsort(stable=True)] for pool in pools])
        batches = rows.split(self.batch_size)
        for i in torch.randperm(len(batches), generator=chance).tolist():
            yield batches[i].tolist()

    def __len__(self) -> int:
        """RETURNS (int): Batches of an epoch."""
        return len(self.lengths) // self.batch_size
