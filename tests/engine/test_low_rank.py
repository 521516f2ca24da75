"""Randomised subspace iteration against the singular value decomposition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.engine.low_rank import Balance, Blocks, Factors, orthonormal, rank_ladder, rung, subspace_iteration
from torch import Tensor


def _blocks(matrices: Tensor, height: int = 5) -> Blocks:
    def blocks() -> Iterator[tuple[slice, Tensor]]:
        for first in range(0, matrices.shape[1], height):
            place = slice(first, first + height)
            yield place, matrices[:, place]

    return blocks


def _factors(matrices: Tensor, start: Tensor, steps: int, height: int = 5) -> Factors:
    count, m, n = matrices.shape
    return subspace_iteration(_blocks(matrices, height), start, steps, Balance.none(count, m, n, matrices.device))


def _moments(count: int, m: int, n: int, seed: int) -> Tensor:
    """What second moments look like: averages of squares, a few strong directions over noise."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.rand(count, m, 2, generator=generator) @ torch.rand(count, 2, n, generator=generator)
    return sum((scale * torch.randn(count, m, n, generator=generator)).square() for _ in range(20)) / 20


def _start(count: int, n: int, r: int, seed: int = 0) -> Tensor:
    return torch.randn(count, n, r, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 14), st.integers(2, 14), st.integers(0, 1000))
def test_a_full_sketch_is_exact(m, n, seed):
    matrices = _moments(2, m, n, seed)
    factors = _factors(matrices, _start(2, n, min(m, n)), 2)
    torch.testing.assert_close(factors.rows @ factors.columns.mT, matrices, atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 30), st.integers(4, 30), st.integers(1, 4), st.integers(0, 1000))
def test_errors_are_those_of_the_product_and_fall_with_the_rank(m, n, rank, seed):
    matrices = _moments(3, m, n, seed)
    factors = _factors(matrices, _start(3, n, rank), 2)
    errors = factors.relative_errors(matrices.square().sum((1, 2)))
    assert errors.shape == (3, rank)
    assert (errors[:, 1:] <= errors[:, :-1] + 1e-6).all()
    for k in range(1, rank + 1):
        product = factors.rows[..., :k] @ factors.columns[..., :k].mT
        exact = (matrices - product).norm(dim=(1, 2)) / matrices.norm(dim=(1, 2))
        torch.testing.assert_close(errors[:, k - 1], exact, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("rank", [1, 4])
def test_more_power_steps_come_closer_to_the_best_of_that_rank(rank):
    matrices = _moments(8, 120, 60, 0)
    total = matrices.square().sum((1, 2))
    values = torch.linalg.svdvals(matrices).square()
    best = (values[:, rank:].sum(1) / total).sqrt().mean()
    means = []
    for steps in (1, 2, 5):
        factors = _factors(matrices, _start(8, 60, rank + 5), steps)
        means.append(factors.relative_errors(total)[:, rank - 1].mean())
    assert means[0] >= means[1] - 1e-4 >= means[2] - 2e-4
    assert means[2] <= best * 1.02


def test_blocks_of_any_height_give_the_same_factors():
    matrices, start = _moments(2, 23, 11, 1), _start(2, 11, 4)
    whole = _factors(matrices, start, 3, 23)
    parts = _factors(matrices, start, 3, 4)
    torch.testing.assert_close(parts.rows @ parts.columns.mT, whole.rows @ whole.columns.mT, atol=1e-5, rtol=1e-5)


def _balance(matrices: Tensor) -> Balance:
    return Balance.of(matrices.sum(2, keepdim=True), matrices.sum(1).unsqueeze(2))


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 20), st.integers(4, 20), st.integers(0, 1000))
def test_balanced_factors_are_the_best_of_the_scaled_matrix(m, n, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [10 ** (4 * torch.rand(2, side, 1, generator=generator) - 2) for side in (m, n)]
    matrices = _moments(2, m, n, seed) * sizes[0] * sizes[1].mT
    balance, rank = _balance(matrices), 2
    factors = subspace_iteration(_blocks(matrices), _start(2, n, min(m, n)), 30, balance)
    restored = balance.restore(factors)
    ones = matrices.sum((1, 2), keepdim=True) * matrices / matrices.sum(2, keepdim=True) / matrices.sum(1, keepdim=True)
    parts = torch.cat([balance.scaled(place, block) for place, block in _blocks(matrices)()], dim=1)
    torch.testing.assert_close(parts, ones)
    # In the scale of the balance all entries count alike; the least of a matrix are below the rounding of its largest.
    again = balance.scaled(slice(None), restored.rows @ restored.columns.mT)
    torch.testing.assert_close(again, ones, atol=1e-5, rtol=1e-5)
    errors = factors.relative_errors(ones.square().sum((1, 2)))[:, rank - 1]
    best = (torch.linalg.svdvals(ones)[:, rank:].square().sum(1) / ones.square().sum((1, 2))).sqrt()
    torch.testing.assert_close(errors, best, atol=2e-2, rtol=0.2)


def test_balanced_factors_of_rank_one_are_adafactors():
    matrices = torch.rand(1, 20, 1) * torch.rand(1, 1, 12)
    matrices[0, 3] = 0
    balance = _balance(matrices)
    kept = balance.restore(subspace_iteration(_blocks(matrices), _start(1, 12, 1), 3, balance))
    adafactor = matrices.sum(2, keepdim=True) * matrices.sum(1, keepdim=True) / matrices.sum((1, 2), keepdim=True)
    torch.testing.assert_close(kept.rows @ kept.columns.mT, adafactor)


def test_a_matrix_of_zeros_has_no_error():
    assert not Factors(torch.zeros(1, 3, 2), torch.zeros(1, 4, 2)).relative_errors(torch.zeros(1)).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_orthonormal_at_any_scale(scale):
    rows = orthonormal(scale * _start(2, 9, 3))
    torch.testing.assert_close(rows.mT @ rows, torch.eye(3).expand(2, 3, 3), atol=1e-5, rtol=0)


@given(st.integers(1, 5000))
def test_ladders_rise_in_steps_that_are_never_more_than_twofold(most):
    ladder = rank_ladder(most)
    assert ladder[0] == 1
    assert ladder[-1] == most
    assert all(a < b <= 2 * a for a, b in itertools.pairwise(ladder))
    for rank in (1, most / 2, most, 2 * most):
        assert rung(ladder, rank) == next((k for k in ladder if k >= rank), most)
