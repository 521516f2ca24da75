"""`samarkand.SubwordEncoder.v1`: the small encoder as a spaCy Tok2Vec architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from spacy import registry
from spacy.attrs import NORM, ORTH
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..errors import Errors
from .first_layer import FirstLayer, check_depth, keep_first_layer
from .inner_states import InnerStates, inner_states
from .pretrained import EncoderSizes, load_encoder, load_sizes
from .subword_encoder import CONTEXTS, SubwordEncoder, TokenBatch, Watch, check_width
from .subword_features import FeatureTable
from .threads import map_batches
from .torch_shim import torch_model
from .windows import Window, add_windows, batch_windows, cut_windows, pad_windows, padded_count, padded_length

# Tokens a document may have before it is read in windows, and the context on each side of a window.
WINDOW, OVERLAP = 512, 64


@registry.architectures("samarkand.SubwordEncoder.v1")
def build_subword_encoder(
    width: int = 192,
    embed_width: int = 128,
    word_rows: int = 24000,
    piece_rows: int = 24000,
    bigram_rows: int = 24000,
    bigram_width: int = 64,
    context: str = "lstm",
    depth: int = 1,
    dropout: float = 0.2,
    token_dropout: float = 0.1,
    word_dropout: float = 0.0,
    max_batch_tokens: int = 8192,
    pretrained: str | None = None,
    half_storage: bool = False,
) -> Model[list[Doc], list[Floats2d]]:
    """A small encoder for CPUs that reads hashed words, character pieces, radicals, shapes and bigrams.

    width (int): Width of the token vectors. A multiple of 64 suits every context; see `check_width` for others.
    embed_width (int): Width of the word and piece tables.
    word_rows (int): Rows of the word table.
    piece_rows (int): Rows of the piece table.
    bigram_rows (int): Rows of the bigram table; 0 for no bigrams.
    bigram_width (int): Width of the bigram table.
    context (str): "cnn", "lstm" or "attention".
    depth (int): Context layers; 0 for none.
    dropout (float): Dropout while training.
    token_dropout (float): Share of tokens that are read as masked while training.
    word_dropout (float): Share of distinct tokens that are read without their word vector while training, by pieces
        and shape alone; it helps where most names of a new text were never seen.
    max_batch_tokens (int): Most tokens of one padded batch.
    pretrained (Optional[str]): Weights to start from: a folder that pretraining wrote, or the name of a bundled
        encoder ("subword_base"). It brings its own sizes; only its width has to be the one above.
    half_storage (bool): Save the weights in half the bytes, as float16.
    RETURNS (Model[list[Doc], list[Floats2d]]): The encoder; every document gets one row a token.
    RAISES (ValueError): S301 for an unknown context, S304 for a width that it cannot have.
    """
    if context not in CONTEXTS:
        raise ValueError(Errors.S301.format(context=context, known=", ".join(CONTEXTS)))
    if pretrained is None:
        check_width(width, context, depth)
    config = {
        "width": width,
        "embed_width": embed_width,
        "word_rows": word_rows,
        "piece_rows": piece_rows,
        "bigram_rows": bigram_rows,
        "bigram_width": bigram_width,
        "context": context,
        "depth": depth,
    }
    dropouts = {"dropout": dropout, "token_dropout": token_dropout, "word_dropout": word_dropout}
    return torch_model(
        None,
        name="subword_encoder",
        forward=partial(forward, max_batch_tokens=max_batch_tokens),
        init=partial(_init, config=config, pretrained=pretrained),
        build=partial(build_network, pretrained=pretrained is not None, **dropouts),
        dims={"nO": width},
        half_storage=half_storage,
        attrs={"lexicon": Lexicon(), "first_layer": FirstLayer()},
    )


def build_network(config: dict[str, Any], *, pretrained: bool = False, **dropouts: float) -> SubwordEncoder:
    """The torch network for a config of sizes; optimizers have a learning rate for pretrained ones."""
    network = EncoderSizes(**config).build(**dropouts)
    network.pretrained = pretrained
    return network


class Lexicon:
    """Features of the tokens of documents, kept from one batch to the next. Pickles empty."""

    def __init__(self) -> None:
        self.table = FeatureTable()
        self._places: dict[tuple[int, int], int] = {}

    def __reduce__(self) -> tuple[type[Lexicon], tuple[()]]:
        return Lexicon, ()

    def places(self, docs: list[Doc]) -> list[np.ndarray]:
        """Places of each document's tokens in `table`, which hold until the next call."""
        if len(self.table) > self.table.capacity:
            self.table.clear()
            self._places.clear()
        return [self._doc_places(doc) for doc in docs]

    def _doc_places(self, doc: Doc) -> np.ndarray:
        known = self._places
        places = np.empty(len(doc), dtype=np.int64)
        for i, key in enumerate(map(tuple, doc.to_array([ORTH, NORM]).tolist())):
            place = known.get(key)
            if place is None:
                place = known[key] = self.table.add(doc[i].text, doc[i].norm_)
            places[i] = place
        return places


def forward(
    model: Model, docs: list[Doc], is_train: bool, *, max_batch_tokens: int
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    """Encode documents in padded batches of windows of like length.

    RAISES (ValueError): S603 for a block that it does not have, S818 when an encoder without layers is asked for its
        first.
    """
    shim, lexicon = model.shims[0], model.attrs["lexicon"]
    places = lexicon.places(docs)
    windows = cut_windows([len(doc) for doc in docs], WINDOW, OVERLAP)
    network: SubwordEncoder = shim.module
    network.train(is_train)
    device = shim.device

    states = inner_states()
    block = None if states is None else states.block_of(len(network.layers))
    needs_first = model.attrs["first_layer"].is_asked and not is_train
    if needs_first:
        check_depth(model, len(network.layers))

    def encode(batch: list[Window]) -> tuple[torch.Tensor, Watch | None]:
        tokens = _token_batch(lexicon, [places[w.sequence][w.start : w.end] for w in batch], device)
        watch = None if states is None and not needs_first else Watch(block, needs_first)
        return network(tokens, watch)[: len(batch)], watch

    batches = batch_windows(windows, max_batch_tokens, training=is_train)
    passes = map_batches(encode, batches, device, training=is_train)
    encoded = [rows for rows, _ in passes]
    if states is not None:
        _fill(states, batches, [watch for _, watch in passes])
    vectors = _by_document(model, docs, batches, encoded)
    if needs_first:
        keep_first_layer(vectors, _by_document(model, docs, batches, [watch.first for _, watch in passes]))

    def backprop(grads: list[Floats2d]) -> list[Doc]:
        arrays = [model.ops.to_numpy(grad) for grad in grads]
        for batch, rows in zip(batches, encoded):
            padded = pad_windows(arrays, batch, *rows.shape[:2], owned=True)
            rows.backward(torch.from_numpy(padded).to(device))
        return docs

    return vectors, backprop


def _by_document(
    model: Model, docs: list[Doc], batches: list[list[Window]], padded: list[torch.Tensor]
) -> list[Floats2d]:
    """Rows of padded batches of windows -> one row a token for each document."""
    outputs = [np.zeros((len(doc), model.get_dim("nO")), dtype="f") for doc in docs]
    for batch, rows in zip(batches, padded):
        add_windows(rows.detach().cpu().numpy(), batch, outputs, owned=True)
    return [model.ops.asarray2f(output) for output in outputs]


def _fill(states: InnerStates, batches: list[list[Window]], watches: list[Watch]) -> None:
    """Put what batches left behind in order of documents. A document's attention is that of its first window."""
    owned: dict[int, list[torch.Tensor]] = {}
    for batch, watch in zip(batches, watches):
        for row, window in enumerate(batch):
            own, _ = window.places(owned=True)
            owned.setdefault(window.sequence, []).append(watch.embedded[row, own])
            if watch.attention is not None and window.start == 0:
                states.attention[window.sequence] = watch.attention[row, :, : len(window), : len(window)]
    states.embeddings = {document: torch.cat(parts).mean(dim=0) for document, parts in sorted(owned.items())}
    states.is_filled = True


def _token_batch(lexicon: Lexicon, sequences: list[np.ndarray], device: torch.device) -> TokenBatch:
    """Token places of each window -> one padded batch over their distinct tokens."""
    # Sequences that only fill the batch up hold one masked token: attention needs something to look at.
    lengths = np.ones(padded_count(len(sequences)), dtype=np.int64)
    lengths[: len(sequences)] = [len(sequence) for sequence in sequences]
    distinct, inverse = np.unique(np.concatenate(sequences), return_inverse=True)
    real = np.arange(padded_length(lengths.max())) < lengths[:, None]
    real[len(sequences) :] = False
    index = np.full(real.shape, -1, dtype=np.int64)
    index[real] = inverse
    features = lexicon.table.take(distinct)
    return TokenBatch.build(features, torch.from_numpy(index), torch.from_numpy(lengths), device)


def _init(model: Model, X: Any = None, Y: Any = None, *, config: dict[str, Any], pretrained: str | None) -> None:
    # The seed of the config reaches this network through numpy, as it does thinc's own layers.
    torch.manual_seed(int(np.random.randint(2**31)))
    sizes = EncoderSizes(**config) if pretrained is None else load_sizes(pretrained, width=config["width"])
    network = model.shims[0].build(asdict(sizes))
    if pretrained is not None:
        load_encoder(network, pretrained)
