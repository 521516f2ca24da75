"""`samarkand.SubwordEncoder.v1` in spaCy: rows, windows, other heads, weights on disk."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import samarkand
import spacy
import torch
from samarkand.models import subword_tok2vec
from samarkand.models.pretrained import EncoderSizes, save_encoder
from samarkand.models.subword_tok2vec import Lexicon, build_subword_encoder
from samarkand.models.torch_optimizer import create_adamw
from spacy.training import Example

SMALL = {"width": 16, "embed_width": 8, "word_rows": 50, "piece_rows": 50, "bigram_rows": 50, "bigram_width": 4}
TEXTS = ["زار أحمد القاهرة", "", "我爱北京天安门", "One more, with a longer text than the others.", " "]


@pytest.fixture
def nlp():
    return samarkand.blank("xx")


def _model(**settings: object):
    model = build_subword_encoder(**{**SMALL, **settings})
    np.random.seed(0)
    model.initialize()
    return model


def test_one_row_a_token_in_the_order_of_the_documents(nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    vectors = _model().predict(docs)
    assert [v.shape for v in vectors] == [(len(doc), 16) for doc in docs]
    for doc, expected in zip(docs, vectors):
        np.testing.assert_allclose(_model().predict([doc])[0], expected, atol=1e-5)


def test_long_documents_are_read_in_windows(nlp, monkeypatch):
    doc = nlp.make_doc("اسم مدينة كبيرة 北京 " * 40)
    whole = _model().predict([doc])[0]
    monkeypatch.setattr(subword_tok2vec, "WINDOW", 96)
    monkeypatch.setattr(subword_tok2vec, "OVERLAP", 40)
    windowed = _model().predict([doc])[0]
    assert windowed.shape == whole.shape
    # An untrained LSTM forgets fast: with this much context a window changes next to nothing.
    np.testing.assert_allclose(windowed, whole, atol=1e-3)


def test_gradients_equal_those_of_torch(nlp):
    model = _model(dropout=0.0, token_dropout=0.0)
    docs = [nlp.make_doc(text) for text in TEXTS]
    vectors, backprop = model.begin_update(docs)
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=v.shape).astype("f") for v in vectors]
    backprop(grads)
    network = model.shims[0].module
    found = {name: p.grad.clone() for name, p in network.named_parameters()}
    step = 1e-2 / sum(float(g.square().sum()) for g in found.values()) ** 0.5
    with torch.no_grad():
        for name, p in network.named_parameters():
            p -= step * found[name]
    moved = model.predict(docs)
    fall = sum(float(((a - b) * g).sum()) for a, b, g in zip(vectors, moved, grads))
    assert fall == pytest.approx(step * sum(float(g.square().sum()) for g in found.values()), rel=0.05)


@pytest.mark.parametrize("head", ["tagger", "ner", "spancat"])
def test_heads_of_spacy_learn_on_it(nlp, head):
    nlp.add_pipe("tok2vec", config={"model": {"@architectures": "samarkand.SubwordEncoder.v1", **SMALL}})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"}
    nlp.add_pipe(head, config={"model": {"tok2vec": listener}})
    examples = []
    for text in ("Ann met Bob", "我 在 北京"):
        reference = nlp.make_doc(text)
        for token in reference:
            token.tag_ = token.text[0]
        first = spacy.tokens.Span(reference, 0, 1, label="X")
        reference.set_ents([first])
        reference.spans["sc"] = [first]
        examples.append(Example(nlp.make_doc(text), reference))
    nlp.initialize(lambda: examples)
    optimizer = create_adamw(0.01)
    losses = [nlp.update(examples, sgd=optimizer)[head] for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]


def test_starts_from_pretrained_weights(tmp_path, nlp):
    sizes = EncoderSizes(**SMALL, context="lstm", depth=1)
    torch.manual_seed(7)
    saved = sizes.build()
    save_encoder(saved, sizes, tmp_path)
    loaded = _model(pretrained=str(tmp_path), word_rows=77).shims[0].module
    for (name, a), b in zip(saved.state_dict().items(), loaded.state_dict().values()):
        assert torch.equal(a, b), name
    with pytest.raises(ValueError, match=r"S303.*width 16, not 32"):
        _model(pretrained=str(tmp_path), width=32)
    with pytest.raises(OSError, match=r"S302.*nowhere.*subword_base"):
        _model(pretrained="nowhere")


def test_S304_width_is_checked_when_the_model_is_built(tmp_path):
    with pytest.raises(ValueError, match=r"\[S304\]"):
        build_subword_encoder(**{**SMALL, "width": 200}, context="attention")
    # What is pretrained brings its own context.
    build_subword_encoder(**{**SMALL, "width": 200}, context="attention", pretrained=str(tmp_path))


def test_half_storage_saves_half_the_bytes_and_is_stable(nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    full, half = _model(), _model(half_storage=True)
    assert len(half.to_bytes()) < 0.6 * len(full.to_bytes())
    once = build_subword_encoder(**SMALL, half_storage=True).from_bytes(half.to_bytes())
    twice = build_subword_encoder(**SMALL, half_storage=True).from_bytes(once.to_bytes())
    for a, b, c in zip(half.predict(docs), once.predict(docs), twice.predict(docs)):
        np.testing.assert_allclose(a, b, atol=5e-3)
        np.testing.assert_array_equal(b, c)


def test_lexicon_is_bounded_and_pickles_empty(nlp):
    lexicon = Lexicon()
    lexicon.table.capacity = 10
    for k in range(30):
        doc = nlp.make_doc(" ".join(f"word{k}x{i}" for i in range(6)))
        (places,) = lexicon.places([doc])
        assert places.max() < len(lexicon.table) <= 16 + 6
    again = pickle.loads(pickle.dumps(lexicon))
    assert len(again.table) == 0


def test_seed_of_the_config_decides_the_weights():
    same, other = _model(), build_subword_encoder(**SMALL)
    np.random.seed(1)
    other.initialize()
    weight = "embed.project.weight"
    assert torch.equal(same.shims[0].module.state_dict()[weight], _model().shims[0].module.state_dict()[weight])
    assert not torch.equal(same.shims[0].module.state_dict()[weight], other.shims[0].module.state_dict()[weight])


def test_features_of_a_token_outlive_the_memory_zone_that_it_was_met_in(nlp):
    model = _model()
    texts = [f"new{k} كلمة{k} 北{k} shared" for k in range(4)]
    for text in [*texts, *reversed(texts)]:
        with nlp.memory_zone():
            doc = nlp.make_doc(text)
            expected = _model().predict([doc])[0]
            np.testing.assert_array_equal(model.predict([doc])[0], expected)


def test_optimizers_know_pretrained_encoders(tmp_path):
    fresh = _model()
    assert not fresh.shims[0].module.pretrained
    save_encoder(fresh.shims[0].module, EncoderSizes(**SMALL, context="lstm", depth=1), tmp_path)
    pretrained = _model(pretrained=str(tmp_path))
    assert pretrained.shims[0].module.pretrained
    again = build_subword_encoder(**SMALL, pretrained=str(tmp_path)).from_bytes(pretrained.to_bytes())
    assert again.shims[0].module.pretrained
