"""RICON's objective over the span grid, L = l1 L_aware + l2 L_agn + l3 L_orth, and what flat text adds to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .ricon import RiconOutput
from .ricon_segments import covered_tokens, segmentation_loss, touched_spans

IGNORED = -1


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms: types (eq. 12), bounds (eq. 15), orthogonality (eq. 16).

    The fourth is none of the method's: the likelihood of the whole segmentation, for flat text (`ricon_segments`).
    """

    aware: float = 1.0
    agnostic: float = 1.0
    orthogonality: float = 0.1
    segments: float = 0.0


def ricon_loss(
    output: RiconOutput, targets: Tensor, lengths: Tensor, weights: LossWeights, negatives: float = 1.0
) -> Tensor:
    """The objective, averaged over the spans that lie within their sequence.

    output (RiconOutput): The network's scores.
    targets (int64, [B, L, W]): Class of each span, 0 for no entity, `IGNORED` where there is no span.
    lengths (int64, [B]): Tokens of each sequence.
    weights (LossWeights): Weights of the terms.
    negatives (float): Share of the easy negatives that is learnt from, see `sample_negatives`.
    RETURNS (float, []): The loss.
    """
    learnt = sample_negatives(targets, negatives)
    real = learnt != IGNORED
    labels = learnt[real]
    if not len(labels):
        return output.types.sum() * 0.0 + output.bounds.sum() * 0.0 + output.orthogonality * 0.0
    aware = F.cross_entropy(output.types[real].float(), labels)
    loss = weights.aware * aware
    if weights.agnostic:
        is_entity = (labels != 0).float()
        loss = loss + weights.agnostic * F.binary_cross_entropy_with_logits(output.bounds[real].float(), is_entity)
    if weights.segments:
        loss = loss + weights.segments * segmentation_loss(output, targets, lengths)
    return loss + weights.orthogonality * output.orthogonality


def sample_negatives(targets: Tensor, share: float) -> Tensor:
    """Leave out easy negatives at random, so that the rare entities weigh more.

    Spans that share a token with an entity stay: they are the ones to tell entities from. Of the others, which are no
    entity and nearly all, a share stays.

    targets (int64, [B, L, W]): Class of each span, as in `ricon_loss`.
    share (float): Share of the easy negatives that stays, 0 to 1.
    RETURNS (int64, [B, L, W]): The targets with `IGNORED` in the place of those left out.
    """
    if share >= 1:
        return targets
    easy = (targets == 0) & ~touched_spans(covered_tokens(targets), targets.shape[2])
    return targets.masked_fill(easy & (torch.rand(targets.shape, device=targets.device) >= share), IGNORED)


def loss_and_gradients(
    output: RiconOutput,
    targets: Tensor,
    lengths: Tensor,
    weights: LossWeights,
    negatives: float = 1.0,
    share: float = 1.0,
) -> tuple[float, RiconOutput]:
    """The loss and its gradient with respect to each of the network's outputs.

    output, targets, lengths, weights, negatives: As in `ricon_loss`.
    share (float): What the loss is multiplied by.
    RETURNS (tuple[float, RiconOutput]): The loss, and gradients in the shapes of `output`.
    """
    leaves = RiconOutput(*(t.detach().requires_grad_() for t in (output.types, output.bounds, output.orthogonality)))
    with torch.enable_grad():
        loss = share * ricon_loss(leaves, targets, lengths, weights, negatives)
    grads = torch.autograd.grad(loss, (leaves.types, leaves.bounds, leaves.orthogonality), allow_unused=True)
    filled = [
        torch.zeros_like(leaf) if grad is None else grad
        for leaf, grad in zip((leaves.types, leaves.bounds, leaves.orthogonality), grads)
    ]
    return float(loss.detach()), RiconOutput(*filled)
