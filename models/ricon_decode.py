"""From span scores to entities: which spans are taken, in flat and in nested text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .ricon import RiconOutput

# Token offsets (end exclusive), class from 1, score in (0, 1].
Candidates = np.ndarray
CANDIDATE_TYPE = np.dtype([("start", "i8"), ("end", "i8"), ("type", "i8"), ("score", "f8")])


def candidate_spans(output: RiconOutput, mask: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Spans that are likelier an entity than not, with their type and probability.

    An entity of class c scores log p(c) + beta log sigmoid(m), "no entity" scores log p(0) + beta log sigmoid(-m).

    output (RiconOutput): Scores of B sequences.
    mask (bool, [B, L, W]): Spans that may be taken.
    beta (float): Weight of the agnostic branch; 0 leaves the decision to the aware one.
    RETURNS: places (int64, [N, 3]) as (b, i, w), types (int64, [N]) from 1, scores (float, [N]) in (0, 1]:
        the type's probability, renormalised over the classes with the agnostic branch taken in.
    """
    logits = output.types.float()
    if beta:
        logits = torch.cat(
            [
                logits[..., :1] + beta * F.logsigmoid(-output.bounds.float()).unsqueeze(-1),
                logits[..., 1:] + beta * F.logsigmoid(output.bounds.float()).unsqueeze(-1),
            ],
            dim=-1,
        )
    best, types = logits[..., 1:].max(-1)
    places = ((best > logits[..., 0]) & mask).nonzero()
    b, i, w = places.unbind(1)
    scores = logits[b, i, w].softmax(-1).gather(1, types[b, i, w].unsqueeze(1) + 1).squeeze(1)
    return places, types[b, i, w] + 1, scores


def select_spans(candidates: Candidates, *, nested: bool) -> Candidates:
    """Take spans greedily, best first; flat text allows no overlap, nested text no crossing.

    Ties are broken by the longer span, then the smaller start, then the smaller type, so that the result does
    not depend on the order of the candidates.

    candidates (array of CANDIDATE_TYPE): Candidates of one document.
    nested (bool): Allow spans inside one another.
    RETURNS (array of CANDIDATE_TYPE): The taken spans, by start, then longest first.
    """
    # Only spans that share a token can conflict: looking these up keeps long documents linear.
    holders: defaultdict[int, list[int]] = defaultdict(list)
    order = np.lexsort(
        (
            candidates["type"],
            candidates["start"],
            candidates["start"] - candidates["end"],
            -candidates["score"],
        )
    )
    taken: list[int] = []
    starts, ends = candidates["start"].tolist(), candidates["end"].tolist()
    for k in order.tolist():
        start, end = starts[k], ends[k]
        near = {t for i in range(start, end) if i in holders for t in holders[i]}
        if any(spans_cross(start, end, starts[t], ends[t]) for t in near) if nested else near:
            continue
        taken.append(k)
        for i in range(start, end):
            holders[i].append(k)
    taken.sort(key=lambda t: (starts[t], -ends[t]))
    return candidates[taken]


def span_targets(
    lengths: Sequence[int], spans: Sequence[Sequence[tuple[int, int, int]]], max_width: int, size: int
) -> np.ndarray:
    """Class of every span of the grid, from gold spans.

    lengths (Sequence[int]): Tokens of each of B sequences.
    spans: For each sequence, (start, end exclusive, class from 1); those wider than W do not fit the grid. The class
        -1 marks tokens of which nothing is known: no span that holds one of them is a target, unless it is given.
    max_width (int): W.
    size (int): L.
    RETURNS (int64, [B, L, W]): 0 for no entity, -1 where there is no span.
    """
    ends = np.arange(size)[:, None] + np.arange(max_width)
    grid = np.where(ends < np.asarray(lengths)[:, None, None], 0, -1)
    starts = np.arange(size)[:, None]
    for b, sequence in enumerate(spans):
        for start, end, label in sequence:
            if label < 0:
                grid[b][(starts < end) & (ends >= start)] = label
        for start, end, label in sequence:
            if label > 0 and end - start <= max_width:
                grid[b, start, end - start - 1] = label
    return grid


def spans_cross(start: int, end: int, other_start: int, other_end: int) -> bool:
    """Whether two spans (ends exclusive) are the same, or overlap without one holding the other."""
    same = start == other_start and end == other_end
    return same or start < other_start < end < other_end or other_start < start < other_end < end
