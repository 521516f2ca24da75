"""What encoders show of themselves when they are watched, and that being watched changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import samarkand
import torch
from samarkand.models.inner_states import inner_states, watched
from samarkand.models.subword_tok2vec import build_subword_encoder
from samarkand.models.transformer_tok2vec import build_transformer_encoder
from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec
from spacy.tokens import Doc
from thinc.api import Model
from transformer_checkpoints import FAMILIES, SENTENCES, save_checkpoints

SIZES = {"embed_width": 8, "word_rows": 50, "piece_rows": 50, "bigram_rows": 20, "bigram_width": 4}
HASHED = {"width": 8, "depth": 1, "embed_size": 20, "window_size": 1, "maxout_pieces": 2}
HASHED |= {"subword_features": False, "pretrained_vectors": None}
TEXTS = [*SENTENCES, "", "one", " "]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def _docs(texts: list[str] = TEXTS) -> list[Doc]:
    return list(map(samarkand.blank("xx").make_doc, texts))


def _subword(context: str = "attention", width: int = 128, **settings: object) -> Model:
    np.random.seed(0)
    options = {**SIZES, "context": context, "width": width, "depth": 2, "dropout": 0.0, "token_dropout": 0.0}
    return build_subword_encoder(**{**options, **settings}).initialize()


@pytest.mark.parametrize("context", ["lstm", "cnn", "attention"])
def test_watching_a_subword_encoder_changes_nothing(context):
    model, docs = _subword(context, width=64), _docs()
    usual = model.predict(docs)
    with watched(needs_attention=True) as states:
        seen = model.predict(docs)
    assert all(np.array_equal(a, b) for a, b in zip(usual, seen))
    assert states.is_filled
    assert sorted(states.embeddings) == [i for i, doc in enumerate(docs) if len(doc)]
    assert bool(states.attention) == (context == "attention")


def test_attention_of_a_subword_encoder_is_what_its_layer_mixes_by():
    model, docs = _subword(depth=1), _docs()
    layer = model.shims[0].module.layers[0]
    kept = {}
    layer.register_forward_hook(lambda module, args, output: kept.update(x=args[0], mask=args[1]))
    with watched(needs_attention=True) as states:
        model.predict(docs[:1])
    attention, (x, mask) = states.attention[0], kept.values()
    assert attention.shape == (2, len(docs[0]), len(docs[0]))
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:2]))
    v = layer.qkv(layer.norm(x)).view(*x.shape[:2], 3, 2, -1)[:, :, 2].transpose(1, 2)
    mixed = (layer.attention(x, mask) @ v).transpose(1, 2).reshape(x.shape)
    expected = layer(x, mask)
    y = x + layer.out(mixed)
    torch.testing.assert_close(y + layer.ff(layer.norm_ff(y)), expected, atol=1e-5, rtol=1e-5)


def test_long_documents_show_the_mean_of_all_and_the_attention_of_the_first_window():
    model = _subword(width=64)
    (doc,) = _docs([" ".join(f"word{i % 37}" for i in range(700))])
    with watched(needs_attention=True) as states:
        model.predict([doc])
    assert states.embeddings[0].shape == (64,)
    assert 100 < states.attention[0].shape[1] < len(doc)


@pytest.mark.filterwarnings("ignore:.*SW320")
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_show_embeddings_and_attention_between_words(folders, family):
    model = build_transformer_encoder(str(folders[family])).initialize()
    docs = _docs()
    usual = model.predict(docs)
    with watched(needs_attention=True, block=1) as states:
        seen = model.predict(docs)
    # The attention that leaves maps behind adds in another order.
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(usual, seen))
    assert sorted(states.attention) == sorted(states.embeddings)
    assert {0, 1, 2, 3} <= set(states.embeddings)
    assert model.shims[0].module.encoder.config._attn_implementation != "eager"
    for i, attention in states.attention.items():
        heads, words, _ = attention.shape
        assert heads == 2
        assert words <= len(docs[i])
        # Special pieces get the rest.
        assert (attention.sum(-1) <= 1 + 1e-5).all()
    alone = build_alone(model, docs[2])
    torch.testing.assert_close(states.embeddings[2], alone.embeddings[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(states.attention[2], alone.attention[0], atol=1e-5, rtol=1e-4)


def build_alone(model, doc):
    """The record of a document by itself: padding must not show."""
    with watched(needs_attention=True, block=1) as states:
        model.predict([doc])
    return states


def test_words_past_the_first_window_of_a_transformer_are_left_out(folders):
    model = build_transformer_encoder(str(folders["bert"]), window=16, stride=12).initialize()
    (doc,) = _docs([" ".join([SENTENCES[0]] * 3)])
    with watched(needs_attention=True) as states:
        model.predict([doc])
    assert 2 <= states.attention[0].shape[1] < 16


def test_records_end_with_their_block_and_go_to_the_first_encoder():
    assert inner_states() is None
    with watched() as states:
        assert inner_states() is states
        _subword(width=64).predict(_docs())
        assert inner_states() is None
    assert not states.attention
    with watched() as states:
        build_hash_embed_cnn_tok2vec(**HASHED).initialize(X=_docs()).predict(_docs())
    assert not states.is_filled


def test_a_block_that_is_not_there_is_refused():
    with watched(needs_attention=True, block=2), pytest.raises(ValueError, match="S603"):
        _subword(width=64).predict(_docs())
    with watched(needs_attention=True) as states:
        assert [states.block_of(depth) for depth in (1, 2, 4, 12)] == [0, 0, 1, 5]


def test_an_encoder_that_recomputes_is_refused(folders):
    model = build_transformer_encoder(str(folders["bert"]), recompute={"budget": "1GiB"}).initialize()
    with watched(), pytest.raises(ValueError, match="S604"):
        model.predict(_docs())
