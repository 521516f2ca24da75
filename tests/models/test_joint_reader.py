"""Reading pairs: against a loop over tokens, and without regard to padding, batch or neighbours."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joint_reader_reference import read_all
from samarkand.models.joint_reader import SEGMENTS, JointReader, Pairs

E_QUERY, E_OPTION, F, H = 5, 3, 2, 8


def make_reader(depth: int, seed: int = 0) -> JointReader:
    torch.manual_seed(seed)
    sizes = {"query_width": E_QUERY, "option_width": E_OPTION, "features": F, "width": H}
    return JointReader(**sizes, depth=depth, heads=2, dropout=0.1).eval()


def make_pairs(lengths: list[int], option_lengths: list[int], K: int, seed: int, spare: int = 0):
    """Tokens of texts and options, and pairs of them; each mention has an option at least."""
    generator = torch.Generator().manual_seed(seed)
    N, U = len(lengths), len(option_lengths)
    tokens = torch.randn(sum(lengths), E_QUERY, generator=generator)
    option_tokens = torch.randn(sum(option_lengths), E_OPTION, generator=generator)

    def places(sizes: list[int]) -> torch.Tensor:
        rows, first = torch.full((len(sizes), max(sizes) + spare), -1), 0
        for row, size in zip(rows, sizes):
            row[:size] = torch.arange(first, first + size)
            first += size
        return rows

    queries, options = places(lengths), places(option_lengths)
    marks = torch.zeros_like(queries)
    for n, length in enumerate(lengths):
        start = int(torch.randint(length, (1,), generator=generator))
        marks[n, start : min(start + 2, length)] = 1
    segments = torch.randint(SEGMENTS, options.shape, generator=generator)
    choices = torch.randint(-1, U, (N, K), generator=generator)
    choices[:, 0] = torch.randint(U, (N,), generator=generator)
    return (
        tokens,
        option_tokens,
        Pairs(queries, marks, options, segments, choices, torch.randn(N, K, F, generator=generator)),
    )


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2), sizes, sizes, st.integers(1, 3), st.integers(0, 2**31), st.integers(0, 3))
def test_readings_equal_a_loop_over_pairs_and_tokens(depth, lengths, option_lengths, K, seed, spare):
    reader = make_reader(depth, seed)
    inputs = make_pairs(lengths, option_lengths, K, seed, spare)
    with torch.no_grad():
        found, expected = reader(*inputs), read_all(reader, *inputs)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not found[0][inputs[2].choices < 0].any()


@settings(max_examples=15, deadline=None)
@given(sizes, sizes, st.integers(0, 2**31))
def test_a_mention_alone_is_read_as_among_others(lengths, option_lengths, seed):
    reader = make_reader(2, seed)
    tokens, option_tokens, pairs = make_pairs(lengths, option_lengths, 3, seed)
    with torch.no_grad():
        V, q = reader(tokens, option_tokens, pairs)
        for n in range(len(lengths)):
            names = ("queries", "marks", "choices", "features")
            alone = dataclasses.replace(pairs, **{name: getattr(pairs, name)[n : n + 1] for name in names})
            V_n, q_n = reader(tokens, option_tokens, alone)
            torch.testing.assert_close((V_n[0], q_n[0]), (V[n], q[n]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depth", [0, 2])
def test_gradients_are_right_and_reach_every_part(depth, device):
    reader = make_reader(depth).double().to(device)
    tokens, option_tokens, pairs = make_pairs([3, 2], [2, 4], 2, 1)
    tokens, option_tokens = (x.double().to(device).requires_grad_() for x in (tokens, option_tokens))
    pairs = Pairs(*(value.to(device) for value in vars(pairs).values()))
    pairs = dataclasses.replace(pairs, features=pairs.features.double())
    assert torch.autograd.gradcheck(lambda x, y: reader(x, y, pairs), (tokens, option_tokens))
    V, q = reader(tokens, option_tokens, pairs)
    (V.pow(3).sum() + q.pow(3).sum()).backward()
    assert all(parameter.grad is not None for parameter in reader.parameters())
    assert all(parameter.device.type == device.type for parameter in reader.parameters())
