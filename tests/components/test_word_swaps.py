"""Perturbed copies: what changes, what must not, how often, and files that hold no neighbours."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import samarkand
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.components.word_swaps import make_character_noise, make_neighbour_swaps, make_vector_swaps

NLP = samarkand.blank("xx")
# Upper critical values of chi-square at 1 %, by degrees of freedom.
CRITICAL = {2: 9.21, 3: 11.34}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "neighbours.tsv"
    path.write_text("cat\tfeline tom\nsat\tcrouched\nnot\tnever\n\nbig\tlarge huge vast\n", encoding="utf-8")
    return path


@given(st.text(max_size=80), st.integers(0, 2**16))
@settings(max_examples=100, deadline=None)
def test_copies_have_the_same_tokens_in_number_and_the_same_spaces(text, seed):
    doc = NLP.make_doc(text)
    (copy,) = make_character_noise(rate=1.0, seed=seed)([doc])
    assert [bool(token.whitespace_) for token in copy] == [bool(token.whitespace_) for token in doc]
    for token, twin in zip(doc, copy):
        if not token.is_alpha or len(token) < 4:
            assert (twin.text, twin.norm_) == (token.text, token.norm_)


def test_words_without_neighbours_and_protected_ones_stay(table):
    swaps = make_neighbour_swaps(str(table))
    doc = NLP.make_doc("The cat did not sit on 3 big mats, cat.")
    seen = set()
    for _ in range(40):
        (copy,) = swaps([doc], [{1}])
        seen.add(copy.text)
        assert [copy[i].text for i in (0, 1, 3, 4, 6)] == ["The", "cat", "not", "sit", "3"]
    assert any("large" in text for text in seen)
    assert any(text.endswith((" feline.", " tom.")) for text in seen)
    assert doc.text == "The cat did not sit on 3 big mats, cat."


def test_draws_are_even_and_a_seed_repeats_them(table):
    docs = [NLP.make_doc("big cat")] * 1200
    for place, options in ((0, 4), (1, 3)):
        counts = Counter(copy[place].text for copy in make_neighbour_swaps(str(table))(docs))
        expected = len(docs) / options
        assert len(counts) == options
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < CRITICAL[options - 1]
    first, again, other = (
        [copy.text for copy in make_neighbour_swaps(str(table), seed=seed)(docs)] for seed in (5, 5, 6)
    )
    assert first == again != other


def test_casing_is_that_of_the_word_and_pairs_share_their_swaps(table):
    swaps = make_neighbour_swaps(str(table))
    doc = NLP.make_doc("A CAT, a Cat\tno cat")
    seen = {
        tuple(token.text for token in copy if token.text.lower() in ("cat", "tom", "feline"))
        for copy in swaps([doc] * 60)
    }
    assert seen == {("CAT", "Cat", "cat"), ("TOM", "Tom", "tom"), ("FELINE", "Feline", "feline")}
    limited = make_neighbour_swaps(str(table), limit=1)
    assert {copy[0].text for copy in limited([NLP.make_doc("big")] * 50)} == {"big", "large"}


def test_a_byte_order_mark_is_no_part_of_the_first_word(table):
    table.write_text("big\tlarge\n", encoding="utf-8-sig")
    copies = make_neighbour_swaps(str(table))([NLP.make_doc("big")] * 50)
    assert {copy[0].text for copy in copies} == {"big", "large"}


def test_swapped_words_have_the_norms_of_the_tokenizer(table):
    table.write_text("شمس\tقَمَر\n", encoding="utf-8")
    copies = make_neighbour_swaps(str(table))([NLP.make_doc("شمس")] * 20)
    assert {copy[0].norm_ for copy in copies} == {"شمس", "قمر"}


def test_nearest_words_by_static_vectors():
    nlp = samarkand.blank("xx")
    swaps = make_vector_swaps(limit=2, least=0.5)
    with pytest.raises(ValueError, match="S612"):
        swaps.prepare(nlp.vocab)
    for word, vector in {"cat": [1, 0.1], "tom": [1, 0], "Cat": [1, 0.1], "dog": [0.9, 0.3], "sky": [-1, 1]}.items():
        nlp.vocab.set_vector(word, np.array(vector, dtype="f"))
    swaps.prepare(nlp.vocab)
    copies = swaps([nlp.make_doc("cat sky bird")] * 60)
    assert {copy[0].text for copy in copies} == {"cat", "tom", "dog"}
    assert {copy[1:].text for copy in copies} == {"sky bird"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no word"),
        (b"cat feline\n", "line 1"),
        (b"cat\t\n", "no word"),
        (b"\xff\xfe\t\x00", "decode"),
        (None, "No such"),
    ],
)
def test_files_without_neighbours_are_refused_when_training_starts(tmp_path, content, reason):
    path = tmp_path / "neighbours.tsv"
    if content is not None:
        path.write_bytes(content)
    swaps = make_neighbour_swaps(str(path))
    with pytest.raises((OSError, ValueError), match="S611") as caught:
        swaps.prepare(NLP.vocab)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (make_neighbour_swaps, {"path": "x", "limit": 0}),
        (make_vector_swaps, {"limit": 0}),
        (make_character_noise, {"rate": 1.5}),
    ],
)
def test_settings_out_of_range_are_refused(make, options):
    with pytest.raises(ValueError, match="S610"):
        make(**options)


def test_misspellings_keep_both_ends_and_pickle(table):
    swaps = pickle.loads(pickle.dumps(make_character_noise(rate=1.0)))
    copies = swaps([NLP.make_doc("weather")] * 50)
    texts = {copy.text for copy in copies}
    assert len(texts) > 5
    assert all(text[0] == "w" and text[-1] == "r" and 6 <= len(text) <= 8 for text in texts)
    assert pickle.loads(pickle.dumps(make_neighbour_swaps(str(table))))([NLP.make_doc("dog")])[0].text == "dog"
