"""Self-supervised pretraining of the small encoder: each token is named from what stands before and after it.

A bidirectional language model with one BiLSTM, in the manner of Peters et al. 2018, whose two halves are read
together: neither has seen the token, so that every token is a training signal, not only masked ones.

Runs on torch alone. A corpus is a file of token ids over a lexicon (see `corpora.pretraining`).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heap import return_free_memory
from .pretrained import EncoderSizes, load_encoder, save_encoder
from .subword_encoder import SubwordEncoder, TokenBatch
from .subword_features import FeatureTable
from .token_corpus import TokenCorpus


@dataclass(frozen=True)
class BidirectionalLMSettings:
    """Settings of a training.

    seconds (float): Wall time to train for; the learning rate falls to zero over it.
    steps (int): Steps to train for instead, which comes out the same again; 0 to go by the time.
    batch_tokens (int): Tokens of a batch.
    learn_rate (float): Highest learning rate, after `warmup` steps.
    warmup (int): Steps of linear warm-up.
    vocabulary (int): Commonest tokens that can be named; others are read but not asked for.
    candidates (int): Vocabulary entries that a step is scored against.
    dropout (float): Dropout of the encoder.
    seed (int): Seed of weights, masks and order.
    begin (str): Folder or name of an encoder of the same sizes to go on from; "" for random weights.
    """

    seconds: float = 3600.0
    steps: int = 0
    batch_tokens: int = 2048
    learn_rate: float = 5e-3
    warmup: int = 200
    vocabulary: int = 20000
    candidates: int = 2048
    dropout: float = 0.05
    seed: int = 0
    begin: str = ""


class BidirectionalLM(nn.Module):
    """An encoder that names tokens among sampled candidates.

    encoder (SubwordEncoder): The encoder.
    width (int): Width of its output.
    vocabulary (int): Tokens that can be named, the commonest first.
    """

    def __init__(self, encoder: SubwordEncoder, *, width: int, vocabulary: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.names = nn.Embedding(vocabulary, width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.names.weight, std=width**-0.5)

    def forward(self, batch: TokenBatch, asked: Tensor, targets: Tensor, candidates: Tensor) -> Tensor:
        """Logits over the asked tokens' own names (column 0) and the candidates.

        batch (TokenBatch): The tokens.
        asked (bool, [B, L]): Tokens to name; T of them.
        targets (int64, [T]): Their ids.
        candidates (int64, [K]): Ids to tell them from.
        RETURNS (float, [T, 1 + K]): Scores corrected for how often a candidate is drawn; a candidate that is the
            target itself is left out.
        """
        hidden = self.transform(self.encoder.outside(batch)[asked])
        own = (hidden * self.names(targets)).sum(-1) + self._corrections(targets)
        others = torch.addmm(self._corrections(candidates), hidden, self.names(candidates).T)
        others = others.masked_fill(targets.unsqueeze(1) == candidates, -1e4)
        return torch.cat([own.unsqueeze(1), others], dim=1)

    def _corrections(self, ids: Tensor) -> Tensor:
        """What the score of a name is moved by: its bias, less the log of how often it is drawn."""
        return self.bias[ids] - _log_draws(ids, len(self.bias))


def train_bidirectional_lm(
    corpus: TokenCorpus,
    sizes: EncoderSizes,
    settings: BidirectionalLMSettings,
    output: Path | None,
    log: Path | None = None,
) -> list[dict[str, float]]:
    """Pretrain an encoder and save its weights.

    corpus (TokenCorpus): The text.
    sizes (EncoderSizes): The encoder.
    settings (BidirectionalLMSettings): The training.
    output (Optional[Path]): Folder for `encoder.safetensors` (fp32) and `encoder.json`, written every five minutes.
    log (Optional[Path]): JSONL file that the curve is appended to.
    RETURNS (list[dict]): The curve: step, tokens seen, seconds, loss and accuracy among the candidates.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    vocabulary = min(settings.vocabulary, len(corpus.tokens))
    model = BidirectionalLM(sizes.build(dropout=settings.dropout), width=sizes.width, vocabulary=vocabulary)
    if settings.begin:
        load_encoder(model.encoder, settings.begin)
    table = corpus.features()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    curve: list[dict[str, float]] = []
    began, saved, seen, sums = time.monotonic(), time.monotonic(), 0, np.zeros(3)
    for step, ids in enumerate(corpus.batches(rng, settings.batch_tokens)):
        elapsed = time.monotonic() - began
        done = step / settings.steps if settings.steps else elapsed / settings.seconds
        if done >= 1:
            break
        rate = min(1.0, (step + 1) / settings.warmup) * (1 - done)
        for group in optimizer.param_groups:
            group["lr"] = settings.learn_rate * rate
        batch, asked, targets = _asked_batch(table, ids, vocabulary)
        candidates = _draw(settings.candidates, vocabulary, rng)
        logits = model(batch, asked, targets, candidates)
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return_free_memory()
        seen += int(batch.lengths.sum())
        sums += (loss.item(), (logits.argmax(1) == 0).float().mean().item(), 1)
        if sums[2] == 100:
            row = {"step": step + 1, "tokens": seen, "seconds": round(elapsed, 1)}
            row |= {"loss": round(sums[0] / 100, 4), "accuracy": round(sums[1] / 100, 4)}
            curve.append(row)
            if log:
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            sums[:] = 0
        if output and time.monotonic() - saved > 300:
            save_encoder(model.encoder, sizes, output)
            saved = time.monotonic()
    if output:
        save_encoder(model.encoder, sizes, output)
    return curve


def _asked_batch(table: FeatureTable, ids: Tensor, vocabulary: int) -> tuple[TokenBatch, Tensor, Tensor]:
    """Ask for every token that has a name."""
    real = ids >= 0
    asked = real & (ids < vocabulary)
    distinct, inverse = np.unique(ids[real].numpy(), return_inverse=True)
    index = torch.full_like(ids, -1)
    index[real] = torch.from_numpy(inverse)
    batch = TokenBatch.build(table.take(distinct), index, real.sum(1), torch.device("cpu"))
    return batch, asked, ids[asked]


def _log_draws(ids: Tensor, vocabulary: int) -> Tensor:
    """Log probability that `_draw` gives these ids (log-uniform over the ranks)."""
    return torch.log(torch.log1p(1.0 / (ids + 1.0)) / np.log(vocabulary + 1.0))


def _draw(count: int, vocabulary: int, rng: np.random.Generator) -> Tensor:
    ranks = np.exp(rng.random(count) * np.log(vocabulary + 1.0)).astype(np.int64) - 1
    return torch.from_numpy(ranks.clip(0, vocabulary - 1))
