"""The bidirectional language model that pretrains the small encoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from samarkand.models.bidirectional_lm import (
    BidirectionalLM,
    BidirectionalLMSettings,
    _asked_batch,
    _draw,
    _log_draws,
    train_bidirectional_lm,
)
from samarkand.models.pretrained import EncoderSizes
from samarkand.models.token_corpus import TokenCorpus

SIZES = EncoderSizes(
    width=16,
    embed_width=8,
    word_rows=100,
    piece_rows=100,
    bigram_rows=50,
    bigram_width=4,
    context="lstm",
    depth=1,
)


def test_batches_hold_every_token_once_a_pass():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, size=200)
    corpus = TokenCorpus([], np.arange(lengths.sum(), dtype=np.int32), np.cumsum(lengths))
    seen: list[int] = []
    for batch in corpus.batches(rng, 256, longest=16):
        assert batch.shape[1] <= 16
        assert batch.numel() <= 256
        seen += batch[batch >= 0].tolist()
        if len(seen) >= len(corpus.ids):
            break
    assert sorted(seen) == corpus.ids.tolist()


def test_draws_follow_the_probabilities_that_correct_them():
    vocabulary = 8
    drawn = torch.bincount(_draw(200_000, vocabulary, np.random.default_rng(0)), minlength=vocabulary) / 200_000
    expected = _log_draws(torch.arange(vocabulary), vocabulary).exp()
    assert float(expected.sum()) == pytest.approx(1.0, rel=1e-5)
    torch.testing.assert_close(drawn, expected, atol=5e-3, rtol=0)


@torch.no_grad()
def test_scores_are_those_of_the_names_less_the_log_of_their_draws():
    torch.manual_seed(0)
    corpus = TokenCorpus(["a", "b", "c", "d"], np.array([0, 1, 2, 3], dtype=np.int32), np.array([4]))
    model = BidirectionalLM(SIZES.build(), width=16, vocabulary=4).eval()
    batch, asked, targets = _asked_batch(corpus.features(), torch.tensor([[0, 1, 2, 3]]), 4)
    logits = model(batch, asked, targets, torch.tensor([2, 0]))
    hidden = model.transform(model.encoder.outside(batch))[0]
    for row, target in enumerate([0, 1, 2, 3]):
        for column, name in enumerate([target, 2, 0]):
            expected = float(hidden[row] @ model.names.weight[name]) + float(model.bias[name])
            expected -= math.log(math.log1p(1 / (name + 1)) / math.log(5))
            if column and name == target:
                assert logits[row, column] < -1000, "the target does not stand against itself"
            else:
                assert float(logits[row, column]) == pytest.approx(expected, abs=1e-4)


def test_learns_what_follows_what():
    rng = np.random.default_rng(0)
    tokens = [f"w{k}" for k in range(12)]
    lines = [[first, (first + 1) % 12, (first + 2) % 12, (first + 3) % 12] for first in rng.integers(0, 12, size=400)]
    corpus = TokenCorpus(tokens, np.array(lines, dtype=np.int32).ravel(), np.arange(4, 1601, 4))
    settings = BidirectionalLMSettings(steps=400, batch_tokens=64, warmup=20, candidates=16, vocabulary=12)
    curve = train_bidirectional_lm(corpus, SIZES, settings, None)
    assert [row["step"] for row in curve] == [100, 200, 300, 400]
    assert curve[0]["accuracy"] < curve[-1]["accuracy"]
    assert curve[-1]["accuracy"] > 0.9
