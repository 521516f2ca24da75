"""Masked batches: the rate, whole words, spans, and what takes the place of a hidden piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.masking import IGNORED, MaskingSettings, WordMasker
from samarkand.models.vocabulary import MASK, SPECIALS

VOCABULARY = 200
N = len(SPECIALS)
# Pieces up to 60 open a word, up to 30 stand alone, special ones do both.
OPENS, CLOSES = np.arange(VOCABULARY) < 60, np.arange(VOCABULARY) < 30


def masker(device="cpu", **options):
    return WordMasker(OPENS, CLOSES, MaskingSettings(**options), torch.device(device))


def random_ids(rows, length, seed=0):
    ids = torch.randint(N, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = 0
    return ids


def mask(ids, seed=0, **options):
    batch = masker(ids.device, **options).mask(ids, torch.Generator(ids.device).manual_seed(seed))
    labels = torch.full_like(ids, IGNORED).scatter(1, batch.positions, batch.labels)
    return batch, labels


def words_of(row):
    """Positions of each word, found one piece at a time."""
    words = []
    for i, piece in enumerate(row):
        if not i or OPENS[piece] or CLOSES[row[i - 1]]:
            words.append([])
        words[-1].append(i)
    return words


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=24, max_size=24), min_size=1, max_size=4),
    st.floats(0.05, 0.9),
    st.floats(1.0, 6.0),
    st.integers(0, 99),
)
def test_whole_words_within_the_rate(rows, rate, mean_span, seed):
    ids = torch.tensor(rows)
    batch, labels = mask(ids, seed, rate=rate, mean_span=mean_span)
    asked = labels != IGNORED
    assert (labels[asked] == ids[asked]).all()
    assert (batch.inputs[~asked] == ids[~asked]).all()
    assert not asked[ids < N].any()
    assert (asked.sum(1) <= rate * (ids >= N).sum(1) + 1e-3).all()
    for row, hidden in zip(rows, asked.tolist()):
        for word in words_of(row):
            assert len({hidden[i] for i in word if row[i] >= N}) <= 1
    assert all(len(set(row)) == len(row) for row in batch.positions.tolist())


@pytest.mark.parametrize("rate", [0.15, 0.3])
@pytest.mark.parametrize("mean_span", [1.0, 3.0])
def test_rate(rate, mean_span, device):
    ids = random_ids(200, 256).to(device)
    batch, labels = mask(ids, rate=rate, mean_span=mean_span)
    assert batch.positions.shape == batch.labels.shape == (200, MaskingSettings(rate=rate).most(256))
    # Words have 2.7 pieces here; the one that does not fit any more leaves its place empty.
    assert rate - 0.015 < (labels != IGNORED).float().mean().item() < rate


def test_places_are_all_as_likely():
    # Single pieces, for a long word at an edge would be cut short there.
    _, labels = mask(torch.full((4000, 40), 10), rate=0.25, mean_span=2.0)
    share = (labels != IGNORED).float().mean(0)
    assert share.min() > 0.22
    assert share.max() < 0.28


@pytest.mark.parametrize("mean_span", [1.0, 4.0])
def test_spans_are_of_geometric_length(mean_span):
    # Every piece is a word, few are hidden: two spans seldom touch.
    ids = torch.full((2000, 400), 10)
    _, labels = mask(ids, rate=0.05, mean_span=mean_span)
    asked = torch.nn.functional.pad((labels != IGNORED).int(), (1, 1)).diff(dim=1)
    lengths = ((asked == -1).nonzero()[:, 1] - (asked == 1).nonzero()[:, 1]).double()
    assert lengths.mean().item() == pytest.approx(mean_span, rel=0.12)
    if mean_span > 1:
        assert (lengths == 1).double().mean().item() == pytest.approx(1 / mean_span, rel=0.15)


def test_what_takes_the_place():
    ids = random_ids(400, 128)
    batch, labels = mask(ids, rate=0.3)
    asked = labels != IGNORED
    inputs, originals = batch.inputs[asked], ids[asked]
    assert (inputs == MASK).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (inputs == originals).float().mean().item() == pytest.approx(0.1, abs=0.015)
    others = inputs[(inputs != MASK) & (inputs != originals)]
    assert others.min() >= N
    assert others.max() < VOCABULARY
    assert len(others.unique()) > 150


def test_the_seed_decides():
    ids = random_ids(4, 64)
    assert (mask(ids, 1)[1] == mask(ids, 1)[1]).all()
    assert (mask(ids, 1)[1] != mask(ids, 2)[1]).any()


def test_nothing_to_hide():
    ids = torch.tensor([[0, 1, 2, 2, 2, 2, 2, 2]])
    batch, labels = mask(ids)
    assert (labels == IGNORED).all()
    assert (batch.inputs == ids).all()


@pytest.mark.parametrize(
    "options", [{"rate": 0.0}, {"rate": 1.0}, {"mean_span": 0.5}, {"masked": -0.1}, {"random": 0.3}]
)
def test_settings_out_of_range(options):
    with pytest.raises(ValueError, match=r"S732.*masking"):
        MaskingSettings(**options)
