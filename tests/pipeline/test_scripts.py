from __future__ import annotations

import unicodedata

import pytest
import regex
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.pipeline import extensions
from samarkand.pipeline.scripts import CJK_CHAR, attach_marks, cjk_units, han_runs, script_of, script_runs
from spacy.tokens import Doc, Token

CHUNK = st.text(
    st.one_of(
        st.sampled_from("aZé中文か\u3099ﾊﾞ，。《１．，-–/=شركة،٣٫हि\u093cก한👨\u200d👩🏽🇸🇦\ufe0f\u200f\u0301κД@#%.:"),
        st.characters(exclude_categories=["Cs"]).filter(lambda char: not char.isspace()),
    ),
    min_size=1,
    max_size=60,
)


def blank(lang: str = "xx", **settings) -> spacy.Language:
    tokenizer = {"@tokenizers": "samarkand.ScriptTokenizer.v1", **settings}
    return spacy.blank(lang, config={"nlp": {"tokenizer": tokenizer}})


@given(chunk=CHUNK)
@settings(max_examples=300, deadline=None)
def test_cuts_lose_nothing(chunk: str) -> None:
    assert "".join(cjk_units(chunk)) == chunk
    assert "".join(part for part, _ in han_runs(chunk)) == chunk
    assert "".join(part for part, _ in script_runs(chunk)) == chunk
    assert "".join(part for part, _ in script_runs(chunk * 20)) == chunk * 20


@given(chunk=CHUNK)
@settings(max_examples=200, deadline=None)
def test_a_unit_is_cut_no_further(chunk: str) -> None:
    for unit in cjk_units(chunk):
        if CJK_CHAR.search(unit):
            assert cjk_units(unit) == [unit]


def test_every_ideograph_and_kana_is_a_unit_of_its_own() -> None:
    ideographs = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}]")
    others = regex.compile(r"[\p{Hangul}\p{Latin}\p{Nd}\p{M}\s]")
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        char = chr(code)
        if CJK_CHAR.match(char):
            assert not others.match(char), hex(code)
        elif ideographs.match(char):
            assert unicodedata.category(char)[0] == "M" or char in "\uff9e\uff9f", hex(code)


@pytest.mark.parametrize(
    ("chunk", "units"),
    [
        ("iPhone手机", ["iPhone", "手", "机"]),
        ("Apple-手机/Android", ["Apple", "-", "手", "机", "/", "Android"]),
        ("2023年3月-2024年", ["2023", "年", "3", "月", "-", "2024", "年"]),
        ("３．５亿，１，０００元", ["３．５", "亿", "，", "１，０００", "元"]),
        ("葛\U000e0100城か\u3099ﾊﾞ", ["葛\U000e0100", "城", "か\u3099", "ﾊﾞ"]),
        ("a\u0301手", ["a\u0301", "手"]),
        ("〇々〆ー𠀀豈", ["〇", "々", "〆", "ー", "𠀀", "豈"]),
    ],
)
def test_cjk_units(chunk: str, units: list[str]) -> None:
    assert cjk_units(chunk) == units


@pytest.mark.parametrize(
    ("chunk", "runs"),
    [
        ("شركةApple", [("شركة", "Arab"), ("Apple", "Latn")]),
        ("Apple-شركة", [("Apple", "Latn"), ("-", "Zyyy"), ("شركة", "Arab")]),
        ("COVID-19فيروس", [("COVID-19", "Latn"), ("فيروس", "Arab")]),
        ("شركة3M", [("شركة", "Arab"), ("3M", "Latn")]),
        ("عربي#tag", [("عربي", "Arab"), ("#tag", "Latn")]),
        ("NF-κB", [("NF-κB", "Latn")]),
        ("한국어Korean", [("한국어", "Hang"), ("Korean", "Latn")]),
        ("\u200fشركة\u200f", [("\u200f", None), ("شركة", "Arab"), ("\u200f", None)]),
        ("hi👨‍👩‍👧🇸🇦", [("hi", "Latn"), ("👨‍👩‍👧", None), ("🇸🇦", None)]),
        ("https://a.org/مدينة", [("https://a.org/مدينة", "Latn")]),
        ("3.5", [("3.5", "Zyyy")]),
    ],
)
def test_script_runs(chunk: str, runs: list[tuple[str, str | None]]) -> None:
    assert list(script_runs(chunk)) == runs


def test_long_runs_are_cut_and_long_urls_are_not() -> None:
    url = "https://example.com/" + "a/" * 200
    assert list(script_runs(url + ").")) == [(url, None), (")", None), (".", None)]
    parts = [part for part, _ in script_runs("ab" * 200 + "-" * 200)]
    assert max(map(len, parts)) == 128
    assert parts[-200:] == ["-"] * 200


def test_attach_marks_drops_the_norm_of_a_token_that_grows() -> None:
    assert attach_marks(["do", "n't", "\u0301", "x"], {1: "not", 3: "y"}) == (["do", "n't\u0301", "x"], {2: "y"})
    assert attach_marks(["a", "\u0301b", "c"], {0: "A", 1: "B", 2: "C"}) == (["a\u0301", "b", "c"], {2: "C"})


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("كتاب", "Arab"), ("漢字", "Hani"), ("かな", "Hira"), ("カナ", "Kana"), ("word", "Latn"), ("한국", "Hang"),
        ("हिन्दी", "Deva"), ("слово", "Cyrl"), ("3.5", "Zyyy"), ("...", "Zyyy"), ("ᎠᏂ", "Zzzz"), ("2nd", "Latn"),
    ],
)  # fmt: skip
def test_script_of(word: str, script: str) -> None:
    assert script_of(word) == script


def test_token_and_doc_attributes() -> None:
    doc = blank()("شركة Apple 在北京，3")
    assert [token._.script for token in doc] == ["Arab", "Latn", "Hani", "Hani", "Hani", "Zyyy", "Zyyy"]
    assert [token._.lang for token in doc] == ["ar", "en", "zh", "zh", "zh", "xx", "xx"]
    assert doc._.scripts == {"Latn": 5 / 12, "Arab": 4 / 12, "Hani": 3 / 12}
    assert list(doc._.langs) == ["en", "ar", "zh"]


@pytest.mark.parametrize(
    ("lang", "text", "langs"),
    [
        ("xx", "گربه", ["fa"]),
        ("xx", "ہے", ["ur"]),
        ("ar", "پاريس", ["ar"]),
        ("xx", "їжак", ["uk"]),
        ("de", "Haus", ["de"]),
        ("zh", "Haus", ["en"]),
        ("xx", "漢字かな", ["ja"]),
        ("zh", "漢字", ["zh"]),
        ("xx", "123 !", []),
        ("xx", "", []),
    ],
)
def test_language_guess(lang: str, text: str, langs: list[str]) -> None:
    doc = blank(lang)(text)
    assert list(doc._.langs) == langs
    assert {token._.lang for token in doc} - {"xx"} == set(langs)


def test_shares_add_up_and_are_not_shared_between_readers() -> None:
    doc = blank()("a بيت 中 слово")
    assert sum(doc._.scripts.values()) == pytest.approx(1)
    doc._.scripts.clear()
    assert doc._.scripts


def test_registering_leaves_attributes_of_others_alone() -> None:
    before = Token.get_extension("lang")
    Token.set_extension("lang", default="mine", force=True)
    try:
        extensions.register()
        assert blank()("word")[0]._.lang == "mine"
    finally:
        Token.remove_extension("lang")
        Token.set_extension("lang", getter=before[2])
    assert Doc.has_extension("scripts")
