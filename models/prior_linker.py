"""`samarkand.PriorLinker.v1`: answers without training, from the candidate table and, when asked, from vectors.

    a_k  = w_p log prior_k + w_s similarity_k + w_t type_k + w_c cos(context, option_k)
    p    = softmax(a)
    fit_k = similarity_k * (1 when the types may agree, else 1 - MISFIT)
    v1   = max_k fit_k;  v2 = fit_best * p_best;  s_link = beta v1 + (1 - beta) v2

The fields are those of M3: v1 says whether the name is known at all, v2 whether the choice is clear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from spacy import registry
from thinc.api import Model
from torch import Tensor

from .link_questions import (
    LinkQuestions,
    OptionCache,
    TokenEncoder,
    check_own_encoder,
    encode_options,
    option_groups,
    query_windows,
)
from .m3 import FEATURES, KNOWN, best_option, option_fit
from .m3_turns import NIL, M3Answers


@dataclass(frozen=True)
class PriorWeights:
    """Weights of what is known of an option, as in the formula above.

    prior, similarity, type, context (float): w_p, w_s, w_t, w_c.
    """

    prior: float
    similarity: float
    type: float
    context: float


@registry.architectures("samarkand.PriorLinker.v1")
def build_prior_linker(
    tok2vec: TokenEncoder | None = None,
    prior: float = 1.0,
    similarity: float = KNOWN[0],
    type: float = KNOWN[1],
    context: float = 0.0,
    window: int = 24,
    option_tokens: int = 40,
    cached_options: int = 8192,
) -> Model[LinkQuestions, M3Answers]:
    """A linker that needs no training: prior, likeness of names, agreement of types, and likeness of texts.

    tok2vec (Optional[Model[list[Doc], list[Floats2d]]]): An encoder of its own, for `context`. `nlp.initialize` loads
        the weights that it starts from.
    prior (float): Weight of the logarithm of the prior.
    similarity (float): Weight of the likeness of mention and name, 0 to 1.
    type (float): Weight of the agreement of types: 1, 0, or 0.5 when one is not known.
    context (float): Weight of the cosine between the mean vectors of the text around the mention and of the option;
        without `tok2vec` it does not count.
    window (int): Tokens that are read on each side of a mention.
    option_tokens (int): Tokens of an option that are read.
    cached_options (int): Options whose vectors are kept.
    RETURNS (Model): From questions to answers.
    RAISES (ValueError): S935 when `tok2vec` is a listener.
    """
    if tok2vec is not None:
        check_own_encoder(tok2vec)
    weights = PriorWeights(prior, similarity, type, context if tok2vec is not None else 0.0)
    return Model(
        "prior_linker",
        _forward,
        init=_init,
        layers=[] if tok2vec is None else [tok2vec],
        refs={"tok2vec": tok2vec},
        attrs={
            "weights": asdict(weights),
            "limits": {"window": window, "option_tokens": option_tokens},
            "options": OptionCache(cached_options),
            "learns": False,
            "beta": 0.5,
            "theta": 0.6,
        },
    )


def prior_answers(
    features: Tensor, mask: Tensor, ids: Tensor, cosines: Tensor, weights: PriorWeights, beta: float, theta: float
) -> M3Answers:
    """Answers from what is known of the options.

    features (float, [N, K, F]): As in `M3Batch`; mask (bool, [N, K]): real options; ids (int64, [N, K]): as there.
    cosines (float, [N, K]): Likeness of texts.
    weights (PriorWeights): What each counts.
    beta, theta (float): As in `M3`.
    RETURNS (M3Answers): The answers.
    """
    features = features.double().masked_fill(~mask.unsqueeze(-1), 0.0)
    known = dict(zip(FEATURES, features.unbind(-1)))
    scores = weights.prior * known["log_prior"] + weights.similarity * known["similarity"]
    scores = scores + weights.type * known["type_agreement"] + weights.context * cosines.double()
    has_options = mask.any(1)
    p = scores.masked_fill(~mask, -torch.inf).masked_fill(~has_options[:, None], 0.0).softmax(1) * mask
    fit = option_fit(features)
    if not mask.shape[1]:
        zeros, nil = scores.new_zeros(len(mask)), ids.new_full((len(mask),), NIL)
        return M3Answers(nil, nil, p.float(), zeros.float(), zeros.float(), zeros)
    best = best_option(scores, mask, ids)
    v1, v2 = fit.amax(1), (fit * p).gather(1, best[:, None]).squeeze(1)
    link = beta * v1 + (1 - beta) * v2
    chosen = best.masked_fill((link < theta) | ~has_options, NIL)
    return M3Answers(chosen, best.masked_fill(~has_options, NIL), p.float(), v1.float(), v2.float(), link)


def _forward(model: Model, questions: LinkQuestions, is_train: bool) -> tuple[M3Answers, Callable]:
    weights = PriorWeights(**model.attrs["weights"])
    cosines = np.zeros(questions.options.shape, dtype=np.float32)
    if weights.context:
        _compare(model, questions, cosines)
    tensors = map(torch.from_numpy, (questions.features, questions.options >= 0, questions.ids, cosines))
    return prior_answers(*tensors, weights, questions.beta, questions.theta), _no_backprop


def _compare(model: Model, questions: LinkQuestions, cosines: np.ndarray) -> None:
    """Cosines between the text around each mention, without it, and each of its options."""
    encoder, limits = model.get_ref("tok2vec"), model.attrs["limits"]
    rows = questions.asked
    vectors = [model.ops.to_numpy(each) for each in encoder.predict(questions.docs)] if len(rows) else []
    lengths = np.array([len(each) for each in vectors], dtype=np.int64)
    for group in option_groups(questions, rows):
        firsts = lengths.cumsum() - lengths
        queries, marks = query_windows(questions, group, firsts, window=limits["window"], longest=1)
        contexts = _means(np.concatenate(vectors), np.where(marks == 1, -1, queries))
        which = np.unique(questions.options[group])
        which = which[which >= 0]
        cache = model.attrs["options"]
        found = encode_options(encoder, questions, which, longest=limits["option_tokens"], cache=cache)
        options = _means(found.vectors, found.places)[np.searchsorted(which, questions.options[group])]
        cosines[group] = np.where(questions.options[group] >= 0, np.einsum("nh,nkh->nk", contexts, options), 0.0)


def _means(vectors: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Means of some tokens, scaled to length 1: vectors [T, E], places [B, L] -> [B, E]; zeros for no token."""
    real = places >= 0
    sums = np.stack([vectors[row[there]].sum(0) for row, there in zip(places, real)])
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def _init(model: Model, X: Any = None, Y: Any = None) -> None:
    model.attrs["options"].clear()
    if model.maybe_get_ref("tok2vec") is not None:
        model.get_ref("tok2vec").initialize(X)


def _no_backprop(_: Any) -> list:
    return []
