"""Windows over long sequences, and padded batches of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.windows import (
    BATCH_WORK,
    STEP_WORK,
    Window,
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
    batches = batch_windows(windows, limit)
    assert sorted((w for batch in batches for w in batch), key=hash) == sorted(windows, key=hash)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * padded_length(max(map(len, batch))) <= limit


def _work(groups: Iterable[Sequence[Window]]) -> float:
    return sum(
        BATCH_WORK + padded_length(max(map(len, batch))) * (STEP_WORK + padded_count(len(batch))) for batch in groups
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 250), min_size=1, max_size=9), st.integers(256, 2000))
def test_no_other_batches_in_order_of_length_are_less_work(lengths, limit):
    windows = sorted(cut_windows(lengths, 256, 8), key=len, reverse=True)
    cheapest = np.inf
    for cuts in itertools.product((False, True), repeat=len(windows) - 1):
        edges = [0, *(k + 1 for k, cut in enumerate(cuts) if cut), len(windows)]
        groups = [windows[i:j] for i, j in itertools.pairwise(edges)]
        if all(len(batch) * padded_length(len(batch[0])) <= limit for batch in groups):
            cheapest = min(cheapest, _work(groups))
    assert _work(batch_windows(windows, limit)) == pytest.approx(cheapest)


def test_long_windows_do_not_make_short_ones_long():
    windows = cut_windows([200] * 4 + [10] * 200, 256, 8)
    batches = batch_windows(windows, 8192)
    padded = sum(padded_count(len(batch)) * padded_length(len(batch[0])) for batch in batches)
    assert padded < 1.4 * sum(map(len, windows))


@given(st.integers(1, 2000))
def test_padded_shapes_are_few_and_not_much_larger(n):
    assert n <= padded_length(n) < n + 32
    assert n <= padded_count(n) <= max(n + 1, n * 3 // 2)
    assert len({padded_length(k) for k in range(1, 513)}) == 28
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
