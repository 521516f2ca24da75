"""The network against its slow reference, and the invariants of the method."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ricon_reference import agnostic_span, aware_span, orthogonality_direct, span_average
from samarkand.models.ricon import (
    AgnosticBranch,
    AwareBranch,
    Ricon,
    orthogonality,
    pool_spans,
    span_mask,
    upper_band,
    windows_ahead,
)

L, D, W, C = 9, 12, 4, 3


def _ricon(seed: int = 0, branches: str = "both", max_width: int = W, device: torch.device | None = None) -> Ricon:
    torch.manual_seed(seed)
    network = Ricon(nI=8, width=D, rank=5, hidden=6, n_types=C, max_width=max_width, branches=branches)
    return network.eval().to(device or "cpu")


def _batch(lengths: list[int], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), 8)
    for row, length in zip(x, lengths):
        row[length:] = 0
    return x, torch.tensor(lengths)


def test_aware_branch_equals_the_paper_span_by_span(device):
    torch.manual_seed(0)
    branch = AwareBranch(width=D, rank=5, classes=C + 1).to(device)
    A = torch.randn(2, L, D, device=device)
    scores = branch(A, W)
    assert scores.shape == (2, L, W, C + 1)
    for b in range(2):
        for i in range(L):
            for w in range(min(W, L - i)):
                expected = aware_span(branch, A[b], i, i + w)["y"]
                torch.testing.assert_close(scores[b, i, w], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, C + 1])
def test_agnostic_branch_equals_the_paper_span_by_span(device, outputs):
    torch.manual_seed(0)
    branch = AgnosticBranch(width=D, hidden=6, outputs=outputs, dropout=0.2).eval().to(device)
    G = torch.randn(2, L, D, device=device)
    scores = branch(G, W)
    for b in range(2):
        for i in range(L):
            for w in range(min(W, L - i)):
                expected = agnostic_span(branch, G[b], i, i + w)
                torch.testing.assert_close(scores[b, i, w], expected, atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_the_reference():
    torch.manual_seed(0)
    branch = AwareBranch(width=D, rank=5, classes=C + 1).double()
    A = torch.randn(1, L, D, dtype=torch.double, requires_grad=True)
    weights = torch.randn(L, W, C + 1, dtype=torch.double) * span_mask(torch.tensor([L]), L, W)[0].unsqueeze(-1)
    (branch(A, W)[0] * weights).sum().backward()
    fast = {name: p.grad.clone() for name, p in branch.named_parameters()} | {"A": A.grad.clone()}
    branch.zero_grad()
    A.grad = None
    slow = sum(
        (aware_span(branch, A[0], i, i + w)["y"] * weights[i, w]).sum() for i in range(L) for w in range(min(W, L - i))
    )
    slow.backward()
    for name, grad in fast.items():
        expected = A.grad if name == "A" else dict(branch.named_parameters())[name].grad
        torch.testing.assert_close(grad, expected, atol=1e-5, rtol=1e-4, msg=name)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_pooling_equals_a_windowed_softmax_for_scores_up_to_20(data):
    length = data.draw(st.integers(1, 12))
    seed = data.draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.rand(1, length, generator=generator) * 2 - 1) * data.draw(st.sampled_from([0.1, 1.0, 20.0]))
    values = torch.randn(1, length, 3, generator=generator)
    width = data.draw(st.integers(1, 14))
    pooled = pool_spans(scores, values, width)
    assert torch.isfinite(pooled).all()
    for i in range(length):
        for w in range(min(width, length - i)):
            expected = span_average(scores[0, i : i + w + 1], values[0, i : i + w + 1])
            torch.testing.assert_close(pooled[0, i, w], expected, atol=1e-5, rtol=1e-5)


def test_pooled_span_lies_between_its_tokens_and_one_token_is_itself():
    torch.manual_seed(0)
    scores, values = torch.randn(1, L), torch.randn(1, L, D)
    pooled = pool_spans(scores, values, W)
    torch.testing.assert_close(pooled[:, :, 0], values)
    for i in range(L):
        for w in range(min(W, L - i)):
            inside = values[0, i : i + w + 1]
            assert (pooled[0, i, w] >= inside.amin(0) - 1e-6).all()
            assert (pooled[0, i, w] <= inside.amax(0) + 1e-6).all()


def test_adding_a_constant_to_the_scores_changes_nothing():
    torch.manual_seed(0)
    scores, values = torch.randn(1, L), torch.randn(1, L, D)
    real = span_mask(torch.tensor([L]), L, W)
    torch.testing.assert_close(pool_spans(scores, values, W)[real], pool_spans(scores + 7.5, values, W)[real])


@pytest.mark.parametrize(("bias", "expected"), [(1e4, "e"), (-1e4, "r")])
def test_gate_at_its_ends_gives_one_feature_alone(bias, expected):
    torch.manual_seed(0)
    branch = AwareBranch(width=D, rank=5, classes=C + 1)
    torch.nn.init.constant_(branch.gate.bias, bias)
    A = torch.randn(1, L, D)
    parts = aware_span(branch, A[0], 2, 4)
    torch.testing.assert_close(branch(A, W)[0, 2, 2], branch.classify(parts[expected]), atol=1e-5, rtol=1e-5)


def test_gated_feature_lies_between_both():
    torch.manual_seed(0)
    branch = AwareBranch(width=D, rank=5, classes=C + 1)
    parts = aware_span(branch, torch.randn(L, D), 1, 3)
    low, high = torch.minimum(parts["e"], parts["r"]), torch.maximum(parts["e"], parts["r"])
    assert ((parts["z"] >= low - 1e-6) & (parts["z"] <= high + 1e-6)).all()


def test_orthogonality_equals_the_direct_form():
    torch.manual_seed(0)
    A, G = torch.randn(3, L, D), torch.randn(3, L, D)
    lengths = torch.tensor([L, 5, 1])
    mask = torch.arange(L) < lengths[:, None]
    expected = torch.stack([orthogonality_direct(a[:n], g[:n]) for a, g, n in zip(A, G, lengths)]).mean()
    torch.testing.assert_close(orthogonality(A, G, mask), expected, rtol=1e-4, atol=0)


def test_orthogonality_is_zero_for_disjoint_tokens_and_positive_for_equal_features():
    torch.manual_seed(0)
    A, G = torch.randn(1, L, D), torch.randn(1, L, D)
    even = (torch.arange(L) % 2 == 0).view(1, L, 1)
    mask = torch.ones(1, L, dtype=torch.bool)
    assert orthogonality(A * even, G * ~even, mask) == 0
    assert 0 < orthogonality(A, A, mask) <= 1


def test_orthogonality_ignores_padding_rotation_and_scale():
    torch.manual_seed(0)
    A, G = torch.randn(1, L, D), torch.randn(1, L, D)
    mask = torch.ones(1, L, dtype=torch.bool)
    value = orthogonality(A, G, mask)
    rotation, _ = torch.linalg.qr(torch.randn(D, D))
    torch.testing.assert_close(orthogonality(A @ rotation, G, mask), value)
    torch.testing.assert_close(orthogonality(3 * A, 0.2 * G, mask), value)
    padded = torch.nn.functional.pad(mask, (0, 4))
    longer = [torch.cat([x, torch.randn(1, 4, D)], dim=1) for x in (A, G)]
    torch.testing.assert_close(orthogonality(*longer, padded), value)


@pytest.mark.parametrize("branches", ["both", "aware", "agnostic"])
def test_scores_do_not_depend_on_padding_or_on_the_rest_of_the_batch(branches, device):
    network = _ricon(branches=branches, device=device)
    lengths = [7, 3, 1, 5]
    x, sizes = _batch(lengths)
    together = network(x.to(device), sizes.to(device))
    for b, n in enumerate(lengths):
        alone = network(x[b : b + 1, :n].to(device), sizes[b : b + 1].to(device))
        real = span_mask(torch.tensor([n], device=device), n, W)[0]
        torch.testing.assert_close(together.types[b, :n][real], alone.types[0][real], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.bounds[b, :n][real], alone.bounds[0][real], atol=1e-5, rtol=1e-4)


def test_every_parameter_gets_a_gradient():
    network = _ricon().train()
    x, lengths = _batch([6, 4])
    output = network(x, lengths)
    assert output.orthogonality > 0
    (output.types.square().sum() + output.bounds.square().sum() + output.orthogonality).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # The very last bias of a biaffine corner may be reached only through its row; every tensor must be reached.
    assert without == []


@pytest.mark.parametrize("length", [1, 2, W, W + 1, 3 * W])
def test_sequences_shorter_than_the_width_work(length):
    x, lengths = _batch([length])
    output = _ricon()(x, lengths)
    assert output.types.shape == (1, length, W, C + 1)
    assert torch.isfinite(output.types).all()


def test_windows_and_band_agree_with_indexing():
    x = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    ahead = windows_ahead(x, 7)
    square = torch.arange(2 * 5 * 5.0).view(2, 5, 5)
    band = upper_band(square, 7)
    for i in range(5):
        for w in range(7):
            inside = i + w < 5
            assert torch.equal(ahead[:, i, w], x[:, i + w] if inside else torch.zeros(2, 3))
            assert torch.equal(band[:, i, w], square[:, i, i + w] if inside else torch.zeros(2))
