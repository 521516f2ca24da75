"""Texts that leave nothing behind in a vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.lexeme import Lexeme
    from spacy.vocab import Vocab

# Words that a vocabulary has met before its tables are made anew, and how many times those that stay.
MET, TIMES = 2**18, 4
# What users set of a word.
ATTRIBUTES = ("flags", "norm", "lower", "shape", "prefix", "suffix")
REST = ("vectors", "lookups")


@contextmanager
def text_zone(nlp: Language) -> Iterator[None]:
    """A memory zone of a pipeline, after which its vocabulary is what it was, however many texts there are.

    A zone takes its words out of the tables of the vocabulary, but not their places, so that these tables would grow
    for ever.

    nlp (Language): The pipeline.
    YIELDS (None)
    """
    with nlp.memory_zone():
        yield
    if len(nlp.vocab) > max(MET, TIMES * len(nlp.vocab.strings)):
        renew(nlp.vocab)


def renew(vocab: Vocab) -> None:
    """Make the tables of a vocabulary anew, with the strings that it is to keep and what users set of words.

    vocab (Vocab): The vocabulary, outside of any memory zone.
    """
    from spacy.attrs import NORM

    kept = {lexeme.orth_: _attributes(lexeme) for lexeme in vocab}
    norm = vocab.lex_attr_getters.get(NORM)
    vocab.from_bytes(vocab.to_bytes(exclude=REST), exclude=REST)
    if norm is not None:
        # Where there are norms it would be wrapped once more, each time.
        vocab.lex_attr_getters[NORM] = norm
    with vocab.memory_zone():
        changed = [word for word, attributes in kept.items() if _attributes(vocab[word]) != attributes]
    for word in changed:
        for name, value in zip(ATTRIBUTES, kept[word]):
            setattr(vocab[word], name, value)


def _attributes(lexeme: Lexeme) -> tuple[int, ...]:
    return tuple(getattr(lexeme, name) for name in ATTRIBUTES)
