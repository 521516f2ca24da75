"""Sentence encoders by name: pipelines, and models of sentence-transformers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import samarkand
import spacy
from samarkand.models.sentence_model import SentenceTransformerModel
from samarkand.pipeline.sentence_models import PipelineSentenceModel, load_encoder
from spacy.language import Language
from spacy.tokens import Doc

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from sentence_checkpoints import WIDTH, make_encoder_folder

RAN: list[str] = []


def vector_of(doc: Doc) -> np.ndarray:
    return np.full(3, len(doc.text), dtype=np.float32)


@Language.factory("test_sentence_encoder")
def make_encoder(nlp: Language, name: str):
    return CountingEncoder()


class CountingEncoder:
    """A pipe that says how long a text is."""

    fingerprint = "counting"

    def __call__(self, doc: Doc) -> Doc:
        RAN.append("encoder")
        doc.user_hooks["vector"] = vector_of
        return doc


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
    assert RAN == ["encoder"] * 3
    assert model.encode([]).shape == (0, 3)


def test_pipes_that_are_listened_to_are_kept():
    nlp = spacy.blank("xx")
    tok2vec = nlp.add_pipe("tok2vec")
    nlp.add_pipe("test_sentence_encoder", name="sentence_encoder")
    tok2vec.listener_map["sentence_encoder"] = []
    assert PipelineSentenceModel(nlp)._unused == []
    tok2vec.listener_map.clear()
    assert PipelineSentenceModel(nlp)._unused == ["tok2vec"]


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
