"""Fixed word vectors from raw text: skip-gram with negative sampling over hashed words and pieces.

Mikolov et al. 2013 ("Distributed Representations of Words and Phrases", eq. 4 and section 2.3) with the subword
inputs of Bojanowski et al. 2017. The negatives are shared by a whole block of text, which turns most of the work
into one matrix product.

Runs on torch alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .hashed_vectors import hashed_rows
from .subword_features import FeatureTable, TokenFeatures
from .token_corpus import TokenCorpus


@dataclass(frozen=True)
class SkipGramSettings:
    """Settings of a training.

    rows (int): Rows of the hashed table.
    width (int): D, width of a vector.
    passes (float): Passes over the corpus.
    window (int): Farthest context token on each side; nearer ones are read more often.
    least (int): Occurrences of a token that is named as context.
    vocabulary (int): Most tokens that are named.
    frequent (float): Tokens more frequent than this share of the corpus are thinned out (2013, eq. 5).
    negatives (int): Weight of the negatives, in tokens for each true context.
    drawn (int): Negatives drawn for a block.
    block (int): Tokens read at once.
    learn_rate (float): Highest learning rate; it falls to zero.
    seed (int): Seed of weights, order and negatives.
    """

    rows: int = 100_000
    width: int = 96
    passes: float = 2.0
    window: int = 4
    least: int = 5
    vocabulary: int = 50_000
    frequent: float = 1e-4
    negatives: int = 5
    drawn: int = 256
    block: int = 16_384
    learn_rate: float = 0.01
    seed: int = 0


class SkipGram(nn.Module):
    """Tokens and the contexts that they are asked to name.

    rows (int): Rows of the hashed table.
    width (int): D.
    vocabulary (int): V, contexts.
    """

    def __init__(self, *, rows: int, width: int, vocabulary: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(rows, width).uniform_(-0.5, 0.5) / width**0.5)
        self.contexts = nn.Parameter(torch.zeros(vocabulary, width))
        with torch.no_grad():
            self.table[0].zero_()

    def tokens(self, features: TokenFeatures) -> Tensor:
        """Vectors of U distinct tokens, [U, D]: what `HashedVectors` gives once the table is rounded."""
        rows = len(self.table)
        words = hashed_rows(torch.from_numpy(features.words), rows)
        pieces, offsets = hashed_rows(torch.from_numpy(features.pieces), rows), torch.from_numpy(features.offsets)
        word = F.embedding_bag(words, self.table, mode="sum", sparse=True)
        return word + F.embedding_bag(pieces, self.table, offsets, mode="mean", sparse=True)

    def loss(
        self, vectors: Tensor, ids: Tensor, lines: Tensor, distances: list[int], drawn: Tensor, weight: float
    ) -> Tensor:
        """Negative sampling loss of a block, averaged over its pairs.

        vectors (float, [N, D]): Of each token of the block.
        ids (int64, [N]): Their ids; V and more are not named.
        lines (int64, [N]): The line that each stands on; contexts do not reach over its ends.
        distances (list[int]): How far off contexts are taken.
        drawn (int64, [K]): Ids of the negatives.
        weight (float): Weight of one negative.
        RETURNS (float, []): The loss.
        """
        named = ids < len(self.contexts)
        contexts = F.embedding(ids.clamp_max(len(self.contexts) - 1), self.contexts, sparse=True)
        total, pairs = vectors.new_zeros(()), torch.zeros(len(ids))
        for k in distances:
            near = lines[:-k] == lines[k:]
            for centre, context in ((slice(None, -k), slice(k, None)), (slice(k, None), slice(None, -k))):
                real = (near & named[context]).float()
                scores = (vectors[centre] * contexts[context]).sum(1)
                total = total + (F.softplus(-scores) * real).sum()
                pairs[centre] += real
        against = vectors @ F.embedding(drawn, self.contexts, sparse=True).T
        total = total + weight * (F.softplus(against).sum(1) * pairs).sum()
        return total / pairs.sum().clamp_min(1)


def train_skip_gram(corpus: TokenCorpus, settings: SkipGramSettings, *, progress: bool = False) -> Tensor:
    """Train vectors.

    corpus (TokenCorpus): The text.
    settings (SkipGramSettings): The training.
    progress (bool): Show a progress bar.
    RETURNS (float, [rows, D]): The table, scaled so that the vectors of the vocabulary have a variance of 1/4, which
        is about that of the features they stand beside.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    counts = np.bincount(corpus.ids, minlength=len(corpus.tokens))
    vocabulary = int(min(settings.vocabulary, max(1, (counts >= settings.least).sum())))
    model = SkipGram(rows=settings.rows, width=settings.width, vocabulary=vocabulary)
    features = corpus.features()
    optimizer = torch.optim.SparseAdam(model.parameters(), lr=settings.learn_rate, betas=(0.9, 0.99))
    chances = np.cumsum(counts[:vocabulary] ** 0.75)
    keep = _keep_chances(counts, settings.frequent)
    far = np.arange(1, settings.window + 1)
    bar = tqdm(total=int(settings.passes * len(corpus.ids)), unit="token", unit_scale=True, disable=not progress)
    for ids, lines, done in _blocks(corpus, settings, rng):
        kept = rng.random(len(ids)) < keep[ids]
        distinct, places = np.unique(ids[kept], return_inverse=True)
        if len(places) < 2:
            continue
        drawn = np.searchsorted(chances, rng.random(settings.drawn) * chances[-1], side="right")
        loss = model.loss(
            F.embedding(torch.from_numpy(places), model.tokens(features.take(distinct))),
            torch.from_numpy(ids[kept]),
            torch.from_numpy(lines[kept]),
            far[rng.random(len(far)) < 1 - (far - 1) / len(far)].tolist(),
            torch.from_numpy(drawn.clip(0, vocabulary - 1)),
            settings.negatives / settings.drawn,
        )
        optimizer.param_groups[0]["lr"] = settings.learn_rate * max(0.01, 1 - done)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.update(len(ids))
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    bar.close()
    return _scaled(model, features, vocabulary)


def _keep_chances(counts: np.ndarray, frequent: float) -> np.ndarray:
    """Chance of each token of the lexicon to be read."""
    share = np.maximum(counts, 1) / max(1, counts.sum())
    return np.minimum(1.0, np.sqrt(frequent / share) + frequent / share)


def _blocks(
    corpus: TokenCorpus, settings: SkipGramSettings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Blocks of ids and of line numbers in random order, with the share of the training that is done."""
    lines = np.repeat(np.arange(len(corpus.ends)), np.diff(corpus.ends, prepend=0))
    size = min(settings.block, len(corpus.ids))
    blocks = max(1, round(settings.passes * len(corpus.ids) / size))
    for k in range(blocks):
        if k % (len(corpus.ids) // size) == 0:
            # Another first token each time, so that blocks are not cut at the same places again.
            shift = int(rng.integers(0, len(corpus.ids) % size + 1))
            order = rng.permutation(len(corpus.ids) // size)
        start = shift + size * int(order[k % len(order)])
        yield corpus.ids[start : start + size].astype(np.int64), lines[start : start + size], k / blocks


@torch.no_grad()
def _scaled(model: SkipGram, features: FeatureTable, vocabulary: int) -> Tensor:
    vectors = model.tokens(features.take(np.arange(vocabulary)))
    return model.table.detach() * (0.5 / vectors.std().clamp_min(1e-6))
