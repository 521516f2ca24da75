"""Fixed vectors of tokens in a hashed table of bytes.

A token's vector is the mean of the rows of its word and of its pieces (Bojanowski et al. 2017, "Enriching Word Vectors
with Subword Information", section 3.2, with every row hashed), so that a word that was never seen has one too. Rows are
stored as int8 with a scale each: a quarter of the bytes of fp32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def hashed_rows(hashes: Tensor, rows: int) -> Tensor:
    """Rows of a table for hashes: 1 to `rows` - 1, and row 0, which is never learnt, for -1 (int64, any shape)."""
    return (hashes % (rows - 1) + 1).masked_fill(hashes < 0, 0)


def row_counts(pieces: Tensor, offsets: Tensor) -> Tensor:
    """Rows that each token is the mean of, [U, 1]: two of its word, and its pieces."""
    return torch.diff(offsets, append=offsets.new_tensor([len(pieces)])).add(2).unsqueeze(1)


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
        rest = F.embedding_bag(torch.arange(len(parts), device=parts.device), parts, offsets, mode="sum")
        return (word + rest) / row_counts(pieces, offsets)

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
