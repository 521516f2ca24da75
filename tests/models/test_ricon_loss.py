"""The objective against the terms written out one span at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.ricon import Ricon, RiconOutput
from samarkand.models.ricon_decode import span_targets
from samarkand.models.ricon_loss import IGNORED, LossWeights, loss_and_gradients, ricon_loss, sample_negatives


def _output(seed: int = 0) -> RiconOutput:
    torch.manual_seed(seed)
    return RiconOutput(torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3), torch.tensor(0.4))


TARGETS = torch.from_numpy(span_targets([4, 2], [[(0, 2, 1), (3, 4, 2)], []], 3, 4))
LENGTHS = torch.tensor([4, 2])


def test_objective_equals_its_terms_span_by_span():
    output, weights = _output(), LossWeights(0.5, 2.0, 0.25)
    aware, agnostic, count = 0.0, 0.0, 0
    for b in range(2):
        for i in range(4):
            for w in range(3):
                label = int(TARGETS[b, i, w])
                if label < 0:
                    continue
                count += 1
                aware -= float(output.types[b, i, w].log_softmax(0)[label])
                p = 1 / (1 + math.exp(-float(output.bounds[b, i, w])))
                agnostic -= math.log(p if label else 1 - p)
    assert count == 4 + 3 + 2 + 2 + 1
    expected = 0.5 * aware / count + 2.0 * agnostic / count + 0.25 * 0.4
    assert float(ricon_loss(output, TARGETS, LENGTHS, weights)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("segments", [0.0, 1.0])
def test_gradients_are_those_of_the_objective(segments):
    output, weights = _output(), LossWeights(segments=segments)
    loss, gradients = loss_and_gradients(output, TARGETS, LENGTHS, weights)
    step = 1e-3
    for name in ("types", "bounds"):
        value = getattr(output, name)
        moved = RiconOutput(**{**vars(output), name: value - step * getattr(gradients, name)})
        fall = loss - float(ricon_loss(moved, TARGETS, LENGTHS, weights))
        assert fall == pytest.approx(step * float(getattr(gradients, name).square().sum()), rel=2e-2)
    assert float(gradients.orthogonality) == pytest.approx(weights.orthogonality)


def test_unknown_spans_weigh_nothing():
    output = _output()
    loss, gradients = loss_and_gradients(output, torch.full_like(TARGETS, -1), LENGTHS, LossWeights(segments=1.0))
    assert loss == 0
    assert all(not g.any() for g in vars(gradients).values())


@pytest.mark.parametrize("branches", ["both", "aware", "agnostic"])
def test_loss_does_not_depend_on_padding(branches):
    torch.manual_seed(0)
    network = Ricon(nI=4, width=6, rank=3, hidden=4, n_types=2, max_width=3, branches=branches).eval()
    x, lengths = torch.randn(1, 4, 4), torch.tensor([4])
    spans, weights = [[(1, 3, 2)]], LossWeights(segments=1.0)
    alone = ricon_loss(network(x, lengths), torch.from_numpy(span_targets([4], spans, 3, 4)), lengths, weights)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 5))
    targets = torch.from_numpy(span_targets([4], spans, 3, 9))
    longer = ricon_loss(network(padded, lengths), targets, lengths, weights)
    torch.testing.assert_close(alone, longer, atol=1e-6, rtol=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_sampling_spares_all_that_touches_an_entity(data):
    width = data.draw(st.integers(1, 4))
    lengths = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=3))
    span = st.tuples(st.integers(0, 6), st.integers(1, width), st.integers(-1, 2).filter(bool))
    gold = [
        [(i, i + w, c) for i, w, c in data.draw(st.lists(span, max_size=3)) if i + w <= length] for length in lengths
    ]
    targets = torch.from_numpy(span_targets(lengths, gold, width, 7))
    none, some = sample_negatives(targets, 0.0), sample_negatives(targets, 0.5)
    assert sample_negatives(targets, 1.0) is targets
    for b, spans in enumerate(gold):
        taken = {t for i, j, c in spans if c > 0 and targets[b, i, j - i - 1] == c for t in range(i, j)}
        for i in range(7):
            for w in range(width):
                was = int(targets[b, i, w])
                easy = was == 0 and taken.isdisjoint(range(i, i + w + 1))
                assert int(none[b, i, w]) == (IGNORED if easy else was)
                assert int(some[b, i, w]) in ({0, IGNORED} if easy else {was})


def test_sampling_keeps_the_share():
    torch.manual_seed(0)
    targets = torch.zeros(20, 50, 10, dtype=torch.long)
    kept = (sample_negatives(targets, 0.3) == 0).float().mean()
    assert float(kept) == pytest.approx(0.3, abs=0.01)
