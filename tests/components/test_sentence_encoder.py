"""`sentence_encoder`: pooling, units, blanks, whitening, sharing, saving."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import samarkand
import spacy
from samarkand.components.sentence_encoder import SentenceEncoder
from samarkand.components.sentence_vectors import attach_vectors
from samarkand.models.search_index import SearchIndex
from samarkand.models.sentence_model import load_sentence_model
from samarkand.models.sentence_transformer_units import build_sentence_transformer
from samarkand.models.sentence_units import UnitEncoder
from samarkand.models.token_pooling import FIRST_LAST, POOLINGS, build_token_pooling, count_words
from samarkand.models.whitening import VectorStatistics, load_whitening
from samarkand.models.whitening_map import FILE
from samarkand.pipeline.whiten import whiten
from sentence_checkpoints import WORDS, make_encoder_folder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Model

TEXTS = ["The cat sat. A dog ran in the park.", "جلس القط", "猫坐着。", "  \n ", "", "a cat"]


def make_nlp(pooling: str = "mean", **config: object) -> Language:
    nlp = samarkand.blank("xx")
    nlp.add_pipe("sentencizer")
    tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 16, "depth": 1}
    tok2vec |= {"embed_size": 100, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    model = {"@architectures": "samarkand.TokenPooling.v1", "pooling": pooling, "tok2vec": tok2vec}
    nlp.add_pipe("sentence_encoder", config={"model": model, **config})
    nlp.initialize(lambda: [Example(doc, doc) for doc in map(nlp.make_doc, TEXTS)])
    return nlp


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_encoder_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def transformer(folder):
    nlp = samarkand.blank("xx")
    nlp.add_pipe("sentencizer")
    model = {"@architectures": "samarkand.SentenceTransformer.v1", "name": folder}
    nlp.add_pipe("sentence_encoder", config={"model": model, "units": ["sents"]})
    return nlp


def token_vectors(nlp: Language, doc: Doc) -> np.ndarray:
    return nlp.get_pipe("sentence_encoder")._encoder.get_ref("tok2vec").predict([doc])[0]


@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "weighted"])
def test_pooling_is_what_its_name_says(pooling):
    nlp = make_nlp(pooling, units=["sents"])
    doc = nlp(f" {TEXTS[0]}")
    assert doc[0].is_space
    rows = token_vectors(nlp, doc)
    counts = {}
    for text in TEXTS:
        for token in nlp.make_doc(text):
            counts[token.norm] = counts.get(token.norm, 0) + 1
    for unit in (doc, *doc.sents):
        tokens = [token for token in unit if not token.is_space]
        own = rows[[token.i for token in tokens]]
        if pooling in ("max", "cls"):
            expected = own.max(0) if pooling == "max" else own[0]
        else:
            share = [1e-3 / (1e-3 + counts[token.norm] / sum(counts.values())) for token in tokens]
            expected = np.average(own, axis=0, weights=share if pooling == "weighted" else None)
        np.testing.assert_allclose(unit.vector, expected, rtol=1e-4, atol=1e-5)


def test_blank_documents_have_zeros_and_a_flag():
    nlp = make_nlp()
    for doc in nlp.pipe(TEXTS):
        assert doc.vector.shape == (16,)
        assert np.isfinite(doc.vector).all()
        assert doc.has_vector is bool(doc.text.strip())
        assert doc.has_vector is bool(doc.vector.any())
    with pytest.warns(samarkand.errors.SamarkandWarning, match="SW802"):
        assert nlp("").similarity(nlp("a cat")) == 0


def test_similarity_is_the_cosine():
    nlp = make_nlp(units=["sents"])
    first, second = nlp(TEXTS[0]), nlp(TEXTS[2])
    expected = first.vector @ second.vector / np.linalg.norm(first.vector) / np.linalg.norm(second.vector)
    assert first.similarity(second) == pytest.approx(expected, abs=1e-6)
    assert first.similarity(first) == pytest.approx(1, abs=1e-6)
    one, other = first.sents
    assert one.similarity(other) == pytest.approx(other.similarity(one), abs=1e-6)
    assert one.similarity(second) != pytest.approx(first.similarity(second), abs=1e-6)


def test_units_are_what_is_asked_for():
    nlp = make_nlp(units=["sents", "ents", "mine"])
    nlp.add_pipe("entity_ruler", before="sentence_encoder").add_patterns([{"label": "ANIMAL", "pattern": "cat"}])
    doc = nlp(TEXTS[0])
    assert np.any(doc.ents[0].vector)
    with pytest.raises(ValueError, match="S804"):
        _ = doc[0:2].vector
    doc.spans["mine"] = [doc[0:2]]
    nlp.get_pipe("sentence_encoder")(doc)
    assert np.any(doc[0:2].vector)


def test_S847_vectors_of_other_tokens_are_not_given():
    doc = make_nlp(units=["sents"])("One two. Three four. Five six.")
    assert np.any(doc[0:3].vector)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:3])
        retokenizer.merge(doc[3:6])
    with pytest.raises(ValueError, match=r"S847.*One two\. Three four\. Five"):
        _ = doc[0:3].vector
    assert np.any(doc.vector)


def test_sentences_have_to_be_there():
    nlp = make_nlp(units=["sents"])
    nlp.remove_pipe("sentencizer")
    with pytest.raises(ValueError, match="S802"):
        nlp("a cat")


def test_batches_do_not_change_vectors():
    nlp = make_nlp(units=["sents"])
    together = [doc.vector for doc in nlp.pipe(TEXTS, batch_size=4)]
    np.testing.assert_allclose(together, [nlp(text).vector for text in TEXTS], atol=1e-5)


def test_vectors_travel_with_bytes_and_processes():
    nlp = make_nlp(units=["sents"])
    expected = [nlp(text).vector for text in TEXTS]
    store = DocBin(store_user_data=True, docs=nlp.pipe(TEXTS))
    for docs in (nlp.pipe(TEXTS, n_process=2, batch_size=2), DocBin().from_bytes(store.to_bytes()).get_docs(nlp.vocab)):
        for doc, vector in zip(docs, expected):
            attach_vectors(doc)
            np.testing.assert_allclose(doc.vector, vector, atol=1e-6)
    with pytest.raises(ValueError, match="S803"):
        attach_vectors(nlp.make_doc("a cat"))


def test_a_sentence_transformer_reads_the_text_of_units(transformer, folder):
    doc = transformer("the cat sat. a dog ran in the park.")
    model = load_sentence_model(folder)
    texts = [doc.text, *(sent.text for sent in doc.sents)]
    vectors = np.stack([unit.vector for unit in (doc, *doc.sents)])
    np.testing.assert_allclose(vectors, model.encode(texts), atol=1e-5)
    assert not transformer(" ").has_vector


def test_an_index_of_the_model_serves_the_pipeline(transformer, folder, tmp_path):
    texts = ["the cat sat", "a dog ran", "the park"]
    model = load_sentence_model(folder)
    assert transformer.get_pipe("sentence_encoder").fingerprint == model.fingerprint
    with SearchIndex.create(tmp_path / "index", model.width, fingerprint=model.fingerprint) as index:
        index.add(["1", "2", "3"], model.encode(texts), texts)
    transformer.add_pipe("retriever", config={"index": str(tmp_path / "index"), "k": 2})
    try:
        found = transformer("a dog ran")._.neighbours
    finally:
        transformer.remove_pipe("retriever")
    assert found[0]["id"] == "2"
    assert found[0]["score"] == pytest.approx(1, abs=1e-4)


def test_a_saved_pipeline_needs_no_name(transformer, folder, tmp_path):
    config = transformer.config.to_str().replace(folder, "nowhere/at-all")
    vector = transformer("the cat").vector
    transformer.to_disk(tmp_path)
    (tmp_path / "config.cfg").write_text(config, encoding="utf-8")
    np.testing.assert_allclose(spacy.load(tmp_path)("the cat").vector, vector, atol=1e-6)
    again = spacy.util.load_model_from_config(transformer.config).from_bytes(transformer.to_bytes())
    np.testing.assert_allclose(again("the cat").vector, vector, atol=1e-6)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(transformer))("the cat").vector, vector, atol=1e-6)


def test_half_storage_halves_the_bytes(folder):
    def build(half: bool) -> UnitEncoder:
        model = build_sentence_transformer(folder, half_storage=half)
        model.initialize()
        return model

    whole, half = build(False), build(True)
    saved = half.to_bytes()
    assert len(saved) < 0.7 * len(whole.to_bytes())
    docs = [samarkand.blank("xx")(text) for text in TEXTS[:3]]
    units = docs, [np.array([[0, len(doc)]]) for doc in docs]
    again = build(True).from_bytes(saved)
    np.testing.assert_allclose(again.predict(units), whole.predict(units), atol=2e-3)
    # What was stored once is stored again as it is.
    np.testing.assert_array_equal(build(True).from_bytes(again.to_bytes()).predict(units), again.predict(units))


@pytest.mark.parametrize("pooling", ["mean", "weighted"])
def test_saving_keeps_vectors_and_whitening(tmp_path, pooling):
    nlp = make_nlp(pooling)
    nlp.get_pipe("sentence_encoder").fit_whitening(map(nlp.make_doc, TEXTS * 3), dim=3)
    expected = [nlp(text).vector for text in TEXTS]
    assert expected[0].shape == (3,)
    nlp.to_disk(tmp_path)
    for loaded in (spacy.load(tmp_path), pickle.loads(pickle.dumps(nlp))):
        np.testing.assert_allclose([loaded(text).vector for text in TEXTS], expected, atol=1e-6)
        assert loaded.get_pipe("sentence_encoder").fingerprint == nlp.get_pipe("sentence_encoder").fingerprint


def test_whitening_is_that_of_the_vectors():
    nlp = make_nlp()
    pipe: SentenceEncoder = nlp.get_pipe("sentence_encoder")
    texts = [f"{a} {b} {c}" for a in ["the", "a", "one"] for b in ["cat", "dog", "قط"] for c in ["ran", "坐", "sat"]]
    vectors = np.stack([nlp(text).vector for text in texts])
    statistics = VectorStatistics()
    statistics.update(vectors)
    expected = statistics.whitening(dim=4).transform(vectors)
    before = pipe.fingerprint
    pipe.fit_whitening(map(nlp.make_doc, [*texts, "", " "]), dim=4, batch_size=5)
    np.testing.assert_allclose(np.stack([nlp(text).vector for text in texts]), expected, atol=1e-3)
    assert not nlp("").has_vector
    assert nlp("").vector.shape == (4,)
    assert pipe.fingerprint != before
    with pytest.raises(ValueError, match="S808"):
        pipe.fit_whitening(map(nlp.make_doc, texts))


def test_whitening_from_a_file(tmp_path):
    nlp = make_nlp()
    statistics = VectorStatistics()
    statistics.update(np.random.default_rng(0).normal(size=(50, 16)))
    statistics.whitening(dim=5, normalize=False).save(tmp_path / "w.safetensors")
    examples = [Example(doc, doc) for doc in map(nlp.make_doc, TEXTS)]
    nlp.get_pipe("sentence_encoder").initialize(lambda: examples, whitening=str(tmp_path / "w.safetensors"))
    assert nlp("a cat").vector.shape == (5,)
    with pytest.raises(ValueError, match="S807"):
        nlp("a cat").similarity(make_nlp()("a cat"))


@pytest.fixture(scope="module")
def normal(folder, tmp_path_factory):
    """A model that ends in a Normalize, and the map that `samarkand whiten` fits for it."""
    place = tmp_path_factory.mktemp("normal")
    (place / "texts.txt").write_text("\n".join(f"{a} {b}" for a in WORDS for b in WORDS[:5]), encoding="utf-8")
    SentenceTransformer(modules=[*load_sentence_model(folder).model, Normalize()]).save(str(place / "model"))
    whiten(place / "model", place / "texts.txt", place / "white", dim=4)
    return place


def make_whitened(name: Path | str, whitening: Path) -> Language:
    nlp = samarkand.blank("xx")
    model = {"@architectures": "samarkand.SentenceTransformer.v1", "name": str(name)}
    nlp.add_pipe("sentence_encoder", config={"model": model})
    examples = [Example(doc, doc) for doc in map(nlp.make_doc, TEXTS)]
    nlp.get_pipe("sentence_encoder").initialize(lambda: examples, whitening=str(whitening))
    return nlp


def test_the_map_of_a_model_with_scaling_is_taken_before_it(normal, tmp_path):
    nlp = make_whitened(normal / "model", normal / "white" / FILE)
    texts = ["the cat sat", "a dog ran", "猫"]
    expected = load_sentence_model(normal / "white").encode(texts)
    np.testing.assert_allclose([nlp(text).vector for text in texts], expected, atol=1e-4)
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    np.testing.assert_allclose([loaded(text).vector for text in texts], expected, atol=1e-4)
    assert loaded.get_pipe("sentence_encoder").fingerprint == nlp.get_pipe("sentence_encoder").fingerprint


@pytest.mark.parametrize(
    ("settings", "dim"),
    [({}, 4), ({"shrinkage": "oas", "exponent": 0.5}, None), ({"retained": 0.7, "shrinkage": 0.1}, "auto")],
)
def test_a_map_fitted_in_the_pipe_is_that_of_the_command(normal, tmp_path, settings, dim):
    whiten(normal / "model", normal / "texts.txt", tmp_path / "white", dim=dim, **settings)
    expected = load_whitening(tmp_path / "white" / FILE)
    nlp = samarkand.blank("xx")
    model = {"@architectures": "samarkand.SentenceTransformer.v1", "name": str(normal / "model")}
    pipe = nlp.add_pipe("sentence_encoder", config={"model": model})
    texts = (normal / "texts.txt").read_text(encoding="utf-8").splitlines()
    found = pipe.fit_whitening(map(nlp.make_doc, texts), dim, **settings)
    for name in ("mean", "matrix", "variance"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-3, atol=2e-3)
    for name in ("fingerprint", "count", "exponent", "normalize"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.shrinkage == pytest.approx(expected.shrinkage)
    vectors = load_sentence_model(tmp_path / "white").encode(texts[:9])
    np.testing.assert_allclose([nlp(text).vector for text in texts[:9]], vectors, atol=1e-3)


def test_a_fit_that_fails_leaves_the_pipe_as_it_was(normal):
    nlp = samarkand.blank("xx")
    model = {"@architectures": "samarkand.SentenceTransformer.v1", "name": str(normal / "model")}
    pipe = nlp.add_pipe("sentence_encoder", config={"model": model})
    before = nlp("the cat").vector
    for docs, options, code in (([], {}, "S814"), ([nlp.make_doc("a")], {}, "S814"), ([], {"exponent": 2}, "S732")):
        with pytest.raises(ValueError, match=code):
            pipe.fit_whitening(docs, **options)
    np.testing.assert_array_equal(nlp("the cat").vector, before)


def test_the_map_of_another_model_is_refused(normal, tmp_path):
    whitening = load_whitening(normal / "white" / FILE)
    with pytest.raises(ValueError, match=rf"S816.*{whitening.fingerprint}"):
        make_whitened(make_encoder_folder(tmp_path / "other", seed=1), normal / "white" / FILE)
    with pytest.raises(ValueError, match="S816"):
        make_nlp().get_pipe("sentence_encoder").set_whitening(whitening)
    replace(whitening, fingerprint="").save(tmp_path / FILE)
    with pytest.raises(ValueError, match="S810"):
        make_whitened(make_encoder_folder(tmp_path / "wide", width=32), tmp_path / FILE)
    nlp, other = make_nlp(), replace(whitening, fingerprint="").truncate(4)
    nlp.get_pipe("sentence_encoder").set_whitening(replace(other, mean=other.mean[:5], matrix=other.matrix[:5]))
    with pytest.raises(ValueError, match=r"S810.*16.*5"):
        nlp("a cat")


def test_weights_want_words():
    nlp = make_nlp("weighted")
    nlp.get_pipe("sentence_encoder")._encoder.attrs["words"] = None
    with pytest.raises(ValueError, match="S805"):
        nlp("a cat")


def test_a_shared_encoder_still_learns():
    """The listener that comes last has to hand back a gradient, or the encoder learns nothing."""
    nlp = samarkand.blank("en")
    nlp.add_pipe("tok2vec")
    tagger = {
        "@architectures": "spacy.Tagger.v2",
        "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 96},
    }
    nlp.add_pipe("tagger", config={"model": tagger})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96}
    model = {"@architectures": "samarkand.TokenPooling.v1", "pooling": "mean", "tok2vec": listener}
    nlp.add_pipe("sentence_encoder", config={"model": model})
    docs = [Doc(nlp.vocab, words=["a", "cat"], tags=["D", "N"]), Doc(nlp.vocab, words=["dogs", "run"], tags=["N", "V"])]
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)  # the tagger's last layer begins with zeros, and hands none back at first
    before = nlp.get_pipe("tok2vec").model.to_bytes()
    losses = nlp.update(examples, sgd=optimizer)
    assert losses["sentence_encoder"] == 0
    assert nlp.get_pipe("tok2vec").model.to_bytes() != before
    assert nlp("a cat").has_vector


@pytest.mark.parametrize("pooling", [pooling for pooling in POOLINGS if pooling != FIRST_LAST])
def test_gradients_are_those_of_the_vectors(pooling):
    rng = np.random.default_rng(0)
    doc = samarkand.blank("xx")("a  cat ran")
    X, dY, received = rng.normal(size=(len(doc), 5)), rng.normal(size=(2, 5)), []
    fixed = Model("fixed", lambda model, docs, is_train: ([X], received.append))
    model = build_token_pooling(fixed, pooling)
    count_words(model, [doc])
    units = [doc], [np.array([[0, len(doc)], [1, 3]])]
    model.begin_update(units)[1](dY)
    for place in np.ndindex(X.shape):
        ends = []
        for step in (1e-6, -1e-6):
            X[place] += step
            ends.append((model.predict(units) * dY).sum())
            X[place] -= step
        assert received[0][0][place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-4)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match=r"S801.*mean, max, cls, weighted"):
        make_nlp("best")


def test_a_damaged_pipeline_writes_nothing_outside(transformer, tmp_path):
    shim = transformer.get_pipe("sentence_encoder")._encoder.shims[0]
    transformer("the cat")
    import srsly

    message = srsly.msgpack_loads(shim.to_bytes())
    message["files"]["../outside.txt"] = b"x"
    with pytest.raises(ValueError, match="S806"):
        shim.copy().from_bytes(srsly.msgpack_dumps(message))
