"""Hashed features of tokens."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.subword_features import (
    MAX_PIECES,
    SHAPE_ROWS,
    FeatureTable,
    features_of,
    han_radical,
    token_pieces,
    token_shape,
)


@pytest.mark.parametrize(
    ("characters", "radical"), [("江河湖水", 85), ("银銀金", 167), ("订語言", 149), ("林森木", 75), ("a٣あ한", 0)]
)
def test_characters_share_their_kangxi_radical(characters, radical):
    assert {han_radical(char) for char in characters} == {radical}


def test_pieces_mark_both_ends_and_are_bounded():
    pieces = token_pieces("والقاهرة")
    assert {"<و", "<وا", "<وال", "ة>", "رة>", "القا"} <= set(pieces)
    assert len(token_pieces("x" * 1000)) <= MAX_PIECES
    assert len(token_pieces("abcdefghijklmnopqrstuvwxyz")) == MAX_PIECES
    assert token_pieces("江") == ["radical 85"]


def test_shapes_tell_case_digits_and_scripts():
    assert token_shape("iPhone-14") == "xXxx-dd"
    assert token_shape("٢٠٢٣") == token_shape("2023") == "dd"
    assert token_shape("محمد") != token_shape("हिन्दी")
    assert token_shape("") == ""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=12), st.data())
def test_taken_features_are_those_of_each_token_alone(tokens, data):
    table = FeatureTable()
    places = [table.add(token, token) for token in tokens]
    wanted = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=10))
    taken = table.take(wanted)
    ends = [*taken.offsets[1:], len(taken.pieces)]
    for k, place in enumerate(wanted):
        alone = features_of([tokens[place]])
        assert (taken.words[k] == alone.words[0]).all()
        assert taken.shapes[k] == alone.shapes[0]
        assert taken.pieces[taken.offsets[k] : ends[k]].tolist() == alone.pieces.tolist()
    assert 0 < taken.shapes.min() <= taken.shapes.max() < SHAPE_ROWS
    for hashes in (taken.words, taken.pieces):
        assert hashes.size == 0 or 0 <= hashes.min() <= hashes.max() < 2**32


def test_norm_decides_the_word_and_the_text_its_shape():
    table = FeatureTable()
    plain, cased = table.take([table.add("apple", "apple")]), table.take([table.add("APPLE", "apple")])
    assert (plain.words == cased.words).all()
    assert plain.shapes[0] != cased.shapes[0]


def test_table_starts_again_when_cleared():
    table = FeatureTable()
    first = table.take([table.add("a", "a")])
    table.clear()
    assert len(table) == 0
    assert np.array_equal(table.take([table.add("a", "a")]).words, first.words)


def test_a_full_table_takes_little_memory():
    """It begins anew again and again in a long stream, so what it takes is what memory goes up and down by."""
    table = FeatureTable()
    tracemalloc.start()
    for number in range(table.capacity):
        word = f"{number:05d}nonsense"
        table.add(word, word)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == table.capacity
    assert used < 16 * 2**20
