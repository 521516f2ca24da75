"""`samarkand.M3Linker.v1`: M3 over joint readings of mentions and options, as a spaCy architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from spacy import registry
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import Errors
from .joint_reader import JointReader
from .link_questions import (
    LinkQuestions,
    OptionCache,
    OptionTokens,
    TokenEncoder,
    check_own_encoder,
    cut_options,
    encode_options,
    lay_out,
    option_groups,
)
from .m3 import FEATURES, M3, M3Batch
from .m3_loss import M3Loss, m3_loss
from .m3_turns import M3Answers, answer
from .pair_chunks import Chunk, cut_chunks
from .threads import map_batches
from .torch_shim import torch_model


@registry.architectures("samarkand.M3Linker.v1")
def build_m3_linker(
    tok2vec: TokenEncoder,
    option_encoder: TokenEncoder,
    width: int = 128,
    depth: int = 1,
    heads: int = 4,
    hidden: int = 128,
    history: str = "vector",
    verifier: str = "both",
    attention: bool = True,
    prior: bool = True,
    dropout: float = 0.1,
    window: int = 24,
    mention_tokens: int = 16,
    option_tokens: int = 40,
    freeze_options: bool = True,
    cached_options: int = 8192,
    max_batch_tokens: int = 16384,
) -> Model[LinkQuestions, M3Answers]:
    """The M3 network and what reads for it.

    tok2vec (Model[list[Doc], list[Floats2d]]): The encoder of texts, or a listener to a shared one.
    option_encoder (Model[list[Doc], list[Floats2d]]): The encoder of options, one of its own.
    width (int): Width of the readings.
    depth (int): Layers in which mention and option read one another.
    heads (int): Heads of all attention.
    hidden (int): Width of the hidden layers of selection and history.
    history (str): "vector", or "none" to answer each mention by itself.
    verifier (str): "both", "first", "second"; or "none" to hold the probability of the best option against theta.
    attention (bool): Whether options see one another.
    prior (bool): Whether the prior counts.
    dropout (float): Dropout.
    window (int): Tokens that are read on each side of a mention.
    mention_tokens (int): Tokens of a mention that are read; of a longer one both ends.
    option_tokens (int): Tokens of an option that are read.
    freeze_options (bool): Leave the encoder of options as it is: training is cheaper, and keeps its options too.
    cached_options (int): Options whose vectors are kept.
    max_batch_tokens (int): Most tokens of the pairs that are read at once; it bounds the memory.
    RETURNS (Model): From questions to answers; while training, to an `M3Batch`, with a callback that takes the loss.
    RAISES (ValueError): S930, S931 and S935 for settings that do not fit.
    """
    check_own_encoder(option_encoder)
    heads_config = {"history": history, "verifier": verifier, "attention": attention, "prior": prior}
    config = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, **heads_config}
    M3(width=width, hidden=hidden, heads=heads, **heads_config)
    limits = {"window": window, "mention_tokens": mention_tokens, "option_tokens": option_tokens}
    return torch_model(
        None,
        name="m3_linker",
        forward=partial(forward, max_batch_tokens=max_batch_tokens, freeze_options=freeze_options, **limits),
        init=partial(_init, config=config),
        build=partial(build_network, dropout=dropout),
        layers=[tok2vec, option_encoder],
        refs={"tok2vec": tok2vec, "option_encoder": option_encoder},
        attrs={
            "options": OptionCache(cached_options),
            "freeze_options": freeze_options,
            "learns": True,
            "beta": 0.5,
            "theta": 0.5,
        },
    )


class M3LinkerNetwork(nn.Module):
    """The reader of pairs and the network that answers.

    query_width, option_width, width, depth, heads, dropout: As in `JointReader`.
    answering: Settings of `M3`.
    """

    def __init__(
        self,
        *,
        query_width: int,
        option_width: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
        **answering: Any,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "heads": heads, "dropout": dropout}
        widths = {"query_width": query_width, "option_width": option_width, "features": len(FEATURES) - 1}
        self.reader = JointReader(**widths, depth=depth, **sizes)
        self.m3 = M3(**sizes, **answering)


def build_network(config: dict[str, Any], *, dropout: float) -> M3LinkerNetwork:
    """The torch network for a config of sizes."""
    return M3LinkerNetwork(**config, dropout=dropout)


def linker_loss(model: Model, batch: M3Batch, gold: np.ndarray, *, epsilon: float, seed: int) -> M3Loss:
    """The objective of mentions that were read while training.

    model (Model): The model.
    batch (M3Batch): What it gave.
    gold (int64, [N]): The gold option; -1 when it is not among them, or there is none.
    epsilon (float): Chance of a mention that the network's own answer is remembered.
    seed (int): Of that chance.
    RETURNS (M3Loss): The objective; its total goes to the callback that came with the batch.
    """
    answers = torch.from_numpy(gold).to(batch.query.device)
    generator = torch.Generator().manual_seed(seed)
    network = model.shims[0].module.m3
    return m3_loss(network, batch, answers, answers >= 0, epsilon=epsilon, generator=generator)


def forward(
    model: Model,
    questions: LinkQuestions,
    is_train: bool,
    *,
    window: int,
    mention_tokens: int,
    option_tokens: int,
    freeze_options: bool,
    max_batch_tokens: int,
) -> tuple[M3Answers | M3Batch, Callable]:
    """Read and answer mentions; while training, read them."""
    shim = model.shims[0]
    if not shim.is_built:
        raise ValueError(Errors.S934)
    network: M3LinkerNetwork = shim.module
    network.train(is_train)
    network.m3.beta, network.m3.theta = questions.beta, questions.theta
    rows, device = questions.asked, shim.device
    vectors, backprop_texts = _text_vectors(model, questions, rows, is_train)
    tokens, firsts = _flat(vectors, device, is_train)
    learning = is_train and not freeze_options
    limits = {"window": window, "mention_tokens": mention_tokens, "max_tokens": max_batch_tokens}
    parts, leaves = [], []
    for group in _groups(questions, rows, whole=learning):
        which = np.unique(questions.options[group])
        which = which[which >= 0]
        found, backprop_options = _read_options(model, questions, which, learning, option_tokens)
        leaf = torch.from_numpy(found.vectors).to(device).requires_grad_(learning)
        leaves.append((leaf, found, backprop_options))
        chunks = cut_chunks(questions, group, which, found, firsts, **limits)
        again = is_train and len(chunks[0].rows) < len(rows)
        read = partial(_read_chunk, network.reader, tokens, leaf, again)
        parts += zip((chunk.rows for chunk in chunks), map_batches(read, chunks, device, training=is_train))
    batch = _batch(questions, parts, network.reader.norm.normalized_shape[0], device)
    if not is_train:
        told = None if questions.told is None else torch.from_numpy(questions.told).to(device)
        return _to_cpu(answer(network.m3, batch, told)), _no_backprop

    def backprop(loss: Tensor) -> LinkQuestions:
        loss.backward()
        grad = np.zeros(tokens.shape, dtype=np.float32) if tokens.grad is None else tokens.grad.cpu().numpy()
        backprop_texts([model.ops.asarray2f(part) for part in np.split(grad, firsts[1:])] if vectors else [])
        for leaf, found, backprop_options in leaves:
            if backprop_options is not None:
                backprop_options(np.split(leaf.grad.cpu().numpy(), found.lengths.cumsum()[:-1]))
        return questions

    return batch, backprop


def _text_vectors(
    model: Model, questions: LinkQuestions, rows: np.ndarray, is_train: bool
) -> tuple[list[np.ndarray], Callable]:
    """Token vectors of the documents; while predicting, of those alone that something is asked of."""
    tok2vec = model.get_ref("tok2vec")
    if is_train:
        vectors, backprop = tok2vec(questions.docs, True)
        return [model.ops.to_numpy(each) for each in vectors], backprop
    asked = np.unique(questions.mentions[rows, 0]).tolist()
    if not asked:
        return [], _no_backprop
    found = dict(zip(asked, tok2vec.predict([questions.docs[i] for i in asked])))
    nothing = np.zeros((0, tok2vec.get_dim("nO")), dtype=np.float32)
    return [model.ops.to_numpy(found.get(i, nothing)) for i in range(len(questions.docs))], _no_backprop


def _flat(vectors: list[np.ndarray], device: torch.device, is_train: bool) -> tuple[Tensor, np.ndarray]:
    """Tokens of all documents one after another, and the place of each document's first."""
    lengths = np.array([len(each) for each in vectors], dtype=np.int64)
    tokens = np.concatenate(vectors) if vectors else np.zeros((0, 1), dtype=np.float32)
    return torch.from_numpy(tokens).to(device).requires_grad_(is_train), lengths.cumsum() - lengths


def _groups(questions: LinkQuestions, rows: np.ndarray, *, whole: bool) -> Iterator[np.ndarray]:
    if whole:
        return iter([rows] if len(rows) else [])
    return option_groups(questions, rows)


def _read_options(
    model: Model, questions: LinkQuestions, which: np.ndarray, learning: bool, longest: int
) -> tuple[OptionTokens, Callable | None]:
    encoder, cache = model.get_ref("option_encoder"), model.attrs["options"]
    if not learning:
        return encode_options(encoder, questions, which, longest=longest, cache=cache), None
    cache.clear()
    texts = cut_options(questions.read([questions.keys[i] for i in which.tolist()]), longest)
    vectors, backprop = encoder([text.doc for text in texts], True)
    found = lay_out([model.ops.to_numpy(each) for each in vectors], [text.segments for text in texts])
    return found, lambda grads: backprop([model.ops.asarray2f(grad) for grad in grads])


def _read_chunk(
    reader: JointReader, tokens: Tensor, option_tokens: Tensor, again: bool, chunk: Chunk
) -> tuple[Tensor, Tensor]:
    """V and q of a chunk; `again` reads it anew on the way back, so that one chunk at a time is held."""
    pairs = chunk.pairs(tokens.device)
    if again:
        return checkpoint(reader, tokens, option_tokens, pairs, use_reentrant=False)
    return reader(tokens, option_tokens, pairs)


def _batch(questions: LinkQuestions, parts: list, width: int, device: torch.device) -> M3Batch:
    N, K = questions.options.shape
    V, q = torch.zeros(N, K, width, device=device), torch.zeros(N, width, device=device)
    if parts:
        rows = torch.from_numpy(np.concatenate([rows for rows, _ in parts])).to(device)
        V = V.index_put((rows,), torch.cat([V for _, (V, _) in parts]))
        q = q.index_put((rows,), torch.cat([q for _, (_, q) in parts]))
    arrays = questions.features, questions.options >= 0, questions.mentions[:, 0], questions.order, questions.ids
    return M3Batch(V, q, *(torch.from_numpy(array).to(device) for array in arrays))


def _to_cpu(answers: M3Answers) -> M3Answers:
    return M3Answers(*(None if value is None else value.cpu() for value in vars(answers).values()))


def _no_backprop(_: Any) -> list[Doc] | list[Floats2d]:
    return []


def _init(model: Model, X: Any = None, Y: Any = None, *, config: dict[str, Any]) -> None:
    tok2vec, option_encoder = model.get_ref("tok2vec"), model.get_ref("option_encoder")
    tok2vec.initialize(X)
    option_encoder.initialize(X)
    model.attrs["options"].clear()
    torch.manual_seed(int(np.random.randint(2**31)))
    widths = {"query_width": tok2vec.get_dim("nO"), "option_width": option_encoder.get_dim("nO")}
    model.shims[0].build({**config, **widths})
