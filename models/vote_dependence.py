"""Labelling functions that repeat each other: which do, and how much each still counts.

Two functions that err independently agree as often as the class behind them makes them agree. What that class is, is
told by a label model of all *other* functions, since the two would vouch for each other.

Shapes: n documents, C classes, J functions; a function's table has a column for each class and a last one for ABSTAIN.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from .label_model import ABSTAIN, LabelModel

__all__ = ["excess_agreement", "find_repeats", "independence_weights", "share_of_repeats"]

# A pair is looked at when at least this share of the rarer function's votes is the other's too.
LEAST_SHARED = 0.5
# Other functions that it takes to tell how accurate each of them is.
LEAST_OTHERS = 3
# Agreement counts as excess from this many standard errors on.
LEAST_DEVIATIONS = 3.0
# Same votes, as a share of the documents on which either votes, from which two functions are one.
REPEATED = 0.95
ROUNDS = 30


def excess_agreement(votes: np.ndarray, n_classes: int, fit: Callable[[np.ndarray], LabelModel]) -> np.ndarray:
    """How much functions agree beyond what their accuracies explain: 0 for independent ones, 1 for copies.

    votes (np.ndarray): Classes, or `ABSTAIN`. (n, J)
    n_classes (int): Number of classes.
    fit (Callable[[np.ndarray], LabelModel]): Fits a label model to the votes of some of the functions.
    RETURNS (np.ndarray): Symmetric, as a share of the most that there could be; 0 with itself, and where too few others
        vote to tell. (J, J)
    """
    excess = np.zeros((votes.shape[1],) * 2)
    for j, k in combinations(range(votes.shape[1]), 2):
        if share_of_repeats(votes, j, k) >= LEAST_SHARED:
            excess[j, k] = excess[k, j] = _pair_excess(votes, j, k, n_classes, fit)
    return excess


def independence_weights(excess: np.ndarray) -> np.ndarray:
    """How much each function counts: 1 alone, 1/2 for each of two that are the same, and in between.

    excess (np.ndarray): What `excess_agreement` found. (J, J)
    RETURNS (np.ndarray): w_j = 1 / (1 + sum over the others of the share that is repeated). (J)
    """
    return 1 / (1 + excess.sum(axis=1))


def find_repeats(votes: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of functions that are one in all but name.

    votes (np.ndarray): Classes, or `ABSTAIN`. (n, J)
    RETURNS (list[tuple[int, int]]): Columns.
    """
    repeats = []
    for j, k in combinations(range(votes.shape[1]), 2):
        either = (votes[:, [j, k]] != ABSTAIN).any(axis=1)
        if either.any() and (votes[either, j] == votes[either, k]).mean() > REPEATED:
            repeats.append((j, k))
    return repeats


def share_of_repeats(votes: np.ndarray, j: int, k: int) -> float:
    """Votes that two functions share.

    votes (np.ndarray): Classes, or `ABSTAIN`. (n, J)
    j, k (int): Columns.
    RETURNS (float): As a share of those of the function that votes less; 0 when it never votes.
    """
    voted = votes[:, [j, k]] != ABSTAIN
    fewer = voted.sum(axis=0).min()
    return (voted[:, 0] & (votes[:, j] == votes[:, k])).sum() / fewer if fewer else 0.0


def _pair_excess(votes: np.ndarray, j: int, k: int, n_classes: int, fit: Callable[[np.ndarray], LabelModel]) -> float:
    """Agreement beyond that of independent functions, as a share of the most that there could be."""
    others = np.delete(votes, [j, k], axis=1)
    others = others[:, (others != ABSTAIN).any(axis=0)]
    # Copies among the others would vouch for each other as much.
    others = np.delete(others, [second for _, second in find_repeats(others)], axis=1)
    seen = (others != ABSTAIN).any(axis=1)
    if others.shape[1] < LEAST_OTHERS or not seen.any():
        return 0.0
    priors = fit(others).predict_proba(others[seen])
    first, second = votes[seen, j], votes[seen, k]
    tables = [_table(column, priors, n_classes)[:, :n_classes] for column in (first, second)]
    expected = float((priors.mean(axis=0) * (tables[0] * tables[1]).sum(axis=1)).sum())
    found = float(((first == second) & (first != ABSTAIN)).mean())
    most = sum(min((first == label).mean(), (second == label).mean()) for label in range(n_classes))
    deviation = np.sqrt(expected * (1 - expected) / len(first))
    if found - expected <= LEAST_DEVIATIONS * deviation or most <= expected:
        return 0.0
    return min(1.0, (found - expected) / (most - expected))


def _table(column: np.ndarray, priors: np.ndarray, n_classes: int) -> np.ndarray:
    """P(vote | class) of one function by EM, where each document's class has a prior of its own. (C, C + 1)"""
    shares = np.stack([column == vote for vote in (*range(n_classes), ABSTAIN)], axis=1).astype(float)
    table = np.full((n_classes, n_classes + 1), shares.mean(axis=0)) + 0.1 * np.eye(n_classes, n_classes + 1)
    table /= table.sum(axis=1, keepdims=True)
    for _ in range(ROUNDS):
        joint = priors * table[:, column].T
        counts = (joint / joint.sum(axis=1, keepdims=True)).T @ shares
        # One document's worth of the function's own shares keeps classes that nobody sees finite.
        table = (counts + shares.mean(axis=0)) / (counts.sum(axis=1, keepdims=True) + 1)
    return table
