"""Scored pairs: what is drawn of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from samarkand.models.scored_pairs import COLUMNS, SCORED, ScoredPairs

LANGS = ("en", "zh", "fr")
ROWS = [
    (f"set:{item}", lang, f"{lang} first {item}", f"{lang} second {item}", item / 8)
    for item in range(9)
    for lang in LANGS[: 1 + item % 3]
]


def scored(rows) -> ScoredPairs:
    return ScoredPairs(Dataset.from_dict(dict(zip(COLUMNS, map(list, zip(*rows))))))


@given(count=st.integers(0, 40), seed=st.integers(0, 9))
def test_pairs_are_of_one_item_and_items_take_turns(count, seed):
    first, second, scores = scored(ROWS).draw(count, seed)
    assert len(first) == len(second) == len(scores) == count
    items = [int(text.split()[-1]) for text in first]
    assert items == [int(text.split()[-1]) for text in second]
    assert all(" first " in text for text in first)
    assert all(" second " in text for text in second)
    np.testing.assert_array_equal(scores, [round(item / 8 * 1000) for item in items])
    turns = np.bincount(items, minlength=9)
    assert turns.max() - turns.min() <= 1
    assert (first, second) == scored(ROWS).draw(count, seed)[:2]


def test_languages_are_mixed_and_the_teachers_has_more():
    first, second, _ = scored(ROWS).draw(4000, 0)
    three = [(a.split()[0], b.split()[0]) for a, b in zip(first, second) if int(a.split()[-1]) % 3 == 2]
    share = {pair: three.count(pair) / len(three) for pair in {(a, b) for a in LANGS for b in LANGS}}
    # English first: 1/2 + 1/2 * 1/3; the same second: 1/2 + 1/2 * 1/3.
    assert sum(share[pair] for pair in share if pair[0] == "en") == pytest.approx(2 / 3, abs=0.05)
    assert sum(share[pair] for pair in share if pair[0] == pair[1]) == pytest.approx(2 / 3, abs=0.05)
    assert share["zh", "fr"] > 0


def test_items_without_the_teachers_language_serve():
    first, second, _ = scored([("set:0", "zh", "a", "b", 0.5), ("set:1", "fr", "c", "d", 1.0)]).draw(10, 0)
    assert set(zip(first, second)) == {("a", "b"), ("c", "d")}


def test_what_is_missing_or_damaged_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"S875.*prepare-pairs"):
        ScoredPairs.load(tmp_path)
    (tmp_path / SCORED).write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="S862"):
        ScoredPairs.load(tmp_path)
    Dataset.from_dict({"item": ["a"], "lang": ["en"]}).to_parquet(str(tmp_path / SCORED))
    with pytest.raises(ValueError, match=r"S862.*first, second, score"):
        ScoredPairs.load(tmp_path)
