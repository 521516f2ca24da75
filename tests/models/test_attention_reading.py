"""Reading attention from encoders of several families."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import samarkand
import torch
from samarkand.models import attention_reading
from samarkand.models.attention_frames import frame_windows
from samarkand.models.attention_reading import AttentionReader, read_attention, read_window
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
    layers, heads, units = reading.measures["received"].shape
    assert (layers, heads) == (2, 2)
    assert len(reading.units) == units <= reading.pieces
    assert reading.windows == [0] * units
    # Each word that can be seen is there once and in order, framed by special pieces.
    assert [unit.word for unit in reading.units if unit.word is not None] == [t.i for t in doc if not t.is_space]
    assert reading.units[0].word is None
    assert reading.units[-1].word is None
    assert all(unit.piece for unit in reading.units if unit.word is None)
    ones = torch.ones(layers, heads, dtype=torch.float64)
    torch.testing.assert_close(reading.measures["received"].sum(dim=-1), ones, atol=1e-5, rtol=0)
    torch.testing.assert_close(reading.measures["influence"].sum(dim=(1, 2)), ones[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(reading.rollout.sum(), ones[0, 0], atol=1e-5, rtol=0)
    for values in reading.measures.values():
        assert values.shape == (layers, heads, units)
        assert torch.all((values >= 0) & (values <= 1 + 1e-6))


def test_heaviest_keys_are_those_of_a_sort(folder):
    text = "Layla visits 撒马尔罕"
    reading, reader = read_attention(folder, text, words_of(text)), AttentionReader(folder)
    (window,) = reader.windows(reader.align(text, words_of(text)), gradients=False)
    attention = window.between(window.maps)
    ones = torch.ones(attention.shape[:-1], dtype=torch.float64)
    torch.testing.assert_close(attention.sum(dim=-1), ones, atol=1e-5, rtol=0)
    for layer in range(2):
        for head in range(3):
            rows = attention[layer].mean(dim=0) if head == 2 else attention[layer, head]
            for unit, row in enumerate(rows.tolist()):
                slow = sorted(row, reverse=True)[: attention_reading.KEYS]
                assert reading.shares[layer, head, unit].tolist() == pytest.approx(slow)
                assert [row[key] for key in reading.keys[layer, head, unit].tolist()] == pytest.approx(slow)


def test_output_is_that_of_the_usual_attention(folder):
    """The maps are those that the encoder mixes by: with them asked for, its vectors stay the same."""
    pieces, encoder = Source(folder, None, {}, None).load()
    encoder.eval()
    usual = encoder.config._attn_implementation
    (aligned,) = pieces.align([SENTENCES[0]], [words_of(SENTENCES[0])])
    frame = frame_windows(aligned, pieces, 20)[0]
    ids = torch.from_numpy(frame.ids)
    with torch.no_grad():
        before = encoder(input_ids=ids[None]).last_hidden_state
        maps, none = read_window(folder, encoder, frame)
        encoder.set_attn_implementation("eager")
        eager = encoder(input_ids=ids[None], output_attentions=True)
    torch.testing.assert_close(before, eager.last_hidden_state, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps.float(), torch.cat(list(eager.attentions)))
    assert none is None
    encoder.set_attn_implementation(usual)
    torch.testing.assert_close(read_window(folder, encoder, frame, gradients=True)[0], maps)
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_gradients_are_those_of_small_changes(folder, monkeypatch):
    """One number of the attention is changed by a little, and the vector is looked at again."""
    pieces, encoder = Source(folder, None, {}, None).load()
    encoder.double()
    (aligned,) = pieces.align([SENTENCES[1]], [words_of(SENTENCES[1])])
    frame = frame_windows(aligned, pieces, 12)[0]
    maps, gradients = read_window(folder, encoder, frame, gradients=True)
    layer, head, query, key = place = (0, 1, 3, 5)
    softmax = torch.nn.functional.softmax
    encoder.set_attn_implementation("eager")

    def reach(step):
        calls = []

        def changed(*args, **kwargs):
            found = softmax(*args, **{**kwargs, "dtype": torch.float64})
            calls.append(None)
            if len(calls) == layer + 1:
                found[0, head, query, key] += step
            return found

        monkeypatch.setattr(torch.nn.functional, "softmax", changed)
        with torch.no_grad():
            vectors = encoder(input_ids=torch.from_numpy(frame.ids)[None]).last_hidden_state
        assert len(calls) == len(maps)
        return vectors[0, frame.inner].mean(dim=0).square().sum().item() / 2

    assert (reach(1e-4) - reach(-1e-4)) / 2e-4 == pytest.approx(gradients[place].item(), rel=5e-3)
    assert abs(gradients[place].item()) > 1e-3


def test_a_long_text_is_read_in_windows(folder):
    text = " ".join(SENTENCES[:3] * 3)
    reading = read_attention(folder, text, words_of(text))
    doc = samarkand.blank()(text)
    assert len(set(reading.windows)) > 2
    assert reading.windows == sorted(reading.windows)
    assert [unit.word for unit in reading.units if unit.word is not None] == [t.i for t in doc if not t.is_space]
    # What is said of a word is what its window says, and its keys are units of that window.
    reader = AttentionReader(folder)
    for number, window in enumerate(reader.windows(reader.align(text, words_of(text)), gradients=True)):
        frame, measures = window.frame, window.measures()
        own = frame.numbers[frame.own]
        assert [reading.windows[unit] for unit in own] == [number] * len(own)
        for name, values in measures.items():
            torch.testing.assert_close(reading.measures[name][..., own], values[..., frame.own])
        assert set(reading.keys[:, :, own].flatten().tolist()) <= set(frame.numbers.tolist())
        strongest = window.between(window.maps)[:, :, frame.own].amax(dim=-1)
        torch.testing.assert_close(reading.shares[:, :-1, own, 0], strongest)


def test_blank_and_long_texts_are_refused(folder, monkeypatch):
    for text in ("", " \n ", "\u2003"):
        with pytest.raises(ValueError, match=r"\[S1180\]"):
            read_attention(folder, text, words_of(text))
    monkeypatch.setattr(attention_reading, "MOST_QUERIES", 2 * 3 * 50)
    with pytest.raises(ValueError, match=r"\[S1181\] The text has \d+ pieces, and 50 can be shown"):
        read_attention(folder, "fox " * 60, words_of("fox " * 60))
    monkeypatch.setattr(attention_reading, "MOST_PIECES", 7)
    assert max(read_attention(folder, SENTENCES[0][:30], words_of(SENTENCES[0][:30])).windows) > 0


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
        read_window("some", Bare(maps), SimpleNamespace(ids=np.array([1, 2])))
