"""Grown vocabularies: old pieces stay, new ones come by the rules of BPE, and text is never lost."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise

import pytest
from encoder_recipes import make_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.vocabulary import MAX_PIECE, MIN_COUNT, N_BYTES, SPECIALS, train_vocabulary
from samarkand.models.vocabulary_growth import grow_vocabulary

LETTERS = "አበገደሀወዘ"


def ethiopic(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 6))) for _ in range(40)]
    return [" ".join(rng.choices(words, k=8)) + "።" for _ in range(count)]


@pytest.fixture(scope="module")
def base():
    return train_vocabulary(make_texts("en", 300), 450)


@pytest.fixture(scope="module")
def grown(base):
    return grow_vocabulary(base, ethiopic(200), base.get_vocab_size() + 60)


def pieces(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).tokens


def test_old_pieces_keep_their_numbers(base, grown):
    old, new = base.get_vocab(), grown.get_vocab()
    assert {piece: new[piece] for piece in old} == old
    assert len(new) == len(old) + 60
    assert sorted(new.values()) == list(range(len(new)))


def test_characters_without_a_piece_come_first(base, grown):
    first = [grown.id_to_token(base.get_vocab_size() + i) for i in range(len(LETTERS) + 1)]
    assert set(first) == {*LETTERS, "።"}
    text = ethiopic(1, seed=0)[0]
    assert any(piece.startswith("<0x") for piece in pieces(base, text))
    assert not any(piece.startswith("<0x") for piece in pieces(grown, text))


def test_new_pieces_are_of_use(base, grown):
    held_out = ethiopic(20)
    only_characters = grow_vocabulary(base, ethiopic(200), base.get_vocab_size() + len(LETTERS) + 1)
    short, long = (sum(len(pieces(t, text)) for text in held_out) for t in (grown, only_characters))
    assert short < 0.6 * long


def test_text_of_the_base_is_cut_as_before(base, grown):
    for text in make_texts("en", 50, seed=3):
        assert pieces(grown, text) == pieces(base, text)


def test_merges_are_the_commonest_pairs(base):
    """Against a slow count anew after every merge."""
    texts = ethiopic(40, seed=5)
    words = Counter(word for text in texts for word in ("▁" + part for part in text.replace("።", "").split()))
    grown = grow_vocabulary(base, texts, base.get_vocab_size() + len(LETTERS) + 1 + 25)
    found = [tuple(merge) for merge in json.loads(grown.to_str())["model"]["merges"]][-25:]
    cut = {word: list(word) for word in words}
    expected = []
    for _ in range(25):
        counts = Counter()
        for word, parts in cut.items():
            for pair in pairwise(parts):
                counts[pair] += words[word]
        best = min((pair for pair in counts if len("".join(pair)) <= MAX_PIECE), key=lambda p: (-counts[p], p))
        expected.append(best)
        for word, parts in cut.items():
            merged, rest = [], list(parts)
            while rest:
                size = 2 if tuple(rest[:2]) == best else 1
                merged.append("".join(rest[:size]))
                rest = rest[size:]
            cut[word] = merged
    assert found == expected


def test_little_text_gives_few_pieces(base):
    assert grow_vocabulary(base, ["አ"], 1000).get_vocab_size() == base.get_vocab_size()
    assert grow_vocabulary(base, [], 1000).get_vocab() == base.get_vocab()
    assert grow_vocabulary(base, ["አበ አበ"], base.get_vocab_size()).to_str() == base.to_str()
    assert MIN_COUNT == 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abcአበገ☃ 1.", max_size=20), max_size=8), st.integers(0, 30))
def test_nothing_is_lost_and_bytes_stay_bytes(texts, more):
    base = train_vocabulary(["abc bca cab"] * 5, len(SPECIALS) + N_BYTES + 110)
    grown = grow_vocabulary(base, texts, base.get_vocab_size() + more)
    assert grown.get_vocab_size() <= base.get_vocab_size() + more
    for text in texts:
        ids = grown.encode(text, add_special_tokens=False).ids
        before = base.decode(base.encode(text, add_special_tokens=False).ids)
        assert grown.decode(ids) == before
    assert not any("<0x" in piece and len(piece) > 6 for piece in grown.get_vocab())
