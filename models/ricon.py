"""RICON: spans scored twice, by the regularity of their inside and by their two ends.

Gu et al., "Delving Deep into Regularity", Findings of NAACL 2022 (arXiv 2204.05544); equation numbers are the paper's.
Shapes: B sequences, L tokens, H input width, D branch width, W maximum span width, C entity types.
The span that starts at token i and holds w + 1 tokens stands at [b, i, w] of a [B, L, W] grid.

The gate of eq. 9-10 is a scalar and the classifier of eq. 11 is linear, so the type scores of a span are
    y = g * (Wc e) + (1 - g) * (Wc r) + bc,
and everything before the gate is linear in the tokens. `Ricon` therefore carries class scores (C + 2 numbers)
through span pooling where the paper carries features (D numbers): the same function, without a tensor [B, L, W, D].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subword_encoder import BiLSTM, SharedDropout, length_mask

BRANCHES = ("both", "aware", "agnostic")
# Log odds of "no entity" that the biases start from: about one span in a hundred is an entity, and a network that
# need not find that out first learns several times faster (the prior of Lin et al. 2017, section 3.3).
PRIOR_LOG_ODDS = 4.6


@dataclass
class RiconOutput:
    """What the network says of a padded batch of sequences.

    types (float, [B, L, W, C + 1]): Type scores; class 0 is "no entity".
    bounds (float, [B, L, W]): Logit that the span is an entity of any type.
    orthogonality (float, []): L_orth, in [0, 1]; 0 outside training, where nothing reads it.
    """

    types: Tensor
    bounds: Tensor
    orthogonality: Tensor

    def first(self, count: int) -> RiconOutput:
        """The output of the first so many sequences."""
        return RiconOutput(self.types[:count], self.bounds[:count], self.orthogonality)


def span_mask(lengths: Tensor, size: int, max_width: int) -> Tensor:
    """True for spans that lie within their sequence: lengths [B] -> [B, size, max_width]."""
    ends = torch.arange(size, device=lengths.device)[:, None] + torch.arange(max_width, device=lengths.device)
    return ends < lengths[:, None, None]


def windows_ahead(x: Tensor, max_width: int) -> Tensor:
    """Each token with the W - 1 after it, zeros past the end: x [B, L, N] -> view [B, L, W, N]."""
    return F.pad(x, (0, 0, 0, max_width - 1)).unfold(1, max_width, 1).transpose(2, 3)


def upper_band(x: Tensor, max_width: int) -> Tensor:
    """The W diagonals of a square from the main one upwards: x [..., L, L] -> [..., L, W], zeros past the end."""
    L = x.shape[-1]
    flat = F.pad(x, (0, max_width)).flatten(-2)  # row i now begins i * (L + W) in, so that (i, i + w) is regular
    step = L + max_width + 1
    return flat.unfold(-1, max_width, step)


def pool_spans(scores: Tensor, values: Tensor, max_width: int) -> Tensor:
    """Linear attention inside every span (eq. 5-7), by prefix sums that begin at the span's own start.

    Sums that begin at the span, not at the sequence, are never subtracted from one another, so that no
    precision is lost however far the scores lie apart.

    scores (float, [B, L]): s_t.
    values (float, [B, L, N]): What is averaged.
    max_width (int): W.
    RETURNS (float, [B, L, W, N]): Averages; of spans past the end of the sequence, unspecified but finite.
    """
    scores = windows_ahead(scores.unsqueeze(-1), max_width).squeeze(-1).float()
    weights = (scores - scores.detach().amax(-1, keepdim=True)).exp().unsqueeze(-1)  # [B, L, W, 1]
    total = (weights * windows_ahead(values, max_width).float()).cumsum(2)
    return (total / weights.cumsum(2).clamp_min(1e-37)).to(values.dtype)


def orthogonality(aware: Tensor, agnostic: Tensor, mask: Tensor) -> Tensor:
    """L_orth (eq. 16), normalised: ||A^T G||_F^2 / n^2 with unit rows, averaged over sequences.

    It is computed from the Gram matrices over tokens, which is the same number: sum((A A^T) * (G G^T)).

    aware, agnostic (float, [B, L, D]): The features of the two branches.
    mask (bool, [B, L]): True for real tokens.
    RETURNS (float, []): Between 0 and 1; empty sequences do not count.
    """
    weight = mask.unsqueeze(-1).to(aware.dtype)
    a, g = F.normalize(aware, dim=-1) * weight, F.normalize(agnostic, dim=-1) * weight
    overlap = (torch.bmm(a, a.transpose(1, 2)) * torch.bmm(g, g.transpose(1, 2))).sum((1, 2))
    lengths = mask.sum(1)
    each = overlap / lengths.clamp_min(1).to(aware.dtype).square()
    return each.sum() / (lengths > 0).sum().clamp_min(1)


class AwareBranch(nn.Module):
    """Regularity-aware branch: the type of a span, from its inside and its ends (eq. 5-11).

    width (int): D.
    rank (int): Rank of the bilinear form of eq. 8.
    classes (int): C + 1.
    """

    def __init__(self, *, width: int, rank: int, classes: int) -> None:
        super().__init__()
        self.attend = nn.Linear(width, 1)
        self.ends = nn.Linear(2 * width, width)
        self.bilinear_start = nn.Linear(width, rank, bias=False)
        self.bilinear_end = nn.Linear(width, rank, bias=False)
        self.bilinear_out = nn.Linear(rank, width, bias=False)
        self.gate = nn.Linear(2 * width, 1)
        self.classify = nn.Linear(width, classes)
        with torch.no_grad():
            self.classify.bias[0] += PRIOR_LOG_ODDS

    def forward(self, A: Tensor, max_width: int) -> Tensor:
        """A [B, L, D] -> type scores [B, L, W, C + 1]."""
        D = A.shape[-1]
        # One linear map reads both what the classifier and what the gate want of a feature.
        read_e = torch.cat([self.classify.weight, self.gate.weight[:, :D]])  # [C + 2, D]
        read_r = torch.cat([self.classify.weight, self.gate.weight[:, D:]])
        e = self._ends(A, read_e, max_width)
        r = pool_spans(self.attend(A).squeeze(-1), A @ read_r.T, max_width)
        gate = torch.sigmoid(e[..., -1:] + r[..., -1:] + self.gate.bias)
        return gate * e[..., :-1] + (1 - gate) * r[..., :-1] + self.classify.bias

    def _ends(self, A: Tensor, read: Tensor, max_width: int) -> Tensor:
        """read . e_ij (eq. 8): A [B, L, D], read [N, D] -> [B, L, W, N]."""
        D = A.shape[-1]
        start, end = read @ self.ends.weight[:, :D], read @ self.ends.weight[:, D:]
        linear = (A @ start.T).unsqueeze(2) + windows_ahead(A @ end.T, max_width) + self.ends.bias @ read.T
        x, y = self.bilinear_start(A), windows_ahead(self.bilinear_end(A), max_width)
        return linear + (x.unsqueeze(2) * y) @ (read @ self.bilinear_out.weight).T


class AgnosticBranch(nn.Module):
    """Regularity-agnostic branch: scores of a span from its two ends alone (eq. 13-15).

    width (int): D.
    hidden (int): Width of the two projections.
    outputs (int): Scores a span; 1 for the method, C + 1 when this branch has to name types by itself.
    dropout (float): Dropout of the projections.
    """

    def __init__(self, *, width: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.head = _projection(width, hidden, dropout)
        self.tail = _projection(width, hidden, dropout)
        self.biaffine = nn.Parameter(torch.randn(outputs, hidden + 1, hidden + 1) * 0.02)
        with torch.no_grad():
            # The corner meets the constants of both ends: it is the bias, of "entity" or of class 0.
            self.biaffine[0, -1, -1] += -PRIOR_LOG_ODDS if outputs == 1 else PRIOR_LOG_ODDS

    def forward(self, G: Tensor, max_width: int) -> Tensor:
        """G [B, L, D] -> scores [B, L, W, outputs]."""
        head, tail = F.pad(self.head(G), (0, 1), value=1.0), F.pad(self.tail(G), (0, 1), value=1.0)
        pairs = (head.unsqueeze(1) @ self.biaffine) @ tail.unsqueeze(1).transpose(2, 3)  # [B, outputs, L, L]
        return upper_band(pairs, max_width).movedim(1, -1)


class Ricon(nn.Module):
    """Both branches over one encoder's output.

    nI (int): H.
    width (int): D, even; half of it for each direction of the two BiLSTMs.
    rank (int): Rank of the bilinear form.
    hidden (int): Width of the agnostic projections.
    n_types (int): C.
    max_width (int): W.
    branches (str): "both", or one of them alone: "aware" (no boundary scores), "agnostic" (a biaffine classifier).
    dropout_in (float): Dropout before each BiLSTM.
    dropout_out (float): Dropout after each BiLSTM.
    """

    def __init__(
        self,
        *,
        nI: int,
        width: int,
        rank: int,
        hidden: int,
        n_types: int,
        max_width: int,
        branches: str = "both",
        dropout_in: float = 0.2,
        dropout_out: float = 0.4,
    ) -> None:
        super().__init__()
        self.max_width = max_width
        self.dropout_in, self.dropout_out = SharedDropout(dropout_in), SharedDropout(dropout_out)
        self.lstm_aware = self.aware = self.lstm_agnostic = self.agnostic = None
        if branches != "agnostic":
            self.lstm_aware = BiLSTM(nI=nI, nO=width)
            self.aware = AwareBranch(width=width, rank=rank, classes=n_types + 1)
        if branches != "aware":
            self.lstm_agnostic = BiLSTM(nI=nI, nO=width)
            outputs = 1 if branches == "both" else n_types + 1
            self.agnostic = AgnosticBranch(width=width, hidden=hidden, outputs=outputs, dropout=dropout_in)

    def forward(self, x: Tensor, lengths: Tensor) -> RiconOutput:
        """x [B, L, H] with zero padding, lengths [B] -> RiconOutput."""
        A = self._features(self.lstm_aware, x, lengths)
        G = self._features(self.lstm_agnostic, x, lengths)
        if self.aware is None:
            types = self.agnostic(G, self.max_width)
        else:
            types = self.aware(A, self.max_width)
        if self.aware is None or self.agnostic is None:
            # One branch alone: an entity is whatever is not class 0, and there is nothing to be orthogonal to.
            bounds = types[..., 1:].logsumexp(-1) - types[..., 0]
            return RiconOutput(types, bounds, x.new_zeros(()))
        bounds = self.agnostic(G, self.max_width).squeeze(-1)
        if not self.training:
            return RiconOutput(types, bounds, x.new_zeros(()))
        return RiconOutput(types, bounds, orthogonality(A, G, length_mask(lengths, x.shape[1])))

    def _features(self, lstm: BiLSTM | None, x: Tensor, lengths: Tensor) -> Tensor | None:
        return None if lstm is None else self.dropout_out(lstm(self.dropout_in(x), lengths))


def _projection(nI: int, nO: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(nI, nO), nn.GELU(), SharedDropout(dropout), nn.Linear(nO, nO))
