"""Transliteration: tables and their examples, offsets by hypothesis, what must pass unchanged, broken tables."""

from __future__ import annotations

import pickle
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.transliteration import ICU_TABLES, Transliteration, Transliterator
from samarkand.models.transliteration_tables import RuleTable, load_table, table_names

TABLES = table_names()
RUSSIAN = "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"
GEORGIAN = "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"
ARMENIAN = "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ"
LETTERS = (
    "اەوۆێيیئغكھڭچ" + "هـلابـ" + "\u064b\u0651\u200c\ufefb\ufee0\ufdfa" + RUSSIAN[:9] + GEORGIAN[:9] + "नमस्ते" + "שלום"
)
TEXTS = st.text(
    st.one_of(st.sampled_from(LETTERS + " .,12\nab"), st.characters(exclude_categories=["Cs"])), max_size=60
)


def _all() -> list[Transliterator]:
    own = [Transliterator({load_table(name).script: name}) for name in TABLES]
    try:
        return [*own, Transliterator()]
    except ImportError:
        return own


TRANSLITERATORS = _all()
has_icu = pytest.mark.skipif(len(TRANSLITERATORS) == len(TABLES), reason="needs samarkand[transliteration]")


def _check(found: Transliteration, text: str) -> None:
    """Segments cover both texts in order, copies are copies, and spans go back to all that they came from."""
    source_end = end = 0
    for segment in found.segments:
        assert (segment.source_start, segment.start) == (source_end, end)
        source_end, end = segment.source_end, segment.end
        assert source_end > segment.source_start
        if segment.is_copy:
            assert text[segment.source_start : source_end] == found.text[segment.start : end]
    assert (source_end, end) == (len(text), len(found.text))
    for start in range(len(found.text)):
        a, b = found.to_source(start, start + 1)
        assert 0 <= a < b <= len(text)
        c, d = found.to_target(a, b)
        assert c <= start < d
        assert found.to_source(c, d) == (a, b)
    for start in range(len(text)):
        c, d = found.to_target(start, start + 1)
        if c < d:
            a, b = found.to_source(c, d)
            assert a <= start < b
    assert found.to_source(0, len(found.text)) == ((0, len(text)) if found.text else (len(text), len(text)))


@pytest.mark.parametrize("transliterator", TRANSLITERATORS, ids=[*TABLES, "icu"][: len(TRANSLITERATORS)])
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_offsets_of_any_text(transliterator, text):
    _check(transliterator(text), text)


@pytest.mark.parametrize("name", TABLES)
def test_examples_of_every_table_hold(name):
    table = load_table(name)
    transliterator = Transliterator({table.script: name})
    assert table.examples
    for read, written in table.examples:
        assert transliterator(read).text == written
        if table.is_reversible:
            assert transliterator.inverse(written, table.script) == read


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ug-tr", "ئۇيغۇرچە", "uyğurçe"),
        ("ug-tr", "ئا ا ئە", "a a e"),
        ("ug-tr", "جاڭ", "cang"),
        ("ckb-kmr", "دوو", "dû"),
        ("ckb-kmr", "گوڵ", "gul"),
        ("ckb-kmr", "ڕێگا", "rêga"),
        ("ckb-kmr", "وەرە", "were"),
        ("ckb-kmr", "شیر", "şîr"),
        ("ckb-kmr", "یار", "yar"),
        ("ckb-kmr", "ئایا", "aya"),
        ("ckb-kmr", "ژن", "jn"),
        ("ka-latn", "მა სქანი ჯიმა ვორექ", "ma skani ǯima vorek"),
        ("ka-latn", "ჸვილი", "ʔvili"),
    ],
)
def test_uyghur_sorani_and_mingrelian_in_the_spelling_of_their_relatives(name, text, expected):
    assert Transliterator({load_table(name).script: name})(text).text == expected


@pytest.mark.parametrize("name", TABLES)
def test_what_is_not_of_the_script_passes_unchanged(name):
    text = "ASCII, 3.14 https://ئا.example/ئا?ا=1 猫 Ελλάδα ½ ﬁ 🙂\r\n\u2028 e\u0301"
    assert Transliterator({load_table(name).script: name})(text).text == text


@pytest.mark.parametrize("name", ["ug-tr", "ckb-kmr"])
def test_forms_of_a_letter_are_one(name):
    transliterator = Transliterator({"Arab": name})
    for word in ("ئۇيغۇر", "لالە", "مەكتەپ"):
        expected = transliterator(word).text
        for form in ("NFC", "NFD", "NFKC"):
            assert transliterator(unicodedata.normalize(form, word)).text == expected
        assert transliterator("ـ".join(word)).text == expected
    assert transliterator("\ufefb\ufedf\ufe8e").text == "lala"
    # The ligature is one character: both of its letters come from it.
    found = transliterator("\ufefbب")
    assert found.to_source(0, 1) == found.to_source(1, 2) == (0, 1)


def test_marks_that_are_dropped_stay_with_their_letter():
    found = Transliterator({"Arab": "ug-tr"})("كِتَابٌ.")
    assert found.text == "ktab."
    assert found.to_source(0, 1) == (0, 2)
    assert found.to_source(0, 4) == (0, 7)
    assert Transliterator({"Arab": "ug-tr"})("ئ").to_source(0, 0) == (1, 1)


def test_rules_do_not_read_what_rules_wrote():
    content = _content(rules=[["а", "б"], ["б", "в"], ["аа", "г"]], script="Cyrl")
    table = RuleTable("x", content)
    assert "".join(written for _, written in table.convert("абааа")) == "бвгб"


@has_icu
@given(st.text(RUSSIAN, max_size=12))
@settings(max_examples=100, deadline=None)
def test_the_reversible_transform_of_icu_goes_back(word):
    transliterator = Transliterator({"Cyrl": "icu:Cyrillic-Latin"})
    assert transliterator.is_reversible
    assert transliterator.inverse(transliterator(word).text, "Cyrl") == word


@pytest.mark.parametrize("name", [name for name in TABLES if load_table(name).is_reversible])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_reversible_tables_go_back(name, data):
    table = load_table(name)
    text = data.draw(st.text(st.sampled_from([*table._back.values(), "5", "۵", "।"]), max_size=30))
    transliterator = Transliterator({table.script: name})
    assert transliterator.inverse(transliterator(text).text, table.script) == text


@has_icu
def test_scripts_of_icu_side_by_side():
    found = Transliterator()("Москва Ελλάδα Հայաստան שלום नमस्ते საქართველო ሰላም and 猫")
    assert found.text == "Moskva Elláda Hayastan şlwm namastē sakartvelo salām and 猫"
    start = found.text.index("namastē")
    assert found.source[slice(*found.to_source(start, start + 7))] == "नमस्ते"
    assert not Transliterator().is_reversible
    assert set(Transliterator().names) == set(ICU_TABLES)
    with pytest.raises(ValueError, match="S646"):
        Transliterator({"Cyrl": "icu:Cyrillic-Klingon"})


def test_without_icu_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "icu", None)
    load_table.cache_clear()
    with pytest.raises(ImportError, match=r"S644.*samarkand\[transliteration\]"):
        Transliterator({"Cyrl": "icu:Cyrillic-Latin"})


def _content(**changes: object) -> dict:
    fields = {
        "language": "ru",
        "script": "Cyrl",
        "target": "Latn",
        "licence": "MIT",
        "reversible": False,
        "level": "none",
    }
    return {**fields, "rules": [["а", "a"]], **changes}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rules": [["а", "a"], ["б", "b"], ["а", "c"]]}, "'а' is read by two rules"),
        ({"rules": [["а", "a", "vowel"]]}, "no class 'vowel'"),
        ({"rules": [["а", "a"], ["б", "a"]], "reversible": True}, "reversible"),
        ({"rules": [["а", "aa"]], "reversible": True}, "reversible"),
        ({"script": None}, "'script'"),
    ],
)
def test_broken_tables_are_refused(changes, reason):
    with pytest.raises(ValueError, match="S645") as caught:
        RuleTable("mine", _content(**changes))
    assert reason in str(caught.value)


def test_tables_that_cannot_be_used_are_refused():
    with pytest.raises(ValueError, match=r"S641.*ug-tr"):
        Transliterator({"Arab": "../ug-tr"})
    with pytest.raises(ValueError, match="S642"):
        Transliterator({"Cyrl": "ug-tr"})
    with pytest.raises(ValueError, match="S643"):
        Transliterator({"Arab": "ug-tr"}).inverse("a", "Arab")


@has_icu
def test_unknown_scripts_are_refused():
    with pytest.raises(ValueError, match="S640"):
        Transliterator({"Klin": "icu:Cyrillic-Latin"})
    # A script to the engine of expressions, but no name of a group.
    with pytest.raises(ValueError, match="S640"):
        Transliterator({"Old Italic": "icu:Cyrillic-Latin"})


def test_fingerprints_tell_tables_apart_and_survive_pickles():
    prints = {transliterator.fingerprint for transliterator in TRANSLITERATORS}
    assert len(prints) == len(TRANSLITERATORS)
    copy = pickle.loads(pickle.dumps(TRANSLITERATORS[0]))
    assert copy.fingerprint == TRANSLITERATORS[0].fingerprint
    assert copy.names == TRANSLITERATORS[0].names


@pytest.mark.parametrize("text", ["ئ" * 5000, "www." * 2000, "\u0651" * 5000, "ا\u0651" * 3000, "Щ" * 5000])
def test_hostile_text_takes_linear_time(text):
    began = time.process_time()
    for transliterator in TRANSLITERATORS:
        found = transliterator(text)
        assert found.to_source(0, len(found.text))[1] in (len(text), 0)
    assert time.process_time() - began < 5
