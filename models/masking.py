"""Masked language modelling: whole words, or spans of whole words, are hidden and asked for.

Devlin et al. 2019 (https://aclanthology.org/N19-1423) with whole words, and the spans of geometric length of
SpanBERT (Joshi et al. 2020, https://aclanthology.org/2020.tacl-1.5). All on the device, in shapes that depend on
nothing but the batch's, so that a compiled step is compiled once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .settings import require
from .vocabulary import MASK, SPECIALS

IGNORED = -100


@dataclass(frozen=True)
class MaskingSettings:
    """What to hide.

    rate (float): Share of the pieces to hide. Each row hides whole words up to it, so that it is never exceeded.
    mean_span (float): Mean length of the spans, in words; 1 hides single words.
    masked (float): Share of the hidden pieces that become `<mask>`.
    random (float): Share of them that become any other piece; the rest stay as they are, and are asked for too.
    """

    rate: float = 0.2
    mean_span: float = 1.5
    masked: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.rate < 1, "masking.rate", self.rate, "between 0 and 1")
        require(self.mean_span >= 1, "masking.mean_span", self.mean_span, "1 or more")
        require(self.masked >= 0, "masking.masked", self.masked, "0 or more")
        fits = 0 <= self.random <= 1 - self.masked
        require(fits, "masking.random", self.random, "from 0 to 1 less the share `masked`")

    def most(self, length: int) -> int:
        """RETURNS (int): Most pieces that are asked for in a row of so many."""
        return math.ceil(self.rate * length)


@dataclass(frozen=True)
class MaskedBatch:
    """Pieces of which some are hidden; M = most pieces asked for in a row.

    inputs (int64, [B, L]): The pieces to read.
    positions (int64, [B, M]): Positions that are asked for; a row that asks for less has others at its end.
    labels (int64, [B, M]): The pieces that stood there, `IGNORED` where nothing is asked.
    """

    inputs: Tensor
    positions: Tensor
    labels: Tensor

    def rows(self, chosen: slice | Tensor) -> MaskedBatch:
        """RETURNS (MaskedBatch): Some of the rows."""
        return MaskedBatch(self.inputs[chosen], self.positions[chosen], self.labels[chosen])

    @property
    def asked(self) -> Tensor:
        """RETURNS (Tensor): Whether something is asked at a position. bool, [B, M]"""
        return self.labels != IGNORED


class WordMasker:
    """Hides words of packed sequences.

    opens (bool, [vocabulary]): Whether a piece begins a word.
    closes (bool, [vocabulary]): Whether the piece after it begins one.
    settings (MaskingSettings): What to hide.
    device (device): Where the batches are.
    """

    def __init__(self, opens: np.ndarray, closes: np.ndarray, settings: MaskingSettings, device: torch.device) -> None:
        self._opens = torch.from_numpy(opens).to(device)
        self._closes = torch.from_numpy(closes).to(device)
        self.settings = settings

    def mask(self, ids: Tensor, generator: torch.Generator) -> MaskedBatch:
        """Hide words.

        ids (int64, [B, L]): The pieces; special ones are never hidden.
        generator (Generator): Source of chance, on the device of the pieces.
        RETURNS (MaskedBatch): The batch.
        """
        is_special = ids < len(SPECIALS)
        starts = self._opens[ids]
        starts[:, 1:] |= self._closes[ids[:, :-1]]
        starts[:, 0] = True
        order = self._order(ids, starts, is_special, generator)
        # In this order the pieces of a word stand together: take whole words while they fit.
        ends = torch.nn.functional.pad(starts.gather(1, order)[:, 1:], (0, 1), value=True)
        rank = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        budget = (~is_special).sum(1, keepdim=True) * self.settings.rate
        taken = torch.where(ends & (rank <= budget), rank, 0).amax(1, keepdim=True)
        most = self.settings.most(ids.shape[1])
        positions, is_asked = order[:, :most], rank[:most] <= taken
        originals = ids.gather(1, positions)
        hidden = torch.where(is_asked, self._replace(originals, generator), originals)
        return MaskedBatch(ids.scatter(1, positions, hidden), positions, originals.masked_fill(~is_asked, IGNORED))

    def _order(self, ids: Tensor, starts: Tensor, is_special: Tensor, generator: torch.Generator) -> Tensor:
        """Positions, span after span in random order, special pieces last; each span is in reading order."""
        # A span ends after each word with one chance, which makes its length geometric.
        chance = torch.rand(ids.shape, generator=generator, device=ids.device)
        breaks = starts & (chance * self.settings.mean_span < 1)
        breaks |= is_special
        breaks[:, 1:] |= is_special[:, :-1]
        span = breaks.cumsum(1)
        score = torch.rand((len(ids), ids.shape[1] + 1), generator=generator, device=ids.device).gather(1, span)
        return score.masked_fill(is_special, 2.0).argsort(dim=1, stable=True)

    def _replace(self, originals: Tensor, generator: torch.Generator) -> Tensor:
        chance = torch.rand(originals.shape, generator=generator, device=originals.device)
        others = torch.rand(originals.shape, generator=generator, device=originals.device)
        others = (others * (len(self._opens) - len(SPECIALS))).long() + len(SPECIALS)
        masked, random = self.settings.masked, self.settings.random
        return torch.where(chance < masked, MASK, torch.where(chance < masked + random, others, originals))
