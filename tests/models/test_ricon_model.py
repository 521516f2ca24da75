"""`samarkand.Ricon.v1` over documents: windows, batches, targets, settings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import samarkand
import torch
from samarkand.models.ricon_loss import IGNORED, LossWeights
from samarkand.models.ricon_model import SpanScores, build_ricon_model
from samarkand.models.subword_tok2vec import build_subword_encoder
from spacy.tokens import Doc
from thinc.api import Model

SIZES = {"width": 8, "embed_width": 4, "word_rows": 20, "piece_rows": 20, "bigram_rows": 0, "bigram_width": 2}
WEIGHTS = LossWeights()


def _model(max_width: int, **settings: int) -> Model[list[Doc], list[SpanScores]]:
    model = build_ricon_model(build_subword_encoder(**SIZES), width=8, rank=2, hidden=4, **settings)
    model.attrs["max_width"] = max_width
    model.set_dim("nO", 2)
    np.random.seed(0)
    return model.initialize()


def _docs(*lengths: int) -> list[Doc]:
    nlp = samarkand.blank("xx")
    return [nlp.make_doc(" ".join(f"w{i}" for i in range(length))) for length in lengths]


def _spans(lengths: list[int], max_width: int) -> Counter:
    return Counter(
        (document, i, j)
        for document, length in enumerate(lengths)
        for i in range(length)
        for j in range(i + 1, min(i + max_width, length) + 1)
    )


@pytest.mark.parametrize("max_width", [3, 60])
def test_every_span_of_a_long_document_is_answered_for_once(max_width):
    lengths = [400, 0, 7]
    found: Counter = Counter()
    for scores in _model(max_width).predict(_docs(*lengths)):
        scores.output.types[..., 1] += 1000
        documents, candidates = scores.decode(0.0)
        found.update(zip(documents.tolist(), candidates["start"].tolist(), candidates["end"].tolist()))
    assert found == _spans(lengths, max_width)


def _learnt(scores: list[SpanScores], gold: list) -> Counter:
    """Spans that the loss has a gradient for."""
    learnt: Counter = Counter()
    for batch in scores:
        _, gradients = batch.loss(gold, WEIGHTS)
        for row, i, w in gradients.output.types.abs().sum(-1).nonzero().tolist():
            window = batch.windows[row]
            learnt[window.sequence, window.start + i, window.start + i + w + 1] += 1
    return learnt


def test_every_span_of_a_long_document_is_learnt_from_once():
    lengths = [400, 7]
    scores = _model(3).predict(_docs(*lengths))
    assert _learnt(scores, [[(10, 12, 1), (170, 171, 2)], []]) == _spans(lengths, 3)


def test_tokens_of_which_nothing_is_known_teach_nothing():
    scores = _model(3).predict(_docs(400, 7))
    learnt = _learnt(scores, [[(200, 201, IGNORED), (199, 202, 1)], None])
    expected = {span for span in _spans([400], 3) if not span[1] <= 200 < span[2]} | {(0, 199, 202)}
    assert learnt == Counter(expected)


def test_loss_and_gradients_do_not_depend_on_the_size_of_batches():
    docs, gold = _docs(12, 12, 12), [[(0, 2, 1)], [], [(3, 4, 2)]]
    whole = _model(3)
    found = []
    for limit in (4096, 16):
        model = _model(3, max_batch_tokens=limit).from_bytes(whole.to_bytes())
        scores = model.predict(docs)
        assert len(scores) == (1 if limit == 4096 else 3)
        parts = [batch.loss(gold, LossWeights(orthogonality=0.0), 1 / len(scores)) for batch in scores]
        loss = sum(part for part, _ in parts)
        gradients = {w.sequence: g for _, s in parts for w, g in zip(s.windows, s.output.types)}
        found.append((loss, gradients))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for document in range(3):
        torch.testing.assert_close(found[0][1][document][:12], found[1][1][document][:12], atol=1e-6, rtol=1e-4)
