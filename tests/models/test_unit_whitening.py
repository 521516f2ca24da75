"""The whitening layer of a pipeline: the map of the library, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from samarkand.models.unit_whitening import build_whitening_layer, set_affine
from samarkand.models.whitening import VectorStatistics, Whitening
from thinc.api import Model

WIDTH, DIM = 6, 3


def fit(normalize: bool) -> Whitening:
    statistics = VectorStatistics()
    statistics.update(np.random.default_rng(0).standard_normal((40, WIDTH)) + 1)
    return statistics.whitening(DIM, normalize=normalize)


def make_layer(whitening: Whitening) -> Model:
    layer = build_whitening_layer()
    set_affine(layer, *whitening.affine(), whitening.normalize)
    return layer


class Differentiable(torch.autograd.Function):
    """The layer, with the gradient that it gives itself."""

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, layer: Model) -> torch.Tensor:
        rows, ctx.backprop = layer(vectors.numpy(), is_train=True)
        return torch.from_numpy(rows)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.from_numpy(ctx.backprop(gradient.numpy())), None


@pytest.mark.parametrize("normalize", [True, False])
def test_gradients_are_those_of_differences(normalize):
    layer = make_layer(fit(normalize))
    vectors = torch.randn(4, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: Differentiable.apply(rows, layer), vectors)


@pytest.mark.parametrize("normalize", [True, False])
def test_rows_are_those_of_the_map(normalize):
    whitening = fit(normalize)
    vectors = np.random.default_rng(1).standard_normal((5, WIDTH)).astype(np.float32)
    vectors[2] = 0
    rows, backprop = make_layer(whitening)(vectors, is_train=True)
    np.testing.assert_allclose(rows, whitening.transform(vectors), atol=1e-5)
    assert not rows[2].any()
    assert not backprop(np.ones_like(rows))[2].any()


def test_without_a_map_nothing_changes():
    vectors = np.ones((2, WIDTH), dtype=np.float32)
    rows, backprop = build_whitening_layer()(vectors, is_train=True)
    assert rows is vectors
    assert backprop(vectors) is vectors
