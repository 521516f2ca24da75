"""Raw text as token ids over a lexicon, which pretraining reads (written by `corpora.pretraining`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .subword_features import FeatureTable


@dataclass
class TokenCorpus:
    """Lines of tokens as ids over a lexicon sorted by falling frequency.

    tokens (list[str]): The lexicon.
    ids (int32, [N]): Ids of all lines after one another.
    ends (int64, [lines]): Where each line ends in `ids`.
    """

    tokens: list[str]
    ids: np.ndarray
    ends: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> TokenCorpus:
        """Read what `corpora.pretraining` wrote."""
        tokens = (folder / "tokens.txt").read_text(encoding="utf-8").split("\n")
        return cls(tokens, np.load(folder / "ids.npy"), np.load(folder / "ends.npy"))

    def features(self) -> FeatureTable:
        """Features of the whole lexicon; places are ids."""
        table = FeatureTable()
        for token in self.tokens:
            table.add(token, token)
        return table

    def batches(self, rng: np.random.Generator, batch_tokens: int, longest: int = 128) -> Iterator[Tensor]:
        """Padded batches of lines of like length, without end: int64 [B, L], -1 for padding."""
        lines = np.stack([np.concatenate([[0], self.ends[:-1]]), self.ends], axis=1)
        while True:
            pieces = [
                (start, min(start + longest, end))
                for begin, end in lines[rng.permutation(len(lines))].tolist()
                for start in range(begin, end, longest)
            ]
            for first in range(0, len(pieces), 4096):
                group = sorted(pieces[first : first + 4096], key=lambda piece: piece[1] - piece[0])
                batches = list(_fill(group, batch_tokens))
                for k in rng.permutation(len(batches)):
                    yield self._pad(batches[k])

    def _pad(self, pieces: list[tuple[int, int]]) -> Tensor:
        size = max(end - start for start, end in pieces)
        batch = np.full((len(pieces), size), -1, dtype=np.int64)
        for row, (start, end) in zip(batch, pieces):
            row[: end - start] = self.ids[start:end]
        return torch.from_numpy(batch)


def _fill(pieces: list[tuple[int, int]], batch_tokens: int) -> Iterator[list[tuple[int, int]]]:
    batch: list[tuple[int, int]] = []
    for piece in pieces:
        if batch and (len(batch) + 1) * (piece[1] - piece[0]) > batch_tokens:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch
