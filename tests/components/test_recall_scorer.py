"""Precision at a given recall: thresholds of one set judged on another, in Python and as a scorer."""

from __future__ import annotations

import json

import pytest
import samarkand
from samarkand.components.recall_scorer import (
    choose_thresholds,
    evaluate_at_recall,
    make_cats_at_recall_scorer,
    score_cats_at_recall,
)
from spacy import registry
from spacy.language import Language
from spacy.training import Example

NLP = samarkand.blank("xx")


def example(score: float, gold: dict[str, float]) -> Example:
    doc = NLP.make_doc(f"text {score}")
    predicted = doc.copy()
    predicted.cats = {"spam": score, "ham": 1 - score}
    doc.cats = gold
    return Example(predicted, doc)


SPAM, HAM = {"spam": 1.0}, {"ham": 1.0}
DEV = [*(example(s / 10, SPAM) for s in range(1, 11)), *(example(s / 10, HAM) for s in (0, 1, 2, 3))]
TEST = [*(example(s, SPAM) for s in (0.9, 0.5, 0.15)), *(example(s, HAM) for s in (0.35, 0.4, 0.1))]


def test_thresholds_are_chosen_on_one_set_and_judged_on_another():
    thresholds = choose_thresholds(DEV, [0.8, 0.9, 1.0])
    assert thresholds["spam"] == {"80": 0.3, "90": 0.2, "100": 0.1}
    scores = score_cats_at_recall(TEST, json.loads(json.dumps(thresholds)))
    spam = {percent: scores[f"cats_p_at_r{percent}_per_type"]["spam"] for percent in ("80", "100")}
    assert spam["80"] == {"p": pytest.approx(2 / 4), "r": pytest.approx(2 / 3), "threshold": 0.3}
    assert spam["100"] == {"p": pytest.approx(3 / 6), "r": 1.0, "threshold": 0.1}
    per_type = scores["cats_p_at_r80_per_type"]
    assert scores["cats_p_at_r80"] == pytest.approx((per_type["spam"]["p"] + per_type["ham"]["p"]) / 2)


def test_unknown_labels_do_not_count():
    texts = [example(0.9, {"spam": 1.0}), example(0.8, {}), example(0.7, {"ham": 0.0})]
    assert choose_thresholds(texts, [1.0], multi_label=True) == {"spam": {"100": 0.9}}
    thresholds = {"spam": {"100": 0.5}}
    absent = score_cats_at_recall(texts, thresholds)["cats_p_at_r100"]
    unknown = score_cats_at_recall(texts, thresholds, multi_label=True)["cats_p_at_r100"]
    assert (absent, unknown) == (0.5, 1.0)


def test_what_cannot_be_measured_is_refused():
    for recalls in ([0.0], [90]):
        with pytest.raises(ValueError, match="S1130"):
            choose_thresholds(DEV, recalls)
        with pytest.raises(ValueError, match="S1130"):
            make_cats_at_recall_scorer(recalls)
    with pytest.raises(ValueError, match="S1130"):
        choose_thresholds([example(0.5, {})])
    with pytest.raises(ValueError, match="S1130"):
        score_cats_at_recall([example(0.5, SPAM)], {"other": {"90": 0.5}})


def test_scorers_from_configs():
    chosen, fixed = registry.resolve(
        {
            "chosen": {"@scorers": "samarkand.cats_at_recall_scorer.v1"},
            "fixed": {"@scorers": "samarkand.cats_at_recall_scorer.v1", "thresholds": {"spam": {"90": 0.45}}},
        }
    ).values()
    options = {"labels": ["spam", "ham"], "multi_label": False, "positive_label": None, "threshold": 0.5}
    scores = chosen(TEST, **options)
    assert {"cats_score", "cats_p_at_r80", "cats_p_at_r90", "cats_p_at_r95"} <= set(scores)
    assert fixed(TEST, **options)["cats_p_at_r90_per_type"] == {"spam": {"p": 1.0, "r": 2 / 3, "threshold": 0.45}}


@Language.component("test_spam_score")
def _spam(doc):
    score = float(doc[-1].text)
    doc.cats = {"spam": score, "ham": 1 - score}
    return doc


def test_a_pipeline_is_evaluated():
    nlp = samarkand.blank("xx")
    nlp.add_pipe("test_spam_score")
    expected = score_cats_at_recall(TEST, choose_thresholds(DEV, [0.9]))
    assert evaluate_at_recall(nlp, DEV, TEST, [0.9]) == expected
