"""Windows over long sequences, and padded batches of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.windows import batch_windows, cut_windows, padded_count, padded_length


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
