"""Vectors of sentences that recur in many sets: each is encoded once, and kept for as long as it is needed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tqdm import tqdm

from ..errors import Errors
from ..models.sentence_model import SentenceModel

# Batches that are encoded at once: sentences of like length then share a batch.
BATCHES = 16


class EncodeOnce:
    """An encoder for groups of sentences that are asked for one after another.

    model (SentenceModel): The encoder.
    groups (Iterable[Sequence[Sequence[str]]]): Sides of all groups that will be asked for.
    batch_size (int): Sentences encoded at once.
    progress (bool): Show a bar on standard error when that is a terminal.
    """

    def __init__(
        self,
        model: SentenceModel,
        groups: Iterable[Sequence[Sequence[str]]],
        *,
        batch_size: int = 64,
        progress: bool = False,
    ) -> None:
        self._model = model
        self._batch_size = batch_size
        self._needed = Counter(text for group in groups for text in {text for side in group for text in side})
        self._kept: dict[str, np.ndarray] = {}
        self.sentences = len(self._needed)
        self.seconds = 0.0
        self._bar = tqdm(
            total=self.sentences, desc="encoding", unit=" sentences", disable=None if progress else True, leave=False
        )

    def vectors(self, *sides: Sequence[str]) -> list[np.ndarray]:
        """Vectors of one group; those that no later group needs are let go.

        sides (Sequence[str]): Its sides.
        RETURNS (list[np.ndarray]): Shape (len(side), width) for each, float32.
        RAISES (ValueError): S848 for a vector that is not finite.
        """
        texts = list(dict.fromkeys(text for side in sides for text in side))
        self._encode([text for text in texts if text not in self._kept])
        found = [np.stack([self._kept[text] for text in side]) for side in sides]
        for text in texts:
            self._needed[text] -= 1
            if self._needed[text] <= 0:
                del self._kept[text]
        return found

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _encode(self, texts: list[str]) -> None:
        size = BATCHES * self._batch_size
        for start in range(0, len(texts), size):
            began = time.perf_counter()
            block = texts[start : start + size]
            vectors = self._model.encode(block, batch_size=self._batch_size)
            is_finite = np.isfinite(vectors).all(axis=1)
            if not is_finite.all():
                raise ValueError(Errors.S848.format(text=block[is_finite.argmin()][:40]))
            self._kept.update(zip(block, vectors))
            self.seconds += time.perf_counter() - began
            self._bar.update(len(block))
