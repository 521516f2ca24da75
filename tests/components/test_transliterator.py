"""`transliterator`: the text in another script, entities that land on the user's text, saving and workers."""

from __future__ import annotations

import pickle

import pytest
import samarkand
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.components.transliterator import TransliteratorPipe, project_entities
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
