"""Cleaning raw text: normal forms, reasons to drop, duplicates."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samarkand.corpora.text_cleaning import (
    CleaningRules,
    NearDuplicates,
    TextCleaner,
    normalise,
    reason_to_drop,
    shorten,
)
from samarkand.corpora.text_keys import TextKeys

EXACT = CleaningRules(near_duplicates=False)
STORY = "once upon a time there lived in a small house by the river an old man who sold clocks to travellers passing by"
# Controls, joiners, blanks, Arabic forms and marks, which random text hardly has.
AWKWARD = st.text(
    st.one_of(
        st.characters(), st.sampled_from("\x00\x85\u200b\u200c\ufefb\ufdfa\ufe71\u0640\u064b \n\r\t\u2028e\u0301")
    )
)


@given(AWKWARD)
def test_normal_form_is_its_own(text):
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(char in once for char in "\r\t\x00\u0640\u200b\ufeff")
    assert "  " not in once
    assert once == once.strip()


def test_normal_form():
    assert normalise("e\u0301te\u0301\tx\u00a0 y\r\n\r\nz\ufeff") == "été x y\nz"
    assert normalise("ﻻ مـــا") == "لا ما"
    assert normalise("می\u200cخواهم 👩\u200d👧") == "می\u200cخواهم 👩\u200d👧"


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("", "en", "short"),
        ("Hm.", "en", "short"),
        ("我爱北京", "zh", None),
        ("A plain sentence of English.", "en", None),
        ("A plain sentence of English.", "ar", "script"),
        ("A plain sentence of English.", "xx", None),
        ("وقد زارت المدينة القديمة", "ar", None),
        ("total 1 2 3 4 5 6 7 8 9 10 of 20 items", "en", "words"),
        ("Donaudampfschifffahrtsgesellschaftskapitaen", "de", "long words"),
        ("same line here\nsame line here\nanother one", "en", "lines"),
        ("a long line that is here twice\none\ntwo\nsix\na long line that is here twice", "en", "lines"),
        ("buy now " * 20, "en", "repeated"),
        (f"{STORY} and {STORY}", "en", "repeated"),
    ],
)
def test_reasons(text, language, reason):
    assert reason_to_drop(normalise(text), language, CleaningRules()) == reason


@given(AWKWARD, st.sampled_from(["en", "ar", "zh", "xx"]))
def test_any_text_is_judged(text, language):
    reason_to_drop(normalise(text), language, CleaningRules())


def test_every_document_is_kept_or_counted():
    raw = ["A first sentence here.", "a first SENTENCE here", "??", "x", "مرحبا بكم جميعا", "A second sentence here."]
    cleaner = TextCleaner(EXACT)
    kept = list(cleaner.clean(raw, "en"))
    assert kept == [raw[0], raw[5]]
    assert cleaner.dropped == {"duplicate": 1, "short": 2, "script": 1}
    assert cleaner.kept + sum(cleaner.dropped.values()) == len(raw)
    assert cleaner.characters == {"in": sum(map(len, raw)), "out": sum(map(len, kept))}


@given(st.lists(AWKWARD, max_size=8))
def test_cleaning_is_idempotent(raw):
    once = list(TextCleaner(EXACT).clean(raw, "en"))
    assert list(TextCleaner(EXACT).clean(once, "en")) == once


def test_held_out_texts_are_dropped_and_counted():
    held_out = TextKeys(["A first sentence , here .", "Another one of our sentences"])
    raw = ["A first sentence, here.", "It is late. Another one of our sentences! So it goes.", "A third sentence here."]
    cleaner = TextCleaner(EXACT, held_out)
    assert list(cleaner.clean(raw, "en")) == [raw[2]]
    assert cleaner.dropped == {"held out": 2}


def test_duplicates_are_found_across_files():
    cleaner = TextCleaner(EXACT)
    list(cleaner.clean(["A first sentence here."], "en"))
    cleaner.start()
    assert list(cleaner.clean(["A first sentence here!"], "en")) == []
    assert cleaner.dropped == {"duplicate": 1}


def test_long_documents_are_cut_and_counted():
    cleaner = TextCleaner(CleaningRules(max_characters=30))
    assert list(cleaner.clean([STORY], "en")) == ["once upon a time there lived"]
    assert cleaner.dropped == {"cut": 1}
    assert shorten("我" * 50, 30) == "我" * 30


def test_near_duplicates():
    cleaner = TextCleaner(CleaningRules())
    other = (
        "a wholly different tale of a young woman who crossed the desert with her camel and sang to the stars at night"
    )
    assert list(cleaner.clean([STORY, STORY + " today", other], "en")) == [STORY, other]
    assert cleaner.dropped == {"near duplicate": 1}


def test_near_duplicates_of_small_edits_are_found():
    found = 0
    for number in range(100):
        words = [f"w{number}x{i}" for i in range(200)]
        near = NearDuplicates()
        near.seen(" ".join(words))
        # One word in fifty leaves 0.81 of the runs of five in common.
        words[3::50] = ["other"] * len(words[3::50])
        found += near.seen(" ".join(words))
    assert found >= 85
