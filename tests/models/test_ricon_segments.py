"""The likelihood of a segmentation against a sum over every one of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.ricon import RiconOutput
from samarkand.models.ricon_decode import span_targets
from samarkand.models.ricon_segments import covered_tokens, segmentation_loss

CLASSES = 2

Segmentation = list[tuple[int, int, int]]


def _segmentations(length: int, width: int) -> list[Segmentation]:
    """Every set of entities (start, end exclusive, class from 1) without overlap."""
    spans = [
        (i, j, c)
        for i in range(length)
        for j in range(i + 1, min(i + width, length) + 1)
        for c in range(1, CLASSES + 1)
    ]
    found = [()]
    for count in range(1, length + 1):
        for chosen in itertools.combinations(spans, count):
            if all(a[1] <= b[0] for a, b in itertools.pairwise(chosen)):
                found.append(chosen)
    return [list(entities) for entities in found]


def _score(output: RiconOutput, b: int, entities: Segmentation) -> torch.Tensor:
    total = torch.zeros(())
    for i, j, c in entities:
        types = output.types[b, i, j - i - 1]
        total = total + (types[c] - types[0] + output.bounds[b, i, j - i - 1]) / 2
    return total


def _agrees(entities: Segmentation, targets: torch.Tensor) -> bool:
    """Whether a segmentation has the known entities and none that is known to be no entity."""
    classes = {(i, j - i - 1): c for i, j, c in entities}
    known = [(i, w) for i in range(len(targets)) for w in range(targets.shape[1]) if targets[i, w] >= 0]
    return all(classes.get(place, 0) == int(targets[place]) for place in known)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_loss_equals_the_sum_over_all_segmentations(data):
    width = data.draw(st.integers(1, 5))
    lengths = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    size = max([*lengths, 1]) + data.draw(st.integers(0, 2))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    B = len(lengths)
    output = RiconOutput(3 * torch.randn(B, size, width, CLASSES + 1), 3 * torch.randn(B, size, width), torch.zeros(()))
    gold = [data.draw(st.sampled_from(_segmentations(length, width))) for length in lengths]
    unknown = [[(t, t + 1, -1) for t in range(n) if data.draw(st.booleans())] for n in lengths]
    targets = torch.from_numpy(span_targets(lengths, [a + b for a, b in zip(gold, unknown)], width, size))
    expected = torch.zeros(())
    for b, length in enumerate(lengths):
        every = _segmentations(length, width)
        agreeing = [entities for entities in every if _agrees(entities, targets[b])]
        for sign, group in ((1, every), (-1, agreeing)):
            expected = expected + sign * torch.stack([_score(output, b, e) for e in group]).logsumexp(0)
    expected = expected / max(1, sum(lengths))
    loss = segmentation_loss(output, targets, torch.tensor(lengths))
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_gradients_are_finite_and_move_scores_towards_the_segmentation():
    torch.manual_seed(0)
    types, bounds = torch.randn(1, 6, 3, 3, requires_grad=True), torch.randn(1, 6, 3, requires_grad=True)
    targets, lengths = torch.from_numpy(span_targets([6], [[(1, 3, 2)]], 3, 6)), torch.tensor([6])
    segmentation_loss(RiconOutput(types, bounds, torch.zeros(())), targets, lengths).backward()
    assert types.grad.isfinite().all()
    assert bounds.grad.isfinite().all()
    assert bounds.grad[0, 1, 1] < 0
    others = torch.ones(6, 3, dtype=torch.bool)
    others[1, 1] = False
    assert (bounds.grad[0][others] >= 0).all()


@pytest.mark.parametrize("unknown", [False, True])
def test_a_loss_that_is_certain_is_zero(unknown):
    types, bounds = torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2)
    types[..., 0] = 0.0 if unknown else 50.0
    targets = torch.full((1, 4, 2), -1) if unknown else torch.from_numpy(span_targets([4], [[]], 2, 4))
    loss = segmentation_loss(RiconOutput(types, bounds, torch.zeros(())), targets, torch.tensor([4]))
    assert float(loss) == pytest.approx(0.0, abs=1e-5)


def test_covered_tokens_are_those_of_entities():
    targets = torch.from_numpy(span_targets([5, 3], [[(1, 3, 1), (4, 5, 2)], []], 2, 5))
    covered = covered_tokens(targets)
    assert covered.shape == (2, 7)
    assert covered[0].nonzero().flatten().tolist() == [1, 2, 4]
    assert not covered[1].any()
