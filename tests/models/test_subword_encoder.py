"""The small encoder as a torch module."""

from __future__ import annotations

import pytest
import torch
from samarkand.models.subword_encoder import CONTEXTS, BiLSTM, SubwordEncoder, TokenBatch, hashed_rows
from samarkand.models.subword_features import features_of

SENTENCES = [["زار", "أحمد", "北", "京", "2023", "New", "York", "!"], ["海"], ["a", "b", "c", "d"]]


def encoder(
    context: str = "lstm", *, depth: int = 2, width: int = 64, seed: int = 0, **settings: float
) -> SubwordEncoder:
    torch.manual_seed(seed)
    return SubwordEncoder(
        width=width,
        embed_width=16,
        word_rows=200,
        piece_rows=200,
        bigram_rows=100,
        bigram_width=8,
        context=context,
        depth=depth,
        **settings,
    )


def token_batch(sentences: list[list[str]], device: torch.device | str = "cpu") -> TokenBatch:
    """A padded batch over the distinct tokens of the sentences."""
    distinct = sorted({token for sentence in sentences for token in sentence})
    size = max(map(len, sentences))
    index = torch.full((len(sentences), size), -1)
    for row, sentence in zip(index, sentences):
        row[: len(sentence)] = torch.tensor([distinct.index(token) for token in sentence])
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    return TokenBatch.build(features_of(distinct), index, lengths, torch.device(device))


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_vectors_do_not_depend_on_padding_or_on_the_batch(context, depth, device):
    network = encoder(context, depth=depth).eval().to(device)
    together = network(token_batch(SENTENCES, device))
    for row, sentence in zip(together, SENTENCES):
        alone = network(token_batch([sentence], device))[0]
        torch.testing.assert_close(row[: len(sentence)], alone, atol=1e-5, rtol=1e-4)
        assert not row[len(sentence) :].any()


@pytest.mark.parametrize(
    ("context", "width"), [("lstm", 191), ("attention", 130), ("attention", 191), ("attention", 200)]
)
def test_S304_width_that_context_layers_cannot_have(context, width):
    """The first forward pass ended in an error of torch."""
    with pytest.raises(ValueError, match=rf"\[S304\].*{width}.*'{context}'"):
        encoder(context, width=width)
    assert encoder(context, width=width, depth=0)(token_batch(SENTENCES)).shape[-1] == width


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("width", [2, 62, 128, 132, 192])
def test_widths_that_are_accepted_can_be_read(context, width):
    assert encoder(context, width=width)(token_batch(SENTENCES)).shape[-1] == width


def test_bilstm_equals_packed_sequences_of_torch():
    torch.manual_seed(0)
    ours, theirs = BiLSTM(nI=5, nO=6), torch.nn.LSTM(5, 3, batch_first=True, bidirectional=True)
    for name, parameter in ours.ahead.named_parameters():
        getattr(theirs, name).data.copy_(parameter)
    for name, parameter in ours.back.named_parameters():
        getattr(theirs, f"{name}_reverse").data.copy_(parameter)
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 2, 4])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    found = ours(x, lengths)
    for row, (a, b) in enumerate(zip(found, expected)):
        torch.testing.assert_close(a[: lengths[row]], b[: lengths[row]], atol=1e-5, rtol=1e-4)


def test_outside_has_not_read_its_own_token():
    network = encoder(depth=1).eval()
    sentence = SENTENCES[0]
    before = network.outside(token_batch([sentence]))[0]
    for k in range(len(sentence)):
        changed = [*sentence[:k], "другой", *sentence[k + 1 :]]
        after = network.outside(token_batch([changed]))[0]
        torch.testing.assert_close(after[k], before[k], atol=1e-6, rtol=1e-5)
        others = [i for i in range(len(sentence)) if i != k]
        assert (after[others] - before[others]).abs().amax(1).min() > 1e-6, "every other token has read it"


def test_bigrams_tell_contexts_apart_without_context_layers():
    network = encoder(depth=0).eval()
    first = network(token_batch([["北", "京"]]))[0]
    second = network(token_batch([["东", "京"]]))[0]
    assert (first[1] - second[1]).abs().max() > 1e-4


def test_token_dropout_masks_while_training_only():
    network = encoder(depth=0, token_dropout=1.0)
    batch = token_batch([["a", "b"]])
    masked = network.train()(batch)[0]
    torch.testing.assert_close(masked[0], masked[1])
    read = network.eval()(batch)[0]
    assert (read[0] - read[1]).abs().max() > 1e-4


def test_word_dropout_leaves_pieces_and_shape():
    network = encoder(depth=0, word_dropout=1.0)
    batch = token_batch([["abc", "xyz"]])
    read = network.eval()(batch)[0]
    without = network.train()(batch)[0]
    assert (read - without).abs().amax(1).min() > 1e-4
    assert (without[0] - without[1]).abs().max() > 1e-4, "pieces still tell them apart"
    with torch.no_grad():
        network.embed.words.weight.zero_()
    torch.testing.assert_close(network.eval()(batch)[0], without)


def test_word_dropout_spares_characters_on_their_own():
    network = encoder(depth=0, word_dropout=1.0)
    batch = token_batch([["北", "京"]])
    torch.testing.assert_close(network.train()(batch), network.eval()(batch))


def test_hashes_lead_to_every_row_but_the_first():
    rows = hashed_rows(torch.arange(-1, 100), 10)
    assert rows[0] == 0
    assert set(rows[1:].tolist()) == set(range(1, 10))


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_parameter_gets_a_gradient(context):
    network = encoder(context)
    network(token_batch(SENTENCES)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert not network.embed.words.weight.grad[0].any(), "padding is not learnt"
