"""The pooling "first-last" over shared encoders in a pipeline: vectors, batches, saving, training, refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import samarkand
import spacy
import torch
from plain_transformers import plain_states
from samarkand.models.sentence_model import load_sentence_model
from sentence_checkpoints import make_encoder_folder
from spacy.language import Language
from spacy.training import Example
from spacy.util import fix_random_seed
from thinc.api import Adam
from transformer_checkpoints import WIDTH, save_checkpoint

TEXTS = ["Layla met the lazy dog. The fox visits.", "زارت ليلى سمرقند", "", " ", "\x01", "我爱北京", "fox"]
SIZES = {"width": 16, "embed_width": 8, "word_rows": 50, "piece_rows": 50, "bigram_rows": 20, "bigram_width": 4}
SUBWORD = {"@architectures": "samarkand.SubwordEncoder.v1", **SIZES, "depth": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint("bert", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def transformer(folder):
    return {"@architectures": "samarkand.TransformerEncoder.v1", "name": str(folder), "window": 30, "stride": 20}


def listener(width: int) -> dict[str, object]:
    return {"@architectures": "spacy.Tok2VecListener.v1", "width": width}


def pooling(tok2vec: dict[str, object]) -> dict[str, object]:
    return {"@architectures": "samarkand.TokenPooling.v1", "pooling": "first-last", "tok2vec": tok2vec}


def make_examples(nlp: Language) -> list[Example]:
    docs = map(nlp.make_doc, TEXTS)
    return [
        Example.from_dict(doc, {"tags": ["LATIN" if token.text.isascii() else "OTHER" for token in doc]})
        for doc in docs
    ]


def make_nlp(encoder: dict[str, object], width: int, *, shared: bool = True) -> Language:
    """A tagger and a sentence encoder on one encoder, or the sentence encoder with one of its own."""
    fix_random_seed(0)
    nlp = samarkand.blank("xx")
    if shared:
        nlp.add_pipe("tok2vec", config={"model": encoder})
        tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": listener(width)}
        nlp.add_pipe("tagger", config={"model": tagger})
    nlp.add_pipe("sentencizer")
    model = pooling(listener(width) if shared else encoder)
    nlp.add_pipe("sentence_encoder", config={"model": model, "units": ["sents"]})
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


def vectors_of(nlp: Language) -> np.ndarray:
    return np.stack([doc.vector for doc in nlp.pipe(TEXTS, batch_size=3)])


def test_vectors_are_those_of_plain_transformers(folder, transformer):
    nlp = make_nlp(transformer, WIDTH)
    for doc in nlp.pipe(TEXTS, batch_size=3):
        assert doc.has_vector is bool(doc.text.strip(" \x01"))
        assert doc.vector.shape == (WIDTH,)
        if doc.has_vector:
            first, last = plain_states(folder, doc)
            np.testing.assert_allclose(doc.vector, ((first + last) / 2).mean(0), atol=1e-4)
            assert not np.allclose(doc.vector, last.mean(0), atol=0.01)
            for sent in doc.sents:
                expected = ((first + last) / 2)[sent.start : sent.end].mean(0)
                np.testing.assert_allclose(sent.vector, expected, atol=1e-4)


def test_layers_are_those_of_sentence_transformers(tmp_path):
    """Beside the pieces that frame a text, which are no tokens, a model pools the same."""
    name, text = make_encoder_folder(tmp_path), "the cat sat on a mat ."
    encoder, layers, _ = load_sentence_model(name, pooling="first-last").model
    with torch.no_grad():
        pieces = encoder.tokenizer(text, return_tensors="pt")
        rows = layers(encoder(dict(pieces)))["token_embeddings"][0]
    nlp = make_nlp({"@architectures": "samarkand.TransformerEncoder.v1", "name": name, "window": 60, "stride": 60}, 16)
    doc = nlp(text)
    assert len(rows) == len(doc) + 2
    np.testing.assert_allclose(doc.vector, rows[1:-1].mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", ["subword", "transformer"])
def test_batches_copies_and_own_encoders_give_the_same(kind, transformer, tmp_path):
    encoder, width = (SUBWORD, SIZES["width"]) if kind == "subword" else (transformer, WIDTH)
    nlp = make_nlp(encoder, width)
    expected = np.stack([nlp(text).vector for text in TEXTS])
    np.testing.assert_allclose(vectors_of(nlp), expected, atol=1e-5)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for copy in (loaded, pickle.loads(pickle.dumps(nlp)), spacy.util.load_model_from_config(nlp.config)):
        np.testing.assert_allclose(vectors_of(copy.from_bytes(nlp.to_bytes())), expected, atol=1e-5)
    loaded.replace_listeners("tok2vec", "sentence_encoder", ["model.tok2vec"])
    np.testing.assert_allclose(vectors_of(loaded), expected, atol=1e-5)


def test_workers_give_the_same():
    nlp = make_nlp(SUBWORD, SIZES["width"])
    expected = vectors_of(nlp)
    found = [doc.user_data["samarkand.sentence_vectors"]["vectors"][0] for doc in nlp.pipe(TEXTS, n_process=2)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_shared_encoder_learns_as_without_the_pooling(transformer):
    """What the sentence encoder asks for is not there in an update, recomputed or not, and must not be missed."""

    def train(recompute: dict[str, str] | None, pipe: str | None = None) -> tuple[list[float], np.ndarray]:
        nlp = make_nlp({**transformer, "recompute": recompute}, WIDTH)
        if pipe is not None:
            nlp.remove_pipe(pipe)
        optimizer = Adam(0.005)
        losses = [nlp.update(make_examples(nlp), sgd=optimizer)["tagger"] for _ in range(15)]
        return losses, next(nlp.pipe(TEXTS)).tensor

    losses, vectors = train(None)
    assert losses[-1] < 0.5 * losses[0]
    for other in (train({"budget": "1GiB"}), train(None, "sentence_encoder")):
        np.testing.assert_allclose(other[0], losses, rtol=1e-4)
        np.testing.assert_allclose(other[1], vectors, atol=1e-4)


def test_an_update_beside_a_frozen_encoder_sets_vectors(monkeypatch):
    nlp, seen = make_nlp(SUBWORD, SIZES["width"]), []
    expected = vectors_of(nlp)
    pipe = nlp.get_pipe("sentence_encoder")
    monkeypatch.setattr(pipe, "set_annotations", lambda docs, scores: seen.extend(rows[0] for _, rows in scores))
    # A listener of spaCy takes an empty document for one that nobody has read.
    examples = [eg for eg in make_examples(nlp) if len(eg.predicted)]
    annotates = ["tok2vec", "sentencizer", "sentence_encoder"]
    nlp.update(examples, sgd=Adam(0.1), exclude=["tok2vec"], annotates=annotates)
    np.testing.assert_allclose(seen, [row for row, text in zip(expected, TEXTS) if text], atol=1e-5)


def test_vectors_can_be_whitened():
    nlp = make_nlp(SUBWORD, SIZES["width"])
    nlp.get_pipe("sentence_encoder").fit_whitening(nlp.pipe(TEXTS * 2), dim=2)
    assert nlp(TEXTS[0]).vector.shape == (2,)


def test_an_encoder_that_comes_late_is_asked_at_initialize():
    nlp = samarkand.blank("xx")
    nlp.add_pipe("sentence_encoder", config={"model": pooling(listener(SIZES["width"]))})
    nlp.add_pipe("tok2vec", config={"model": SUBWORD}, first=True)
    nlp.initialize(lambda: make_examples(nlp))
    assert nlp("fox").has_vector


def test_vectors_from_elsewhere_are_refused():
    nlp = make_nlp(SUBWORD, SIZES["width"])
    with nlp.select_pipes(disable=["tok2vec", "tagger"]), pytest.raises(ValueError, match=r"S819.*'fox'"):
        nlp("fox")
    own = make_nlp(SUBWORD, SIZES["width"], shared=False)
    units = [own.make_doc("fox")], [np.array([[0, 1]])]
    np.testing.assert_allclose(own.get_pipe("sentence_encoder")._encoder.predict(units), [own("fox").vector])
    with pytest.raises(ValueError, match="S819"):
        own.get_pipe("sentence_encoder")._encoder.begin_update(units)


def test_other_encoders_are_refused():
    nlp = samarkand.blank("xx")
    nlp.add_pipe("tok2vec")
    for tok2vec in (listener(96), nlp.get_pipe_config("tok2vec")["model"]):
        with pytest.raises(ValueError, match="S818"):
            nlp.add_pipe("sentence_encoder", config={"model": pooling(tok2vec)})
