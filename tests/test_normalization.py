from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.normalization import LEVELS, MAX_CLUSTER, normalize, normalize_with_map

ARABIC = st.text(
    st.sampled_from(
        "ابتةىيكگپچآأإؤئۀہھـ\u064b\u064e\u0651\u0653\u0654\u0655\u0670\u06e1٠٣۵٫٬،ﷺﷻ﷽ﻻﷲﹷ\u200f\u200c e\u0301\ufeff"
    )
)
# Jamo, voicing marks and vowel signs compose with what stands before them.
COMPOSING = st.text(st.sampled_from("ㄱㅏㄴ가\u1100\u1161\u11a8ｶﾞ\u3099か\u0b47\u0b3eक\u093cé\u0327ﬁ①㎏"))
TEXT = st.one_of(ARABIC, COMPOSING, st.text(max_size=40))


@given(text=TEXT, level=st.sampled_from(LEVELS))
@settings(max_examples=300, deadline=None)
def test_normalize_is_idempotent(text: str, level: str) -> None:
    once = normalize(text, level)
    assert normalize(once, level) == once


@given(text=TEXT, level=st.sampled_from(LEVELS))
@settings(max_examples=300, deadline=None)
def test_normalize_with_map_gives_the_same_text_and_a_map_into_the_source(text: str, level: str) -> None:
    normalized, offsets = normalize_with_map(text, level)
    assert normalized == normalize(text, level)
    assert len(offsets) == len(normalized)
    assert offsets == sorted(offsets)
    assert all(0 <= offset < len(text) for offset in offsets)


@given(text=TEXT)
@settings(max_examples=200, deadline=None)
def test_normalize_full_adds_to_light(text: str) -> None:
    assert normalize(normalize(text, "light"), "full") == normalize(text, "full")


@given(word=st.text(st.sampled_from("ابتثجحخدذرزسشصضطظعغفقكلمنهوي"), min_size=1), data=st.data())
@settings(max_examples=100, deadline=None)
def test_map_finds_the_bare_letters_under_diacritics_and_tatweel(word: str, data: st.DataObject) -> None:
    marks = [data.draw(st.text(st.sampled_from("\u064b\u064e\u0650\u0651\u0652\u0640"), max_size=3)) for _ in word]
    marked = "".join(letter + mark for letter, mark in zip(word, marks))
    normalized, offsets = normalize_with_map(marked)
    assert normalized == word
    assert "".join(marked[offset] for offset in offsets) == word


@pytest.mark.parametrize(
    ("text", "light", "full"),
    [
        ("مُحَمَّدٌ", "محمد", "محمد"),
        ("كـتـــاب", "كتاب", "كتاب"),
        ("ﻣﺤﻤﺪ", "محمد", "محمد"),
        ("أحمد إلى آسيا ٱلله", "أحمد إلى آسيا ٱلله", "احمد الي اسيا الله"),
        ("مدرسة مؤمن قائد", "مدرسة مؤمن قائد", "مدرسه مومن قايد"),
        ("گربه‌ای کتاب یک", "گربه‌ای کتاب یک", "گربه‌اي كتاب يك"),
        ("٣٫٥ ۱۲۳ १२३ ١٬٠٠٠", "٣٫٥ ۱۲۳ १२३ ١٬٠٠٠", "3.5 123 123 1,000"),
        ("ＡＢＣ１２３，Ｘ", "ABC123,X", "ABC123,X"),
        ("\u200fمصر\u200e", "مصر", "مصر"),
        ("﷽", "بسم الله الرحمن الرحيم", "بسم الله الرحمن الرحيم"),
        ("ا\u0653 و\u0654", "آ ؤ", "ا و"),
        ("Straße İ", "Straße İ", "Straße İ"),
    ],
)
def test_levels(text: str, light: str, full: str) -> None:
    assert normalize(text, "none") == text
    assert normalize(text, "light") == light
    assert normalize(text, "full") == full


def test_map_of_an_expanded_ligature_points_at_the_ligature() -> None:
    normalized, offsets = normalize_with_map("اﷺب")
    assert normalized[0] == "ا"
    assert normalized[-1] == "ب"
    assert offsets == [0, *[1] * (len(normalized) - 2), 2]


def test_dropping_a_mark_lets_others_compose() -> None:
    assert normalize("ا\u0640\u0653") == "آ"
    assert normalize("ا\u200f\u0653") == "آ"


def test_normalize_does_not_reorder_endless_runs_of_marks() -> None:
    text = "a" + "\u0301\u0327" * MAX_CLUSTER
    assert unicodedata.normalize("NFKC", text) != text
    assert normalize(text) == text
    assert normalize("ab" * MAX_CLUSTER + "ＡＢ") == "ab" * MAX_CLUSTER + "AB"


@pytest.mark.parametrize("call", [normalize, normalize_with_map])
def test_unknown_level(call) -> None:
    with pytest.raises(ValueError, match=r"\[S101\].*'heavy'.*none, light, full"):
        call("x", "heavy")


@pytest.mark.parametrize("level", ["light", "full"])
def test_dropped_presentation_forms_let_their_neighbours_compose(level):
    text = "e\ufe77\u0301"
    assert normalize(text, level) == "\u00e9"
    assert normalize_with_map(text, level) == ("\u00e9", [0])
