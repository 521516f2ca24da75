"""Aggregates of attention against loops over single numbers, and what must hold of any attention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.attention_aggregation import (
    across_heads,
    diagonal,
    influence,
    received,
    rollout,
    spread,
    word_means,
    word_sums,
)
from samarkand.models.transfer_losses import word_attention

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(0, 10**6), st.floats(0, 8))


def make(shape):
    layers, heads, size, seed, sharpness = shape
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(layers, heads, size, size, dtype=torch.float64, generator=random)
    return (sharpness * scores).softmax(dim=-1)


def slow_entropy_of_bins(column):
    """Counts in bins of 0.01, as AttViz has it, in nats over the greatest that is possible."""
    counts = {}
    for value in column:
        key = math.floor(value * 100 + 1e-9)
        counts[key] = counts.get(key, 0) + 1
    if len(column) == 1:
        return 0.0
    return -sum(c / len(column) * math.log(c / len(column)) for c in counts.values()) / math.log(len(column))


@given(SHAPES)
@settings(deadline=None, max_examples=60)
def test_measures_equal_those_of_loops(shape):
    attention = make(shape)
    layers, heads, size = attention.shape[:3]
    a = attention.tolist()
    for i in range(layers):
        for h in range(heads):
            for t in range(size):
                row = a[i][h][t]
                entropy = -sum(p * math.log(p) for p in row if p > 0) / math.log(size) if size > 1 else 0.0
                assert diagonal(attention)[i, h, t].item() == row[t]
                assert received(attention)[i, h, t].item() == pytest.approx(sum(q[t] for q in a[i][h]) / size)
                assert spread(attention)[i, h, t].item() == pytest.approx(entropy, abs=1e-9)


@given(SHAPES)
@settings(deadline=None, max_examples=60)
def test_aggregates_equal_those_of_loops(shape):
    values = diagonal(make(shape))
    found = across_heads(values)
    for i in range(values.shape[0]):
        for t in range(values.shape[2]):
            column = values[i, :, t].tolist()
            mean = sum(column) / len(column)
            std = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column))
            expected = {"mean": mean, "std": std, "max": max(column), "min": min(column)}
            expected |= {"range": max(column) - min(column), "entropy": slow_entropy_of_bins(column)}
            assert {name: table[i, t].item() for name, table in found.items()} == pytest.approx(expected, abs=1e-9)
    assert torch.all((found["entropy"] >= 0) & (found["entropy"] <= 1 + 1e-12))
    assert torch.all((found["min"] <= found["mean"] + 1e-12) & (found["mean"] <= found["max"] + 1e-12))


@given(SHAPES)
@settings(deadline=None, max_examples=60)
def test_invariants(shape):
    attention = make(shape)
    ones = torch.ones((), dtype=attention.dtype)
    torch.testing.assert_close(received(attention).sum(dim=-1), ones.expand(attention.shape[:2]))
    assert torch.all((spread(attention) >= 0) & (spread(attention) <= 1 + 1e-9))
    flow = rollout(attention)
    torch.testing.assert_close(flow.sum(dim=-1), ones.expand(len(flow)))
    expected = np.eye(len(flow))
    for layer in attention.numpy():
        step = 0.5 * np.eye(len(flow)) + 0.5 * sum(layer) / len(layer)
        expected = (step / step.sum(axis=1, keepdims=True)) @ expected
    np.testing.assert_allclose(flow.numpy(), expected, atol=1e-12)


@given(SHAPES)
@settings(deadline=None, max_examples=60)
def test_influence_equals_that_of_loops(shape):
    attention = make(shape)
    layers, heads, size = attention.shape[:3]
    gradients = torch.randn(attention.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(shape[3]))
    found = influence(attention, gradients)
    a, g = attention.tolist(), gradients.tolist()
    for i in range(layers):
        moved = [
            [sum(abs(a[i][h][j][t] * g[i][h][j][t]) for j in range(size)) for t in range(size)] for h in range(heads)
        ]
        whole = sum(map(sum, moved))
        for h in range(heads):
            assert found[i, h].tolist() == pytest.approx([value / whole for value in moved[h]])
    torch.testing.assert_close(influence(attention, torch.zeros_like(gradients)), torch.zeros_like(found))


def test_attention_that_is_known():
    uniform = torch.full((2, 3, 5, 5), 0.2)
    torch.testing.assert_close(spread(uniform), torch.ones(2, 3, 5))
    torch.testing.assert_close(diagonal(uniform), torch.full((2, 3, 5), 0.2))
    equal = across_heads(diagonal(uniform))
    for name in ("std", "range", "entropy"):
        torch.testing.assert_close(equal[name], torch.zeros(2, 5), msg=name)
    identity = torch.eye(5).expand(2, 3, 5, 5)
    torch.testing.assert_close(rollout(identity), torch.eye(5))
    torch.testing.assert_close(spread(identity), torch.zeros(2, 3, 5))
    apart = across_heads(torch.tensor([[[0.1], [0.2], [0.3]]]))
    torch.testing.assert_close(apart["entropy"], torch.ones(1, 1))
    torch.testing.assert_close(spread(torch.ones(1, 1, 1, 1)), torch.zeros(1, 1, 1))


@given(SHAPES, st.data())
@settings(deadline=None, max_examples=60)
def test_words_keep_the_mass_of_their_pieces(shape, data):
    attention = make(shape)
    size = attention.shape[-1]
    word = sorted(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    number = {name: place for place, name in enumerate(dict.fromkeys(word))}
    units = torch.tensor([number[name] for name in word])
    belongs = torch.zeros(len(number), size, dtype=attention.dtype)
    belongs[units, torch.arange(size)] = 1.0
    sums, means = word_sums(received(attention), belongs), word_means(diagonal(attention), belongs)
    torch.testing.assert_close(sums.sum(dim=-1), received(attention).sum(dim=-1))
    for row in range(len(number)):
        own = units == row
        torch.testing.assert_close(sums[..., row], received(attention)[..., own].sum(dim=-1))
        torch.testing.assert_close(means[..., row], diagonal(attention)[..., own].mean(dim=-1))
    # The attention between words that other parts use has the same keys.
    between = word_attention(attention, torch.arange(size), units, len(number))
    torch.testing.assert_close(between.sum(dim=-1), torch.ones(between.shape[:-1], dtype=between.dtype))
    keys = word_sums(attention, belongs)
    torch.testing.assert_close(word_means(keys.transpose(-1, -2), belongs).transpose(-1, -2), between)


def test_a_piece_of_two_words_is_parted():
    belongs = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    torch.testing.assert_close(word_sums(torch.tensor([0.2, 0.4, 0.4]), belongs), torch.tensor([0.4, 0.6]))
