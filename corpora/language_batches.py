"""`samarkand.LanguageBatcher.v1`: small languages oftener than they come, by a temperature of sampling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from spacy import registry
from spacy.training import Example

from ..errors import Errors
from ..models.sentence_pairs import draw_pairs
from ..models.text_pairs import LANG_KEY
from .curriculum import Batcher

__all__ = ["LanguageBatcher", "make_language_batcher"]


class LanguageBatcher:
    """Batches of a pass in which a language with n examples has a share in proportion to n ** exponent.

    A pass has at most as many examples as it was given; it is drawn anew each time, and all of it is held in memory,
    so `training.max_epochs` has to be 0 or more. The language of an example is that of its reference, as CatsCorpus
    has it; examples without one are a language of their own.

    batcher (Batcher): Makes batches of what was drawn.
    exponent (float): 1 takes languages as they come, 0 all alike.
    repeats (int): How often an example may come in a pass.
    seed (int): Seed of the draws.
    """

    def __init__(self, batcher: Batcher, *, exponent: float, repeats: int, seed: int) -> None:
        self.batcher = batcher
        self.exponent = exponent
        self.repeats = repeats
        self._rng = np.random.default_rng(seed)

    def __call__(self, examples: Iterable[Example]) -> Iterable[list[Example]]:
        """Make the batches of a pass.

        examples (Iterable[Example]): The examples.
        RETURNS (Iterable[list[Example]]): Batches.
        """
        return self.batcher(self._drawn(list(examples)))

    def _drawn(self, examples: list[Example]) -> Iterator[Example]:
        langs = np.array([str(eg.reference.user_data.get(LANG_KEY, "")) for eg in examples])
        seed = int(self._rng.integers(2**32))
        seen: Counter[int] = Counter()
        for row in draw_pairs(langs, len(examples), exponent=self.exponent, seed=seed):
            seen[row] += 1
            if seen[row] <= self.repeats:
                yield examples[row]


@registry.batchers("samarkand.LanguageBatcher.v1")
def make_language_batcher(batcher: Batcher, exponent: float = 0.5, repeats: int = 5, seed: int = 0) -> LanguageBatcher:
    """Make a `LanguageBatcher`.

    batcher (Batcher): Such as `spacy.batch_by_sequence.v1`, or `samarkand.CurriculumBatcher.v1`.
    exponent (float): 1 takes languages as they come, 0 all alike.
    repeats (int): How often an example may come in a pass.
    seed (int): Seed of the draws.
    RETURNS (LanguageBatcher): The batcher.
    RAISES (ValueError): S1105 for a setting out of range.
    """
    for name, value, fits, expected in (
        ("exponent", exponent, 0 <= exponent <= 1, "from 0 to 1"),
        ("repeats", repeats, repeats >= 1, "1 or more"),
    ):
        if not fits:
            raise ValueError(Errors.S1105.format(name=name, what="LanguageBatcher", value=value, expected=expected))
    return LanguageBatcher(batcher, exponent=exponent, repeats=repeats, seed=seed)
