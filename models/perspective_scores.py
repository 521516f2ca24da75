"""Figures of predictions from many perspectives (MPTS, arXiv 2202.06517)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True)
class PerspectiveScore:
    """Figures of one perspective, all of the positive class, 0 to 1.

    positives (int): Pairs that are alike.
    accuracy, precision, recall, f1 (float): At a probability above a half; 0 where nothing is there to divide by.
    auc (Optional[float]): Area under the ROC curve; None where one of the classes is missing.
    """

    positives: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float | None


def score_perspectives(probabilities: np.ndarray, labels: np.ndarray) -> list[PerspectiveScore]:
    """Score predictions from each perspective.

    probabilities (np.ndarray): Shape (n, P).
    labels (np.ndarray): Whether the pairs are alike, shape (n, P), bool.
    RETURNS (list[PerspectiveScore]): One of each perspective.
    """
    return [_score(probabilities[:, column], labels[:, column]) for column in range(labels.shape[1])]


def average_scores(scores: Sequence[PerspectiveScore]) -> dict[str, dict[str, float]]:
    """Means over perspectives.

    scores (Sequence[PerspectiveScore]): The scores.
    RETURNS (dict[str, dict[str, float]]): "weighted" by positives, as published, and "macro", all alike; each with
        every figure. A perspective without AUC is left out of the mean AUC.
    """
    weights = {"weighted": [score.positives for score in scores], "macro": [1 for _ in scores]}
    names = [field.name for field in fields(PerspectiveScore) if field.name != "positives"]
    return {
        kind: {name: _mean([getattr(score, name) for score in scores], weight) for name in names}
        for kind, weight in weights.items()
    }


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float:
    there = [(value, weight) for value, weight in zip(values, weights) if value is not None]
    return sum(value * weight for value, weight in there) / (sum(weight for _, weight in there) or 1)


def _score(probabilities: np.ndarray, labels: np.ndarray) -> PerspectiveScore:
    predicted = probabilities > 0.5
    right, positives = int((predicted & labels).sum()), int(labels.sum())
    negatives = len(labels) - positives
    auc = None
    if positives and negatives:
        ranks = rankdata(probabilities)[labels].sum()
        auc = float((ranks - positives * (positives + 1) / 2) / (positives * negatives))
    return PerspectiveScore(
        positives=positives,
        accuracy=float((predicted == labels).mean()),
        precision=right / max(1, int(predicted.sum())),
        recall=right / max(1, positives),
        f1=2 * right / max(1, int(predicted.sum()) + positives),
        auc=auc,
    )
