"""`samarkand.TransferTextcat.v1`: a classifier of texts or pairs over any Tok2Vec encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from spacy import registry
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..errors import Errors
from .text_pairs import pair_places, whole_place
from .textcat_head import TextcatHead
from .token_pooling import build_token_pooling
from .torch_shim import run_torch, torch_model

POOLINGS = ("mean", "max")


@registry.architectures("samarkand.TransferTextcat.v1")
def build_transfer_textcat(
    tok2vec: Model[list[Doc], list[Floats2d]],
    pair: bool = False,
    pooling: str = "mean",
    hidden: int = 0,
    dropout: float = 0.1,
    half_storage: bool = False,
) -> Model[list[Doc], Floats2d]:
    """Classify documents by the pooled vectors of their tokens. Its output is logits.

    tok2vec (Model[list[Doc], list[Floats2d]]): The encoder, or a listener to a shared one.
    pair (bool): Compare the text before the first tab of a document with the one after it.
    pooling (str): "mean" or "max" of the tokens; white space has no part in it.
    hidden (int): Width of a hidden layer; 0 for none.
    dropout (float): Dropout of the head.
    half_storage (bool): Save the weights in half the bytes, as float16.
    RETURNS (Model): From documents to logits of shape (documents, classes).
    RAISES (ValueError): S801 for an unknown pooling.
    """
    if pooling not in POOLINGS:
        raise ValueError(Errors.S801.format(pooling=pooling, known=", ".join(POOLINGS)))
    units = build_token_pooling(tok2vec, pooling)
    config = {"is_pair": pair, "hidden": hidden}
    return torch_model(
        None,
        name="transfer_textcat",
        forward=partial(forward, is_pair=pair),
        init=partial(_init, config=config),
        build=partial(_build_head, dropout=dropout),
        layers=[units],
        dims={"nO": None},
        refs={"tok2vec": tok2vec, "units": units},
        half_storage=half_storage,
    )


def forward(model: Model, docs: list[Doc], is_train: bool, *, is_pair: bool) -> tuple[Floats2d, Callable]:
    """Score documents."""
    places = [pair_places(doc) if is_pair else whole_place(doc) for doc in docs]
    vectors, backprop_units = model.get_ref("units")((docs, places), is_train)
    (logits,), backprop_head = run_torch(model.shims[0], [vectors], {}, is_train)

    def backprop(d_logits: Floats2d) -> list[Doc]:
        (d_vectors,) = backprop_head([d_logits])
        backprop_units(d_vectors)
        return docs

    return logits, backprop


def _build_head(config: dict[str, Any], dropout: float) -> TextcatHead:
    return TextcatHead(dropout=dropout, **config)


def _init(model: Model, X: Any = None, Y: Any = None, *, config: dict[str, Any]) -> None:
    tok2vec = model.get_ref("tok2vec")
    tok2vec.initialize(X)
    # The seed of the config reaches this network through numpy, as it does thinc's own layers.
    torch.manual_seed(int(np.random.randint(2**31)))
    model.shims[0].build({**config, "nI": tok2vec.get_dim("nO"), "nO": model.get_dim("nO")})
