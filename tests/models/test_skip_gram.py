"""Fixed vectors from raw text."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samarkand.models.hashed_vectors import HashedVectors
from samarkand.models.pretrain_vectors import main
from samarkand.models.pretrained import vectors_shape
from samarkand.models.skip_gram import SkipGram, SkipGramSettings, _blocks, train_skip_gram
from samarkand.models.subword_features import features_of
from samarkand.models.token_corpus import TokenCorpus

ANIMALS, METALS = ["horse", "camel", "goat"], ["iron", "copper", "zinc"]


@pytest.fixture(scope="module")
def corpus() -> TokenCorpus:
    """Lines in which animals eat and metals melt."""
    rng = np.random.default_rng(0)
    tokens = [*ANIMALS, *METALS, "eats", "grass", "melts", "slowly"]
    lines = []
    for _ in range(1500):
        if rng.random() < 0.5:
            lines.append([int(rng.integers(0, 3)), 6, 7])
        else:
            lines.append([int(rng.integers(3, 6)), 8, 9])
    return TokenCorpus(tokens, np.concatenate(lines).astype(np.int32), np.cumsum([len(line) for line in lines]))


def test_loss_equals_its_pairs_written_out():
    torch.manual_seed(0)
    model = SkipGram(rows=20, width=4, vocabulary=5)
    torch.nn.init.normal_(model.contexts)
    contexts = model.contexts.detach()
    vectors, ids = torch.randn(6, 4), torch.tensor([0, 4, 7, 1, 2, 2])
    lines, drawn, weight = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([3, 1]), 2.5
    expected, pairs = 0.0, 0
    for i in range(6):
        for j in (i - 2, i - 1, i + 1, i + 2):
            if not 0 <= j < 6 or lines[i] != lines[j] or ids[j] >= 5:
                continue
            pairs += 1
            expected += math.log1p(math.exp(-float(vectors[i] @ contexts[ids[j]])))
            expected += weight * sum(math.log1p(math.exp(float(vectors[i] @ contexts[k]))) for k in drawn)
    loss = model.loss(vectors, ids, lines, [1, 2], drawn, weight)
    assert float(loss.detach()) == pytest.approx(expected / pairs, rel=1e-5)


def test_vectors_are_those_of_the_table_of_bytes():
    model, features = SkipGram(rows=30, width=8, vocabulary=3), features_of(["camel", "北", "الجمل"])
    rounded = HashedVectors(rows=30, width=8)
    rounded.set_table(model.table)
    found = rounded(*(torch.from_numpy(part) for part in (features.words, features.pieces, features.offsets)))
    torch.testing.assert_close(found, model.tokens(features), atol=2e-3, rtol=0)


def test_words_of_like_contexts_come_together(corpus):
    settings = SkipGramSettings(
        rows=500, width=16, passes=20, block=512, learn_rate=0.05, drawn=32, frequent=1.0, least=1
    )
    table = train_skip_gram(corpus, settings)
    features = features_of([*ANIMALS, *METALS])
    vectors = HashedVectors(rows=500, width=16)
    vectors.set_table(table)
    unit = F.normalize(vectors(*(torch.from_numpy(x) for x in (features.words, features.pieces, features.offsets))))
    alike = unit @ unit.T
    within = torch.stack([alike[:3, :3].mean(), alike[3:, 3:].mean()]).min()
    assert within > alike[:3, 3:].max() + 0.2
    assert torch.equal(table, train_skip_gram(corpus, settings)), "a seed gives the same vectors again"


def test_every_token_is_read_as_often_as_there_are_passes(corpus):
    settings = SkipGramSettings(passes=3, block=450)
    seen = np.concatenate([ids for ids, _, _ in _blocks(corpus, settings, np.random.default_rng(0))])
    assert len(seen) == 3 * len(corpus.ids)
    assert np.bincount(seen).tolist() == (3 * np.bincount(corpus.ids)).tolist()


def test_command_writes_bytes(corpus, tmp_path):
    (tmp_path / "tokens.txt").write_text("\n".join(corpus.tokens), encoding="utf-8")
    np.save(tmp_path / "ids.npy", corpus.ids)
    np.save(tmp_path / "ends.npy", corpus.ends)
    main([str(tmp_path), str(tmp_path / "out"), "--rows", "50", "--width", "6", "--passes", "0.5", "--threads", "1"])
    assert vectors_shape(tmp_path / "out") == (50, 6)
    assert (tmp_path / "out" / "vectors.safetensors").stat().st_size < 50 * 6 * 4
