"""Reading attention from encoders of several families."""

from __future__ import annotations

import numpy as np
import pytest
import samarkand
import torch
from samarkand.models import attention_reading
from samarkand.models.attention_reading import read_attention, window_attention
from samarkand.models.transformer_tok2vec import Source, token_spans
from transformer_checkpoints import FAMILIES, SENTENCES, save_checkpoint


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders") / request.param
    save_checkpoint(request.param, path)
    return str(path)


def words_of(text):
    return token_spans(samarkand.blank()(text))


@pytest.mark.parametrize("text", ["Layla  visits 撒马尔罕", "زارت ليلى مدينة", "a"])
def test_reading_of_every_family(folder, text):
    reading = read_attention(folder, text, words_of(text))
    doc = samarkand.blank()(text)
    layers, heads, units, _ = reading.attention.shape
    assert (layers, heads) == (2, 2)
    assert len(reading.units) == units <= reading.pieces
    # Each word that can be seen is there once and in order, framed by special pieces.
    assert [unit.word for unit in reading.units if unit.word is not None] == [t.i for t in doc if not t.is_space]
    assert reading.units[0].word is None
    assert reading.units[-1].word is None
    assert all(unit.piece for unit in reading.units if unit.word is None)
    ones = torch.ones(layers, heads, units, dtype=torch.float64)
    torch.testing.assert_close(reading.attention.sum(dim=-1), ones, atol=1e-5, rtol=0)
    torch.testing.assert_close(reading.measures["received"].sum(dim=-1), ones[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(reading.rollout.sum(dim=-1), ones[0, 0], atol=1e-5, rtol=0)
    for values in reading.measures.values():
        assert values.shape == (layers, heads, units)
        assert torch.all((values >= 0) & (values <= 1 + 1e-6))


def test_output_is_that_of_the_usual_attention(folder):
    """The maps are those that the encoder mixes by: with them asked for, its vectors stay the same."""
    pieces, encoder = Source(folder, None, {}, None).load()
    encoder.eval()
    usual = encoder.config._attn_implementation
    (aligned,) = pieces.align([SENTENCES[0]], [words_of(SENTENCES[0])])
    ids = torch.from_numpy(np.concatenate([pieces.prefix, aligned.ids[:20], pieces.suffix]).astype(np.int64))
    with torch.no_grad():
        before = encoder(input_ids=ids[None]).last_hidden_state
        maps = window_attention(folder, encoder, ids.numpy())
        encoder.set_attn_implementation("eager")
        eager = encoder(input_ids=ids[None], output_attentions=True)
    torch.testing.assert_close(before, eager.last_hidden_state, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps.float(), torch.cat(list(eager.attentions)))
    encoder.set_attn_implementation(usual)


def test_blank_and_long_texts_are_refused(folder, monkeypatch):
    for text in ("", " \n ", "\u2003"):
        with pytest.raises(ValueError, match=r"\[S1180\]"):
            read_attention(folder, text, words_of(text))
    text = "fox " * 60
    with pytest.raises(ValueError, match=r"\[S1181\] The text has \d+ pieces, and 38 can be shown"):
        read_attention(folder, text, words_of(text))
    monkeypatch.setattr(attention_reading, "MOST_PIECES", 7)
    with pytest.raises(ValueError, match=r"\[S1181\].* and 5 can be shown"):
        read_attention(folder, SENTENCES[0], words_of(SENTENCES[0]))


class Bare:
    """An encoder that is nothing but its answer."""

    device = torch.device("cpu")

    def __init__(self, maps):
        self.attentions = maps
        self.config = self
        self._attn_implementation = "eager"

    def eval(self):
        pass

    def set_attn_implementation(self, name):
        if self.attentions == "refused":
            raise ValueError("only sdpa is known\nhere")

    def __call__(self, **inputs):
        return self


@pytest.mark.parametrize(
    ("maps", "reason"),
    [(None, "no maps"), ((), "no maps"), ((None, None), "some of its layers"), ("refused", "ValueError: only sdpa")],
)
def test_encoders_without_attention_are_refused(maps, reason):
    with pytest.raises(ValueError, match=rf"\[S1182\] 'some' gives no attention: .*{reason}"):
        window_attention("some", Bare(maps), np.array([1, 2]))
