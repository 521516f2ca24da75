"""Thresholds for a recall against trying them all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.models.recall_thresholds import precision_and_recall, recall_threshold

# Few values, so that there are ties.
PAIRS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30).filter(
    lambda pairs: any(gold for _, gold in pairs)
)


@given(PAIRS, st.sampled_from([0.01, 0.3, 0.5, 0.8, 0.9, 0.95, 1.0]))
def test_the_threshold_is_the_largest_that_reaches_the_recall(pairs, recall):
    scores, gold = np.array([s for s, _ in pairs]) / 8, np.array([g for _, g in pairs])
    reached = [t for t in set(scores) if sum((scores >= t) & gold) / sum(gold) >= recall - 1e-9]
    threshold = recall_threshold(scores, gold, recall)
    assert threshold == max(reached)
    precision, found = precision_and_recall(scores, gold, threshold)
    assert found >= recall - 1e-9
    assert precision == pytest.approx(sum(gold[scores >= threshold]) / sum(scores >= threshold))


@given(PAIRS)
def test_more_recall_never_raises_the_threshold(pairs):
    scores, gold = np.array([s for s, _ in pairs]) / 8, np.array([g for _, g in pairs])
    thresholds = [recall_threshold(scores, gold, recall) for recall in (0.1, 0.5, 0.8, 0.9, 1.0)]
    assert thresholds == sorted(thresholds, reverse=True)


def test_whole_numbers_of_positives_are_not_rounded_up():
    scores = np.arange(10, 0, -1) / 10
    assert recall_threshold(scores, np.ones(10, dtype=bool), 0.7) == pytest.approx(0.4)
    assert precision_and_recall(scores, np.zeros(10, dtype=bool), 2.0) == (0, 0)
