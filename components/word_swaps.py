"""Perturbed copies of texts for transfer training: some words swapped for others, none added or taken away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from spacy import registry
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..errors import Errors

# What turns a meaning round; numbers and punctuation are never swapped.
KEPT_WORDS = ("no", "not", "none", "never", "nothing", "nobody", "nor", "neither", "without", "cannot")


class WordSwaps(ABC):
    """Copies of texts. A word is drawn anew once a document: what a pair shares stays shared.

    Words are tokens of letters alone. Settings that are common to all kinds:

    keep (Iterable[str]): Words that are never swapped, in lower case.
    seed (int): Seed of the draws.
    """

    def __init__(self, *, keep: Iterable[str], seed: int) -> None:
        self.keep = frozenset(keep)
        self._rng = np.random.default_rng(seed)

    def prepare(self, vocab: Vocab) -> None:  # noqa: B027
        """Read what the swaps are made of, before the training starts.

        vocab (Vocab): Vocabulary of the pipeline.
        """

    @abstractmethod
    def swap(self, word: str, vocab: Vocab) -> str:
        """Draw a word.

        word (str): In lower case.
        vocab (Vocab): Vocabulary of the document.
        RETURNS (str): The same word or another, in lower case and without blanks.
        """

    def __call__(self, docs: Sequence[Doc], protected: Sequence[Collection[int]] | None = None) -> list[Doc]:
        """Copy texts.

        docs (Sequence[Doc]): The texts.
        protected (Optional[Sequence[Collection[int]]]): Of each, tokens that must stay, such as those of entities.
        RETURNS (list[Doc]): Copies with as many tokens, and with nothing but words, spaces and norms.
        """
        return [self._copy(doc, protected[i] if protected else ()) for i, doc in enumerate(docs)]

    def _copy(self, doc: Doc, protected: Collection[int]) -> Doc:
        drawn: dict[str, str] = {}
        words = []
        for token in doc:
            word = token.text
            if token.is_alpha and token.i not in protected and (lower := word.lower()) not in self.keep:
                if lower not in drawn:
                    drawn[lower] = self.swap(lower, doc.vocab)
                word = word if drawn[lower] == lower else _cased_like(word, drawn[lower])
            words.append(word)
        copy = Doc(doc.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
        for token, twin in zip(doc, copy):
            # Special cases of a tokenizer have norms of their own.
            if token.orth == twin.orth and token.norm != twin.norm:
                twin.norm_ = token.norm_
        return copy


class NeighbourSwaps(WordSwaps):
    """Swaps for neighbours of a table.

    path (Union[str, Path]): A word, a tab and its neighbours, parted by blanks, a line; all in lower case.
    limit (int): Most neighbours of a word; the first ones count.
    keep, seed: As in `WordSwaps`.
    """

    def __init__(self, path: str | Path, *, limit: int, keep: Iterable[str], seed: int) -> None:
        super().__init__(keep=keep, seed=seed)
        self.path = Path(path)
        self.limit = limit
        self._table: dict[str, list[str]] | None = None

    def prepare(self, vocab: Vocab) -> None:
        """Read the table.

        vocab (Vocab): Not used.
        RAISES (OSError): S611 when the file cannot be read.
        RAISES (ValueError): S611 when it holds something else.
        """
        if self._table is None:
            self._table = _read_neighbours(self.path, self.limit)

    def swap(self, word: str, vocab: Vocab) -> str:
        """Draw evenly from the word and its neighbours.

        word (str): In lower case.
        vocab (Vocab): Not used.
        RETURNS (str): The word or a neighbour.
        """
        self.prepare(vocab)
        options = [word, *self._table.get(word, ())]
        return options[self._rng.integers(len(options))]


class VectorSwaps(WordSwaps):
    """Swaps for the nearest words by the static vectors of the pipeline.

    limit (int): Most neighbours of a word.
    least (float): Least cosine similarity of a neighbour.
    keep, seed: As in `WordSwaps`.
    """

    def __init__(self, *, limit: int, least: float, keep: Iterable[str], seed: int) -> None:
        super().__init__(keep=keep, seed=seed)
        self.limit = limit
        self.least = least
        self._known: dict[str, list[str]] = {}
        self._n_rows = 0

    def prepare(self, vocab: Vocab) -> None:
        """Look for vectors.

        vocab (Vocab): Has the vectors.
        RAISES (ValueError): S612 when there are none.
        """
        if not vocab.vectors.shape[0] or not vocab.vectors.shape[1]:
            raise ValueError(Errors.S612)
        # spaCy's search takes no more than there are; words may share a row.
        self._n_rows = len(set(vocab.vectors.key2row.values()))

    def swap(self, word: str, vocab: Vocab) -> str:
        """Draw evenly from the word and its neighbours.

        word (str): In lower case.
        vocab (Vocab): Has the vectors.
        RETURNS (str): The word or a neighbour.
        """
        if word not in self._known:
            if not self._n_rows:
                self.prepare(vocab)
            self._known[word] = self._neighbours(word, vocab)
        options = [word, *self._known[word]]
        return options[self._rng.integers(len(options))]

    def _neighbours(self, word: str, vocab: Vocab) -> list[str]:
        if not vocab.has_vector(word):
            return []
        # Casings of the word itself are among the nearest.
        n = min(4 * self.limit, self._n_rows)
        keys, _, scores = vocab.vectors.most_similar(vocab.get_vector(word)[None], n=n)
        near = [vocab.strings[int(key)].lower() for key, score in zip(keys[0], scores[0]) if score >= self.least]
        return [other for other in dict.fromkeys(near) if other != word and other.isalpha()][: self.limit]


class CharacterNoise(WordSwaps):
    """Misspellings: two inner letters of a word change places, or one is left out or doubled. Needs no resource.

    rate (float): Share of words of four letters or more that are misspelt.
    keep, seed: As in `WordSwaps`.
    """

    def __init__(self, *, rate: float, keep: Iterable[str], seed: int) -> None:
        super().__init__(keep=keep, seed=seed)
        self.rate = rate

    def swap(self, word: str, vocab: Vocab) -> str:
        """Misspell a word, or leave it.

        word (str): In lower case.
        vocab (Vocab): Not used.
        RETURNS (str): The word, or a misspelling that has its first and its last letter.
        """
        if len(word) < 4 or self._rng.random() >= self.rate:
            return word
        i = int(self._rng.integers(1, len(word) - 2))
        middle = (word[i + 1] + word[i], word[i + 1], 2 * word[i] + word[i + 1])[self._rng.integers(3)]
        return word[:i] + middle + word[i + 2 :]


@registry.misc("samarkand.NeighbourSwaps.v1")
def make_neighbour_swaps(path: str, limit: int = 8, keep: Sequence[str] = KEPT_WORDS, seed: int = 0) -> NeighbourSwaps:
    """Make `NeighbourSwaps`, as in the paper: counter-fitted neighbours keep the meaning, others often do not.

    path (str): A word, a tab and its neighbours, parted by blanks, a line; read when training starts.
    limit (int): Most neighbours of a word.
    keep (Sequence[str]): Words that are never swapped, in lower case.
    seed (int): Seed of the draws.
    RETURNS (NeighbourSwaps): The swaps.
    RAISES (ValueError): S610 for a limit below 1.
    """
    _check("limit", "NeighbourSwaps", limit, limit >= 1, "1 or more")
    return NeighbourSwaps(path, limit=limit, keep=keep, seed=seed)


@registry.misc("samarkand.VectorSwaps.v1")
def make_vector_swaps(
    limit: int = 8, least: float = 0.6, keep: Sequence[str] = KEPT_WORDS, seed: int = 0
) -> VectorSwaps:
    """Make `VectorSwaps`. Vectors of words by their company put opposites near each other: see `NeighbourSwaps`.

    limit (int): Most neighbours of a word.
    least (float): Least cosine similarity of a neighbour.
    keep (Sequence[str]): Words that are never swapped, in lower case.
    seed (int): Seed of the draws.
    RETURNS (VectorSwaps): The swaps.
    RAISES (ValueError): S610 for a limit below 1.
    """
    _check("limit", "VectorSwaps", limit, limit >= 1, "1 or more")
    return VectorSwaps(limit=limit, least=least, keep=keep, seed=seed)


@registry.misc("samarkand.CharacterNoise.v1")
def make_character_noise(rate: float = 0.3, keep: Sequence[str] = KEPT_WORDS, seed: int = 0) -> CharacterNoise:
    """Make `CharacterNoise`, for want of neighbours.

    rate (float): Share of words of four letters or more that are misspelt.
    keep (Sequence[str]): Words that are never swapped, in lower case.
    seed (int): Seed of the draws.
    RETURNS (CharacterNoise): The swaps.
    RAISES (ValueError): S610 for a rate that is no share.
    """
    _check("rate", "CharacterNoise", rate, 0 <= rate <= 1, "a share from 0 to 1")
    return CharacterNoise(rate=rate, keep=keep, seed=seed)


def _check(name: str, what: str, value: float, in_range: bool, expected: str) -> None:
    if not in_range:
        raise ValueError(Errors.S610.format(name=name, what=what, value=value, expected=expected))


def _cased_like(word: str, other: str) -> str:
    """Another word in the casing of a word."""
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


def _read_neighbours(path: Path, limit: int) -> dict[str, list[str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as err:
        kind = OSError if isinstance(err, OSError) else ValueError
        raise kind(Errors.S611.format(path=path, reason=err)) from None
    table: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        word, tab, rest = line.partition("\t")
        if line.strip() and not (tab and word.strip()):
            raise ValueError(Errors.S611.format(path=path, reason=f"line {number} has no word and tab"))
        if others := [other for other in rest.split() if other != word][:limit]:
            table[word.strip()] = others
    if not table:
        raise ValueError(Errors.S611.format(path=path, reason="no word has a neighbour"))
    return table
