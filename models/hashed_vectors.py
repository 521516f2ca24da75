"""Fixed vectors of tokens in a hashed table of bytes.

A token's vector is the sum of the rows of its word and the mean of the rows of its pieces, after Bojanowski et al. 2017
("Enriching Word Vectors with Subword Information", section 3.2), where a word is one of its pieces; here a known word
outweighs them, which named entities ask for. Rows are stored as int8 with a scale each: a quarter of the bytes of fp32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def hashed_rows(hashes: Tensor, rows: int) -> Tensor:
    """Rows of a table for hashes: 1 to `rows` - 1, and row 0, which is never learnt, for -1 (int64, any shape)."""
    return (hashes % (rows - 1) + 1).masked_fill(hashes < 0, 0)


class HashedVectors(nn.Module):
    """The table, which no optimizer changes.

    rows (int): Rows.
    width (int): D, width of a vector.
    """

    def __init__(self, *, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(rows, width, dtype=torch.int8))
        self.register_buffer("scales", torch.zeros(rows))

    def forward(self, words: Tensor, pieces: Tensor, offsets: Tensor) -> Tensor:
        """Hashes as in `TokenFeatures` -> vectors [U, D]."""
        rows = len(self.codes)
        word = self._read(hashed_rows(words, rows)).sum(1)
        parts = self._read(hashed_rows(pieces, rows))
        return word + F.embedding_bag(torch.arange(len(parts), device=parts.device), parts, offsets, mode="mean")

    def set_table(self, table: Tensor) -> None:
        """Round a table to bytes.

        table (float, [rows, D]): The vectors; row 0 is taken as zero.
        """
        table = table.detach().float().clone()
        table[0] = 0.0
        scales = table.abs().amax(1) / 127
        self.scales.copy_(scales)
        self.codes.copy_((table / scales.clamp_min(1e-12).unsqueeze(1)).round())

    def _read(self, rows: Tensor) -> Tensor:
        return self.codes[rows].float() * self.scales[rows].unsqueeze(-1)
