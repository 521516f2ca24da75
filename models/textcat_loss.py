"""Losses of classifiers on logits, with soft targets and unknown ones; and the scores that logits stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from thinc.api import torch2xp, xp2torch
from thinc.types import Floats2d
from torch import Tensor

UNKNOWN = np.nan


def textcat_loss(
    logits: Floats2d, targets: np.ndarray, *, exclusive: bool, weight: float = 1.0
) -> tuple[float, Floats2d]:
    """Cross-entropy and its gradient.

    Exclusive: mean over the known rows of - sum_c t_c log softmax(z)_c. Else: mean over the known targets of
    - t log s(z) - (1 - t) log(1 - s(z)).

    logits (Floats2d): z. (rows, classes)
    targets (np.ndarray): t, from 0 to 1; `UNKNOWN` for what nothing is known of. A row of exclusive classes is known
        or unknown as a whole. (rows, classes)
    exclusive (bool): Whether a text has one class.
    weight (float): What both are multiplied by.
    RETURNS (tuple[float, Floats2d]): The loss, and its gradient. (rows, classes)
    """
    z = xp2torch(logits).detach().requires_grad_(True)
    t = torch.from_numpy(targets.astype(np.float32)).to(z.device)
    with torch.enable_grad():
        loss = weight * (_exclusive(z, t) if exclusive else _multilabel(z, t))
        (gradient,) = torch.autograd.grad(loss, z)
    return loss.item(), torch2xp(gradient)


def probabilities(logits: Any, *, exclusive: bool) -> np.ndarray:
    """What logits stand for.

    logits (Floats2d): Any logits. (rows, classes)
    exclusive (bool): Whether a text has one class.
    RETURNS (np.ndarray): From 0 to 1; rows of exclusive classes sum to 1. (rows, classes)
    """
    z = xp2torch(logits).detach()
    return (z.softmax(dim=1) if exclusive else z.sigmoid()).cpu().numpy()


def _exclusive(z: Tensor, t: Tensor) -> Tensor:
    known = ~t.isnan().any(dim=1)
    losses = -(t.nan_to_num() * z.log_softmax(dim=1)).sum(dim=1)
    return (losses * known).sum() / known.sum().clamp(min=1)


def _multilabel(z: Tensor, t: Tensor) -> Tensor:
    known = ~t.isnan()
    losses = F.binary_cross_entropy_with_logits(z, t.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)
