"""`samarkand.Ricon.v1`: RICON as a spaCy architecture over any Tok2Vec encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from spacy import registry
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from torch import Tensor

from ..errors import Errors
from .ricon import BRANCHES, Ricon, RiconOutput, span_mask
from .ricon_decode import CANDIDATE_TYPE, Candidates, candidate_spans, span_targets
from .ricon_loss import IGNORED, LossWeights, loss_and_gradients
from .threads import map_batches
from .torch_shim import torch_model
from .windows import Window, add_windows, batch_windows, cut_windows, pad_windows, padded_count, padded_length

# Tokens that a window answers for, and the least context on each side. A span is answered for by the window that
# owns its start, so the context is never less than the widest span.
OWNED = 160
CONTEXT = 48


@registry.architectures("samarkand.Ricon.v1")
def build_ricon_model(
    tok2vec: Model[list[Doc], list[Floats2d]],
    width: int = 192,
    rank: int = 64,
    hidden: int = 128,
    branches: str = "both",
    dropout_in: float = 0.2,
    dropout_out: float = 0.4,
    max_batch_tokens: int = 4096,
    half_storage: bool = False,
) -> Model[list[Doc], list[SpanScores]]:
    """The RICON network. Types and maximum span width are set by the component when it is initialised.

    tok2vec (Model[list[Doc], list[Floats2d]]): The encoder, or a listener to a shared one.
    width (int): Width of a branch, half of it for each direction of its BiLSTM.
    rank (int): Rank of the bilinear form of the aware branch.
    hidden (int): Width of the projections of the agnostic branch.
    branches (str): "both"; or "aware" or "agnostic" alone, to measure what the other adds.
    dropout_in (float): Dropout before each BiLSTM.
    dropout_out (float): Dropout after each BiLSTM.
    max_batch_tokens (int): Most tokens of one padded batch.
    half_storage (bool): Save the weights in half the bytes, as float16.
    RETURNS (Model): Its output is a list of `SpanScores`, a padded batch of windows each.
    RAISES (ValueError): S402 for unknown branches.
    """
    if branches not in BRANCHES:
        raise ValueError(Errors.S402.format(branches=branches, known=", ".join(BRANCHES)))
    config = {"width": width, "rank": rank, "hidden": hidden, "branches": branches}
    return torch_model(
        None,
        name="ricon",
        forward=partial(forward, max_batch_tokens=max_batch_tokens),
        init=partial(_init, config=config),
        build=partial(_build_network, dropout_in=dropout_in, dropout_out=dropout_out),
        layers=[tok2vec],
        dims={"nO": None},
        refs={"tok2vec": tok2vec},
        attrs={"max_width": None},
        half_storage=half_storage,
    )


@dataclass
class SpanScores:
    """Scores of one padded batch of windows.

    windows (list[Window]): Which tokens of which documents the rows are.
    output (RiconOutput): The network's scores, or their gradients on the way back.
    """

    windows: list[Window]
    output: RiconOutput

    def decode(self, beta: float) -> tuple[np.ndarray, Candidates]:
        """Candidate spans of this batch.

        beta (float): Weight of the agnostic branch.
        RETURNS: documents (int64, [N]) and candidates (CANDIDATE_TYPE, [N]) in token offsets of the document.
        """
        size, max_width = self.output.bounds.shape[1:]
        mask = span_mask(self._lengths(), size, max_width) & self._owned().unsqueeze(-1)
        places, types, scores = (t.cpu().numpy() for t in candidate_spans(self.output, mask, beta))
        shift = np.array([w.start for w in self.windows], dtype=np.int64)[places[:, 0]]
        found = np.empty(len(places), dtype=CANDIDATE_TYPE)
        found["start"] = places[:, 1] + shift
        found["end"] = found["start"] + places[:, 2] + 1
        found["type"], found["score"] = types, scores
        documents = np.array([w.sequence for w in self.windows], dtype=np.int64)[places[:, 0]]
        return documents, found

    def loss(
        self,
        gold: list[list[tuple[int, int, int]] | None],
        weights: LossWeights,
        share: float = 1.0,
        negatives: float = 1.0,
    ) -> tuple[float, SpanScores]:
        """Loss against gold spans, and its gradients. Each span counts once, in the window that answers for it.

        gold: For each document, (start, end exclusive, class from 1, or `IGNORED` for tokens of which nothing is
            known) in token offsets; None when the whole document is unknown.
        weights (LossWeights): Weights of the objective's terms.
        share (float): What the loss is multiplied by: the share of this batch in an update.
        negatives (float): Share of the easy negatives that is learnt from, see `ricon_loss`.
        RETURNS (tuple[float, SpanScores]): The loss and the gradients of the scores.
        """
        size, max_width = self.output.bounds.shape[1:]
        spans = [
            [(i - w.start, j - w.start, label) for i, j, label in gold[w.sequence] or () if w.start <= i and j <= w.end]
            for w in self.windows
        ]
        grid = span_targets([len(w) for w in self.windows], spans, max_width, size)
        grid[[gold[w.sequence] is None for w in self.windows]] = IGNORED
        targets = torch.from_numpy(grid).to(self.output.bounds.device).masked_fill_(~self._owned()[..., None], IGNORED)
        loss, gradients = loss_and_gradients(self.output, targets, self._lengths(), weights, negatives, share)
        return loss, SpanScores(self.windows, gradients)

    def _lengths(self) -> Tensor:
        """Tokens of each window: [B]."""
        return torch.tensor([len(w) for w in self.windows], device=self.output.bounds.device)

    def _owned(self) -> Tensor:
        """Tokens that each window owns: [B, L]."""
        bounds = self.output.bounds
        starts = torch.arange(bounds.shape[1], device=bounds.device)
        own = torch.tensor([(w.own_start - w.start, w.own_end - w.start) for w in self.windows], device=bounds.device)
        return (starts >= own[:, :1]) & (starts < own[:, 1:])


def forward(
    model: Model, docs: list[Doc], is_train: bool, *, max_batch_tokens: int
) -> tuple[list[SpanScores], Callable[[list[SpanScores]], list[Doc]]]:
    """Score the spans of documents, window by window."""
    shim, tok2vec = model.shims[0], model.get_ref("tok2vec")
    vectors, backprop_tok2vec = tok2vec(docs, is_train)
    arrays = [model.ops.to_numpy(vector) for vector in vectors]
    context = max(CONTEXT, model.attrs["max_width"])
    windows = cut_windows([len(doc) for doc in docs], OWNED + 2 * context, context)
    network: Ricon = shim.module
    network.train(is_train)
    device = shim.device

    def score(batch: list[Window]) -> tuple[Tensor, SpanScores]:
        padded = pad_windows(arrays, batch, padded_count(len(batch)), padded_length(len(batch[0])))
        x = torch.from_numpy(padded).to(device).requires_grad_(is_train)
        lengths = torch.tensor([len(w) for w in batch] + [0] * (len(x) - len(batch)), device=device)
        return x, SpanScores(batch, network(x, lengths).first(len(batch)))

    batches = batch_windows(windows, max_batch_tokens, training=is_train)
    passes = map_batches(score, batches, device, training=is_train)
    results = [scores for _, scores in passes]

    def backprop(grads: list[SpanScores]) -> list[Doc]:
        d_vectors = [np.zeros_like(array) for array in arrays]
        for (x, scores), grad in zip(passes, grads):
            pairs = [
                (y, dy) for y, dy in zip(vars(scores.output).values(), vars(grad.output).values()) if y.requires_grad
            ]
            torch.autograd.backward([y for y, _ in pairs], [dy for _, dy in pairs])
            add_windows(x.grad.cpu().numpy(), scores.windows, d_vectors)
        return backprop_tok2vec([model.ops.asarray2f(d) for d in d_vectors])

    return results, backprop


def _build_network(config: dict[str, Any], dropout_in: float, dropout_out: float) -> Ricon:
    return Ricon(dropout_in=dropout_in, dropout_out=dropout_out, **config)


def _init(model: Model, X: Any = None, Y: Any = None, *, config: dict[str, Any]) -> None:
    tok2vec = model.get_ref("tok2vec")
    tok2vec.initialize(X)
    torch.manual_seed(int(np.random.randint(2**31)))
    model.shims[0].build(
        {
            **config,
            "nI": tok2vec.get_dim("nO"),
            "n_types": model.get_dim("nO"),
            "max_width": model.attrs["max_width"],
        }
    )
