"""An encoder that reads documents in another script: twins, vectors, training through it, saving."""

from __future__ import annotations

import numpy as np
import pytest
import samarkand
import spacy
from samarkand.models.inner_states import watched
from samarkand.models.subword_tok2vec import build_subword_encoder
from samarkand.models.transliterated_tok2vec import build_transliterated_encoder, transliterated_twin
from samarkand.models.transliteration import Transliterator
from spacy.training import Example

SIZES = {"width": 16, "embed_width": 8, "word_rows": 50, "piece_rows": 50, "bigram_rows": 0, "bigram_width": 4}
TEXTS = ["ئەو لە هەولێر دەژی.", "he lives in Hewlêr", "", " ـ ", "mixed هەولێر 123"]
NLP = samarkand.blank("xx")


def test_a_twin_has_the_same_tokens_in_number():
    for text in TEXTS:
        doc = NLP.make_doc(text)
        twin = transliterated_twin(doc, Transliterator({"Arab": "ckb-kmr"}))
        assert len(twin) == len(doc)
        assert [bool(t.whitespace_) for t in twin] == [bool(t.whitespace_) for t in doc]
    assert [t.text for t in transliterated_twin(NLP.make_doc(TEXTS[0]), Transliterator({"Arab": "ckb-kmr"}))] == [
        *["ew", "le", "hewlêr", "dejî", "."]
    ]


def test_vectors_are_those_of_the_twin():
    np.random.seed(0)
    plain = build_subword_encoder(**SIZES)
    model = build_transliterated_encoder(plain, {"Arab": "ckb-kmr"}).initialize()
    docs = [NLP.make_doc(text) for text in TEXTS]
    twins = [transliterated_twin(doc, model.attrs["transliterator"]) for doc in docs]
    with watched() as states:
        found = model.predict(docs)
    assert states.is_filled
    for vectors, expected, doc in zip(found, plain.predict(twins), docs):
        assert vectors.shape == (len(doc), 16)
        np.testing.assert_array_equal(vectors, expected)


def _pipeline(tables: dict[str, str]) -> tuple:
    nlp = samarkand.blank("xx")
    encoder = {"@architectures": "samarkand.SubwordEncoder.v1", **SIZES, "dropout": 0.0, "token_dropout": 0.0}
    tok2vec = {"@architectures": "samarkand.TransliteratedEncoder.v1", "tok2vec": encoder, "tables": tables}
    model = {"@architectures": "samarkand.Ricon.v1", "tok2vec": tok2vec, "width": 16, "rank": 4, "hidden": 8}
    nlp.add_pipe("ricon_ner", config={"model": {**model, "dropout_in": 0.0, "dropout_out": 0.0}})
    examples = [
        Example.from_dict(nlp.make_doc("ئەو لە هەولێر دەژی"), {"entities": [(7, 13, "LOC")]}),
        Example.from_dict(nlp.make_doc("چاو دەبینێت"), {"entities": []}),
    ]
    np.random.seed(0)
    nlp.initialize(lambda: examples)
    return nlp, examples


def test_what_is_found_is_in_the_text_of_the_user(tmp_path):
    nlp, examples = _pipeline({"Arab": "ckb-kmr"})
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.02
    for _ in range(15):
        nlp.update(examples, sgd=optimizer)
    doc = nlp(examples[0].text)
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("هەولێر", "LOC")]
    nlp.to_disk(tmp_path)
    assert [ent.text for ent in spacy.load(tmp_path)(examples[0].text).ents] == ["هەولێر"]
    # A reader of the Latin spelling finds the same.
    assert [ent.text for ent in nlp("ew le hewlêr dejî").ents] == ["hewlêr"]


def test_a_model_is_bound_to_its_tables(tmp_path):
    nlp, _ = _pipeline({"Arab": "ckb-kmr"})
    other, _ = _pipeline({"Arab": "ug-tr"})
    with pytest.raises(ValueError, match="S647"):
        other.from_bytes(nlp.to_bytes())
