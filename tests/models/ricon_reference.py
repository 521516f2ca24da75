"""RICON as the paper writes it, one span after another: the slow oracle of `samarkand.models.ricon`."""

from __future__ import annotations

import torch
from samarkand.models.ricon import AgnosticBranch, AwareBranch
from torch import Tensor


def span_average(scores: Tensor, values: Tensor) -> Tensor:
    """Eq. 5-7 for one span: scores [n], values [n, D] -> [D]."""
    return (scores.softmax(0).unsqueeze(1) * values).sum(0)


def aware_span(branch: AwareBranch, A: Tensor, i: int, j: int) -> dict[str, Tensor]:
    """Eq. 5-11 for the span of tokens i..j of A [L, D]; every intermediate by its name in the paper."""
    s = branch.attend(A).squeeze(-1)
    r = span_average(s[i : j + 1], A[i : j + 1])
    bilinear = branch.bilinear_out(branch.bilinear_start(A[i]) * branch.bilinear_end(A[j]))
    e = bilinear + branch.ends(torch.cat([A[i], A[j]]))
    g = torch.sigmoid(branch.gate(torch.cat([e, r])))
    z = g * e + (1 - g) * r
    return {"r": r, "e": e, "g": g, "z": z, "y": branch.classify(z)}


def agnostic_span(branch: AgnosticBranch, G: Tensor, i: int, j: int) -> Tensor:
    """Eq. 13-14 for the span of tokens i..j of G [L, D]: [outputs]."""
    one = G.new_ones(1)
    h = torch.cat([branch.head(G[i].view(1, 1, -1)).flatten(), one])
    t = torch.cat([branch.tail(G[j].view(1, 1, -1)).flatten(), one])
    return torch.stack([h @ V @ t for V in branch.biaffine])


def orthogonality_direct(A: Tensor, G: Tensor) -> Tensor:
    """Eq. 16 for one sentence, normalised: ||A^T G||_F^2 / n^2 with unit rows; A, G [n, D]."""
    A, G = A / A.norm(dim=1, keepdim=True), G / G.norm(dim=1, keepdim=True)
    return (A.T @ G).square().sum() / len(A) ** 2


def greedy(spans: list[tuple[int, int, int, float]], nested: bool) -> list[tuple[int, int, int, float]]:
    """Take the best span that conflicts with none taken, again and again."""
    left = sorted(spans, key=lambda s: (-s[3], s[0] - s[1], s[0], s[2]))
    taken: list[tuple[int, int, int, float]] = []
    while left:
        best = left.pop(0)
        taken.append(best)
        left = [s for s in left if not _conflict(s, best, nested)]
    return sorted(taken, key=lambda s: (s[0], -s[1]))


def _conflict(a: tuple, b: tuple, nested: bool) -> bool:
    tokens_a, tokens_b = set(range(a[0], a[1])), set(range(b[0], b[1]))
    if not nested:
        return bool(tokens_a & tokens_b)
    return tokens_a == tokens_b or bool(tokens_a & tokens_b and tokens_a - tokens_b and tokens_b - tokens_a)
