"""Thresholds of scores that reach a recall, and what precision they cost."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["precision_and_recall", "recall_threshold"]

# Decimals of a threshold: spaCy saves no more of a number. It is rounded down, to find no less for having been saved.
DECIMALS = 9


def recall_threshold(scores: np.ndarray, gold: np.ndarray, recall: float) -> float:
    """The largest threshold at which at least a share of the positives scores no less.

    scores (np.ndarray): Scores. (n)
    gold (np.ndarray): Which are positives; one or more of them. (n)
    recall (float): The share, above 0 and up to 1.
    RETURNS (float): One of the positives' scores, to 9 decimals.
    """
    positives = np.sort(scores[gold])[::-1]
    # The product may lie a rounding error above a whole number.
    needed = max(1, math.ceil(recall * len(positives) - 1e-9))
    return math.floor(float(positives[needed - 1]) * 10**DECIMALS) / 10**DECIMALS


def precision_and_recall(scores: np.ndarray, gold: np.ndarray, threshold: float) -> tuple[float, float]:
    """What is found from a threshold on.

    scores (np.ndarray): Scores. (n)
    gold (np.ndarray): Which are positives. (n)
    threshold (float): Least score that counts as found.
    RETURNS (tuple[float, float]): Precision and recall; 0 where nothing is found, or there is nothing to find.
    """
    found = scores >= threshold
    right = int((found & gold).sum())
    return right / max(int(found.sum()), 1), right / max(int(gold.sum()), 1)
