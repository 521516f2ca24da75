"""`samarkand.SwapAugmenter.v1`: more training texts, by copies in which some words are swapped for others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import registry

from ..errors import Errors
from .word_swaps import WordSwaps

# What a copy of a token has in common with it; lemmas only where the word is the same.
TOKEN_ATTRIBUTES = ("TAG", "POS", "MORPH", "ENT_IOB", "ENT_TYPE", "ENT_KB_ID", "ENT_ID")


class SwapAugmenter:
    """Gives a text, and for a share of the texts a copy after it, with the same annotations on the same tokens.

    Words of entities and of groups of spans are never swapped. Settings as in `make_swap_augmenter`.
    """

    def __init__(self, swaps: WordSwaps, *, level: float, seed: int) -> None:
        if not 0 <= level <= 1:
            message = Errors.S610.format(name="level", what="SwapAugmenter", value=level, expected="from 0 to 1")
            raise ValueError(message)
        self.swaps = swaps
        self.level = level
        self._rng = np.random.default_rng(seed)

    def __call__(self, nlp: Language, example: Example) -> Iterator[Example]:
        """Augment one example, as corpus readers have it done.

        nlp (Language): The pipeline; its tokenizer reads the copy.
        example (Example): The example.
        YIELDS (Example): The example, and its copy when it has one that differs.
        """
        yield example
        if self._rng.random() < self.level:
            reference = example.reference
            spans = [*reference.ents, *(span for group in reference.spans.values() for span in group)]
            (copy,) = self.swaps([reference], [{i for span in spans for i in range(span.start, span.end)}])
            if copy.text != reference.text:
                _annotate(copy, reference)
                yield Example(nlp.make_doc(copy.text), copy)


@registry.augmenters("samarkand.SwapAugmenter.v1")
def make_swap_augmenter(swaps: WordSwaps, level: float = 0.5, seed: int = 0) -> SwapAugmenter:
    """Make a `SwapAugmenter`, for the setting `augmenter` of any corpus reader.

    swaps (WordSwaps): Makes the copies: `samarkand.NeighbourSwaps.v1`, `samarkand.VectorSwaps.v1` or
        `samarkand.CharacterNoise.v1`.
    level (float): Share of the texts that a copy is made of.
    seed (int): Seed of the choice of texts; that of the words is a setting of `swaps`.
    RETURNS (SwapAugmenter): The augmenter.
    RAISES (ValueError): S610 for a level that is no share.
    """
    return SwapAugmenter(swaps, level=level, seed=seed)


def _annotate(copy: Doc, reference: Doc) -> None:
    """Give a copy the annotations of a document, token by token: its characters are elsewhere."""
    structure = ("HEAD", "DEP") if reference.has_annotation("DEP") else ("SENT_START",)
    attributes = [*TOKEN_ATTRIBUTES, *structure]
    copy.from_array(attributes, reference.to_array(attributes))
    for token, twin in zip(reference, copy):
        if token.orth == twin.orth:
            twin.lemma = token.lemma
    for key, group in reference.spans.items():
        copy.spans[key] = [
            Span(copy, span.start, span.end, label=span.label, kb_id=span.kb_id, span_id=span.id) for span in group
        ]
    copy.cats = dict(reference.cats)
    copy.user_data.update({key: value for key, value in reference.user_data.items() if not _has_place(key)})


def _has_place(key: Any) -> bool:
    """Whether data is of a token or a span: spaCy keeps extension attributes by their first and last character."""
    return isinstance(key, tuple) and len(key) == 4 and key[2] is not None
