"""Windows over long sequences, and padded batches of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.windows import (
    add_windows,
    batch_windows,
    cut_windows,
    pad_windows,
    padded_count,
    padded_length,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(4, 80), st.data())
def test_owned_parts_cover_every_token_once(lengths, size, data):
    overlap = data.draw(st.integers(0, (size - 1) // 2))
    windows = cut_windows(lengths, size, overlap)
    covered = {s: [] for s in range(len(lengths))}
    for w in windows:
        assert 0 <= w.start <= w.own_start < w.own_end <= w.end <= lengths[w.sequence]
        assert len(w) <= size
        covered[w.sequence] += range(w.own_start, w.own_end)
    assert covered == {s: list(range(length)) for s, length in enumerate(lengths)}


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 500), st.integers(20, 80), st.data())
def test_owned_tokens_have_context_unless_the_sequence_ends(length, size, data):
    overlap = data.draw(st.integers(0, (size - 1) // 2))
    for w in cut_windows([length], size, overlap):
        assert w.start == 0 or w.own_start - w.start >= overlap
        assert w.end == length or w.end - w.own_end >= overlap


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=20), st.integers(1, 200))
def test_batches_hold_every_window_once_within_the_limit(lengths, limit):
    windows = cut_windows(lengths, 64, 8)
    batches = list(batch_windows(windows, limit))
    assert sorted((w for batch in batches for w in batch), key=hash) == sorted(windows, key=hash)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * padded_length(max(map(len, batch))) <= limit


@given(st.integers(1, 2000))
def test_padded_shapes_are_few_and_not_much_larger(n):
    assert n <= padded_length(n) < n + 32
    assert n <= padded_count(n) <= max(n + 1, n * 3 // 2)
    assert len({padded_length(k) for k in range(1, 513)}) == 24
    assert len({padded_count(k) for k in range(1, 513)}) == 18


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 200))
def test_owned_tokens_come_back_from_padded_batches_once(lengths, limit):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(length, 3)).astype("f") for length in lengths]
    back, reads = [np.zeros_like(array) for array in arrays], [np.zeros_like(array) for array in arrays]
    for batch in batch_windows(cut_windows(lengths, 16, 4), limit):
        count, size = padded_count(len(batch)), padded_length(len(batch[0]))
        padded = pad_windows(arrays, batch, count, size)
        assert padded.shape == (count, size, 3)
        for row, w in zip(padded, batch):
            np.testing.assert_array_equal(row[: len(w)], arrays[w.sequence][w.start : w.end])
            assert not row[len(w) :].any()
        owned = pad_windows(arrays, batch, count, size, owned=True)
        assert (owned != 0).any(-1).sum() == sum(w.own_end - w.own_start for w in batch)
        add_windows(padded, batch, back, owned=True)
        add_windows(np.ones_like(padded), batch, reads)
    for array, again, read in zip(arrays, back, reads):
        np.testing.assert_array_equal(again, array)
        assert read.min() >= 1
