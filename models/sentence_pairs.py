"""Prepared pairs of sentences: what trainings of sentence encoders draw from."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Errors, first_line
from .settings import require

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

PAIRS, HELD_OUT, TOKENIZER = "pairs.parquet", "held_out.parquet", "tokenizer"
# Sentences cut into pieces at once.
BLOCK = 10_000
COLUMNS = ("english", "other", "lang", "source")


@dataclass(frozen=True)
class SentencePairs:
    """Pairs of English sentences and others.

    train (Dataset): Columns english, other, lang and source, all strings.
    held_out (Dataset): The same, of pairs to look at while training.
    tokenizer (PreTrainedTokenizerFast): Pieces of all languages.
    """

    train: Dataset
    held_out: Dataset
    tokenizer: PreTrainedTokenizerFast

    def draw(self, count: int, *, exponent: float, seed: int, weights: Mapping[str, float] | None = None) -> np.ndarray:
        """Rows to train on, see `draw_pairs`; a group is what one source has of one language.

        count (int): Rows to draw.
        exponent (float): 1 takes groups as they come, 0 all alike.
        seed (int): Of the order.
        weights (Optional[Mapping[str, float]]): What the share of a source is multiplied by; 1 for others.
        RETURNS (np.ndarray): Rows of `train`, int64, shape (count,), in random order.
        RAISES (ValueError): S732 for the weight of a source that is not among the pairs.
        """
        sources = weights or {}
        self.check_sources(sources)
        groups = np.char.add(np.char.add(self.train["source"], "/"), self.train["lang"])
        by_group = {group: sources.get(group.partition("/")[0], 1.0) for group in np.unique(groups).tolist()}
        return draw_pairs(groups, count, exponent=exponent, seed=seed, weights=by_group)

    def check_sources(self, weights: Iterable[str]) -> None:
        """Refuse weights of sources that are not among the pairs.

        weights (Iterable[str]): Names of sources.
        RAISES (ValueError): S732 for an unknown one.
        """
        known = sorted(set(self.train["source"]))
        for source in weights:
            require(source in known, "weights", source, "one of " + ", ".join(known))

    @classmethod
    def load(cls, folder: Path) -> SentencePairs:
        """Load what `samarkand prepare-pairs` wrote.

        folder (Path): The folder.
        RETURNS (SentencePairs): The pairs.
        RAISES (ValueError): S862 when something is missing or damaged.
        """
        from datasets import Dataset
        from transformers import PreTrainedTokenizerFast

        try:
            parts = [Dataset.from_parquet(str(folder / name)) for name in (PAIRS, HELD_OUT)]
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / TOKENIZER)
        except Exception as error:
            raise ValueError(Errors.S862.format(path=folder, reason=first_line(error))) from None
        lacking = [name for name in COLUMNS if any(name not in part.column_names for part in parts)]
        if lacking or not len(parts[0]):
            reason = f"columns {', '.join(lacking)} are missing" if lacking else "there are no pairs"
            raise ValueError(Errors.S862.format(path=folder, reason=reason))
        return cls(*parts, tokenizer)

    def piece_counts(self, side: str) -> list[int]:
        """Pieces of each sentence of `train`.

        side (str): "english" or "other".
        RETURNS (list[int]): Their numbers.
        """
        texts, counts = list(self.train[side]), []
        for start in range(0, len(texts), BLOCK):
            found = self.tokenizer.backend_tokenizer.encode_batch_fast(texts[start : start + BLOCK])
            counts += map(len, found)
        return counts


def pairs_fingerprint(folder: Path) -> str:
    """A checksum of the pairs to train on and of their pieces.

    folder (Path): Folder that `SentencePairs.load` has read.
    RETURNS (str): The checksum.
    """
    pairs, tokenizer = (zlib.crc32((folder / name).read_bytes()) for name in (PAIRS, f"{TOKENIZER}/tokenizer.json"))
    return f"{pairs:08x}-{tokenizer:08x}"


def draw_pairs(
    groups: np.ndarray, count: int, *, exponent: float, seed: int, weights: Mapping[str, float] | None = None
) -> np.ndarray:
    """Rows to train on, such that small groups are seen too.

    Each group gives rows in proportion to its weight times n ** exponent, all of its rows before any a second time.

    groups (np.ndarray): Name of each row's group, shape (n,).
    count (int): Rows to draw.
    exponent (float): 1 takes groups as they come, 0 all alike.
    seed (int): Of the order.
    weights (Optional[Mapping[str, float]]): Weights by name of a group; 1 for others.
    RETURNS (np.ndarray): Rows, int64, shape (count,), in random order.
    """
    chance = np.random.default_rng(seed)
    names, sizes = np.unique(groups, return_counts=True)
    shares = sizes**exponent * np.array([(weights or {}).get(name, 1.0) for name in names.tolist()])
    shares /= shares.sum()
    wanted = np.floor(shares * count).astype(int)
    for i in np.argsort(wanted - shares * count)[: count - wanted.sum()]:
        wanted[i] += 1
    drawn = []
    for name, need in zip(names, wanted):
        rows = np.flatnonzero(groups == name)
        rounds = [chance.permutation(rows) for _ in range(-(-need // len(rows)))]
        drawn.append(np.concatenate([*rounds, rows[:0]])[:need])
    return chance.permutation(np.concatenate(drawn)) if drawn else np.zeros(0, dtype=np.int64)
