"""Scores from many perspectives, against slow definitions and the floors that are known."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samarkand.models.perspective_scores import average_scores, score_perspectives


def slow_auc(probabilities, labels):
    """Share of pairs of a positive and a negative that are in order, ties as half."""
    pairs = [(p, n) for p, yes in zip(probabilities, labels) if yes for n, no in zip(probabilities, labels) if not no]
    return sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs) if pairs else None


@given(st.data(), st.integers(1, 12))
def test_scores_are_those_of_the_definitions(data, count):
    probabilities = data.draw(hnp.arrays(float, (count, 2), elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1])))
    labels = data.draw(hnp.arrays(bool, (count, 2)))
    for column, score in enumerate(score_perspectives(probabilities, labels)):
        guess, truth = (probabilities[:, column] > 0.5).tolist(), labels[:, column].tolist()
        both = sum(g and t for g, t in zip(guess, truth))
        assert score.positives == sum(truth)
        assert score.accuracy == pytest.approx(sum(g == t for g, t in zip(guess, truth)) / count)
        assert score.precision == pytest.approx(both / sum(guess) if sum(guess) else 0)
        assert score.recall == pytest.approx(both / sum(truth) if sum(truth) else 0)
        total = score.precision + score.recall
        assert score.f1 == pytest.approx(2 * score.precision * score.recall / total if total else 0)
        assert score.auc == pytest.approx(slow_auc(probabilities[:, column], truth))


def test_means_are_by_positives_and_by_perspective():
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    probabilities = np.array([[0.9, 0.2, 0.1], [0.8, 0.3, 0.1], [0.7, 0.1, 0.2], [0.1, 0.1, 0.2]])
    scores = score_perspectives(probabilities, labels)
    means = average_scores(scores)
    assert [score.f1 for score in scores] == [1, 0, 0]
    assert means["weighted"]["f1"] == pytest.approx(3 / 4)
    assert means["macro"]["f1"] == pytest.approx(1 / 3)
    assert scores[2].auc is None
    assert means["macro"]["auc"] == pytest.approx((1 + 2 / 3) / 2)
    assert average_scores(scores[2:])["weighted"] == {"accuracy": 0, "precision": 0, "recall": 0, "f1": 0, "auc": 0}


@pytest.mark.data
@pytest.mark.parametrize(
    ("probability", "floors"),
    [(1.0, {"f1": 48.1, "accuracy": 33.2, "auc": 50.0}), (0.0, {"f1": 0.0, "accuracy": 66.8, "auc": 50.0})],
)
def test_floors_of_the_digest(probability, floors):
    from samarkand.corpora.mpts import read_mpts

    labels = read_mpts(os.environ["SAMARKAND_DATA"], "test").labels
    means = average_scores(score_perspectives(np.full(labels.shape, probability), labels))["weighted"]
    assert {name: round(100 * means[name], 1) for name in floors} == floors


@pytest.mark.data
def test_one_cosine_of_words_knows_no_perspective():
    """The digest has 51.1 for its TF-IDF, whose settings are not known; those of any are about there."""
    from samarkand.corpora.mpts import read_mpts

    text = pytest.importorskip("sklearn.feature_extraction.text")
    pairs = read_mpts(os.environ["SAMARKAND_DATA"], "test")
    vectors = text.TfidfVectorizer().fit(pairs.first + pairs.second)
    products = vectors.transform(pairs.first).multiply(vectors.transform(pairs.second))
    cosines = np.repeat(np.asarray(products.sum(axis=1)), pairs.labels.shape[1], axis=1)
    auc = 100 * average_scores(score_perspectives(cosines, pairs.labels))["weighted"]["auc"]
    assert auc == pytest.approx(51.1, abs=0.5)
