"""Windows of a text: every unit belongs to one of them, and what they read is the text."""

from __future__ import annotations

import numpy as np
import pytest
import samarkand
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.attention_frames import Unit, frame_windows
from samarkand.models.transformer_tok2vec import token_spans
from samarkand.models.word_pieces import WordPieces
from transformer_checkpoints import FAMILIES, SENTENCES, make_tokenizer

PIECES = {family: WordPieces.from_tokenizer(make_tokenizer(family).backend_tokenizer) for family in FAMILIES}
NLP = samarkand.blank()


def align(family: str, text: str):
    return PIECES[family].align([text], [token_spans(NLP(text))])[0]


@given(
    st.sampled_from(FAMILIES), st.lists(st.sampled_from([*SENTENCES, "  ", "\u200d"]), min_size=1), st.integers(1, 40)
)
@settings(deadline=None, max_examples=60)
def test_units_belong_to_one_window(family, sentences, window):
    pieces, aligned = PIECES[family], align(family, " ".join(sentences))
    if not len(aligned.ids):
        return
    frames = frame_windows(aligned, pieces, window)
    own = [int(number) for frame in frames for number in frame.numbers[frame.own]]
    assert own == list(range(len(own)))
    words = [unit.word for frame in frames for unit, mine in zip(frame.units, frame.own) if mine]
    with_pieces = sorted(set(aligned.token.tolist()))
    assert [word for word in words if word is not None] == with_pieces
    spare = len(aligned.ids) - len(set(aligned.piece.tolist()))
    assert words.count(None) == len(frames) * pieces.n_special + spare
    # A unit has the same number in every window that reads it.
    numbers: dict[int, set[int]] = {}
    for frame in frames:
        assert len(frame.ids) <= window + pieces.n_special
        assert sorted(set(frame.unit.tolist())) == list(range(len(frame.units)))
        assert set(frame.piece.tolist()) == set(range(len(frame.ids)))
        for unit, number in zip(frame.units, frame.numbers.tolist()):
            if unit.word is not None:
                numbers.setdefault(unit.word, set()).add(number)
    assert all(len(found) == 1 for found in numbers.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_that_fits_is_one_window(family):
    pieces, aligned = PIECES[family], align(family, SENTENCES[0])
    (frame,) = frame_windows(aligned, pieces, 500)
    np.testing.assert_array_equal(frame.ids, [*pieces.prefix, *aligned.ids, *pieces.suffix])
    np.testing.assert_array_equal(frame.ids[frame.inner], aligned.ids)
    assert frame.own.all()
    first, *_, last = frame.units
    assert (first.word, last.word) == (None, None)
    assert first.piece == pieces.tokenizer.id_to_token(pieces.prefix[0])
    assert Unit(3) in frame.units


def test_words_belong_where_they_are_most_central():
    aligned = align("bert", "fox " * 12)
    frames = frame_windows(aligned, PIECES["bert"], 8)
    starts = [frame.units[1].word for frame in frames]
    assert (starts[0], frames[-1].units[-2].word) == (0, 11)
    middle = (frames[0].units[-2].word + starts[1]) / 2
    for frame, side in zip(frames, (-1, 1)):
        own = [unit.word for unit, mine in zip(frame.units, frame.own) if mine and unit.word is not None]
        assert all((word - middle) * side >= 0 for word in own)
