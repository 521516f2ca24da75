"""What M3 learns from: the objective L = L_sel + l1 L_v1 + l2 L_v2, and the decision that is tuned after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .m3 import M3, M3Batch
from .m3_turns import NIL, OWN, M3Answers, take_turns

# l1 and l2.
STAGE_WEIGHT = 0.5
# Weights of stage 1 that are tried.
BETAS = tuple(i / 20 for i in range(21))
ALWAYS_NIL = 2.0


@dataclass(frozen=True)
class M3Loss:
    """The objective of a batch, each term a mean over the mentions that it is about.

    total (float, []): L.
    selection (float, []): L_sel, over mentions whose gold is among the options.
    first, second (float, []): L_v1 and L_v2, over mentions with options; 0 without that stage.
    """

    total: Tensor
    selection: Tensor
    first: Tensor
    second: Tensor


def m3_loss(
    network: M3,
    batch: M3Batch,
    gold: Tensor,
    in_kb: Tensor,
    *,
    epsilon: float = 0.0,
    generator: torch.Generator | None = None,
) -> M3Loss:
    """The objective. Stage 2 learns whether the choice of this very step is right.

    network (M3): The network, in training mode.
    batch (M3Batch): The mentions.
    gold (int64, [N]): The gold option; -1 when it is not among them, or there is none.
    in_kb (bool, [N]): Whether the knowledge base has the gold entity, among the options or not.
    epsilon (float): Chance of a mention that the network's own answer is remembered, and not gold.
    generator (Optional[torch.Generator]): Where chance comes from.
    RETURNS (M3Loss): The objective and its terms.
    """
    device = gold.device if generator is None else generator.device
    own = torch.rand(len(gold), generator=generator, device=device).to(gold.device) < epsilon
    turns = take_turns(network, batch, gold.masked_fill(own, OWN))
    among, has_options = gold != NIL, turns.best != NIL
    # A batch that says nothing has a gradient too, of zeros.
    zero = network.select.weight.sum() * 0.0
    selection = zero + F.cross_entropy(turns.scores[among], gold[among], reduction="sum") / among.sum().clamp_min(1)
    right = among & (turns.best == gold)
    first = _stage_loss(turns.first, in_kb, has_options, zero)
    second = _stage_loss(turns.second, right, has_options, zero)
    return M3Loss(selection + STAGE_WEIGHT * (first + second), selection, first, second)


def _stage_loss(logits: Tensor | None, labels: Tensor, rows: Tensor, zero: Tensor) -> Tensor:
    if logits is None or not rows.any():
        return zero
    return F.binary_cross_entropy_with_logits(logits[rows], labels[rows].to(logits.dtype))


def tune_threshold(
    first: Tensor,
    second: Tensor | None,
    best: Tensor,
    gold: Tensor,
    in_kb: Tensor,
    betas: Sequence[float] = BETAS,
) -> tuple[float, float]:
    """The beta and theta that answer most mentions right.

    With NIL scored as a class every mention has one answer and one gold answer, so that overall micro F1 is the share
    of right answers. A gold entity that is not among the options is missed whatever theta is. For each beta the scores
    are sorted once and all thresholds between them compared; theta lies halfway between two scores, so that rounding
    moves none across. Of equals the beta nearest to 0.5 and the lowest theta win.

    first (float, [N]): v1; or the only score of a network that has one.
    second (Optional[float, [N]]): v2; None when there is but one score, and beta is then 1.
    best (int64, [N]): The best option, `NIL` for mentions without options.
    gold (int64, [N]): The gold option; -1 when it is not among them, or there is none.
    in_kb (bool, [N]): Whether the knowledge base has the gold entity.
    betas (Sequence[float]): What is tried.
    RETURNS (tuple[float, float]): beta and theta.
    """
    asked = best != NIL
    # What linking a mention adds to the right answers, beside NIL.
    gain = (best == gold).double()[asked] - (~in_kb).double()[asked]
    if second is None:
        return 1.0, _best_threshold(first.double()[asked], gain)[1]
    first, second = first.double()[asked], second.double()[asked]
    found = []
    for beta in sorted(betas, key=lambda beta: abs(beta - 0.5)):
        right, theta = _best_threshold(beta * first + (1 - beta) * second, gain)
        found.append((right, beta, theta))
    _, beta, theta = max(found, key=lambda each: each[0])
    return beta, theta


def tune_decision(answers: M3Answers, gold: Sequence[int], in_kb: Sequence[bool]) -> tuple[float, float]:
    """`tune_threshold` for what a linker has answered, whatever stages it has.

    answers (M3Answers): The answers; their choices do not count.
    gold (Sequence[int]), in_kb (Sequence[bool]): As in `tune_threshold`.
    RETURNS (tuple[float, float]): beta and theta.
    """
    stages = [stage for stage in (answers.v1, answers.v2) if stage is not None] or [answers.s_link]
    second = stages[1] if len(stages) > 1 else None
    return tune_threshold(stages[0], second, answers.best, torch.tensor(gold), torch.tensor(in_kb))


def _best_threshold(scores: Tensor, gain: Tensor) -> tuple[float, float]:
    """Greatest sum of gain over the scores that are at least theta, and the lowest such theta."""
    values, place = scores.unique(return_inverse=True)
    of_value = values.new_zeros(len(values)).index_add(0, place, gain)
    # Linking from the i-th value on; the last links nothing.
    totals = torch.cat([of_value.flip(0).cumsum(0).flip(0), of_value.new_zeros(1)])
    middle = (values[:-1] + values[1:]) / 2
    thetas = torch.cat([values.new_zeros(1), middle.where(middle > values[:-1], values[1:]), values.new_zeros(1)])
    thetas[-1] = ALWAYS_NIL
    best = int(totals.argmax())
    return float(totals[best]), float(thetas[best])
