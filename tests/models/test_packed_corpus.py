"""Packed sequences: each piece once an epoch, positions, shares, and sequences as the model reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.packed_corpus import Group, PackedCorpus, SequenceReader, SequenceSampler, write_corpus
from samarkand.models.vocabulary import BEGIN, END, PAD

SIZES = {"en": 900, "ar": 300, "zh": 40}


def make_corpus(sizes=SIZES):
    groups, start = [], 0
    for name, size in sizes.items():
        groups.append(Group(name, name, start, size, 1))
        start += size
    return PackedCorpus(np.arange(start, dtype="<u2"), groups)


def sampler(corpus=None, **options):
    return SequenceSampler(corpus or make_corpus(), **{"length": 10, "batch_size": 8, "seed": 3, **options})


def test_writing_and_reading(tmp_path):
    documents = {"en": [[300, 65535], [], [5]], "ar": [[7] * 5]}
    written = write_corpus(tmp_path, ((name, name[:2], iter(group)) for name, group in documents.items()))
    corpus = PackedCorpus.load(tmp_path)
    assert corpus.groups == written
    assert corpus.ids.tolist() == [300, 65535, END, END, 5, END, 7, 7, 7, 7, 7, END]
    assert [(g.start, g.pieces, g.documents) for g in corpus.groups] == [(0, 6, 3), (6, 6, 1)]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="S735"):
        PackedCorpus.load(tmp_path)
    write_corpus(tmp_path, [("en", "en", [[9] * 500])])
    pieces = tmp_path / "pieces.bin.xz"
    whole = pieces.read_bytes()
    pieces.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match="S735"):
        PackedCorpus.load(tmp_path)
    pieces.write_bytes(whole)
    groups = json.loads((tmp_path / "corpus.json").read_text())
    groups["groups"][0]["pieces"] -= 1
    (tmp_path / "corpus.json").write_text(json.dumps(groups))
    with pytest.raises(ValueError, match=r"S735.*501 pieces.*500"):
        PackedCorpus.load(tmp_path)


@given(st.integers(1, 400), st.integers(1, 50), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_piece_once(pieces, length, held_out, epoch):
    corpus = make_corpus({"en": 7, "ar": pieces})
    found = sampler(corpus, length=length, held_out=held_out)
    spans = np.concatenate([found.epoch(1, epoch), found.held_out()[0]])
    assert sorted(i for start, end in spans for i in range(start, end)) == list(range(7, 7 + pieces))
    assert (spans[:, 1] - spans[:, 0] <= length).all()


def test_held_out_text_is_never_read():
    found = sampler(held_out=3)
    spans, groups = found.held_out()
    assert np.bincount(groups).tolist() == [3, 1]
    hidden = {i for start, end in spans for i in range(start, end)}
    assert hidden == set(range(870, 900)) | set(range(1190, 1200))
    read = np.concatenate([found.next_batch() for _ in range(100)])
    assert hidden.isdisjoint(i for start, end in read for i in range(start, end))


@settings(max_examples=20)
@given(st.integers(0, 60), st.integers(1, 9))
def test_a_position_resumes_exactly(batches, batch_size):
    found = sampler(batch_size=batch_size)
    for _ in range(batches):
        found.next_batch()
    state = json.loads(json.dumps(found.state()))
    resumed = sampler(batch_size=batch_size)
    resumed.load_state(state)
    for _ in range(20):
        np.testing.assert_array_equal(resumed.next_batch(), found.next_batch())


def test_epochs_of_a_group_follow_one_another():
    found = sampler(make_corpus({"en": 95}), batch_size=1)
    first, second = found.epoch(0, 0), found.epoch(0, 1)
    spans = np.concatenate([found.next_batch() for _ in range(len(first) + len(second))])
    np.testing.assert_array_equal(spans, np.concatenate([first, second]))
    assert sorted(first.tolist()) != sorted(second.tolist())
    assert sorted(first.tolist()) != first.tolist()


def test_shares():
    assert sampler(exponent=1.0).shares == pytest.approx(np.array([900, 300, 40]) / 1240)
    assert sampler(exponent=0.0).shares == pytest.approx(np.full(3, 1 / 3))
    assert sampler(exponent=0.0, weights={"en": 2, "zh": 0}).shares == pytest.approx([2 / 3, 1 / 3, 0])
    found = sampler(exponent=0.5, batch_size=4000)
    starts = found.next_batch()[:, 0]
    counts = np.histogram(starts, [0, 900, 1200, 1240])[0] / 4000
    assert counts == pytest.approx(found.shares, abs=0.03)
    assert sampler(make_corpus({"en": 90, "none": 0}), exponent=0.0).shares.tolist() == [1, 0]


@pytest.mark.parametrize("weights", [{"xx": 1.0}, {"en": 0.0, "ar": 0.0, "zh": 0.0}])
def test_nothing_to_sample(weights):
    with pytest.raises(ValueError, match="S736"):
        sampler(weights=weights)


def test_sequences_as_the_model_reads_them(device):
    corpus = make_corpus()
    corpus.ids = corpus.ids + np.uint16(64000)
    read = SequenceReader(corpus, 4, device).read(np.array([[0, 4], [1200, 1202], [1238, 1240]]))
    expected = [[0, 1, 2, 3], [1200, 1201], [1238, 1239]]
    expected = [[BEGIN, *(64000 + i for i in row), *[PAD] * (4 - len(row))] for row in expected]
    assert read.tolist() == expected
    assert read.dtype == torch.int64
