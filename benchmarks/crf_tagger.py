"""A linear-chain CRF tagger on the same encoder: the peer that shows RICON's own share.

One BiLSTM, a linear layer and a CRF (pytorch-crf) over BIO tags, with the dropout of RICON's branches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from samarkand.models.subword_encoder import BiLSTM, SharedDropout, length_mask
from samarkand.models.torch_shim import torch_model
from samarkand.models.windows import add_windows, batch_windows, cut_windows, pad_windows
from spacy import registry
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from torch import Tensor, nn
from torchcrf import CRF


def put_in_place_of_ricon(config: Config) -> None:
    """Turn a recipe for `ricon_ner` into one for this tagger."""
    listener = config["components"].pop("ricon_ner")["model"]["tok2vec"]
    config["nlp"]["pipeline"] = ["tok2vec", "crf_tagger"]
    config["components"]["crf_tagger"] = {
        "factory": "crf_tagger",
        "model": {"@architectures": "samarkand_bench.Crf.v1", "tok2vec": listener},
    }


class CrfNetwork(nn.Module):
    """BiLSTM, linear layer, CRF.

    nI (int): Width of the encoder.
    width (int): Width of the BiLSTM.
    n_tags (int): BIO tags.
    """

    def __init__(self, *, nI: int, width: int, n_tags: int) -> None:
        super().__init__()
        self.dropout_in, self.dropout_out = SharedDropout(0.2), SharedDropout(0.4)
        self.lstm = BiLSTM(nI=nI, nO=width)
        self.tags = nn.Linear(width, n_tags)
        self.crf = CRF(n_tags, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, L, nI], lengths [B] -> emissions [B, L, tags], mask [B, L]."""
        hidden = self.dropout_out(self.lstm(self.dropout_in(x), lengths))
        return self.tags(hidden), length_mask(lengths, x.shape[1])


@registry.architectures("samarkand_bench.Crf.v1")
def build_crf_model(tok2vec: Model, width: int = 384) -> Model:
    """The tagger's network; `width` makes its BiLSTM as large as both of RICON's."""
    return torch_model(
        None,
        name="crf",
        forward=_forward,
        init=partial(_init, width=width),
        build=_build,
        layers=[tok2vec],
        dims={"nO": None},
        refs={"tok2vec": tok2vec},
    )


@Language.factory(
    "crf_tagger",
    default_config={"model": {"@architectures": "samarkand_bench.Crf.v1"}},
    default_score_weights={"ents_f": 1.0},
)
def make_crf_tagger(nlp: Language, name: str, model: Model) -> CrfTagger:
    return CrfTagger(nlp, model, name)


class CrfTagger(TrainablePipe):
    """Flat entities by BIO tags."""

    def __init__(self, nlp: Language, model: Model, name: str) -> None:
        self.vocab, self.model, self.name = nlp.vocab, model, name
        self.scorer = None
        self.cfg: dict[str, Any] = {"labels": []}

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.cfg["labels"])

    def initialize(self, get_examples: Callable, *, nlp: Language | None = None) -> None:
        examples = list(get_examples())
        self.cfg["labels"] = sorted({ent.label_ for eg in examples for ent in eg.reference.ents})
        for label in self.labels:
            self.vocab.strings.add(label)
        self.model.set_dim("nO", 2 * len(self.labels) + 1)
        self.model.initialize(X=[eg.predicted for eg in examples[:10]])

    def predict(self, docs: Iterable[Doc]) -> list[list[int]]:
        docs = list(docs)
        crf = self.model.shims[0].module.crf if any(map(len, docs)) else None
        found: list[list[int]] = [[] for _ in docs]
        for batch, (emissions, mask) in self.model.predict(docs) if crf else ():
            with torch.no_grad():
                decoded = crf.decode(emissions, mask)
            for window, tags in zip(batch, decoded):
                found[window.sequence] += tags[window.own_start - window.start : window.own_end - window.start]
        return found

    def set_annotations(self, docs: Iterable[Doc], scores: list[list[int]]) -> None:
        for doc, tags in zip(docs, scores):
            doc.set_ents([Span(doc, start, end, label=self.labels[k]) for start, end, k in _chunks(tags)])

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        losses = {} if losses is None else losses
        examples = list(examples)
        set_dropout_rate(self.model, drop)
        outputs, backprop = self.model.begin_update([eg.predicted for eg in examples])
        gold = [self._tags(eg) for eg in examples]
        crf, gradients = self.model.shims[0].module.crf, []
        for batch, (emissions, mask) in outputs:
            leaf = emissions.detach().requires_grad_()
            tags = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
            for row, window in zip(tags, batch):
                row[: len(window)] = row.new_tensor(gold[window.sequence][window.start : window.end])
            loss = -crf(leaf, tags, mask, reduction="token_mean")
            loss.backward()
            gradients.append(leaf.grad)
            losses[self.name] = losses.get(self.name, 0.0) + loss.item()
        backprop(gradients)
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        return get_ner_prf(examples)

    def _tags(self, eg: Example) -> list[int]:
        tags = [0] * len(eg.predicted)
        for span in eg.get_aligned_spans_y2x(list(eg.reference.ents)):
            first = 2 * self.labels.index(span.label_) + 1
            tags[span.start : span.end] = [first] + [first + 1] * (len(span) - 1)
        return tags


def _chunks(tags: list[int]) -> list[tuple[int, int, int]]:
    chunks: list[tuple[int, int, int]] = []
    for i, tag in enumerate([*tags, 0]):
        goes_on = tag and tag % 2 == 0 and chunks and chunks[-1][1] == i and chunks[-1][2] == (tag - 1) // 2
        if goes_on:
            chunks[-1] = (chunks[-1][0], i + 1, chunks[-1][2])
        elif tag:
            chunks.append((i, i + 1, (tag - 1) // 2))
    return chunks


def _forward(model: Model, docs: list[Doc], is_train: bool) -> tuple[list, Callable]:
    vectors, backprop_tok2vec = model.get_ref("tok2vec")(docs, is_train)
    arrays = [model.ops.to_numpy(vector) for vector in vectors]
    network, device = model.shims[0].module, model.shims[0].device
    network.train(is_train)
    passes = []
    for batch in batch_windows(cut_windows([len(doc) for doc in docs], 256, 48), 4096):
        padded = pad_windows(arrays, batch, len(batch), len(batch[0]))
        x = torch.from_numpy(padded).to(device).requires_grad_(is_train)
        with torch.set_grad_enabled(is_train):
            passes.append((batch, x, network(x, torch.tensor([len(w) for w in batch], device=device))))

    def backprop(gradients: list[Tensor]) -> list[Doc]:
        d_vectors = [np.zeros_like(array) for array in arrays]
        for (batch, x, (emissions, _)), gradient in zip(passes, gradients):
            emissions.backward(gradient)
            add_windows(x.grad.cpu().numpy(), batch, d_vectors)
        return backprop_tok2vec([model.ops.asarray2f(d) for d in d_vectors])

    return [(batch, output) for batch, _, output in passes], backprop


def _build(config: dict[str, Any]) -> CrfNetwork:
    return CrfNetwork(**config)


def _init(model: Model, X: Any = None, Y: Any = None, *, width: int) -> None:
    model.get_ref("tok2vec").initialize(X)
    config = {"nI": model.get_ref("tok2vec").get_dim("nO"), "width": width, "n_tags": model.get_dim("nO")}
    if not model.shims[0].is_built:
        model.shims[0].build(config)
