"""Fixed vectors in a hashed table of bytes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.hashed_vectors import HashedVectors, hashed_rows
from samarkand.models.subword_features import features_of

ROWS, WIDTH = 40, 6


def _tensors(tokens: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = features_of(tokens)
    return tuple(torch.from_numpy(part) for part in (features.words, features.pieces, features.offsets))


def test_hashes_lead_to_every_row_but_the_first():
    rows = hashed_rows(torch.arange(-1, 100), 10)
    assert rows[0] == 0
    assert set(rows[1:].tolist()) == set(range(1, 10))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=6), st.integers(0, 1000))
def test_a_vector_is_the_word_plus_the_mean_of_its_pieces(tokens, seed):
    table = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))
    vectors = HashedVectors(rows=ROWS, width=WIDTH)
    vectors.set_table(table)
    words, pieces, offsets = _tensors(tokens)
    found = vectors(words, pieces, offsets)
    ends = [*offsets[1:].tolist(), len(pieces)]
    for k, (start, end) in enumerate(zip(offsets.tolist(), ends)):
        expected = sum(table[h % (ROWS - 1) + 1] for h in words[k].tolist())
        own = [table[h % (ROWS - 1) + 1] for h in pieces[start:end].tolist()]
        expected = expected + (sum(own) / len(own) if own else 0)
        # Each row is off by half a step of its scale at most.
        torch.testing.assert_close(found[k], expected, atol=3.03 * float(table.abs().max()) / 254, rtol=0)


def test_padding_has_no_vector():
    vectors = HashedVectors(rows=ROWS, width=WIDTH)
    vectors.set_table(torch.ones(ROWS, WIDTH))
    assert not vectors(torch.full((1, 2), -1), torch.empty(0, dtype=torch.long), torch.zeros(1, dtype=torch.long)).any()
