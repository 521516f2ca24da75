"""`samarkand.TransformerEncoder.v1`: any transformers encoder as a spaCy tok2vec."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from spacy import registry
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from thinc.api import Model, deserialize_attr, serialize_attr, torch2xp
from thinc.types import Floats2d

from ..errors import Errors, SamarkandWarning, Warnings
from .first_layer import FirstLayer, check_depth, keep_first_layer
from .inner_states import inner_states
from .piece_windows import plan_windows
from .recompute_updates import RecomputeSettings
from .torch_shim import run_torch, torch_model
from .transformer import TransformerNetwork, encoder_config, load_encoder, make_encoder, pool_pieces, register_encoders
from .transformer_watch import EMBEDDINGS, FIRST, TransformerWatch, fill_states
from .word_pieces import IntArray, WordPieces

Encoder = Model[list[Doc], list[Floats2d]]


@dataclass(frozen=True)
class Source:
    """Where an encoder comes from before training; read at `initialize`, never when a pipeline is loaded.

    name (Optional[str]): Hub name or folder of a checkpoint; None for random weights.
    revision (Optional[str]): Branch, tag or commit on the hub.
    transformer_config (Dict[str, Any]): Settings that replace the checkpoint's, or all of them without one.
    tokenizer_path (Optional[str]): Hub name or folder of another tokenizer than the checkpoint's.
    """

    name: str | None
    revision: str | None
    transformer_config: dict[str, Any]
    tokenizer_path: str | None

    def load(self) -> tuple[WordPieces, Any]:
        """Load tokenizer and encoder.

        RETURNS (Tuple[WordPieces, PreTrainedModel]): Both.
        RAISES (OSError): S320 when a part cannot be loaded.
        RAISES (ValueError): S330 when the tokenizer has more pieces than the encoder has vectors.
        """
        register_encoders()
        # A revision names a state of the checkpoint's repository, not of another one's tokenizer.
        revision = None if self.tokenizer_path else self.revision
        pieces = WordPieces.from_pretrained(self.tokenizer_path or self.name, revision=revision)
        if self.name is not None:
            encoder = load_encoder(self.name, revision=self.revision, overrides=self.transformer_config)
        else:
            sizes = {"vocab_size": pieces.vocab_size, "pad_token_id": pieces.pad}
            encoder = make_encoder({**sizes, **self.transformer_config})
        rows = encoder.get_input_embeddings().num_embeddings
        if pieces.vocab_size > rows:
            raise ValueError(Errors.S330.format(pieces=pieces.vocab_size, rows=rows))
        return pieces, encoder


@dataclass(frozen=True)
class Windowing:
    """How documents are cut; from the config, so that it can be changed for a trained pipeline.

    window (int): Most pieces in a window, special pieces not counted.
    stride (int): Most pieces from the start of a window to the start of the next.
    pooling (str): "mean" of a token's pieces, or its "first" piece.
    """

    window: int
    stride: int
    pooling: Literal["mean", "first"]


@registry.architectures("samarkand.TransformerEncoder.v1")
def build_transformer_encoder(
    name: str | None = None,
    *,
    revision: str | None = None,
    transformer_config: dict[str, Any] | None = None,
    tokenizer_path: str | None = None,
    width: int | None = None,
    window: int = 256,
    stride: int = 192,
    layers: Literal["last", "mix"] = "last",
    pooling: Literal["mean", "first"] = "mean",
    freeze: bool = False,
    precision: Literal["fp32", "bf16"] = "fp32",
    max_batch_pieces: int = 4096,
    recompute: dict[str, Any] | None = None,
) -> Encoder:
    """Encode documents of any length with a transformer, one vector a token.

    The checkpoint is read when the model is initialised. A saved pipeline holds weights, config and
    tokenizer, and loads without the hub or the folder. Code from a checkpoint is never run.

    name (Optional[str]): Hub name or folder of an encoder with safetensors weights and a fast tokenizer; None
        for random weights, made from `transformer_config` and `tokenizer_path`.
    revision (Optional[str]): Branch, tag or commit on the hub.
    transformer_config (Optional[Dict[str, Any]]): Settings of the transformers config: those that replace the
        checkpoint's, or without a name all of them, with `model_type`. Vocabulary size and padding default to
        the tokenizer's.
    tokenizer_path (Optional[str]): Hub name or folder of a tokenizer; by default that of `name`.
    width (Optional[int]): Size of the vectors, for listeners to refer to; checked, not set. None to take what
        the encoder has.
    window (int): Most pieces that the encoder reads at once, special pieces not counted. Shortened, with a
        warning (SW320), to what its positions allow.
    stride (int): Most pieces from the start of a window to the start of the next; the rest is overlap.
    layers (str): "last" for the last layer, "mix" for a learned mixture of all.
    pooling (str): "mean" of a token's pieces, or its "first" piece.
    freeze (bool): Train nothing of the encoder and skip its backward pass.
    precision (str): "fp32", or "bf16" to compute in bfloat16; vectors are float32 in either case.
    max_batch_pieces (int): Most pieces in a batch of windows, special pieces and padding included.
    recompute (Optional[Dict[str, Any]]): Recompute activations so that an update stays within "budget", bytes or
        such as "2GiB", as "planner" decides, "mix" by default. The budget holds the encoder's weights, gradients and
        activations, not the state of the optimizer or the heads. None to keep all activations.
    RETURNS (Model[List[Doc], List[Floats2d]]): The encoder, `len(doc)` rows for every document.
    RAISES (ValueError): S328 for a number out of range, S329 when it is not said what to load, S333, S751 or S752
        for settings of recomputation that cannot be used.
    """
    if name is None and not (transformer_config and tokenizer_path):
        given = {"transformer_config": transformer_config, "tokenizer_path": tokenizer_path}
        missing = ", ".join(key for key, value in given.items() if not value)
        raise ValueError(Errors.S329.format(missing=missing))
    _check_range("window", window, window >= 1, "at least 1 is needed")
    _check_range("stride", stride, 1 <= stride <= window, f"it must lie between 1 and window = {window}")
    _check_range("max_batch_pieces", max_batch_pieces, max_batch_pieces >= 1, "at least 1 is needed")
    wrap = partial(
        TransformerNetwork,
        layers=layers,
        freeze=freeze,
        precision=precision,
        max_batch_pieces=max_batch_pieces,
        pretrained=name is not None,
        recompute=None if recompute is None else RecomputeSettings.from_config(recompute),
    )
    return torch_model(
        None,
        name="transformer_encoder",
        forward=forward,
        init=init,
        build=partial(build_network, wrap),
        attrs={
            "pieces": WordPieces(),
            "source": Source(name, revision, dict(transformer_config or {}), tokenizer_path),
            "windowing": Windowing(window, stride, pooling),
            "wrap": wrap,
            "first_layer": FirstLayer(),
        },
        dims={"nO": width},
    )


def build_network(wrap: Callable[[Any], TransformerNetwork], config: dict[str, Any]) -> TransformerNetwork:
    """Make a network of a saved shape, with random weights.

    wrap (Callable): Makes a network around an encoder.
    config (Dict[str, Any]): Config of the encoder.
    RETURNS (TransformerNetwork): The network.
    """
    return wrap(make_encoder(config))


def init(model: Encoder, X: Any = None, Y: Any = None) -> None:
    """Read the checkpoint and make the network.

    model (Model): The encoder.
    RAISES (ValueError): S331 when the vectors are not of the width that was announced.
    """
    pieces, encoder = model.attrs["source"].load()
    network = model.attrs["wrap"](encoder)
    width = model.maybe_get_dim("nO")
    if width not in (None, network.width):
        raise ValueError(Errors.S331.format(found=network.width, width=width))
    model.attrs["pieces"] = pieces
    model.shims[0].set_module(network, encoder_config(encoder))
    model.set_dim("nO", network.width)


def forward(model: Encoder, docs: list[Doc], is_train: bool) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list]]:
    """Encode documents.

    model (Model): The encoder.
    docs (List[Doc]): The documents.
    is_train (bool): Whether to keep the graph for a backward pass.
    RETURNS (Tuple): The vectors of each document, (n_tokens, nO) each, and a callback for their gradients.
    RAISES (ValueError): S604 when a training step looks into an encoder that recomputes, S818 when an encoder without
        layers is asked for its first.
    """
    shim, pieces, windowing = model.shims[0], model.attrs["pieces"], model.attrs["windowing"]
    network: TransformerNetwork = shim.module
    watch = _make_watch(model, network, is_train)
    aligned = pieces.align([doc.text for doc in docs], [token_spans(doc) for doc in docs])
    if windowing.pooling == "first":
        aligned = [doc.first_pieces() for doc in aligned]
    window, stride = fit_window(windowing, network.max_positions, pieces.n_special)
    plan = plan_windows(aligned, pieces, window, stride)
    states, lengths = inner_states(), [len(doc) for doc in docs]
    (flat,), backprop_flat = run_torch(shim, [], {"plan": plan, "watch": watch}, is_train)
    vectors = _by_document(flat, lengths)
    if states is not None:
        states.is_filled = True
        if watch.layers[EMBEDDINGS]:
            embedded = pool_pieces(torch.cat(watch.layers[EMBEDDINGS]), plan.rows, plan.starts)
            fill_states(states, watch, plan, lengths, embedded)
    if watch is not None and FIRST in watch.layers:
        batches = watch.layers[FIRST]  # none when no token has a piece: all vectors are zeros
        first = torch2xp(pool_pieces(torch.cat(batches), plan.rows, plan.starts)) if batches else flat
        keep_first_layer(vectors, _by_document(first, lengths))

    def backprop(grads: list[Floats2d]) -> list:
        if len(flat):
            backprop_flat([model.ops.xp.concatenate(grads)])
        return []

    return vectors, backprop


def _make_watch(model: Encoder, network: TransformerNetwork, is_train: bool) -> TransformerWatch | None:
    """What is to be left behind: embeddings for a training step that looks on, the first layer for a pooling."""
    states, is_asked = inner_states(), model.attrs["first_layer"].is_asked and not is_train
    if states is None and not is_asked:
        return None
    depth = network.encoder.config.num_hidden_layers
    watch = TransformerWatch({})
    if is_asked:
        check_depth(model, depth)
        watch.layers[FIRST] = []
    if states is not None:
        if network.update_plans is not None:
            raise ValueError(Errors.S604)
        watch.layers[EMBEDDINGS], watch.block = [], states.block_of(depth)
    return watch


def _by_document(flat: Floats2d, lengths: Sequence[int]) -> list[Floats2d]:
    """Rows of all tokens (n_tokens, width) by document."""
    return [flat[end - length : end] for length, end in zip(lengths, np.cumsum(lengths).tolist())]


def token_spans(doc: Doc) -> IntArray:
    """RETURNS (IntArray): Start and end of each token in the text, in characters. (n_tokens, 2)"""
    spans = doc.to_array([IDX, LENGTH]).astype(np.int64).reshape(-1, 2)
    spans[:, 1] += spans[:, 0]
    return spans


# Cached so that the warning is given once for the same setting and encoder, not once a batch.
@cache
def fit_window(windowing: Windowing, max_positions: int | None, n_special: int) -> tuple[int, int]:
    """Shorten windows to what an encoder can read.

    windowing (Windowing): What was asked for.
    max_positions (Optional[int]): Most pieces that the encoder takes, special pieces included; None for any.
    n_special (int): Special pieces around a window.
    RETURNS (Tuple[int, int]): Window and stride, in pieces; the share of the overlap is kept.
    """
    window, stride = windowing.window, windowing.stride
    limit = window if max_positions is None else max_positions - n_special
    if window <= limit:
        return window, stride
    stride = max(1, stride * limit // window)
    message = Warnings.SW320.format(window=window, limit=limit, special=n_special, stride=stride)
    warnings.warn(message, SamarkandWarning, stacklevel=2)
    return limit, stride


def _check_range(setting: str, value: int, in_range: bool, rule: str) -> None:
    if not in_range:
        raise ValueError(Errors.S328.format(setting=setting, value=value, rule=rule))


@serialize_attr.register(WordPieces)
def serialize_word_pieces(_: Any, value: WordPieces, name: str, model: Model) -> bytes:
    """RETURNS (bytes): The tokenizer as JSON, for thinc to save with the model."""
    return value.to_json().encode("utf8")


@deserialize_attr.register(WordPieces)
def deserialize_word_pieces(_: Any, value: bytes, name: str, model: Model) -> WordPieces:
    """RETURNS (WordPieces): The tokenizer that thinc saved with the model."""
    return WordPieces.from_json(value.decode("utf8"))
