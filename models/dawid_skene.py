"""A generative label model: accuracies of labelling functions and the balance of classes by EM, without gold labels.

The model is that of Dawid and Skene (1979, https://doi.org/10.2307/2346806). A document has a class y with probability
pi[y], and function j votes v, or abstains, with probability theta[j, y, v], whatever the others do.

Shapes: N documents, P distinct rows of votes, J functions, C classes; the last column of theta is for ABSTAIN = -1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from spacy import registry

from ..errors import Errors, SamarkandWarning, Warnings
from .label_model import ABSTAIN, check_votes
from .vote_dependence import excess_agreement, find_repeats, independence_weights

__all__ = ["DawidSkene", "make_dawid_skene"]

# Accuracy that functions start from, and the bounds of an accuracy that is one for all classes.
START = 0.7
BOUNDS = (0.05, 0.95)
LEAST_SILENCE = 1e-9
# Documents' worth of trust in the start, however few documents there are.
LEAST_TRUST = 1.0


class DawidSkene:
    """Probabilities of classes by EM.

    by_class (bool): Give each function an accuracy for each class, and count on which documents it abstains; a vote is
        nowhere likelier than on documents of its own class. Otherwise a function has one accuracy, errs evenly, and its
        silence says nothing.
    correlated (bool): Count functions less that agree more than their accuracies explain.
    iterations (int): Most rounds of EM.
    tolerance (float): Gain in log-likelihood, a document, below which EM ends.
    smoothing (float): Trust in the start, for each function and class, as a share of the documents. With little of it
        EM can settle on something else than the classes that functions have in common.
    class_balance (Optional[Sequence[float]]): Shares of the classes, when they are known: worth much where functions
        vote for one class each, or a class is rare. None learns them.
    RAISES (ValueError): S1122 for a setting out of range.

    After `fit`, `class_balance` is pi (C), and `theta` is as above (J, C, C + 1), without `by_class` up to a factor for
    each function; `weights` says what each function counts (J), `excess` how much pairs agree beyond what their
    accuracies explain (J, J; None without `correlated`), and `log_likelihoods` what EM reached in each round.
    """

    def __init__(
        self,
        *,
        by_class: bool = True,
        correlated: bool = False,
        iterations: int = 100,
        tolerance: float = 1e-6,
        smoothing: float = 0.03,
        class_balance: Sequence[float] | None = None,
    ) -> None:
        balance = None if class_balance is None else np.asarray(class_balance, dtype=float)
        is_balance = balance is None or (balance.min(initial=1) > 0 and np.isclose(balance.sum(), 1))
        for name, value, fits, expected in (
            ("iterations", iterations, iterations >= 1, "1 or more"),
            ("tolerance", tolerance, tolerance >= 0, "0 or more"),
            ("smoothing", smoothing, smoothing > 0, "above 0"),
            ("class_balance", class_balance, is_balance, "shares above 0 that sum to 1"),
        ):
            if not fits:
                raise ValueError(Errors.S1122.format(name=name, value=value, expected=expected))
        self.by_class = by_class
        self.correlated = correlated
        self.iterations = iterations
        self.tolerance = tolerance
        self.smoothing = smoothing
        self.known_balance = balance
        self.theta: np.ndarray | None = None

    def fit(self, votes: np.ndarray, n_classes: int, gold: np.ndarray | None = None) -> DawidSkene:
        """Learn from votes, and from documents without any; known classes are kept as they are.

        votes (np.ndarray): Classes, or `ABSTAIN`. (N, J)
        n_classes (int): C.
        gold (Optional[np.ndarray]): Known classes, `ABSTAIN` where none is known. (N)
        RETURNS (DawidSkene): The model itself.
        RAISES (ValueError): S1120 when the arrays do not fit, S1122 when the known balance has other classes.
        """
        check_votes(votes, n_classes, gold=gold)
        if self.known_balance is not None and len(self.known_balance) != n_classes:
            value, expected = list(self.known_balance), f"a share for each of {n_classes} classes"
            raise ValueError(Errors.S1122.format(name="class_balance", value=value, expected=expected))
        known = np.full(len(votes), ABSTAIN) if gold is None else gold
        self.fired = (votes != ABSTAIN).any(axis=0)
        self.excess = self._excess(votes, n_classes)
        self.weights = np.ones(votes.shape[1]) if self.excess is None else independence_weights(self.excess)
        rows, counts = np.unique(np.column_stack([votes, known]), axis=0, return_counts=True)
        self._start(votes, n_classes)
        self._run(rows[:, :-1], rows[:, -1], counts.astype(float))
        return self

    def predict_proba(self, votes: np.ndarray) -> np.ndarray:
        """Give probabilities: the balance of classes for a document without votes.

        votes (np.ndarray): Votes of the same functions. (N, J)
        RETURNS (np.ndarray): Rows that sum to 1. (N, C)
        RAISES (ValueError): S1120 when the votes do not fit, S1121 before `fit`.
        """
        if self.theta is None:
            raise ValueError(Errors.S1121)
        check_votes(votes, len(self.class_balance), n_functions=len(self.theta))
        probabilities, _ = _normalized(self._joint(votes))
        probabilities[(votes == ABSTAIN).all(axis=1)] = self.class_balance
        return probabilities

    def accuracies(self) -> np.ndarray:
        """How often a vote of each function is thought to be right.

        RETURNS (np.ndarray): From 0 to 1; NaN for functions that never voted. (J)
        RAISES (ValueError): S1121 before `fit`.
        """
        right, given = self._right_and_given()
        shares = (self.class_balance * right).sum(axis=1) / (self.class_balance * given).sum(axis=1)
        return np.where(self.fired, shares, np.nan)

    def class_accuracies(self) -> np.ndarray:
        """How often a vote of each function on documents of each class is thought to be right.

        RETURNS (np.ndarray): From 0 to 1; NaN for functions that never voted. (J, C)
        RAISES (ValueError): S1121 before `fit`.
        """
        right, given = self._right_and_given()
        return np.where(self.fired[:, None], right / given, np.nan)

    def _right_and_given(self) -> tuple[np.ndarray, np.ndarray]:
        if self.theta is None:
            raise ValueError(Errors.S1121)
        return np.diagonal(self.theta, axis1=1, axis2=2), self.theta[:, :, :-1].sum(axis=2)

    def _excess(self, votes: np.ndarray, n_classes: int) -> np.ndarray | None:
        """Agreement of pairs; without `correlated` none, and a warning of functions that repeat each other. (J, J)"""
        if self.correlated:
            plain = DawidSkene(
                by_class=self.by_class,
                iterations=self.iterations,
                tolerance=self.tolerance,
                smoothing=self.smoothing,
                class_balance=self.known_balance,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SamarkandWarning)
                return excess_agreement(votes, n_classes, lambda others: plain.fit(others, n_classes))
        if repeats := find_repeats(votes):
            message = Warnings.SW1120.format(count=len(repeats), first=repeats[0][0], second=repeats[0][1])
            warnings.warn(message, SamarkandWarning, stacklevel=3)
        return None

    def _start(self, votes: np.ndarray, n_classes: int) -> None:
        """Functions as they are thought to be before any vote is seen: better than chance, with their own coverage."""
        even = np.full(n_classes, 1 / n_classes)
        self.class_balance = even if self.known_balance is None else self.known_balance
        table = np.full((n_classes, n_classes), (1 - START) / max(n_classes - 1, 1))
        np.fill_diagonal(table, START)
        table /= table.sum(axis=1, keepdims=True)
        silence = np.ones((votes.shape[1], n_classes, 1))
        self.theta = np.concatenate([np.tile(table, (votes.shape[1], 1, 1)), silence], axis=2)
        # What never voted says nothing, now and later.
        self.theta[~self.fired, :, :-1] = 1 / n_classes
        if self.by_class and len(votes):
            # Half a vote and half a silence more: what has not been seen yet stays possible.
            coverage = (((votes != ABSTAIN).sum(axis=0) + 0.5) / (len(votes) + 1))[self.fired, None, None]
            self.theta[self.fired] *= np.concatenate([np.repeat(coverage, n_classes, axis=2), 1 - coverage], axis=2)
        self._trust = max(self.smoothing * len(votes), LEAST_TRUST)
        self._prior = self._trust * self.theta

    def _run(self, rows: np.ndarray, known: np.ndarray, counts: np.ndarray) -> None:
        self.log_likelihoods: list[float] = []
        is_vote = [rows == vote for vote in (*range(len(self.class_balance)), ABSTAIN)]
        last, before = -np.inf, (self.class_balance, self.theta)
        for _ in range(self.iterations if len(rows) else 0):
            joint = self._joint(rows)
            # A known class rules out the others.
            joint[(known != ABSTAIN)[:, None] & (known[:, None] != np.arange(joint.shape[1]))] = -np.inf
            responsibilities, evidence = _normalized(joint)
            objective = float(counts @ evidence) + self._log_prior()
            if objective < last:
                # The bounds on theta are met one vote at a time, which can overshoot.
                self.class_balance, self.theta = before
                break
            self.log_likelihoods.append(objective)
            if objective - last <= self.tolerance * counts.sum():
                break
            last, before = objective, (self.class_balance, self.theta.copy())
            self._maximize(responsibilities * counts[:, None], is_vote)

    def _maximize(self, shares: np.ndarray, is_vote: list[np.ndarray]) -> None:
        """Parameters that fit best to documents shared out among classes. (P, C)"""
        if self.known_balance is None:
            totals = shares.sum(axis=0) + self._trust / shares.shape[1]
            self.class_balance = totals / totals.sum()
        counts = np.stack([at.T.astype(float) @ shares for at in is_vote], axis=2)[self.fired]
        if self.by_class:
            found = counts + self._prior[self.fired]
            theta = found / found.sum(axis=2, keepdims=True)
            self.theta[self.fired] = _ordered(theta, shares.sum(axis=0) + self._trust)
        elif shares.shape[1] > 1:
            right = np.trace(counts, axis1=1, axis2=2) / counts[:, :, :-1].sum(axis=(1, 2))
            right = np.clip(right, *BOUNDS)[:, None, None]
            is_right = np.eye(shares.shape[1], dtype=bool)[None]
            self.theta[self.fired, :, :-1] = np.where(is_right, right, (1 - right) / (shares.shape[1] - 1))

    def _joint(self, votes: np.ndarray) -> np.ndarray:
        """Log of pi[y] times theta[j, y, v] of every function, each as often as it counts. (N, C)"""
        joint = np.tile(np.log(self.class_balance), (len(votes), 1))
        for weight, table, column in zip(self.weights, np.log(self.theta), votes.T):
            joint += weight * table[:, column].T
        return joint

    def _log_prior(self) -> float:
        """What smoothing adds to the objective of EM."""
        log_prior = self._trust * np.log(self.class_balance).mean()
        if self.by_class:
            prior, theta, weights = self._prior[self.fired], self.theta[self.fired], self.weights[self.fired]
            log_prior += (weights[:, None, None] * prior * np.log(theta)).sum()
        return float(log_prior)


def _ordered(theta: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The nearest theta (J, C, C + 1) in which a vote is nowhere likelier than on documents of its own class.

    Where this is not so, rates are pooled, weighted by the documents of each class (C).
    """
    for label in range(len(mass)):
        others = np.delete(np.arange(len(mass)), label)
        rates = theta[:, others, label]
        order = np.argsort(-rates, axis=1)
        weights = np.concatenate([np.full((len(rates), 1), mass[label]), mass[others][order]], axis=1)
        sorted_rates = np.concatenate([theta[:, [label], label], np.take_along_axis(rates, order, axis=1)], axis=1)
        own = (np.cumsum(weights * sorted_rates, axis=1) / np.cumsum(weights, axis=1)).max(axis=1)
        theta[:, label, label] = own
        theta[:, others, label] = np.minimum(rates, own[:, None])
    # What pooling added is taken from silence, of which a little is left.
    votes = theta[:, :, :-1].sum(axis=2, keepdims=True)
    theta[:, :, :-1] *= np.minimum(1, (1 - LEAST_SILENCE) / votes)
    theta[:, :, -1:] = 1 - theta[:, :, :-1].sum(axis=2, keepdims=True)
    return theta


def _normalized(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities from logs that are known up to a constant (N, C), and the log of each row's sum (N)."""
    top = joint.max(axis=1, keepdims=True)
    shares = np.exp(joint - top)
    totals = shares.sum(axis=1, keepdims=True)
    return shares / totals, (top + np.log(totals))[:, 0]


@registry.misc("samarkand.DawidSkene.v1")
def make_dawid_skene(
    by_class: bool = True,
    correlated: bool = False,
    iterations: int = 100,
    tolerance: float = 1e-6,
    smoothing: float = 0.03,
    class_balance: Sequence[float] | None = None,
) -> DawidSkene:
    """Make a `DawidSkene`.

    by_class, correlated, iterations, tolerance, smoothing, class_balance: As in `DawidSkene`.
    RETURNS (DawidSkene): The model.
    RAISES (ValueError): S1122 for a setting out of range.
    """
    return DawidSkene(
        by_class=by_class,
        correlated=correlated,
        iterations=iterations,
        tolerance=tolerance,
        smoothing=smoothing,
        class_balance=class_balance,
    )
