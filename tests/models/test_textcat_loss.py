"""Losses of classifiers against slow references, and the head."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from samarkand.models.textcat_head import TextcatHead
from samarkand.models.textcat_loss import probabilities, textcat_loss

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype("f") * 3
NAN = math.nan
SOFT = np.array([[1, 0, 0], [0.2, 0.5, 0.3], [NAN] * 3, [0, 0, 1], [0, 1, 0]], dtype="f")
PARTS = np.array([[1, 0, NAN], [0.2, 1, 1], [NAN] * 3, [0, 0, 0], [NAN, 1, 0.5]], dtype="f")


def _slow(targets: np.ndarray, exclusive: bool) -> float:
    losses = []
    for z, t in zip(LOGITS.astype(float), targets.astype(float)):
        if exclusive and not any(map(math.isnan, t)):
            total = sum(math.exp(x) for x in z)
            losses.append(-sum(y * math.log(math.exp(x) / total) for x, y in zip(z, t)))
        if not exclusive:
            p = [1 / (1 + math.exp(-x)) for x in z]
            losses += [-y * math.log(q) - (1 - y) * math.log(1 - q) for q, y in zip(p, t) if not math.isnan(y)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("targets", "exclusive"), [(SOFT, True), (PARTS, False)])
def test_losses_are_the_slow_reference_and_gradients_its_slope(targets, exclusive):
    loss, gradient = textcat_loss(LOGITS, targets, exclusive=exclusive)
    assert loss == pytest.approx(_slow(targets, exclusive), abs=1e-5)
    assert gradient.shape == LOGITS.shape
    assert not gradient[2].any()
    for row, column in [(0, 0), (1, 2), (4, 1)]:
        step = np.zeros_like(LOGITS)
        step[row, column] = 1e-2
        above, below = (textcat_loss(LOGITS + s, targets, exclusive=exclusive)[0] for s in (step, -step))
        assert gradient[row, column] == pytest.approx((above - below) / 2e-2, abs=1e-4)


@pytest.mark.parametrize("exclusive", [True, False])
def test_weights_multiply_and_nothing_known_is_no_loss(exclusive):
    targets = SOFT if exclusive else PARTS
    loss, gradient = textcat_loss(LOGITS, targets, exclusive=exclusive)
    weighted, d_weighted = textcat_loss(LOGITS, targets, exclusive=exclusive, weight=0.25)
    assert weighted == pytest.approx(loss / 4)
    np.testing.assert_allclose(d_weighted, gradient / 4, rtol=1e-5)
    loss, gradient = textcat_loss(LOGITS, np.full_like(LOGITS, NAN), exclusive=exclusive)
    assert loss == 0
    assert not gradient.any()


def test_probabilities():
    exclusive = probabilities(LOGITS, exclusive=True)
    np.testing.assert_allclose(exclusive.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities(LOGITS, exclusive=False), 1 / (1 + np.exp(-LOGITS)), rtol=1e-4)


@pytest.mark.parametrize("hidden", [0, 7])
def test_a_pair_is_compared_by_difference_and_product(hidden):
    head = TextcatHead(nI=4, nO=3, is_pair=True, hidden=hidden, dropout=0.5).eval()
    vectors = torch.randn(6, 4)
    rows = []
    for u, v in zip(vectors[0::2], vectors[1::2]):
        rows.append(torch.cat([u, v, (u - v).abs(), u * v]))
    x = torch.stack(rows)
    if hidden:
        x = torch.tanh(x @ head.hidden[0].weight.T + head.hidden[0].bias)
    torch.testing.assert_close(head(vectors), x @ head.output.weight.T + head.output.bias, atol=1e-5, rtol=1e-5)


def test_a_text_alone_has_its_own_row():
    head = TextcatHead(nI=4, nO=2, is_pair=False, hidden=0, dropout=0.0)
    assert head(torch.zeros(5, 4)).shape == (5, 2)
