"""`language_identifier`: languages of texts, limits, saving, and routes to pipelines."""

from __future__ import annotations

import pickle
import sys

import pytest
import samarkand
import spacy
from samarkand.components import language_identifier
from samarkand.components.language_identifier import LanguageIdentifier, route
from samarkand.models import language_model
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import ignore_error

pytest.importorskip("py3langid")

TEXTS = {
    "en": "The weather was fine, and the children played in the garden all afternoon.",
    "ar": "كان الطقس جميلا ولعب الأطفال في الحديقة طوال بعد الظهر.",
    "zh": "天气很好，孩子们整个下午都在花园里玩耍。",
    "ru": "Погода была хорошая, и дети весь день играли в саду.",
    "de": "Das Wetter war schön, und die Kinder spielten den ganzen Nachmittag im Garten.",
}


def test_languages_of_texts_saved_and_sent(tmp_path):
    nlp = samarkand.blank("xx")
    nlp.add_pipe("language_identifier")
    nlp.to_disk(tmp_path)
    for pipeline in (nlp, spacy.load(tmp_path), pickle.loads(pickle.dumps(nlp))):
        docs = list(pipeline.pipe(TEXTS.values()))
        assert [doc._.language for doc in docs] == list(TEXTS)
        assert all(0.5 < doc._.language_score <= 1 for doc in docs)
    copy = Doc(nlp.vocab).from_bytes(docs[1].to_bytes())
    assert (copy._.language, copy._.language_score) == (docs[1]._.language, docs[1]._.language_score)


def test_what_has_no_language():
    nlp = samarkand.blank("xx")
    nlp.add_pipe("language_identifier")
    for text in ("", " \n", "12:30", "🙂!"):
        doc = nlp(text)
        assert (doc._.language, doc._.language_score) == ("xx", 0.0)
    assert nlp.make_doc("never looked at")._.language == "xx"


def test_limits():
    few = LanguageIdentifier(languages=["en", "de"])
    assert {few.identify(text)[0] for text in TEXTS.values()} <= {"en", "de"}
    sure = LanguageIdentifier(min_score=1.0)
    lang, score = sure.identify("ok")
    assert (lang, score < 1) == ("xx", True)
    with pytest.raises(ValueError, match="S651"):
        LanguageIdentifier(languages=["en", "tlh"])
    with pytest.raises(ValueError, match="S610"):
        LanguageIdentifier(min_score=2)
    with pytest.raises(ValueError, match=r"S610.*languages"):
        LanguageIdentifier(languages=[])


def test_texts_go_to_the_pipeline_of_their_language():
    pipelines = {lang: samarkand.blank(lang) for lang in ("xx", "ar", "zh")}
    texts = [*TEXTS.values(), "", *TEXTS.values()]
    docs = list(route(iter(texts), pipelines, LanguageIdentifier(), batch_size=4))
    assert [doc.text for doc in docs] == texts
    langs = ["en", "ar", "zh", "ru", "de"]
    assert [doc._.language for doc in docs] == [*langs, "xx", *langs]
    read_by = ["xx", "ar", "zh", "xx", "xx"]
    assert [doc.vocab.lang for doc in docs] == [*read_by, "xx", *read_by]
    with pytest.raises(ValueError, match="S652"):
        list(route(texts, {"ar": pipelines["ar"]}, LanguageIdentifier()))


@Language.component("test_refuses_rain")
def refuses_rain(doc: Doc) -> Doc:
    if "rain" in doc.text:
        raise ValueError("cannot stand rain")
    return doc


def test_document_that_a_pipeline_leaves_out_moves_no_other():
    """Those after it took one another's places, and the last was not there."""
    strict = samarkand.blank("xx")
    strict.add_pipe("test_refuses_rain")
    strict.set_error_handler(ignore_error)
    texts = [TEXTS["en"], "Heavy rain is expected in the mountains tomorrow.", TEXTS["ar"], TEXTS["de"], TEXTS["ru"]]
    docs = list(route(texts, {"xx": strict, "ar": samarkand.blank("ar")}, LanguageIdentifier()))
    assert [(doc.text, doc._.language) for doc in docs] == [(TEXTS[lang], lang) for lang in ("en", "ar", "de", "ru")]


def test_one_bad_document_does_not_end_a_stream(monkeypatch):
    pipe = LanguageIdentifier()
    seen = []
    pipe.set_error_handler(lambda name, component, docs, err: seen.append(str(err)))
    monkeypatch.setattr(pipe, "identify", lambda text: ("en", 1.0) if text == "fine" else 1 / 0)
    nlp = samarkand.blank("xx")
    assert [doc.text for doc in pipe.pipe(map(nlp.make_doc, ["fine", "bad", "fine"]))] == ["fine", "fine"]
    assert seen == ["division by zero"]


def test_without_the_library_the_extra_is_named(monkeypatch):
    for cached in (language_identifier._model, language_model._all_languages):
        cached.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ImportError, match=r"S650.*samarkand\[languages\]"):
        LanguageIdentifier()
