"""Embedding-push and attention-pull between a batch and its perturbed copy (Ding et al. 2022, "EAR").

https://arxiv.org/abs/2210.09934. Both compare document by document, so padding and the number of word pieces have no
part in them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def push_loss(first: Mapping[int, Tensor], second: Mapping[int, Tensor], limit: float = 1.0) -> Tensor:
    """Embedding-push: minus the distance of the mean embeddings of a text and of its copy.

    - 1/b sum_i min(limit, 1/h ||e(x'_i) - e(x_i)||^2): the paper's loss is the same without the limit, and then has
    no least value.

    first (Mapping[int, Tensor]): By document, mean embedding. (h,)
    second (Mapping[int, Tensor]): The same of the copies. (h,)
    limit (float): Squared distance beyond which a copy is far enough.
    RETURNS (Tensor): The loss, -limit to 0. ()
    """
    shared = [i for i in first if i in second]
    if not shared:
        return torch.zeros(())
    e, e_copy = (torch.stack([states[i] for i in shared]) for states in (first, second))
    return -(e_copy - e).square().mean(dim=1).clamp(max=limit).mean()


def pull_loss(first: Mapping[int, Tensor], second: Mapping[int, Tensor]) -> Tensor:
    """Attention-pull: mean squared difference of the attention between the words of a text and of its copy.

    1/(sum_i H W_i^2) sum_i ||A(x'_i) - A(x_i)||^2 over the W words that both copies were read with. The paper compares
    positions of pieces, padding included, which are other words as soon as a replacement has more pieces.

    first (Mapping[int, Tensor]): By document, attention between words. (H, W, W)
    second (Mapping[int, Tensor]): The same of the copies. (H, W', W')
    RETURNS (Tensor): The loss. ()
    """
    total, entries = torch.zeros(()), 0
    for i, attention in first.items():
        if i in second:
            words = min(attention.shape[-1], second[i].shape[-1])
            difference = second[i][:, :words, :words] - attention[:, :words, :words]
            total = total.to(difference.device) + difference.square().sum()
            entries += difference.numel()
    return total / max(1, entries)


def word_attention(attention: Tensor, piece: Tensor, word: Tensor, n_words: int) -> Tensor:
    """Attention between words from that between pieces: the sum over a key's pieces, the mean over a query's.

    A piece that is part of several words is shared evenly among them as a key.

    attention (Tensor): Attention of one window. (H, S, S)
    piece (Tensor): Positions in the window. (n_pairs,)
    word (Tensor): The word that each of them belongs to. (n_pairs,)
    n_words (int): W.
    RETURNS (Tensor): Zero rows and columns for words without pieces. (H, W, W)
    """
    belongs = attention.new_zeros(n_words, attention.shape[-1])
    belongs[word, piece] = 1.0
    queries = belongs / belongs.sum(dim=1, keepdim=True).clamp(min=1.0)
    keys = belongs / belongs.sum(dim=0).clamp(min=1.0)
    return queries @ attention @ keys.T
