"""How good sentence vectors are: similarity, retrieval of translations, mining of bitext, and isotropy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import entropy, spearmanr

from .exact_search import cpu_knn

# Rows of a matrix of similarities that are in memory at once.
BLOCK = 1024
# Cosines of equal vectors differ by this much at most, in float32.
TIE = 1e-6


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Vectors divided by their lengths.

    vectors (np.ndarray): Shape (n, d).
    RETURNS (np.ndarray): Shape (n, d), of the same kind; a vector of zeros stays one.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def cosine_spearman(first: np.ndarray, second: np.ndarray, scores: np.ndarray) -> float:
    """Rank correlation of cosines with scores that people gave.

    first, second (np.ndarray): Vectors of the two sides, shape (n, d).
    scores (np.ndarray): Shape (n,).
    RETURNS (float): Spearman's rho, -1 to 1, ties at their mean rank; 0 where a side of it is constant.
    """
    cosines = np.einsum("nd,nd->n", unit_vectors(first), unit_vectors(second))
    if np.ptp(cosines) == 0 or np.ptp(scores) == 0:
        return 0.0
    return float(spearmanr(cosines, scores).statistic)


def retrieval_accuracy(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """How often the closest sentence of the other side is the translation (LASER's test on Tatoeba, arXiv 1812.10464).

    A sentence that is as close as the translation takes its share: of m equally close, the right one is found with 1/m.

    first, second (np.ndarray): Vectors, shape (n, d); rows of the same number are translations of one another.
    RETURNS (tuple[float, float]): Share of first sentences that find their second one, and the other way, 0 to 1.
    """
    first, second = unit_vectors(first), unit_vectors(second)
    return _found(first, second), _found(second, first)


def _found(queries: np.ndarray, candidates: np.ndarray) -> float:
    found = 0.0
    for start in range(0, len(queries), BLOCK):
        cosines = queries[start : start + BLOCK] @ candidates.T
        right = cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))][:, None]
        is_beaten = (cosines > right + TIE).any(axis=1)
        found += (~is_beaten / (cosines >= right - TIE).sum(axis=1)).sum()
    return float(found / len(queries))


@dataclass(frozen=True)
class MiningScore:
    """How well pairs of translations were told from other sentences.

    f1 (float): At the best threshold, 0 to 1: an upper bound, since the threshold is chosen on the same pairs.
    threshold (float): That threshold of the margin.
    held_out_f1 (float): With the threshold of each half of the first side applied to the other half.
    """

    f1: float
    threshold: float
    held_out_f1: float


def mine_pairs(first: np.ndarray, second: np.ndarray, *, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that are likely translations, by the ratio margin over nearest neighbours (arXiv 1811.01136, eq. 3).

    The margin of x and y is cos(x, y) / ((mean cosine of x and its k neighbours + the same of y) / 2). The best pair of
    every sentence of either side is a candidate ("max" in section 3.2); of those that share one the best is kept.

    first, second (np.ndarray): Vectors, shapes (n, d) and (m, d).
    k (int): Neighbours.
    RETURNS (tuple[np.ndarray, np.ndarray]): Rows of the pairs, shape (p, 2), and margins, shape (p,), falling.
    """
    first, second = unit_vectors(first), unit_vectors(second)
    forward, forward_rows = _neighbours(first, second, k)
    backward, backward_rows = _neighbours(second, first, k)
    means = forward.mean(axis=1), backward.mean(axis=1)
    candidates = {}
    for cosines, rows, own, other, order in (
        (forward, forward_rows, means[0], means[1], 1),
        (backward, backward_rows, means[1], means[0], -1),
    ):
        # Below zero there are no neighbours to speak of, and a ratio would turn over.
        margins = cosines / np.maximum((own[:, None] + other[rows]) / 2, TIE)
        for row, best in enumerate(margins.argmax(axis=1)):
            candidates[(row, int(rows[row, best]))[::order]] = float(margins[row, best])
    return _one_to_one(candidates)


def mining_score(pairs: np.ndarray, margins: np.ndarray, gold: np.ndarray) -> MiningScore:
    """Precision and recall of mined pairs in one figure.

    pairs (np.ndarray): Shape (p, 2), as `mine_pairs` gives them.
    margins (np.ndarray): Shape (p,).
    gold (np.ndarray): The pairs that are translations, shape (g, 2).
    RETURNS (MiningScore): The score.
    """
    known = set(map(tuple, gold.tolist()))
    is_right = np.array([tuple(pair) in known for pair in pairs.tolist()], dtype=bool)
    f1, threshold = _best_threshold(margins, is_right, len(gold))
    middle = np.median(gold[:, 0])
    mined_half, gold_half = pairs[:, 0] > middle, gold[:, 0] > middle
    accepted = np.zeros(len(pairs), dtype=bool)
    for half in (False, True):
        there = mined_half == half
        _, learned = _best_threshold(margins[there], is_right[there], int((gold_half == half).sum()))
        accepted |= ~there & (margins >= learned)
    held_out = 2 * is_right[accepted].sum() / max(1, accepted.sum() + len(gold))
    return MiningScore(f1, threshold, float(held_out))


def _neighbours(queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and rows of the k closest candidates, each of shape (n, k)."""
    arrays = (np.ascontiguousarray(array, dtype=np.float32) for array in (queries, candidates))
    return cpu_knn(*arrays, min(k, len(candidates)))


def _one_to_one(candidates: dict[tuple[int, int], float]) -> tuple[np.ndarray, np.ndarray]:
    taken: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for pair in sorted(candidates, key=lambda pair: (-candidates[pair], pair)):
        if pair[0] not in taken[0] and pair[1] not in taken[1]:
            kept.append(pair)
            taken[0].add(pair[0])
            taken[1].add(pair[1])
    return np.array(kept, dtype=np.int64).reshape(-1, 2), np.array([candidates[pair] for pair in kept])


def _best_threshold(margins: np.ndarray, is_right: np.ndarray, gold: int) -> tuple[float, float]:
    """The best F1, and the least margin that is accepted for it; margins fall."""
    if not len(margins):
        return 0.0, 0.0
    f1 = 2 * np.cumsum(is_right) / (np.arange(1, len(margins) + 1) + gold)
    # A threshold cannot part equal margins.
    f1[:-1][margins[:-1] == margins[1:]] = -1
    best = int(f1.argmax())
    return float(f1[best]), float(margins[best])


@dataclass(frozen=True)
class Isotropy:
    """How evenly vectors of length 1 fill their space.

    partition (float): Least over greatest partition function, 0 to 1; 1 is isotropic.
    mean_norm (float): Length of the mean vector, 0 to 1; 0 is isotropic.
    mean_cosine (float): Mean over all pairs of different vectors; 0 is isotropic.
    effective_rank (float): Dimensions that are in use, 1 to d.
    vectors (int): Vectors measured.
    """

    partition: float
    mean_norm: float
    mean_cosine: float
    effective_rank: float
    vectors: int


def isotropy(vectors: np.ndarray) -> Isotropy:
    """Measure isotropy.

    The partition function is Z(c) = sum over v of exp(c . v), with c over the eigenvectors of V'V (arXiv 1702.01417,
    eq. 7, and Mirror-BERT, arXiv 2104.08027), here of either sign since eigenvectors have none. The effective rank is
    exp of the entropy of the singular values over their sum (Roy and Vetterli 2007).

    vectors (np.ndarray): Shape (n, d), of any length; vectors of zeros are left out.
    RETURNS (Isotropy): The figures, computed in float64.
    """
    units = unit_vectors(vectors[vectors.any(axis=1)].astype(np.float64))
    count = len(units)
    values, directions = np.linalg.eigh(units.T @ units)
    projections = units @ directions
    partitions = np.concatenate([logsumexp(projections, axis=0), logsumexp(-projections, axis=0)])
    total = units.sum(axis=0)
    return Isotropy(
        partition=float(np.exp(partitions.min() - partitions.max())),
        mean_norm=float(np.linalg.norm(total) / count),
        mean_cosine=float((total @ total - count) / (count * (count - 1))) if count > 1 else 1.0,
        effective_rank=float(np.exp(entropy(np.sqrt(np.maximum(values, 0))))),
        vectors=count,
    )
