"""`samarkand.TokenPooling.v1`: vectors of documents and spans from those of their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from spacy import registry
from spacy.attrs import IS_SPACE, NORM
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..errors import Errors
from .first_layer import ask_first_layer, first_layer_of
from .sentence_units import UnitEncoder, Units
from .shared_encoder import listeners, shared_encoders

FIRST_LAST = "first-last"
POOLINGS = ("mean", "max", "cls", "weighted", FIRST_LAST)
# Weights of smooth inverse frequency (Arora et al. 2017): a / (a + p), with the constant of the paper.
SMOOTHING = 1e-3


@registry.architectures("samarkand.TokenPooling.v1")
def build_token_pooling(tok2vec: Model[list[Doc], list[Floats2d]], pooling: str = "mean") -> UnitEncoder:
    """Pool the token vectors of an encoder. White space has no part in it.

    tok2vec (Model[list[Doc], list[Floats2d]]): The encoder, or a listener to a shared one.
    pooling (str): "mean"; "max"; "cls", the vector of the first token, since encoders give none of a piece that is no
        token; "weighted", a mean in which a word counts less the more frequent it is in the documents that the
        pipeline is initialized with (smooth inverse frequency, Arora et al. 2017); or "first-last", the mean over the
        tokens' vectors and the output of the first layer, not of the embeddings (Su et al. 2021,
        https://arxiv.org/abs/2103.15316). It is for prediction alone; `ask_shared` asks a shared encoder for the layer.
    RETURNS (Model): From units to an array of shape (units, width).
    RAISES (ValueError): S801 for an unknown pooling, S818 when the encoder hands out no first layer.
    """
    if pooling not in POOLINGS:
        raise ValueError(Errors.S801.format(pooling=pooling, known=", ".join(POOLINGS)))
    if pooling == FIRST_LAST and not listeners(tok2vec):
        ask_first_layer(tok2vec)
    return Model(
        "token_pooling",
        _forward,
        init=_init,
        layers=[tok2vec],
        refs={"tok2vec": tok2vec},
        attrs={"pooling": pooling, "words": None, "weights": None},
    )


def count_words(model: UnitEncoder, docs: Iterable[Doc]) -> None:
    """Learn how frequent words are, for "weighted".

    model (Model): The model.
    docs (Iterable[Doc]): Text of the kind that it is for.
    """
    counts: Counter[int] = Counter()
    for doc in docs:
        counts.update(doc.to_array(NORM).tolist())
    total = counts.total()
    words = sorted(counts)
    weights = [SMOOTHING / (SMOOTHING + counts[word] / total) for word in words]
    model.attrs["words"] = np.array(words, dtype=np.uint64)
    model.attrs["weights"] = np.array(weights, dtype=np.float32)


def ask_shared(model: UnitEncoder, pipes: Iterable[tuple[str, Any]]) -> None:
    """Ask the encoders that a pooling listens to for what it needs of them beside their vectors.

    model (Model): The model.
    pipes (Iterable[tuple[str, Any]]): Names and pipes of its pipeline, as `nlp.components` has them.
    RAISES (ValueError): S818 when an encoder hands out no first layer.
    """
    if model.attrs.get("pooling") == FIRST_LAST:
        for encoder in shared_encoders(model, pipes):
            ask_first_layer(encoder)


def _init(model: UnitEncoder, X: list[Doc] | None = None, Y: Floats2d | None = None) -> None:
    model.get_ref("tok2vec").initialize(X=X)


def _forward(model: UnitEncoder, units: Units, is_train: bool) -> tuple[Floats2d, Callable]:
    docs, spans = units
    vectors, backprop_tokens = model.get_ref("tok2vec")(list(docs), is_train)
    if model.attrs["pooling"] == FIRST_LAST:
        vectors = [_with_first(doc, X) for doc, X in zip(docs, vectors)]
    xp = model.ops.xp
    rows, backs = [], []
    for doc, X, places in zip(docs, vectors, spans):
        weights = _token_weights(model, doc)
        pooled = [_pool(xp, X[a:b], weights[a:b], model.attrs["pooling"]) for a, b in places.tolist()]
        rows += [row for row, _ in pooled]
        backs.append((X.shape, places, [back for _, back in pooled]))
    width = vectors[0].shape[1] if len(vectors) else 0
    pooled_rows = xp.vstack(rows) if rows else xp.zeros((0, width), dtype="f")

    def backprop(d_rows: Floats2d) -> Units:
        d_vectors, row = [], 0
        for shape, places, pullbacks in backs:
            dX = xp.zeros(shape, dtype="f")
            for (a, b), pull in zip(places.tolist(), pullbacks):
                dX[a:b] += pull(d_rows[row])
                row += 1
            d_vectors.append(dX)
        return backprop_tokens(d_vectors)

    return pooled_rows, backprop


def _with_first(doc: Doc, X: Floats2d) -> Floats2d:
    """Mean of the vectors of tokens and their first layer, shape (tokens, width)."""
    if not len(doc):
        return X
    first = first_layer_of(X)
    if first is None:
        raise ValueError(Errors.S819.format(text=doc.text[:40]))
    return (X + first) / 2


def _token_weights(model: UnitEncoder, doc: Doc) -> np.ndarray:
    """Weight of each token, shape (tokens,): zero for white space."""
    weights = (doc.to_array(IS_SPACE) == 0).astype(np.float32)
    if model.attrs["pooling"] != "weighted":
        return weights
    words, known = model.attrs["words"], model.attrs["weights"]
    if words is None or not len(words):
        raise ValueError(Errors.S805)
    norms = doc.to_array(NORM)
    places = np.minimum(np.searchsorted(words, norms), len(words) - 1)
    # A word never seen is as rare as can be.
    return weights * np.where(words[places] == norms, known[places], np.float32(1))


def _pool(xp: Any, X: Floats2d, weights: np.ndarray, pooling: str) -> tuple[Floats2d, Callable]:
    """One vector of shape (1, width) for tokens of shape (tokens, width), and the way back."""
    total = float(weights.sum())
    if not total:
        return xp.zeros((1, X.shape[1]), dtype="f"), lambda dY: xp.zeros(X.shape, dtype="f")
    if pooling == "cls":
        first = int(np.flatnonzero(weights)[0])
        return X[first : first + 1], lambda dY: dY * (xp.arange(len(X))[:, None] == first)
    if pooling == "max":
        shown = xp.where(xp.asarray(weights)[:, None] > 0, X, -xp.inf)
        which = shown.argmax(axis=0)
        return shown.max(axis=0, keepdims=True), lambda dY: dY * (xp.arange(len(X))[:, None] == which)
    shares = xp.asarray(weights / total)[:, None]
    return (X * shares).sum(axis=0, keepdims=True), lambda dY: dY * shares
