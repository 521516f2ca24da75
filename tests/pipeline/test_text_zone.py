"""Memory zones after which a vocabulary is what it was."""

from __future__ import annotations

import pickle

import pytest
import spacy
from samarkand.pipeline import text_zone as text_zone_module
from samarkand.pipeline.text_zone import renew, text_zone
from spacy.attrs import NORM


def described(nlp: spacy.Language, text: str) -> list[tuple]:
    return [(token.text, token.norm_, token.shape_, token.is_stop, token.lower_) for token in nlp(text)]


@pytest.mark.parametrize("lang", ["en", "ar", "xx"])
def test_a_renewed_vocabulary_describes_words_as_before(lang):
    nlp = spacy.blank(lang)
    nlp.vocab["btw"].is_stop = True
    nlp.vocab["colour"].norm_ = "color"
    text = "The colour isn't gonna be 12:30 btw, وُلد في القاهرة don't"
    before, doc = described(nlp, text), nlp(text)
    strings, getter = set(nlp.vocab.strings), nlp.vocab.lex_attr_getters.get(NORM)
    for _ in range(3):
        renew(nlp.vocab)
    assert set(nlp.vocab.strings) == strings
    assert nlp.vocab.lex_attr_getters.get(NORM) is getter
    assert described(nlp, text) == before
    assert [(token.text, token.norm_) for token in doc] == [row[:2] for row in before]
    assert described(pickle.loads(pickle.dumps(nlp)), "none") == described(nlp, "none")


def test_words_of_a_long_stream_leave_no_places_behind(monkeypatch):
    monkeypatch.setattr(text_zone_module, "MET", 1000)
    nlp = spacy.blank("xx")
    nlp.vocab["btw"].is_stop = True
    kept = len(nlp.vocab.strings)
    for number in range(100):
        with text_zone(nlp):
            doc = nlp(" ".join(f"w{number}x{k}" for k in range(100)) + " btw")
            assert doc[-1].is_stop
            assert doc[0].text == f"w{number}x0"
        assert len(nlp.vocab.strings) == kept
        assert len(nlp.vocab) <= max(1000, 4 * kept) + 101


def test_a_vocabulary_that_keeps_much_is_renewed_seldom(monkeypatch):
    monkeypatch.setattr(text_zone_module, "MET", 10)
    renewed = []
    monkeypatch.setattr(text_zone_module, "renew", renewed.append)
    nlp = spacy.blank("xx")
    for number in range(1000):
        nlp.vocab.strings.add(f"kept{number}")
    with text_zone(nlp):
        nlp(" ".join(f"w{k}" for k in range(500)))
    assert renewed == []
