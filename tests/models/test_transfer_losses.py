"""Embedding-push and attention-pull against slow references, their gradients, and what must not change them."""

from __future__ import annotations

import pytest
import torch
from samarkand.models.transfer_losses import pull_loss, push_loss, word_attention


def _embeddings(seed: int, n: int = 4, width: int = 5, dtype: torch.dtype = torch.float32) -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {i: torch.randn(width, generator=generator, dtype=dtype) for i in range(n)}


def _attention(seed: int, sizes: list[int], heads: int = 2, dtype: torch.dtype = torch.float32) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        i: torch.randn(heads, size, size, generator=generator, dtype=dtype).softmax(-1) for i, size in enumerate(sizes)
    }


def _slow_push(first: dict, second: dict, limit: float) -> float:
    total = 0.0
    for i in first:
        width = len(first[i])
        square = sum(float(second[i][k] - first[i][k]) ** 2 for k in range(width)) / width
        total += min(limit, square)
    return -total / len(first)


def _slow_pull(first: dict, second: dict) -> float:
    total, entries = 0.0, 0
    for i in first:
        heads, words = len(first[i]), min(first[i].shape[1], second[i].shape[1])
        for h in range(heads):
            for q in range(words):
                for k in range(words):
                    total += float(second[i][h, q, k] - first[i][h, q, k]) ** 2
                    entries += 1
    return total / entries


@pytest.mark.parametrize("limit", [0.5, 1.0, 100.0])
def test_push_is_the_slow_reference(limit, device):
    first, second = _embeddings(0), _embeddings(1)
    found = push_loss(*({i: x.to(device) for i, x in states.items()} for states in (first, second)), limit)
    assert float(found) == pytest.approx(_slow_push(first, second, limit), abs=1e-5)


def test_pull_is_the_slow_reference(device):
    first, second = _attention(0, [3, 1, 6]), _attention(1, [3, 2, 4])
    found = pull_loss(*({i: x.to(device) for i, x in states.items()} for states in (first, second)))
    assert float(found) == pytest.approx(_slow_pull(first, second), abs=1e-5)


def test_gradients_are_those_of_finite_differences():
    first, second = _embeddings(0, dtype=torch.float64), _embeddings(1, dtype=torch.float64)
    # Away from the limit, where the loss has a kink.
    assert torch.autograd.gradcheck(
        lambda x: push_loss({**first, 0: x}, second, 50.0), first[0].clone().requires_grad_(True)
    )
    maps, others = (_attention(seed, [3, 2], dtype=torch.float64) for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda x: pull_loss({**maps, 0: x}, others), maps[0].clone().requires_grad_(True))


def test_what_is_far_enough_is_not_pushed_further():
    near, far = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    loss = push_loss({0: near, 1: far}, {0: torch.full((3,), 0.5), 1: torch.full((3,), 5.0)}, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(-(0.25 + 1.0) / 2)
    assert near.grad.abs().min() > 0
    assert not far.grad.any()


def test_same_states_have_no_loss():
    assert float(push_loss(_embeddings(3), _embeddings(3))) == 0
    assert float(pull_loss(_attention(3, [4, 1]), _attention(3, [4, 1]))) == 0
    assert float(push_loss({}, {})) == 0
    assert float(pull_loss({}, {})) == 0


def test_attention_between_words_sums_over_keys_and_averages_over_queries():
    attention = torch.arange(16.0).view(1, 4, 4)
    # Word 0 has the pieces 1 and 2, word 1 none, word 2 the piece 3; piece 0 is special.
    found = word_attention(attention, torch.tensor([1, 2, 3]), torch.tensor([0, 0, 2]), 3)
    assert found.tolist() == [[[(5 + 6 + 9 + 10) / 2, 0, (7 + 11) / 2], [0, 0, 0], [13 + 14, 0, 15]]]


def test_a_piece_of_two_words_is_shared_between_them():
    found = word_attention(torch.full((1, 2, 2), 0.5), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2)
    assert found.tolist() == [[[0.25, 0.75], [0.25, 0.75]]]
