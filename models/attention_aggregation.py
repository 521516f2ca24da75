"""What a token gets of self-attention, put into few numbers (AttViz, https://arxiv.org/abs/2005.05716).

Shapes: L layers, H heads, S pieces of the window with the special ones, W words. A row of attention is a query: it sums
to 1. Attention shows where an encoder looks, which is not why it decides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Values of heads that differ by less count as one in the entropy across heads.
BIN = 0.01


def diagonal(attention: Tensor) -> Tensor:
    """What each piece keeps to itself, the measure of AttViz.

    attention (Tensor): The attention. (L, H, S, S)
    RETURNS (Tensor): Shares from 0 to 1. (L, H, S)
    """
    return attention.diagonal(dim1=-2, dim2=-1)


def received(attention: Tensor) -> Tensor:
    """What each piece gets from a query on average.

    attention (Tensor): The attention. (L, H, S, S)
    RETURNS (Tensor): Shares that sum to 1 over the pieces. (L, H, S)
    """
    return attention.mean(dim=-2)


def spread(attention: Tensor) -> Tensor:
    """How far each piece spreads its attention: its entropy over the greatest that is possible.

    attention (Tensor): The attention. (L, H, S, S)
    RETURNS (Tensor): 0 for one key alone, 1 for all alike; 0 for a window of one piece. (L, H, S)
    """
    size = attention.shape[-1]
    if size == 1:
        return torch.zeros_like(attention[..., 0])
    return torch.special.entr(attention).sum(dim=-1) / math.log(size)


def influence(attention: Tensor, gradients: Tensor) -> Tensor:
    """What hangs on the attention that each piece gets: attention times gradient, its sign left out.

    As in https://arxiv.org/abs/2103.15679, but for the sign: what would pull a score down counts too.

    attention (Tensor): The attention. (L, H, S, S)
    gradients (Tensor): Gradient of a score by it. (L, H, S, S)
    RETURNS (Tensor): Shares that sum to 1 over the heads and pieces of a layer; 0 where nothing hangs on it. (L, H, S)
    """
    moved = (attention * gradients).abs().sum(dim=-2)
    return moved / moved.sum(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(moved.dtype).tiny)


def rollout(attention: Tensor) -> Tensor:
    """What each input piece contributes to each output, all layers taken together (https://arxiv.org/abs/2005.00928).

    Heads are averaged, and half of each layer passes by its attention.

    attention (Tensor): The attention. (L, H, S, S)
    RETURNS (Tensor): A row for each output, which sums to 1. (S, S)
    """
    identity = torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)
    flow = identity
    for layer in attention.mean(dim=1):
        mixed = 0.5 * (identity + layer)
        flow = mixed / mixed.sum(dim=-1, keepdim=True) @ flow
    return flow


def across_heads(values: Tensor) -> dict[str, Tensor]:
    """Aggregates of a measure over the heads of each layer.

    values (Tensor): The measure. (L, H, W)
    RETURNS (dict[str, Tensor]): "mean", "std", "max", "min", "range", and "entropy": how evenly the heads fall on
        different values, rounded to 0.01, from 0 (all on one) to 1 (each on its own). (L, W) each
    """
    high, low = values.amax(dim=1), values.amin(dim=1)
    return {
        "mean": values.mean(dim=1),
        "std": values.std(dim=1, correction=0),
        "max": high,
        "min": low,
        "range": high - low,
        "entropy": _entropy_of_bins(values),
    }


def word_means(values: Tensor, belongs: Tensor) -> Tensor:
    """A measure of words from that of pieces: the mean over the pieces of each.

    values (Tensor): The measure. (..., S)
    belongs (Tensor): 1 where a piece is of a word, else 0; each word has a piece. (W, S)
    RETURNS (Tensor): The measure of words. (..., W)
    """
    return values @ (belongs / belongs.sum(dim=1, keepdim=True)).T


def word_sums(values: Tensor, belongs: Tensor) -> Tensor:
    """A share of words from that of pieces: the sum over the pieces of each; a piece of several words is parted evenly.

    values (Tensor): The shares. (..., S)
    belongs (Tensor): 1 where a piece is of a word, else 0; each piece is of a word. (W, S)
    RETURNS (Tensor): The shares of words, with the same sum. (..., W)
    """
    return values @ (belongs / belongs.sum(dim=0, keepdim=True)).T


def _entropy_of_bins(values: Tensor) -> Tensor:
    n_heads = values.shape[1]
    if n_heads == 1:
        return torch.zeros_like(values[:, 0])
    # Values that are a whole number of bins apart from rounding must not fall below it.
    bins = torch.floor(values.double() / BIN + 1e-9)
    # Each head counts those in its bin: the entropy is the mean of -ln of the shares.
    shares = (bins.unsqueeze(1) == bins.unsqueeze(2)).double().mean(dim=2)
    return (-shares.log().mean(dim=1) / math.log(n_heads)).abs().to(values.dtype)
