"""Sentence encoders by name: pipelines, and models of sentence-transformers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import samarkand
import spacy
from samarkand.models.sentence_model import SentenceTransformerModel
from samarkand.pipeline.index_corpus import index_corpus
from samarkand.pipeline.search_corpus import search_corpus
from samarkand.pipeline.sentence_models import PipelineSentenceModel, load_encoder
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from sentence_checkpoints import WIDTH, make_encoder_folder

RAN: list[str] = []


@Language.factory("test_sentence_encoder")
def make_encoder(nlp: Language, name: str):
    return CountingEncoder()


class CountingEncoder:
    """A pipe that says how long a text is."""

    fingerprint = "counting"

    def __call__(self, doc: Doc) -> Doc:
        RAN.append("annotation")
        return doc

    def document_vectors(self, docs: Sequence[Doc]) -> np.ndarray:
        RAN.append("encoder")
        return np.array([[len(doc.text)] * 3 for doc in docs], dtype=np.float32)


@Language.component("test_tagging")
def tagging(doc: Doc) -> Doc:
    RAN.append("tagging")
    return doc


def make_pipeline() -> Language:
    nlp = samarkand.blank("xx")
    nlp.add_pipe("test_tagging")
    nlp.add_pipe("test_sentence_encoder", name="sentence_encoder")
    nlp.add_pipe("test_tagging", name="after")
    return nlp


def test_a_pipeline_with_an_encoder(tmp_path):
    make_pipeline().to_disk(tmp_path / "nlp")
    model = load_encoder(tmp_path / "nlp")
    assert isinstance(model, PipelineSentenceModel)
    assert (model.width, model.fingerprint) == (3, "counting")
    RAN.clear()
    vectors = model.encode(["one", " ", "three", "", "قط 猫"], batch_size=2, progress=True)
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [3, 0, 5, 0, 4]
    assert RAN == ["encoder"] * 2
    assert model.encode([]).shape == (0, 3)


def test_pipes_that_are_listened_to_are_kept():
    nlp = spacy.blank("xx")
    tok2vec = nlp.add_pipe("tok2vec")
    nlp.add_pipe("test_sentence_encoder", name="sentence_encoder")
    tok2vec.listener_map["sentence_encoder"] = []
    assert PipelineSentenceModel(nlp)._unused == ["sentence_encoder"]
    tok2vec.listener_map.clear()
    assert PipelineSentenceModel(nlp)._unused == ["tok2vec", "sentence_encoder"]


@pytest.mark.parametrize("sharing", [False, True])
def test_a_pipeline_of_sentences_indexes_and_searches(tmp_path, sharing):
    """Whoever sets the sentences is left out here, and vectors of sentences are not asked for."""
    nlp = samarkand.blank("xx")
    encoder = {"@architectures": "samarkand.SubwordEncoder.v1", "width": 16, "embed_width": 16}
    encoder |= {"word_rows": 500, "piece_rows": 500, "bigram_rows": 500, "bigram_width": 8}
    if sharing:
        nlp.add_pipe("tok2vec", config={"model": encoder})
        encoder = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    nlp.add_pipe("sentencizer")
    model = {"@architectures": "samarkand.TokenPooling.v1", "pooling": "mean", "tok2vec": encoder}
    nlp.add_pipe("sentence_encoder", config={"model": model, "units": ["sents"]})
    texts = ["the cat sat. a dog ran.", "猫坐。狗跑。", "قط"]
    nlp.initialize(lambda: [Example(doc, doc) for doc in map(nlp.make_doc, texts)])
    nlp.to_disk(tmp_path / "nlp")
    vectors = load_encoder(tmp_path / "nlp").encode([*texts, " "], batch_size=2)
    np.testing.assert_allclose(vectors, [nlp(text).vector for text in [*texts, " "]], atol=1e-5)
    (tmp_path / "a.txt").write_text("\n".join(texts), encoding="utf-8")
    summary = index_corpus(tmp_path / "a.txt", tmp_path / "index", model=tmp_path / "nlp")
    assert (summary["added"], summary["quarantined"], summary["blank"]) == (3, 0, 0)
    found = list(search_corpus(tmp_path / "index", texts, k=1))
    assert [answer["neighbours"][0]["text"] for answer in found] == texts


def test_a_pipeline_without_one_is_refused(tmp_path):
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "nlp")
    with pytest.raises(ValueError, match=r"S836.*sentencizer"):
        load_encoder(tmp_path / "nlp")


def test_names_of_bundled_pipelines(monkeypatch, tmp_path):
    make_pipeline().to_disk(tmp_path / "xx_test")
    monkeypatch.setattr("samarkand.pipeline.sentence_models.bundled_path", lambda name: tmp_path / name)
    monkeypatch.setattr("samarkand.path", lambda name: tmp_path / name)
    assert load_encoder("xx_test").fingerprint == "counting"


def test_anything_else_is_a_sentence_transformer(tmp_path):
    model = load_encoder(make_encoder_folder(tmp_path / "bert"))
    assert isinstance(model, SentenceTransformerModel)
    assert model.width == WIDTH
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="S800"):
        load_encoder(empty)
