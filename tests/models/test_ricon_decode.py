"""Decoding: gold in gives gold out, and the selection equals a slow greedy oracle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ricon_reference import greedy
from samarkand.models import ricon_decode
from samarkand.models.ricon import RiconOutput, span_mask
from samarkand.models.ricon_decode import CANDIDATE_TYPE, candidate_spans, select_spans, span_targets

SPAN = st.tuples(st.integers(0, 12), st.integers(1, 5), st.integers(1, 3), st.integers(1, 9)).map(
    lambda s: (s[0], s[0] + s[1], s[2], s[3] / 10)
)


def _array(spans: list[tuple]) -> np.ndarray:
    return np.array(spans, dtype=CANDIDATE_TYPE)


@pytest.mark.parametrize("nested", [False, True])
@settings(max_examples=200, deadline=None)
@given(spans=st.lists(SPAN, max_size=14, unique_by=lambda s: s[:3]), data=st.data())
def test_selection_equals_the_oracle_in_any_order(nested, spans, data):
    expected = greedy(spans, nested)
    shuffled = data.draw(st.permutations(spans))
    assert select_spans(_array(shuffled), nested=nested).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(SPAN, max_size=14))
def test_flat_output_never_overlaps_and_nested_never_crosses(spans):
    flat = select_spans(_array(spans), nested=False).tolist()
    assert all(a[1] <= b[0] for a, b in pairwise(flat))
    nested = select_spans(_array(spans), nested=True).tolist()
    for a in nested:
        for b in nested:
            assert not a[0] < b[0] < a[1] < b[1]


def _perfect(targets: torch.Tensor, classes: int) -> RiconOutput:
    real = targets.clamp_min(0)
    types = torch.nn.functional.one_hot(real, classes).float() * 8
    return RiconOutput(types, (real > 0).float() * 16 - 8, torch.zeros(()))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(SPAN, max_size=10), min_size=1, max_size=3), st.booleans())
def test_gold_in_gold_out(documents, nested):
    gold = [select_spans(_array([s for s in spans if s[1] <= 12]), nested=nested) for spans in documents]
    width, size = 4, 12
    lengths = [12 - k for k in range(len(gold))]
    fits = [[s[:3] for s in spans.tolist() if s[1] <= n and s[1] - s[0] <= width] for spans, n in zip(gold, lengths)]
    spans = [[s[:3] for s in document.tolist() if s[1] <= n] for document, n in zip(gold, lengths)]
    targets = torch.from_numpy(span_targets(lengths, spans, width, size))
    mask = span_mask(torch.tensor(lengths), size, width)
    assert torch.equal(targets == -1, ~mask)
    for beta in (0.0, 1.0):
        places, types, scores = candidate_spans(_perfect(targets, 4), mask, beta)
        found = [[] for _ in gold]
        for (b, i, w), kind, score in zip(places.tolist(), types.tolist(), scores.tolist()):
            found[b].append((i, i + w + 1, kind, score))
        decoded = [[s[:3] for s in select_spans(_array(f), nested=nested).tolist()] for f in found]
        assert decoded == fits


def test_agnostic_branch_can_veto_and_beta_zero_ignores_it():
    types = torch.tensor([[[[0.0, 1.0]]]])
    output = RiconOutput(types, torch.tensor([[[-5.0]]]), torch.zeros(()))
    mask = torch.ones(1, 1, 1, dtype=torch.bool)
    assert len(candidate_spans(output, mask, 1.0)[0]) == 0
    assert len(candidate_spans(output, mask, 0.0)[0]) == 1


def test_score_is_a_probability():
    types = torch.tensor([[[[0.0, 1.0, 3.0]]]])
    output = RiconOutput(types, torch.zeros(1, 1, 1), torch.zeros(()))
    _, kinds, scores = candidate_spans(output, torch.ones(1, 1, 1, dtype=torch.bool), 0.0)
    assert kinds.tolist() == [2]
    torch.testing.assert_close(scores, torch.tensor([0.0, 1.0, 3.0]).softmax(0)[2:])


def test_long_documents_are_decoded_in_linear_time(monkeypatch):
    calls = []
    real = ricon_decode.spans_cross
    monkeypatch.setattr(ricon_decode, "spans_cross", lambda *spans: calls.append(0) or real(*spans))
    spans = _array([(2 * i, 2 * i + 3, 1, 0.9) for i in range(2000)])
    assert len(select_spans(spans, nested=True)) == 1000
    assert len(calls) <= 3 * len(spans)


def test_spans_over_unknown_tokens_are_no_targets():
    grid = span_targets([4], [[(2, 3, -1), (1, 3, 2)]], 2, 4)
    assert grid.tolist() == [[[0, 0], [0, 2], [-1, -1], [0, -1]]]
