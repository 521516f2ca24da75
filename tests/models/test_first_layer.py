"""The first layer that encoders hand out: whose it is, where its rows lie, and that nobody pays who does not ask."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import samarkand
import torch
from plain_transformers import plain_states
from samarkand.models import first_layer
from samarkand.models.first_layer import ask_first_layer, first_layer_of
from samarkand.models.inner_states import watched
from samarkand.models.subword_tok2vec import build_subword_encoder
from samarkand.models.transformer_tok2vec import build_transformer_encoder
from samarkand.models.transliterated_tok2vec import build_transliterated_encoder
from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec
from spacy.tokens import Doc
from thinc.api import Model
from transformer_checkpoints import SENTENCES, save_checkpoint, save_checkpoints

SIZES = {"width": 16, "embed_width": 8, "word_rows": 50, "piece_rows": 50, "bigram_rows": 20, "bigram_width": 4}
SHORT = ["Layla met the lazy dog.", "我爱北京", "", "زارت ليلى سمرقند", " ", "fox"]
# No window is long enough for the first of them.
LONG = [" ".join(SENTENCES), "", *SENTENCES, "\x01", "one"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def make_docs(texts: list[str]) -> list[Doc]:
    return list(map(samarkand.blank("xx").make_doc, texts))


def make_transformer(folder: Path, **settings: object) -> Model:
    return build_transformer_encoder(str(folder), **{"window": 30, "stride": 20, **settings}).initialize()


def make_subword(**settings: object) -> Model:
    np.random.seed(0)
    return build_subword_encoder(**{**SIZES, "depth": 2, **settings}).initialize()


def asked(model: Model) -> Model:
    ask_first_layer(model)
    return model


def assert_first_layer(model: Model, expected: Model, docs: list[Doc]) -> None:
    """The first layer of one encoder is what another returns."""
    for vectors, layer in zip(asked(model).predict(docs), expected.predict(docs)):
        np.testing.assert_allclose(first_layer_of(vectors), layer, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_it_is_the_first_layer_of_plain_transformers(folders, family):
    docs = make_docs(SHORT)
    model = asked(make_transformer(folders[family]))
    for doc, vectors in zip(docs, model.predict(docs)):
        if doc.text.strip():
            first, last = plain_states(folders[family], doc)
            np.testing.assert_allclose(vectors, last, atol=1e-4)
            np.testing.assert_allclose(first_layer_of(vectors), first, atol=1e-4)
            assert not np.allclose(first, last, atol=0.1)


@pytest.mark.parametrize(
    "settings", [{}, {"pooling": "first"}, {"freeze": True}, {"layers": "mix"}, {"recompute": {"budget": "1GiB"}}]
)
def test_rows_of_long_documents_are_where_tokens_are_read(folders, settings):
    """An encoder cut off after its first layer returns that layer by the usual way."""
    options = {"window": 16, "stride": 12, "pooling": settings.get("pooling", "mean")}
    expected = make_transformer(folders["bert"], transformer_config={"num_hidden_layers": 1}, **options)
    assert_first_layer(make_transformer(folders["bert"], **{**options, **settings}), expected, make_docs(LONG))


@pytest.mark.parametrize("context", ["lstm", "cnn", "attention"])
def test_it_is_what_a_small_encoder_of_one_layer_returns(context):
    model, expected = make_subword(context=context), make_subword(context=context, depth=1)
    expected.shims[0].module.load_state_dict(model.shims[0].module.state_dict(), strict=False)
    docs = make_docs([*LONG, " ".join(f"word{i % 37}" for i in range(700))])
    assert_first_layer(model, expected, docs)
    for vectors in asked(expected).predict(docs):
        assert not len(vectors) or np.array_equal(first_layer_of(vectors), vectors)


def test_one_layer_is_the_first_and_the_last(folders):
    for family in ("bert", "modernbert"):
        model = make_transformer(folders[family], transformer_config={"num_hidden_layers": 1})
        for vectors in asked(model).predict(make_docs(SHORT)):
            assert not len(vectors) or np.array_equal(first_layer_of(vectors), vectors)


@pytest.mark.parametrize("kind", ["subword", "transformer"])
def test_only_who_asks_pays(folders, kind):
    model = make_subword() if kind == "subword" else make_transformer(folders["bert"])
    gc.collect()
    docs, before = make_docs(SHORT), len(first_layer._KEPT)
    usual, saved = model.predict(docs), model.to_bytes()
    assert not any(first_layer_of(vectors) is not None for vectors in usual)
    copied = asked(model.copy())
    found = copied.predict(docs)
    assert all(np.array_equal(a, b) for a, b in zip(usual, found))
    assert len(first_layer._KEPT) == before + len(docs)
    assert copied.to_bytes() == saved
    assert first_layer_of(model.predict(docs)[0]) is None
    assert first_layer_of(copied.begin_update(docs)[0][0]) is None
    del found
    gc.collect()
    assert len(first_layer._KEPT) == before


def test_a_training_step_may_look_on_at_once():
    model, docs = make_subword(), make_docs(SHORT)
    with watched() as states:
        model.predict(docs)
    with watched() as both:
        vectors = asked(model).predict(docs)
    assert first_layer_of(vectors[0]) is not None
    for document, mean in states.embeddings.items():
        torch.testing.assert_close(both.embeddings[document], mean)


def test_an_encoder_around_another_passes_it_on():
    model = build_transliterated_encoder(make_subword(), {"Arab": "ckb-kmr"})
    (vectors,) = asked(model.initialize()).predict(make_docs(["زارت"]))
    assert first_layer_of(vectors).shape == vectors.shape


def test_encoders_without_layers_are_refused(tmp_path):
    sizes = {"width": 8, "depth": 1, "embed_size": 20, "window_size": 1, "maxout_pieces": 2}
    with pytest.raises(ValueError, match="S818"):
        ask_first_layer(build_hash_embed_cnn_tok2vec(**sizes, subword_features=False, pretrained_vectors=None))
    folder = save_checkpoint("bert", tmp_path, num_hidden_layers=0)
    for model in (make_subword(depth=0), make_transformer(folder)):
        model.predict(make_docs(SHORT))
        with pytest.raises(ValueError, match=rf"S818.*{model.name} without layers"):
            asked(model).predict(make_docs(SHORT))
