"""Whitening maps elsewhere: in plain sentence-transformers, and in FAISS."""

from __future__ import annotations

import json
from dataclasses import replace

import faiss
import numpy as np
import pytest
import torch
from samarkand.models.sentence_model import SentenceTransformerModel, load_sentence_model
from samarkand.models.whitening import VectorStatistics, Whitening
from samarkand.models.whitening_exports import append_whitening, faiss_transform, whitened_index, without_normalize
from sentence_checkpoints import WIDTH, make_encoder_folder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn

TEXTS = ["the cat sat", "a dog ran in the park.", "猫", "كلب", "the dog sat on a mat", "cat, dog", "a park", "the mat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder):
    return load_sentence_model(folder)


def fit(model: SentenceTransformerModel, **settings: object) -> Whitening:
    statistics = VectorStatistics()
    statistics.update(model.encode(TEXTS))
    return statistics.whitening(4, fingerprint=model.fingerprint, **settings)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_saved_model_needs_no_samarkand(encoder, tmp_path, normalize):
    whitening = fit(encoder, normalize=normalize)
    append_whitening(encoder.model, whitening).save(str(tmp_path), create_model_card=False)
    modules = json.loads((tmp_path / "modules.json").read_text(encoding="utf-8"))
    assert all(module["type"].startswith("sentence_transformers.") for module in modules)
    vectors, expected = SentenceTransformer(str(tmp_path)).encode(TEXTS), whitening.transform(encoder.encode(TEXTS))
    np.testing.assert_allclose(vectors, expected, atol=1e-4 * np.abs(expected).max())
    assert len(encoder.model) == 2, "the model that was given stays as it is"


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_map_before_it_becomes_one_with_it(encoder, bias):
    torch.manual_seed(0)
    model = SentenceTransformer(modules=[*encoder.model, Dense(WIDTH, 6, bias, nn.Identity()), Normalize()])
    bare = SentenceTransformerModel(without_normalize(model))
    whitening = fit(bare)
    whitened = append_whitening(model, whitening)
    assert " ".join(type(module).__name__ for module in list(whitened)[2:]) == "Dense Normalize"
    assert tuple(whitened[2].linear.weight.shape) == (4, WIDTH)
    expected = whitening.transform(bare.encode(TEXTS))
    np.testing.assert_allclose(whitened.encode(TEXTS), expected, atol=1e-4)
    assert len(model) == 4


@pytest.mark.parametrize("settings", [{"activation_function": nn.Tanh()}, {"use_residual": True}])
def test_a_map_that_is_not_linear_stays(encoder, settings):
    torch.manual_seed(0)
    model = SentenceTransformer(modules=[*encoder.model, Dense(WIDTH, 6, **{"activation_function": None} | settings)])
    whitening = fit(SentenceTransformerModel(model))
    whitened = append_whitening(model, whitening)
    assert " ".join(type(module).__name__ for module in list(whitened)[2:]) == "Dense Dense Normalize"
    expected = whitening.transform(SentenceTransformerModel(model).encode(TEXTS))
    np.testing.assert_allclose(whitened.encode(TEXTS), expected, atol=1e-4)


def test_settings_of_the_model_are_kept(folder, encoder):
    model = SentenceTransformer(folder, prompts={"query": "the "}, default_prompt_name="query")
    model.max_seq_length = 7
    whitened = append_whitening(model, replace(fit(encoder), fingerprint=""))
    assert (whitened.prompts["query"], whitened.default_prompt_name, whitened.max_seq_length) == ("the ", "query", 7)
    assert whitened.get_embedding_dimension() == 4


def test_the_scaling_before_goes_when_the_map_was_fitted_without_it(encoder):
    model = SentenceTransformer(modules=[*encoder.model, Normalize()])
    normal, bare = SentenceTransformerModel(model), SentenceTransformerModel(without_normalize(model))
    assert bare.fingerprint == encoder.fingerprint != normal.fingerprint
    assert without_normalize(encoder.model) is encoder.model
    for fitted_on, kinds in ((bare, "Dense Normalize"), (normal, "Normalize Dense Normalize")):
        whitening = fit(fitted_on)
        whitened = append_whitening(model, whitening)
        assert " ".join(type(module).__name__ for module in list(whitened)[2:]) == kinds
        expected = whitening.transform(fitted_on.encode(TEXTS))
        np.testing.assert_allclose(whitened.encode(TEXTS), expected, atol=1e-3)


def test_another_model_is_refused(encoder, tmp_path):
    other = load_sentence_model(make_encoder_folder(tmp_path / "a", seed=1)).model
    with pytest.raises(ValueError, match="S816"):
        append_whitening(other, fit(encoder))
    wide = load_sentence_model(make_encoder_folder(tmp_path / "b", width=32)).model
    with pytest.raises(ValueError, match="S810"):
        append_whitening(wide, replace(fit(encoder), fingerprint=""))


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((500, WIDTH)) * np.geomspace(1, 0.1, WIDTH) + 1).astype(np.float32)


@pytest.fixture(scope="module")
def whitening(vectors):
    statistics = VectorStatistics()
    statistics.update(vectors)
    return statistics.whitening(6)


def test_the_transform_of_faiss_is_the_map(vectors, whitening):
    plain = replace(whitening, normalize=False)
    np.testing.assert_allclose(faiss_transform(whitening).apply(vectors), plain.transform(vectors), atol=1e-4)
    turned = VectorStatistics()
    turned.update(vectors)
    rotation = turned.whitening(6, exponent=0.0)
    assert faiss_transform(rotation).is_orthonormal
    assert not faiss_transform(whitening).is_orthonormal


@pytest.mark.parametrize("kind", ["Flat", "IVF8,Flat"])
@pytest.mark.parametrize("normalize", [True, False])
def test_an_index_of_raw_vectors_finds_what_one_of_whitened_finds(vectors, whitening, tmp_path, kind, normalize):
    whitening = replace(whitening, normalize=normalize)
    by_hand = faiss.index_factory(6, kind, faiss.METRIC_INNER_PRODUCT)
    white = whitening.transform(vectors)
    by_hand.train(white)
    by_hand.add(white)
    index = whitened_index(faiss.index_factory(6, kind, faiss.METRIC_INNER_PRODUCT), whitening)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "index"))
    scores, rows = by_hand.search(white[:20], 3)
    for found in (index, faiss.read_index(str(tmp_path / "index"))):
        np.testing.assert_allclose(found.search(vectors[:20], 3)[0], scores, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(found.search(vectors[:20], 3)[1], rows)


def test_codes_are_as_long_as_the_dimensions_kept(vectors, whitening):
    index = whitened_index(faiss.IndexFlatIP(6), whitening)
    index.add(vectors)
    assert index.sa_code_size() * WIDTH == faiss.IndexFlatIP(WIDTH).sa_code_size() * 6
    with pytest.raises(ValueError, match="S810"):
        whitened_index(faiss.IndexFlatIP(7), whitening)
