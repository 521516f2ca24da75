"""`transliterator`: the text in another script, entities that land on the user's text, saving and workers."""

from __future__ import annotations

import pickle

import pytest
import samarkand
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.components.language_identifier import KEY as LANGUAGE_KEY
from samarkand.components.transliterator import TransliteratorPipe, project_entities
from samarkand.errors import SamarkandWarning
from samarkand.models.transliteration import Transliterator
from spacy.language import Language
from spacy.tokens import Doc, Span

SORANI = {"Arab": "ckb-kmr"}
TRANSLITERATOR = Transliterator(SORANI)
VOCAB = spacy.blank("xx").vocab
WORDS = ["هەولێر", "ئەو", "كِتَاب", "ـ", "Erbil", "12", "،", "\ufefb", "www.ا.iq", "猫"]


def make_nlp(**config: object) -> Language:
    nlp = samarkand.blank("xx")
    nlp.add_pipe("transliterator", config={"tables": SORANI, **config})
    return nlp


@pytest.fixture
def reader(tmp_path) -> str:
    """A pipeline that knows a city by its Latin name."""
    nlp = samarkand.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "LOC", "pattern": "hewlêr", "id": "Q1"}, {"label": "LOC", "pattern": "Erbil"}])
    nlp.to_disk(tmp_path / "reader")
    return str(tmp_path / "reader")


def test_documents_carry_their_transliteration():
    nlp = make_nlp()
    (doc,) = nlp.pipe(["ئەو لە هەولێر دەژی."])
    assert doc._.transliteration.text == "ew le hewlêr dejî."
    assert doc.text == "ئەو لە هەولێر دەژی."
    copy = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert copy._.transliteration.to_source(6, 12) == doc._.transliteration.to_source(6, 12) == (7, 13)
    assert pickle.loads(pickle.dumps(doc))._.transliteration.text == doc._.transliteration.text
    with pytest.raises(ValueError, match="S648"):
        _ = nlp.make_doc("x")._.transliteration
    assert nlp("")._.transliteration.text == ""


def test_a_part_of_a_document_has_no_map_of_the_whole():
    nlp = samarkand.blank("xx")
    nlp.add_pipe("transliterator", config={"tables": {"Arab": "ckb-kmr"}})
    part = nlp("ئەو لە هەولێر دەژی.")[2:].as_doc(copy_user_data=True)
    with pytest.raises(ValueError, match="S648"):
        _ = part._.transliteration


def test_entities_of_another_pipeline_land_on_the_text_of_the_user(reader, tmp_path):
    nlp = make_nlp(pipeline=reader)
    text = "لە هەولێـر و Erbil، هەولێر"
    doc = nlp(text)
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("هەولێـر", "LOC"), ("Erbil", "LOC"), ("هەولێر", "LOC")]
    nlp.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    assert [ent.text for ent in loaded(text).ents] == [ent.text for ent in doc.ents]
    again = pickle.loads(pickle.dumps(nlp))
    assert [ent.text for ent in again(text).ents] == [ent.text for ent in doc.ents]


def test_entities_that_are_there_stay(reader):
    nlp = make_nlp(pipeline=reader)
    nlp.add_pipe("entity_ruler", before="transliterator").add_patterns([{"label": "MINE", "pattern": "لە هەولێر"}])
    doc = nlp("لە هەولێر Erbil")
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("لە هەولێر", "MINE"), ("Erbil", "LOC")]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), st.data())
@settings(max_examples=80, deadline=None)
def test_every_entity_of_whole_words_lands_on_its_words(words, data):
    doc = Doc(VOCAB, words=words)
    written = TRANSLITERATOR(doc.text)
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    span = doc[first : last + 1]
    start, end = written.to_target(span.start_char, span.end_char)
    # Words that become nothing leave their spaces, and no entity begins or ends with those.
    found = written.text[start:end]
    start, end = start + len(found) - len(found.lstrip()), end - len(found) + len(found.rstrip())
    if start >= end:
        return
    # What the other pipeline would see: one token for what the span became.
    parts = [written.text[:start], written.text[start:end], written.text[end:]]
    twin = Doc(VOCAB, words=[part for part in parts if part], spaces=[False] * sum(map(bool, parts)))
    i = 1 if parts[0] else 0
    twin.set_ents([Span(twin, i, i + 1, label="X")])
    project_entities(doc, written, twin)
    (ent,) = doc.ents
    kept = [token for token in span if TRANSLITERATOR(token.text).text]
    assert (ent.start, ent.end) == (kept[0].i, kept[-1].i + 1)


def _multilingual() -> Language:
    nlp = samarkand.blank("xx")
    tables = {"Arab": "ar-buckwalter", "Geor": "ka-latn", "ug": {"Arab": "ug-tr"}, "sdh": {"Arab": "ckb-kmr"}}
    nlp.add_pipe("transliterator", config={"tables": tables})
    return nlp


MULTILINGUAL = _multilingual()
BY_LANGUAGE = {
    language: Transliterator({"Arab": table, "Geor": "ka-latn"})
    for language, table in (("ug", "ug-tr"), ("sdh", "ckb-kmr"), ("ar", "ar-buckwalter"), ("xx", "ar-buckwalter"))
}


@given(st.text(st.sampled_from("ئۇيغرچەهوێڵكِتابـ\ufefb ab.1კა猫"), max_size=30), st.sampled_from(sorted(BY_LANGUAGE)))
@settings(max_examples=150, deadline=None)
def test_every_language_has_its_tables_and_exact_offsets(text, language):
    doc = MULTILINGUAL.make_doc(text)
    doc.user_data[LANGUAGE_KEY] = (language, 1.0)
    found = MULTILINGUAL(doc)._.transliteration
    expected = BY_LANGUAGE[language](text)
    assert (found.text, found.segments) == (expected.text, expected.segments)


def test_one_pipeline_reads_languages_of_one_script(tmp_path):
    """Regression: tables were by script alone, so that Uyghur and Sorani needed a pipeline each."""
    pytest.importorskip("py3langid")
    nlp = _multilingual()
    nlp.add_pipe("language_identifier", first=True, config={"languages": ["ar", "ka", "sdh", "ug"]})
    texts = ["ئۇيغۇرچە ئۆگىنىۋاتىمەن", "ئەو لە هەولێر دەژی.", "كان الطقس جميلا", "საქართველო"]
    nlp.to_disk(tmp_path)
    for each in (nlp, spacy.load(tmp_path), pickle.loads(pickle.dumps(nlp))):
        docs = list(each.pipe(texts))
        assert [doc._.language for doc in docs] == ["ug", "sdh", "ar", "ka"]
        expected = [BY_LANGUAGE[language](text).text for language, text in zip(("ug", "sdh", "ar", "xx"), texts)]
        assert [doc._.transliteration.text for doc in docs] == expected
    assert expected[1] == "ew le hewlêr dejî."


def test_tables_of_languages_need_to_know_the_language():
    nlp = _multilingual()
    with pytest.warns(SamarkandWarning, match=r"SW640.*ug, sdh.*language_identifier") as caught:
        docs = list(nlp.pipe(["كتاب", "كتاب"]))
    assert [doc._.transliteration.text for doc in docs] == ["ktAb", "ktAb"]
    assert len(caught) == 1
    with pytest.raises(ValueError, match="S642"):
        samarkand.blank("xx").add_pipe("transliterator", config={"tables": {"ug": {"Cyrl": "ug-tr"}}})


def test_one_bad_batch_does_not_end_a_stream():
    nlp = make_nlp(pipeline="no-such-pipeline")
    with pytest.raises(OSError, match="E050"):
        nlp("x")
    seen = []
    nlp.get_pipe("transliterator").set_error_handler(lambda name, pipe, docs, err: seen.append(name))
    assert [doc.text for doc in nlp.pipe(["a", "b"])] == ["a", "b"]
    assert seen == ["transliterator"]


def test_a_pipe_without_settings_takes_the_transforms_of_icu():
    pytest.importorskip("icu")
    assert TransliteratorPipe()(samarkand.blank("xx")("Москва"))._.transliteration.text == "Moskva"
