"""Probabilities of classes from the votes of labelling functions: what every label model does, and majority vote.

Votes are whole numbers, a row a document and a column a function: a class, counted from 0, or `ABSTAIN`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from spacy import registry

from ..errors import Errors

__all__ = ["ABSTAIN", "TIE", "LabelModel", "MajorityVote", "check_votes", "hard_labels", "make_majority_vote"]

ABSTAIN = -1
# Probabilities that differ by less are a tie.
TIE = 1e-9


class LabelModel(Protocol):
    """What makes probabilities of votes.

    One that weighs functions also keeps `weights` (functions), and one that looks at pairs of them `excess` (functions,
    functions), as `DawidSkene` does: summaries show both.
    """

    def fit(self, votes: np.ndarray, n_classes: int, gold: np.ndarray | None = None) -> LabelModel:
        """Learn from votes.

        votes (np.ndarray): Classes, or `ABSTAIN`. (documents, functions)
        n_classes (int): Number of classes.
        gold (Optional[np.ndarray]): Known classes, `ABSTAIN` where none is known. (documents)
        RETURNS (LabelModel): The model itself.
        RAISES (ValueError): S1120 when the arrays do not fit.
        """

    def predict_proba(self, votes: np.ndarray) -> np.ndarray:
        """Give probabilities.

        votes (np.ndarray): Votes of the same functions. (documents, functions)
        RETURNS (np.ndarray): Rows that sum to 1. (documents, classes)
        RAISES (ValueError): S1120 when the votes do not fit, S1121 before `fit`.
        """

    def accuracies(self) -> np.ndarray:
        """How often a vote of each function is thought to be right.

        RETURNS (np.ndarray): From 0 to 1; NaN where nothing is known. (functions)
        """


class MajorityVote:
    """The class with most votes; a tie is shared evenly, and so is a document without votes."""

    def __init__(self) -> None:
        self._shape: tuple[int, int] | None = None

    def fit(self, votes: np.ndarray, n_classes: int, gold: np.ndarray | None = None) -> MajorityVote:
        """Take note of the number of functions and classes: there is nothing to learn.

        votes (np.ndarray): As in `LabelModel.fit`. (documents, functions)
        n_classes (int): Number of classes.
        gold (Optional[np.ndarray]): Not used. (documents)
        RETURNS (MajorityVote): The model itself.
        RAISES (ValueError): S1120 when the arrays do not fit.
        """
        check_votes(votes, n_classes, gold=gold)
        self._shape = votes.shape[1], n_classes
        return self

    def predict_proba(self, votes: np.ndarray) -> np.ndarray:
        """Give probabilities.

        votes (np.ndarray): Votes of the same functions. (documents, functions)
        RETURNS (np.ndarray): Rows that sum to 1. (documents, classes)
        RAISES (ValueError): S1120 when the votes do not fit, S1121 before `fit`.
        """
        if self._shape is None:
            raise ValueError(Errors.S1121)
        n_functions, n_classes = self._shape
        check_votes(votes, n_classes, n_functions=n_functions)
        counts = np.stack([(votes == label).sum(axis=1) for label in range(n_classes)], axis=1)
        winners = counts == counts.max(axis=1, keepdims=True)
        return winners / winners.sum(axis=1, keepdims=True)

    def accuracies(self) -> np.ndarray:
        """RETURNS (np.ndarray): NaN: a majority thinks nothing of those who vote. (functions)"""
        if self._shape is None:
            raise ValueError(Errors.S1121)
        return np.full(self._shape[0], np.nan)


@registry.misc("samarkand.MajorityVote.v1")
def make_majority_vote() -> MajorityVote:
    """RETURNS (MajorityVote): Majority vote."""
    return MajorityVote()


def hard_labels(probabilities: np.ndarray, least: float = 0.0) -> np.ndarray:
    """The likeliest class of each document.

    probabilities (np.ndarray): What a label model gave. (documents, classes)
    least (float): Least probability of a class that is given.
    RETURNS (np.ndarray): Classes, `ABSTAIN` for a tie or a probability below `least`. (documents)
    """
    best = probabilities.max(axis=1, keepdims=True, initial=0.0)
    is_clear = (probabilities >= best - TIE).sum(axis=1) == 1
    return np.where(is_clear & (best[:, 0] >= least), probabilities.argmax(axis=1), ABSTAIN)


def check_votes(
    votes: np.ndarray, n_classes: int, *, n_functions: int | None = None, gold: np.ndarray | None = None
) -> None:
    """Refuse arrays that are no votes.

    votes (np.ndarray): Classes, or `ABSTAIN`. (documents, functions)
    n_classes (int): Number of classes.
    n_functions (Optional[int]): Number of functions, when it is known.
    gold (Optional[np.ndarray]): Known classes, or `ABSTAIN`. (documents)
    RAISES (ValueError): S1120.
    """
    expected = f"(documents, {'functions' if n_functions is None else n_functions})"
    reason = ""
    if n_classes < 1:
        reason = f"there are {n_classes} classes"
    elif votes.ndim != 2 or n_functions not in (None, votes.shape[1]):
        reason = f"votes have the shape {votes.shape}, not {expected}"
    elif gold is not None and gold.shape != votes.shape[:1]:
        reason = f"known classes have the shape {gold.shape}, not ({len(votes)},)"
    for name, classes in (("votes", votes), ("known classes", gold)):
        if not reason and classes is not None and classes.size:
            if classes.dtype.kind not in "iu":
                reason = f"{name} are of the type {classes.dtype}, no whole numbers"
            elif classes.min() < ABSTAIN or classes.max() >= n_classes:
                reason = f"{name} go from {classes.min()} to {classes.max()}, and there are {n_classes} classes"
    if reason:
        raise ValueError(Errors.S1120.format(reason=reason))
