"""Texts that repeat themselves: n-grams, lines, and what passes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.corpora.text_cleaning import CleaningRules
from samarkand.corpora.text_repetition import has_repeated_lines, has_repeated_ngrams, word_units

RULES = CleaningRules()
NEVER = [1.0] * 6
WORDS = [f"w{i:02}" for i in range(100)]
STORY = " ".join(WORDS)


def _judge(text: str) -> bool:
    return has_repeated_ngrams(text, RULES.top_ngrams, RULES.duplicate_ngrams)


@pytest.mark.parametrize(
    ("text", "is_repeated"),
    [
        ("", False),
        (STORY, False),
        # Too short to judge.
        ("buy now " * 9, False),
        ("buy now " * 10, True),
        # The pair holds two of nine words, then two of eleven.
        (" ".join(f"buy now {' '.join(WORDS[7 * i : 7 * i + 7])}" for i in range(11)), True),
        (" ".join(f"buy now {' '.join(WORDS[9 * i : 9 * i + 9])}" for i in range(9)), False),
        # A run of ten words comes a second time: 10 of 100 words, then 10 of 60.
        (" ".join(WORDS[:90] + WORDS[:10]), False),
        (" ".join(WORDS[:50] + WORDS[:10]), True),
        # What comes twice is no most frequent n-gram, but eleven letters of Chinese are no five words.
        ("中华人民共和国与图瓦卢关系是指中华人民共和国与图瓦卢的外交关系。", False),
        ("春眠不觉晓，处处闻啼鸟。" * 4, True),
    ],
)
def test_ngrams(text, is_repeated):
    assert _judge(text) is is_repeated


@given(st.lists(st.sampled_from(["a", "b", "cd", "我", "爱"]), max_size=60))
def test_ngrams_against_their_definition(words):
    text = " ".join(words)
    units = word_units(text)
    size = 2 if sum(unit in "我爱" for unit in units) * 2 > len(units) else 1
    total = sum(map(len, units))
    expected = False
    for n, bound in [*zip((2, 3, 4), RULES.top_ngrams), *zip(range(5, 11), RULES.duplicate_ngrams)]:
        grams = [tuple(units[i : i + n * size]) for i in range(len(units) - n * size + 1)]
        if len(units) < 20 * size:
            break
        if n < 5:
            ngram, count = Counter(grams).most_common(1)[0]
            share = count * sum(map(len, ngram)) / total if count > 2 else 0
        else:
            place, share = 0, 0.0
            while place < len(grams):
                is_met = grams[place] in _read(grams, place, n * size)
                share += sum(map(len, grams[place])) / total if is_met else 0
                place += n * size if is_met else 1
        expected |= share > bound + 1e-9
    assert _judge(text) == expected


def _read(grams, place, size):
    """N-grams that the reading met before a place: what is repeated is stepped over."""
    met, at = set(), 0
    while at < place:
        is_met = grams[at] in met
        met.add(grams[at])
        at += size if is_met else 1
    return met


def test_every_rule_can_be_left_out():
    assert not has_repeated_ngrams("buy now " * 50, NEVER[:3], NEVER)
    assert has_repeated_ngrams("buy now " * 50, NEVER[:3], RULES.duplicate_ngrams)
    assert has_repeated_ngrams("buy now " * 50, RULES.top_ngrams, NEVER)
    assert not has_repeated_lines("a\na\na", 1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "lines", "characters", "is_repeated"),
    [
        ("", 0, 0, False),
        ("one line", 0, 0, False),
        ("a\nb\nc\na", 0.24, 1, True),
        ("a\nb\nc\na", 0.25, 1, False),
        # A fourth of the lines has two fifths of the characters.
        ("aaaa\nb\nc\naaaa", 1, 0.39, True),
        ("aaaa\nb\nc\naaaa", 1, 0.4, False),
    ],
)
def test_lines(text, lines, characters, is_repeated):
    assert has_repeated_lines(text, lines, characters) is is_repeated
