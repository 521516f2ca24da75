"""Windows around mentions, groups of options, and the options that are kept."""

from __future__ import annotations

import pickle

import numpy as np
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.link_questions import (
    LinkQuestions,
    OptionCache,
    OptionText,
    cut_options,
    lay_out,
    option_groups,
    query_windows,
    ragged,
)
from spacy.tokens import Doc

NLP = spacy.blank("xx")


def make_questions(sizes: list[int], mentions: list[tuple[int, int, int]], options: list[list[int]]) -> LinkQuestions:
    docs = [Doc(NLP.vocab, words=["w"] * size) for size in sizes]
    K = max(map(len, options), default=0)
    table = np.array([row + [-1] * (K - len(row)) for row in options], dtype=np.int64).reshape(len(options), K)
    places = np.array(mentions, dtype=np.int64).reshape(-1, 3)
    nothing = np.zeros(len(mentions), dtype=np.int64)
    features = np.zeros((*table.shape, 4), dtype=np.float32)
    return LinkQuestions(docs, places, nothing, table, np.zeros_like(table), features, [], list, 0.5, 0.5)


@st.composite
def mentions(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int, int]]]:
    sizes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(1, 5))):
        document = draw(st.integers(0, len(sizes) - 1))
        start = draw(st.integers(0, sizes[document] - 1))
        found.append((document, start, draw(st.integers(start + 1, sizes[document]))))
    return sizes, found


@settings(max_examples=150, deadline=None)
@given(mentions(), st.integers(0, 6), st.integers(1, 6))
def test_windows_hold_the_mention_and_so_many_tokens_beside(drawn, window, longest):
    sizes, spans = drawn
    questions = make_questions(sizes, spans, [[0]] * len(spans))
    firsts = np.cumsum(sizes) - sizes
    places, marks = query_windows(questions, np.arange(len(spans)), firsts, window=window, longest=longest)
    for row, marked, (document, start, end) in zip(places, marks, spans):
        first = firsts[document]
        own = list(range(start, end))
        # Of a long mention both ends are read, the first the longer.
        kept = own if len(own) <= longest else own[: (longest + 1) // 2] + own[len(own) - longest // 2 :]
        around = range(max(0, start - window), start), range(end, min(sizes[document], end + window))
        assert row[row >= 0].tolist() == [first + i for i in (*around[0], *kept, *around[1])]
        assert row[marked == 1].tolist() == [first + i for i in kept]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=8), st.integers(1, 6))
def test_groups_are_bounded_and_lose_nobody(options, most):
    questions = make_questions([1], [(0, 0, 1)] * len(options), options)
    groups = list(option_groups(questions, np.arange(len(options)), most))
    assert [row for group in groups for row in group.tolist()] == list(range(len(options)))
    for group in groups:
        distinct = {option for row in group for option in options[row]}
        assert len(distinct) <= most or len(group) == 1


def test_mentions_without_options_are_not_asked():
    questions = make_questions([2], [(0, 0, 1), (0, 1, 2)], [[], [3]])
    assert questions.asked.tolist() == [1]
    assert not len(make_questions([2], [], []).asked)


def test_places_of_ragged_rows():
    assert ragged(np.array([0, 3]), np.array([3, 1])).tolist() == [[0, 1, 2], [3, -1, -1]]
    assert ragged(np.zeros(0, int), np.zeros(0, int)).shape == (0, 0)


def test_kept_options_are_the_last_ones_asked_for():
    cache, asked = OptionCache(2), []

    def encode(keys: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        asked.append(list(keys))
        return [(np.full((1, 2), ord(key), dtype=np.float16), np.zeros(1, dtype=np.int64)) for key in keys]

    for keys in (["a", "b"], ["a"], ["c", "a"], ["b"]):
        found = cache.vectors(keys, encode)
        assert [chr(int(rows[0, 0])) for rows, _ in found] == keys
    assert asked == [["a", "b"], ["c"], ["b"]]
    assert len(cache) == 2
    # More at once than can be kept are given all the same.
    assert len(cache.vectors(list("vwxyz"), encode)) == 5
    assert len(pickle.loads(pickle.dumps(cache))) == 0


def test_long_options_are_cut_and_laid_out():
    texts = [OptionText(NLP("a b c d"), np.array([0, 0, 1, 2])), OptionText(NLP("e"), np.array([0]))]
    short = cut_options(texts, 3)
    assert [text.doc.text for text in short] == ["a b c ", "e"]
    tokens = lay_out([np.ones((3, 2), np.float16), np.zeros((1, 2), np.float16)], [text.segments for text in short])
    assert tokens.places.tolist() == [[0, 1, 2], [3, -1, -1]]
    assert tokens.segments.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert tokens.lengths.tolist() == [3, 1]
    assert tokens.vectors.dtype == np.float32
