"""The step of transfer training: what its terms are, where their gradients go, and that off is off."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import samarkand
import torch
from samarkand.models.inner_states import inner_states
from samarkand.models.ricon_loss import LossWeights
from samarkand.models.ricon_model import build_ricon_model
from samarkand.models.subword_tok2vec import build_subword_encoder
from samarkand.models.textcat_loss import textcat_loss
from samarkand.models.torch_shim import run_torch, torch_model
from samarkand.models.transfer import TransferWeights, check_encoder, transfer_objective, transfer_step
from samarkand.models.transfer_textcat_model import build_transfer_textcat
from samarkand.models.transformer_tok2vec import build_transformer_encoder
from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec
from spacy.tokens import Doc
from thinc.api import Model
from transformer_checkpoints import save_checkpoint

TEXTS = ["the cat sat on a mat", "rain falls from grey clouds", "", "a dog barks"]
COPIES = ["the tom sat on a rug", "rain drops from grey skies", "", "a hound barks"]
TARGETS = np.array([[1, 0], [0, 1], [np.nan, np.nan], [0.5, 0.5]], dtype="f")
# An encoder of spaCy's own.
HASHED = {"width": 16, "depth": 1, "embed_size": 50, "window_size": 1, "maxout_pieces": 2}
HASHED |= {"subword_features": False, "pretrained_vectors": None}
ALL = TransferWeights(robust=0.5, push=0.1, pull=2.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(
        save_checkpoint("bert", tmp_path_factory.mktemp("bert"), hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    )


def _docs(texts: list[str]) -> list[Doc]:
    return list(map(samarkand.blank("xx").make_doc, texts))


def _encoder(context: str = "attention", dropout: float = 0.0) -> Model:
    return build_subword_encoder(
        width=64,
        embed_width=8,
        word_rows=50,
        piece_rows=50,
        bigram_rows=20,
        bigram_width=4,
        context=context,
        depth=3,
        dropout=dropout,
        token_dropout=dropout,
    )


def _model(encoder: Model | None = None, dropout: float = 0.0) -> Model:
    model = build_transfer_textcat(encoder or _encoder(dropout=dropout), dropout=dropout)
    model.set_dim("nO", 2)
    np.random.seed(0)
    return model.initialize(X=_docs(TEXTS))


def _loss(scores: Any, weight: float) -> tuple[float, Any]:
    return textcat_loss(scores, TARGETS, exclusive=True, weight=weight)


def _no_loss(scores: Any, weight: float) -> tuple[float, Any]:
    return 0.0, np.zeros_like(scores)


def _step(model: Model, copies: list[str], weights: TransferWeights, get_loss: Any = _loss) -> dict[str, float]:
    return transfer_step(model, _docs(TEXTS), _docs(copies), weights, get_loss)


def _gradients(model: Model) -> dict[str, torch.Tensor | None]:
    shims = [shim for node in model.walk() for shim in node.shims]
    return {
        f"{i}.{name}": parameter.grad
        for i, shim in enumerate(shims)
        for name, parameter in shim.module.named_parameters()
    }


def _reached(model: Model) -> set[str]:
    return {name for name, gradient in _gradients(model).items() if gradient is not None and gradient.any()}


@pytest.mark.parametrize("kind", ["subword", "transformer"])
def test_a_copy_that_is_the_text_adds_only_its_own_loss(kind, checkpoint):
    model = _model(build_transformer_encoder(checkpoint) if kind == "transformer" else None)
    losses = _step(model, TEXTS, TransferWeights(robust=0.5, push=0.1, pull=1.0))
    assert losses["push"] == pytest.approx(0, abs=1e-9)
    assert losses["pull"] == pytest.approx(0, abs=1e-9)
    assert losses["robust"] == pytest.approx(losses["task"], abs=1e-6)


@pytest.mark.parametrize("kind", ["subword", "transformer"])
def test_other_copies_have_all_terms(kind, checkpoint):
    model = _model(build_transformer_encoder(checkpoint) if kind == "transformer" else None)
    losses = _step(model, COPIES, ALL)
    assert -1 <= losses["push"] < 0 < losses["pull"]
    assert losses["robust"] != losses["task"]


def test_texts_without_pieces_have_nothing_to_push_or_pull(checkpoint):
    """Regression: a batch of nothing but white space was taken for a frozen encoder, and ended the training."""
    model = _model(build_transformer_encoder(checkpoint))
    docs = _docs([" "] * len(TEXTS))
    assert [len(doc) for doc in docs] == [1] * len(TEXTS)
    losses = transfer_step(model, docs, docs, ALL, _loss)
    assert losses["push"] == losses["pull"] == 0
    assert losses["robust"] == pytest.approx(losses["task"])
    assert any("output" in name for name in _reached(model))
    # Beside a text, they change nothing.
    mixed = _docs([TEXTS[0], " ", TEXTS[1], "\n"])
    assert transfer_step(model, mixed, _docs([COPIES[0], " ", COPIES[1], "\n"]), ALL, _loss)["push"] < 0


def test_switched_off_it_is_ordinary_training_to_the_bit():
    results = []
    for is_step in (True, False):
        model = _model(dropout=0.3)
        torch.manual_seed(1)
        if is_step:
            loss = transfer_step(model, _docs(TEXTS), [], TransferWeights(), _loss)["task"]
        else:
            scores, backprop = model.begin_update(_docs(TEXTS))
            loss, gradient = _loss(scores, 1.0)
            backprop(gradient)
        results.append((loss, _gradients(model)))
    (loss, gradients), (plain_loss, plain) = results
    assert loss == plain_loss
    assert all(torch.equal(gradients[name], plain[name]) for name in plain if plain[name] is not None)


def test_push_reaches_nothing_but_embeddings():
    model = _model()
    _step(model, COPIES, TransferWeights(push=0.1), _no_loss)
    reached = {name.split(".", 1)[1] for name in _reached(model)}
    assert "embed.words.weight" in reached
    assert all(name.startswith(("embed.", "norm_embed.")) for name in reached)


def test_pull_reaches_the_blocks_up_to_its_own():
    model = _model()
    _step(model, COPIES, TransferWeights(pull=1.0, block=1), _no_loss)
    reached = {name.split(".", 1)[1] for name in _reached(model)}
    assert {"embed.words.weight", "layers.0.ff.0.weight", "layers.1.qkv.weight"} <= reached
    assert not any(name.startswith(("layers.1.out", "layers.1.ff", "layers.2", "norm.")) for name in reached)


def test_pull_in_a_transformer_reaches_the_blocks_up_to_its_own(checkpoint):
    model = _model(build_transformer_encoder(checkpoint))
    _step(model, COPIES, TransferWeights(pull=1.0, block=0), _no_loss)
    reached = _reached(model)
    assert any("layer.0.attention.self.query" in name for name in reached)
    assert any("word_embeddings" in name for name in reached)
    assert not any("layer.1" in name for name in reached)


def test_gradients_of_all_terms_are_those_of_one_sum():
    """Two passes backward through one graph give what the derivative of the sum is, by finite differences."""
    model = _model()
    _step(model, COPIES, ALL)
    parameter = next(
        s for node in model.walk() for s in node.shims if "embed" in dict(s.module.named_children())
    ).module.norm_embed.weight
    expected = parameter.grad.clone()

    def total() -> float:
        terms = _step(model, COPIES, ALL)
        return terms["task"] + 0.5 * terms["robust"] + 0.1 * terms["push"] + 2.0 * terms["pull"]

    step = 1e-2
    for place in (0, 17, 40):
        parameter.data[place] += step
        above = total()
        parameter.data[place] -= 2 * step
        below = total()
        parameter.data[place] += step
        assert (above - below) / (2 * step) == pytest.approx(float(expected[place]), abs=3e-4)


class Classifier(torch.nn.Module):
    """A torch network that shows its inside, and knows nothing of spaCy."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(64, 8)
        self.key = torch.nn.Linear(8, 8)
        self.output = torch.nn.Linear(8, 2)

    def forward(self, rows: list[list[int]]) -> torch.Tensor:
        states, logits = inner_states(), []
        for i, row in enumerate(rows):
            embedded = self.embed(torch.tensor(row, dtype=torch.long))
            attention = (embedded @ self.key(embedded).T).softmax(dim=1)
            if states is not None and row:
                states.embeddings[i], states.attention[i] = embedded.mean(dim=0), attention[None]
            logits.append(self.output((attention @ embedded).sum(dim=0)))
        if states is not None:
            states.is_filled = True
        return torch.stack(logits)


def _wrapped(model: Model, docs: list[Doc], is_train: bool) -> tuple[Any, Any]:
    (logits,), backprop = run_torch(model.shims[0], [], {"rows": _rows(docs)}, is_train)
    return logits, lambda gradient: backprop([gradient])


def _rows(docs: list[Doc]) -> list[list[int]]:
    return [[sum(map(ord, token.text)) % 64 for token in doc] for doc in docs]


def _torch_loss(logits: torch.Tensor) -> torch.Tensor:
    known = torch.tensor(~np.isnan(TARGETS[:, 0]))
    return torch.nn.functional.cross_entropy(logits[known], torch.tensor(TARGETS)[known])


@pytest.mark.parametrize(
    "weights", [TransferWeights(), TransferWeights(robust=0.5), TransferWeights(push=0.1, pull=2.0), ALL]
)
def test_a_torch_network_has_the_same_objective_without_spacy(weights):
    torch.manual_seed(0)
    network = Classifier()
    model = torch_model(copy.deepcopy(network), name="classifier", forward=_wrapped).initialize()
    expected = _step(model, COPIES, weights)
    total, terms = transfer_objective(network, _rows(_docs(TEXTS)), _rows(_docs(COPIES)), weights, _torch_loss)
    assert terms == pytest.approx(expected, rel=1e-5)
    factors = {"task": 1.0, "robust": weights.robust, "push": weights.push, "pull": weights.pull}
    assert total.item() == pytest.approx(sum(factors[name] * loss for name, loss in terms.items()), rel=1e-5)
    total.backward()
    for (name, parameter), twin in zip(network.named_parameters(), model.shims[0].module.parameters()):
        torch.testing.assert_close(parameter.grad, twin.grad, msg=name)


def test_what_a_torch_network_does_not_show_is_refused():
    network = Classifier()
    with pytest.raises(ValueError, match="S602"):
        transfer_objective(lambda x: network.output(x), torch.ones(4, 8), torch.ones(4, 8), ALL, _torch_loss)
    with pytest.raises(ValueError, match="S605"):
        transfer_objective(network.requires_grad_(False), _rows(_docs(TEXTS)), _rows(_docs(COPIES)), ALL, _torch_loss)


def test_any_head_can_use_it():
    model = build_ricon_model(_encoder(), width=8, rank=2, hidden=4, dropout_in=0, dropout_out=0)
    model.attrs["max_width"] = 3
    model.set_dim("nO", 2)
    np.random.seed(0)
    model.initialize(X=_docs(TEXTS))
    gold = [[(1, 2, 1)], [(3, 5, 2)], [], None]

    def get_loss(scores: Any, weight: float) -> tuple[float, Any]:
        parts = [batch.loss(gold, LossWeights(), weight / len(scores)) for batch in scores]
        return sum(loss for loss, _ in parts), [gradient for _, gradient in parts]

    same = _step(model, TEXTS, ALL, get_loss)
    assert same["robust"] == pytest.approx(same["task"], abs=1e-5)
    assert same["pull"] == pytest.approx(0, abs=1e-9)
    assert _step(model, COPIES, ALL, get_loss)["push"] < 0


def test_robust_targets_need_nothing_of_an_encoder():
    encoder = build_hash_embed_cnn_tok2vec(**HASHED)
    model = _model(encoder)
    assert set(_step(model, COPIES, TransferWeights(robust=1.0))) == {"task", "robust"}
    for weights in (TransferWeights(push=0.1), TransferWeights(pull=1.0)):
        with pytest.raises(ValueError, match=r"S602.*SubwordEncoder"):
            check_encoder(model, _docs(TEXTS), weights)
        with pytest.raises(ValueError, match="S602"):
            _step(model, COPIES, weights)


def test_what_cannot_be_trained_so_is_refused(checkpoint):
    with pytest.raises(ValueError, match="S601"):
        TransferWeights(push=-0.1)
    with pytest.raises(ValueError, match="S601"):
        TransferWeights(robust=float("nan"))
    for settings in ({"push": "much"}, {"block": -1}, {"block": 0.5}):
        with pytest.raises(ValueError, match="S601"):
            TransferWeights.from_settings(settings)
    assert TransferWeights(push=np.float32(0.5), block=np.int64(1)).looks_inside
    with pytest.raises(ValueError, match=r"S607.*pushh.*robust"):
        TransferWeights.from_settings({"pushh": 1.0})
    for context in ("lstm", "cnn"):
        with pytest.raises(ValueError, match=r"S602.*attention"):
            check_encoder(_model(_encoder(context)), _docs(TEXTS), TransferWeights(pull=1.0))
    with pytest.raises(ValueError, match="S603"):
        check_encoder(_model(), _docs(TEXTS), TransferWeights(pull=1.0, block=3))
    with pytest.raises(ValueError, match="S605"):
        _step(_model(build_transformer_encoder(checkpoint, freeze=True)), COPIES, ALL)
    check_encoder(_model(), _docs(TEXTS), ALL)
    check_encoder(_model(), _docs([""]), ALL)
