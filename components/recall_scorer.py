"""Precision of a text classifier at a recall that is asked for: what review costs when next to nothing may be missed.

Thresholds are chosen on one set of examples, and judged on another.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.training import Example
from spacy.util import registry

from ..errors import Errors, SamarkandWarning, Warnings
from ..models.recall_thresholds import precision_and_recall, recall_threshold
from .cats_scorer import score_cats

__all__ = ["choose_thresholds", "evaluate_at_recall", "make_cats_at_recall_scorer", "score_cats_at_recall"]

RECALLS = (0.8, 0.9, 0.95)

# By label, and by recall in percent, such as {"spam": {"90": 0.31}}: JSON and configs have no numbers as keys.
Thresholds = dict[str, dict[str, float]]


def choose_thresholds(
    examples: Iterable[Example], recalls: Sequence[float] = RECALLS, *, multi_label: bool = False
) -> Thresholds:
    """The largest thresholds that reach the recalls.

    examples (Iterable[Example]): Predictions and references: those of a development set.
    recalls (Sequence[float]): Recalls, above 0 and up to 1.
    multi_label (bool): Whether a label that an example does not have is unknown, and not absent.
    RETURNS (dict[str, dict[str, float]]): By label and recall in percent; labels without positives have none.
    RAISES (ValueError): S1130 for a recall out of range, or when no label has positives.
    """
    _check_recalls(recalls)
    found = {
        label: {_percent(recall): recall_threshold(scores, gold, recall) for recall in recalls}
        for label, (scores, gold) in _columns(examples, multi_label).items()
        if gold.any()
    }
    if not found:
        raise ValueError(Errors.S1130.format(reason="no example has a label to find"))
    return found


def score_cats_at_recall(
    examples: Iterable[Example], thresholds: Mapping[str, Mapping[str, float]], *, multi_label: bool = False
) -> dict[str, Any]:
    """Judge thresholds.

    examples (Iterable[Example]): Predictions and references: not those that thresholds were chosen on.
    thresholds (Mapping[str, Mapping[str, float]]): What `choose_thresholds` gave.
    multi_label (bool): As in `choose_thresholds`.
    RETURNS (dict[str, Any]): For each recall such as 90, "cats_p_at_r90", the mean precision of the labels that have
        positives here, and "cats_p_at_r90_per_type": by label "p", "r", the recall that was reached, and "threshold".
    RAISES (ValueError): S1130 when no label of the thresholds has positives, or a label lacks a recall of another.
    """
    percents = dict.fromkeys(percent for by_recall in thresholds.values() for percent in by_recall)
    for label, by_recall in thresholds.items():
        if missing := [percent for percent in percents if percent not in by_recall]:
            raise ValueError(Errors.S1130.format(reason=f"{label!r} has no threshold for the recall {missing[0]} %"))
    found = _columns(examples, multi_label)
    columns = {label: column for label, column in found.items() if label in thresholds and column[1].any()}
    if not columns:
        raise ValueError(Errors.S1130.format(reason="no example has a label that there are thresholds for"))
    scores: dict[str, Any] = {}
    for percent in percents:
        per_type = {}
        for label, (values, gold) in columns.items():
            threshold = thresholds[label][percent]
            precision, recall = precision_and_recall(values, gold, threshold)
            per_type[label] = {"p": precision, "r": recall, "threshold": threshold}
        scores[f"cats_p_at_r{percent}"] = sum(row["p"] for row in per_type.values()) / len(per_type)
        scores[f"cats_p_at_r{percent}_per_type"] = per_type
    return scores


def evaluate_at_recall(
    nlp: Language,
    dev: Iterable[Example],
    test: Iterable[Example],
    recalls: Sequence[float] = RECALLS,
    *,
    multi_label: bool = False,
) -> dict[str, Any]:
    """Choose thresholds on one set, and judge them on another.

    nlp (Language): A pipeline with a text classifier.
    dev (Iterable[Example]): Examples to choose on.
    test (Iterable[Example]): Examples to judge on.
    recalls (Sequence[float]): Recalls, above 0 and up to 1.
    multi_label (bool): As in `choose_thresholds`.
    RETURNS (dict[str, Any]): As `score_cats_at_recall`.
    RAISES (ValueError): S1130 for a recall out of range, or when no label has positives.
    """
    thresholds = choose_thresholds(_read(nlp, dev), recalls, multi_label=multi_label)
    return score_cats_at_recall(_read(nlp, test), thresholds, multi_label=multi_label)


@registry.scorers("samarkand.cats_at_recall_scorer.v1")
def make_cats_at_recall_scorer(
    recalls: Sequence[float] = RECALLS, thresholds: dict[str, dict[str, float]] | None = None
) -> Callable:
    """Make a scorer that adds precision at given recalls to those of `score_cats`.

    recalls (Sequence[float]): Recalls, above 0 and up to 1.
    thresholds (Optional[dict[str, dict[str, float]]]): What `choose_thresholds` gave. Null takes those that the pipe
        keeps: `transfer_textcat` keeps those of the first examples that are scored after it learnt, in `spacy train`
        the development set, and saves them.
    RETURNS (Callable): The scorer. It warns (SW1130) when it has to choose thresholds on examples that are to be judged
        by them, since the pipe keeps none.
    RAISES (ValueError): S1130 for a recall out of range.
    """
    _check_recalls(recalls)
    return partial(_score, recalls=tuple(recalls), thresholds=thresholds)


def _score(
    examples: Iterable[Example],
    *,
    recalls: Sequence[float],
    thresholds: Thresholds | None,
    recall_thresholds: Thresholds | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Score; `recall_thresholds` are those that a pipe keeps, to be filled in when it has learnt since."""
    examples = list(examples)
    multi_label = kwargs.get("multi_label", False)
    chosen = thresholds or _at_recalls(recall_thresholds or {}, recalls)
    if not chosen:
        chosen = choose_thresholds(examples, recalls, multi_label=multi_label)
        if recall_thresholds == {}:
            recall_thresholds.update(chosen)
        else:
            warnings.warn(Warnings.SW1130, SamarkandWarning, stacklevel=2)
    return {**score_cats(examples, **kwargs), **score_cats_at_recall(examples, chosen, multi_label=multi_label)}


def _at_recalls(thresholds: Thresholds, recalls: Sequence[float]) -> Thresholds:
    """Those for the recalls; none when one is missing."""
    percents = [_percent(recall) for recall in recalls]
    if not all(percent in by_recall for by_recall in thresholds.values() for percent in percents):
        return {}
    return {label: {percent: by_recall[percent] for percent in percents} for label, by_recall in thresholds.items()}


def _columns(examples: Iterable[Example], multi_label: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores and gold, true or false, by label, of the examples whose gold is known."""
    labelled = [eg for eg in examples if eg.reference.cats]
    columns = {}
    for label in sorted({label for eg in labelled for label in eg.predicted.cats}):
        known = [eg for eg in labelled if not multi_label or label in eg.reference.cats]
        scores = np.array([eg.predicted.cats.get(label, 0.0) for eg in known])
        gold = np.array([eg.reference.cats.get(label, 0.0) >= 0.5 for eg in known], dtype=bool)
        columns[label] = scores, gold
    return columns


def _read(nlp: Language, examples: Iterable[Example]) -> list[Example]:
    """The examples with what the pipeline predicts."""
    references = [eg.reference for eg in examples]
    docs = nlp.pipe(nlp.make_doc(doc.text) for doc in references)
    return [Example(doc, reference) for doc, reference in zip(docs, references)]


def _percent(recall: float) -> str:
    return f"{100 * recall:g}"


def _check_recalls(recalls: Sequence[float]) -> None:
    for recall in recalls:
        if not 0 < recall <= 1:
            raise ValueError(Errors.S1130.format(reason=f"a recall is above 0, up to 1, and not {recall}"))
