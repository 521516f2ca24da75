"""Statistics of attention over a stream against those of all values at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.attention_statistics import AttentionStatistics, HeadSimilarity

TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "قط", "猫"]), max_size=6), min_size=1, max_size=6)


def values_of(texts, heads, seed=0):
    random = np.random.default_rng(seed)
    return [random.gamma(0.5, size=(heads, len(text))) for text in texts]


@given(TEXTS, st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_a_stream_equals_the_whole(texts, heads, seed):
    values = values_of(texts, heads, seed)
    whole = AttentionStatistics(heads)
    for text, found in zip(texts, values):
        whole.add(text, found)
    words = [word for text in texts for word in text]
    columns = np.concatenate(values, axis=1)
    assert sorted(whole.names) == sorted(set(words))
    for row, name in enumerate(whole.names):
        own = columns[:, [word == name for word in words]]
        assert whole.counts[row] == own.shape[1]
        np.testing.assert_allclose(whole.means[row], own.mean(axis=1))
        np.testing.assert_allclose(whole.variances[row], own.var(axis=1), atol=1e-12)
        np.testing.assert_array_equal(whole.lows[row], own.min(axis=1))
        np.testing.assert_array_equal(whole.highs[row], own.max(axis=1))


def test_many_names():
    statistics = AttentionStatistics(2)
    for number in range(10):
        names = [f"w{place}" for place in range(number * 30, number * 30 + 60)]
        statistics.add(names, np.full((2, 60), float(number)))
    assert statistics.names == [f"w{place}" for place in range(330)]
    assert statistics.counts.tolist() == [1] * 30 + [2] * 270 + [1] * 30
    assert statistics.means[30].tolist() == [0.5, 0.5]


def test_variance_far_from_zero():
    """A sum of squares less the square of a sum would have nothing left of it."""
    statistics = AttentionStatistics(1)
    for value in (1e9, 1e9 + 1, 1e9 + 2):
        statistics.add(["a"], np.array([[value]]))
    assert statistics.variances[0, 0] == pytest.approx(2 / 3)


@given(TEXTS, st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_similarity_equals_that_of_loops(texts, heads, seed):
    values = values_of(texts, heads, seed)
    similarity = HeadSimilarity(heads)
    for found in values:
        similarity.add(found)
    columns = np.concatenate(values, axis=1)
    matrix = similarity.matrix
    if columns.size:
        for g in range(heads):
            for h in range(heads):
                slow = np.minimum(columns[g], columns[h]).sum() / np.maximum(columns[g], columns[h]).sum()
                assert matrix[g, h] == pytest.approx(slow, abs=1e-9)
        np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, matrix.T)
    assert np.all((matrix > -1e-9) & (matrix < 1 + 1e-9))
    assert sorted(similarity.order()) == list(range(heads))


def test_like_heads_stand_together():
    similarity = HeadSimilarity(4)
    similarity.add(np.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.0], [0.9, 0.1, 0.2], [0.0, 0.8, 0.1]]))
    order = similarity.order()
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
