"""The likelihood of a flat text's whole segmentation, from the scores of its spans.

A semi-Markov model (Sarawagi and Cohen 2004, "Semi-Markov Conditional Random Fields", section 2.2) without transitions:
a segmentation cuts the text into entities and single blank tokens, its score is the sum over its entities of
    phi(i, w, c) = (y_c - y_0 + m) / 2
with RICON's type scores y and boundary score m; a blank scores 0. Both branches learn the log odds of the same
event, so it is their mean that is calibrated. An entity has a positive phi exactly when `ricon_decode`, with
its beta at 1, takes its span for a candidate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .ricon import RiconOutput, span_mask

# In the place of minus infinity, which has no gradient.
_NEVER = -1e4


def segmentation_loss(output: RiconOutput, targets: Tensor, lengths: Tensor) -> Tensor:
    """Negative log-likelihood of what is known of the segmentation, a token.

    output (RiconOutput): The network's scores.
    targets (int64, [B, L, W]): Class of each span, 0 for no entity, -1 for spans of which nothing is known; entities do
        not overlap. The likelihood is summed over all segmentations that agree with the known spans.
    lengths (int64, [B]): Tokens of each sequence.
    RETURNS (float, []): The loss.
    """
    scores = (output.types[..., 1:] - output.types[..., :1] + output.bounds.unsqueeze(-1)).float() / 2
    within, entities, covered = span_mask(lengths, *targets.shape[1:]), targets > 0, covered_tokens(targets)
    free = scores.logsumexp(-1)
    own = scores.gather(-1, (targets - 1).clamp_min(0).unsqueeze(-1)).squeeze(-1)
    # Of the spans of which nothing is known, those clear of every entity may or may not be one.
    barred = (targets == 0) | touched_spans(covered, targets.shape[2])
    fixed = torch.where(entities, own, free.masked_fill(barred, _NEVER))
    spans = torch.cat([free, fixed]).masked_fill(~within.repeat(2, 1, 1), _NEVER)
    blanks = F.pad(covered[:, : targets.shape[1]] * _NEVER, (0, 0, len(targets), 0))
    everything, agreeing = _log_partition(spans, blanks.to(spans.dtype), lengths.repeat(2)).chunk(2)
    return (everything - agreeing).sum() / lengths.sum().clamp_min(1)


def covered_tokens(targets: Tensor) -> Tensor:
    """Tokens inside entities: targets [B, L, W] -> bool [B, L + W], where entities may run past the grid."""
    B, L, W = targets.shape
    b, i, w = (targets > 0).nonzero(as_tuple=True)
    edges = torch.zeros(B, L + W + 1, dtype=torch.long, device=targets.device)
    edges.index_put_((b, i), torch.ones_like(b), accumulate=True)
    edges.index_put_((b, i + w + 1), -torch.ones_like(b), accumulate=True)
    return edges.cumsum(1)[:, :-1] > 0


def touched_spans(tokens: Tensor, max_width: int) -> Tensor:
    """Spans that hold a marked token: bool [B, L + W] -> bool [B, L, W]."""
    before = F.pad(tokens.long().cumsum(1), (1, 0))  # marked tokens before each token
    size = tokens.shape[1] - max_width
    return before[:, 1:].unfold(1, max_width, 1)[:, :size] > before[:, :size, None]


def _log_partition(spans: Tensor, blanks: Tensor, lengths: Tensor) -> Tensor:
    """Log of the summed exponential scores of all segmentations: spans [B, L, W], blanks [B, L] -> [B]."""
    B, L, W = spans.shape
    # The span that ends at token j and holds w + 1 tokens, at [b, j, w].
    by_end = torch.stack([F.pad(spans[:, : max(L - w, 0), w], (min(w, L), 0), value=_NEVER) for w in range(W)], -1)
    prefixes = [spans.new_zeros(B)]  # of each prefix of the text
    for j in range(L):
        width = min(W, j + 1)
        entity_last = torch.stack(prefixes[j - width + 1 :][::-1], -1) + by_end[:, j, :width]
        blank_last = (prefixes[j] + blanks[:, j]).unsqueeze(-1)
        prefixes.append(torch.cat([blank_last, entity_last], -1).logsumexp(-1))
    return torch.stack(prefixes, 1).gather(1, lengths.unsqueeze(1)).squeeze(1)
