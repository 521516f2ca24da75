"""The vocabulary: every character has pieces, offsets are exact, words can be found again."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from encoder_recipes import LANGUAGES, make_texts
from hypothesis import given
from hypothesis import strategies as st
from samarkand.models.vocabulary import SPECIALS, UNKNOWN, train_vocabulary, word_flags, wrap_tokenizer
from samarkand.models.word_pieces import WordPieces

TEXTS = [text for language in LANGUAGES for text in make_texts(language, 200)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_vocabulary(TEXTS, 600)


def test_size_and_specials(tokenizer):
    assert tokenizer.get_vocab_size() <= 600
    assert [tokenizer.id_to_token(i) for i in range(len(SPECIALS))] == list(SPECIALS)
    assert tokenizer.encode("ab").tokens[0::2][:1] == ["<s>"]
    assert tokenizer.encode("ab").tokens[-1] == "</s>"


def test_training_twice_gives_the_same(tokenizer):
    assert train_vocabulary(TEXTS, 600).to_str() == tokenizer.to_str()


@given(st.text())
def test_no_piece_is_unknown_and_text_comes_back(tokenizer, text):
    text = unicodedata.normalize("NFKC", text)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    assert UNKNOWN not in encoding.ids
    plain = "".join(" " if char.isspace() or char == "▁" else char for char in text)
    if not any(char in text for char in "\u0640\u0670\x1c\x1d\x1e\x1f") and not set(text) & set(
        map(chr, range(0x64B, 0x653))
    ):
        assert tokenizer.decode(encoding.ids).strip() == plain.strip()


@given(st.text(st.sampled_from("abc 我爱北ابت.1é\u0301\n"), max_size=20))
def test_offsets_cover_every_visible_character(tokenizer, text):
    encoding = tokenizer.encode(text, add_special_tokens=False)
    covered = {i for start, end in encoding.offsets for i in range(start, end)}
    assert covered >= {i for i, char in enumerate(text) if not char.isspace() and not unicodedata.combining(char)}
    assert all(0 <= start <= end <= len(text) for start, end in encoding.offsets)


def test_what_stands_alone(tokenizer):
    cut = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("我爱ab cd, (12)")]
    assert cut == ["▁", "我", "爱", "ab", "▁cd", ",", "▁(", "1", "2", ")"]


def test_arabic_marks_are_dropped(tokenizer):
    assert tokenizer.encode("بَـتٌ").ids == tokenizer.encode("بت").ids


def test_spelt_out_pieces_are_no_special_ones(tokenizer):
    assert "<0x41>" not in tokenizer.encode("<0x41>").tokens


def test_words(tokenizer):
    opens, closes = word_flags(tokenizer)
    assert len(opens) == len(closes) == tokenizer.get_vocab_size()
    vocab = tokenizer.get_vocab()
    for piece in ("我", ".", "</s>"):
        assert opens[vocab[piece]]
        assert closes[vocab[piece]]
    for piece in ("a", "<0x41>"):
        assert not opens[vocab[piece]]
        assert not closes[vocab[piece]]
    encoding = tokenizer.encode(" ".join(make_texts("en", 5)), add_special_tokens=False)
    ids = np.array(encoding.ids)
    starts = opens[ids] | np.concatenate([[True], closes[ids][:-1]])
    words = [token for token, is_start in zip(encoding.tokens, starts) if is_start]
    assert all(word.startswith("▁") or word == "." for word in words)


def test_it_works_in_samarkand(tokenizer, tmp_path):
    wrap_tokenizer(tokenizer, 32).save_pretrained(tmp_path)
    pieces = WordPieces.from_pretrained(str(tmp_path))
    assert (pieces.prefix, pieces.suffix, pieces.pad) == ([0], [1], 2)
    (aligned,) = pieces.align(["ab 我爱"], [np.array([[0, 2], [3, 4], [4, 5]])])
    assert set(aligned.token) == {0, 1, 2}
    assert np.bincount(aligned.token).tolist()[1:] == [1, 1]
