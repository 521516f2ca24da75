"""Transfer training of `ricon_ner`: the same objective as the text classifier's, over spans."""

from __future__ import annotations

import numpy as np
import pytest
import samarkand
import torch
from ricon_samples import SMALL_ENCODER, SMALL_MODEL
from samarkand.components.word_swaps import WordSwaps
from samarkand.models.torch_optimizer import create_adamw
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example
from spacy.vocab import Vocab

ATTENTIVE = {**SMALL_ENCODER, "context": "attention", "depth": 1}
TEXTS = [
    ("Marie Curie worked in Paris .", [(0, 2, "PER"), (4, 5, "LOC")]),
    ("Yesterday Apple opened a shop in Cairo .", [(1, 2, "ORG"), (6, 7, "LOC")]),
    ("Nothing happened there today .", []),
]


class Marks(WordSwaps):
    """Every word that may be swapped becomes "x"."""

    def swap(self, word: str, vocab: Vocab) -> str:
        return "x"


def make_nlp(transfer: dict | None = None, encoder: dict = SMALL_ENCODER) -> tuple[Language, list[Example]]:
    nlp = samarkand.blank("xx")
    model = {**SMALL_MODEL, "tok2vec": encoder}
    nlp.add_pipe("ricon_ner", config={"model": model, "transfer": transfer or {}})
    examples = []
    for text, spans in TEXTS:
        reference = nlp.make_doc(text)
        reference.set_ents([Span(reference, start, end, label) for start, end, label in spans])
        examples.append(Example(nlp.make_doc(text), reference))
    np.random.seed(0)
    torch.manual_seed(0)
    nlp.initialize(lambda: examples)
    return nlp, examples


def train(nlp: Language, examples: list[Example], steps: int) -> dict[str, float]:
    optimizer = create_adamw(5e-3, average_decay=0.0)
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer)
    return losses


@pytest.mark.parametrize(
    ("transfer", "encoder"),
    [({"robust": 1.0, "push": 0.1}, SMALL_ENCODER), ({"robust": 1.0, "push": 0.1, "pull": 1.0}, ATTENTIVE)],
)
def test_it_learns_with_every_switch_on(transfer, encoder):
    nlp, examples = make_nlp(transfer, encoder)
    losses = train(nlp, examples, 80)
    assert set(losses) == {"ricon_ner", *(f"ricon_ner_{term}" for term in transfer)}
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_words_of_entities_stay_in_the_copies(monkeypatch):
    nlp, examples = make_nlp({"robust": 1.0})
    pipe = nlp.get_pipe("ricon_ner")
    pipe.swaps = Marks(keep=(), seed=0)
    seen: list[str] = []
    forward = pipe.model._func

    def watch(model, docs, is_train):
        seen.extend(doc.text for doc in docs)
        return forward(model, docs, is_train)

    monkeypatch.setattr(pipe.model, "_func", watch)
    nlp.update(examples)
    assert seen[3:] == ["Marie Curie x x Paris .", "X Apple x x x x Cairo .", "X x x x ."]


def test_robust_gradients_are_those_of_the_copies(monkeypatch):
    """With copies that are the texts themselves, a weight of 1 doubles the gradient."""
    gradients = []
    for transfer in ({}, {"robust": 1.0}):
        nlp, examples = make_nlp(transfer)
        pipe = nlp.get_pipe("ricon_ner")
        monkeypatch.setattr(pipe.swaps, "swap", lambda word, vocab: word)
        pipe.update(examples)
        networks = [shim._model for node in pipe.model.walk() for shim in node.shims]
        parameters = [p for network in networks for p in network.parameters() if p.grad is not None]
        gradients.append([p.grad.clone() for p in parameters])
    assert gradients[0]
    for plain, doubled in zip(*gradients):
        torch.testing.assert_close(doubled, 2 * plain, atol=1e-6, rtol=1e-4)


def test_the_switches_off_are_the_pipe_without_them():
    runs = []
    for transfer in ({}, {"block": 99, "max_push": 0.5}):
        nlp, examples = make_nlp(transfer, {**SMALL_ENCODER, "dropout": 0.2})
        torch.manual_seed(0)
        runs.append(train(nlp, examples, 3))
    assert runs[0] == runs[1]


def test_an_encoder_without_attention_is_refused():
    with pytest.raises(ValueError, match="S602"):
        make_nlp({"pull": 1.0})
