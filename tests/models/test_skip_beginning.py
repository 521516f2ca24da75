"""A student with a skip begins as the best sum of its layers and of static vectors."""

from __future__ import annotations

import numpy as np
import torch
from samarkand.models.assistant import load_encoder, ridge
from samarkand.models.recurrent_encoder import shrink
from samarkand.models.sentence_stage import pooled_model
from samarkand.models.skip_beginning import begin_skip
from sentence_checkpoints import WORDS, make_encoder_folder

WIDTH = 32
NOUNS, VERBS = ("cat", "dog", "mat", "park"), ("sat", "ran")
TEXTS = [f"{a} {b} {verb} on {c}" for a in ("the", "a") for b in NOUNS for verb in VERBS for c in NOUNS]


def test_it_is_the_best_sum_of_both(tmp_path, monkeypatch):
    monkeypatch.setattr("samarkand.models.skip_beginning.LEAST_SINGULAR", 1e-9)
    assistant, tokenizer = load_encoder(make_encoder_folder(tmp_path, width=WIDTH))
    assistant.eval()
    # Tables of 22 pieces are factored without loss at the width of the encoder.
    static = torch.randn(len(WORDS), 5, generator=torch.Generator().manual_seed(0))
    wanted = np.random.default_rng(0).standard_normal((len(TEXTS), WIDTH)).astype("f")
    encoder = shrink(assistant, embedding_size=WIDTH, layers=3, repeats=1, skip=True)
    student = pooled_model(encoder, tokenizer, width=WIDTH, max_length=32).eval()
    begin_skip(student, assistant, static, TEXTS, wanted)

    ids = tokenizer(TEXTS)["input_ids"]
    known = static.double().clone()
    known[tokenizer.all_special_ids] = 0
    pieces = torch.stack([known[row].mean(0) for row in ids])
    with torch.no_grad():
        states = [assistant(torch.tensor([row])).last_hidden_state[0].mean(0) for row in ids]
    layers = torch.stack(states).double()
    both = torch.cat([layers, pieces * layers.norm() / pieces.norm()], dim=1)
    expected = (both @ ridge(both, wanted)).numpy()
    np.testing.assert_allclose(student.encode(TEXTS), expected, atol=2e-2)
