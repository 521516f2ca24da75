"""How far a text repeats itself: in runs of words, and in whole lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import regex

# Scripts that put no blanks between words; their words are counted by letters.
UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_UNITS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|[\p{L}\p{M}\p{N}]+")
# Words below which a text is too short to judge.
SHORTEST = 20


def word_units(text: str) -> list[str]:
    """The words of a text, and the letters of scripts without blanks between words one by one.

    text (str): The text.
    RETURNS (list[str]): They, without punctuation.
    """
    return _UNITS.findall(text)


def has_repeated_ngrams(text: str, top: Sequence[float], duplicate: Sequence[float]) -> bool:
    """Whether runs of words repeat beyond what may be, by the rules of Gopher (arXiv 2112.11446).

    Two letters count as a word in scripts without blanks between words. A text of fewer than 20 words passes, and so
    does a most frequent n-gram that comes twice.

    text (str): The text.
    top (Sequence[float]): Greatest shares of the characters that the most frequent n-gram holds, for n = 2, 3, ...
    duplicate (Sequence[float]): Greatest shares of the characters in n-grams that repeat an earlier one, for n = 5,
        6, ...
    RETURNS (bool): Whether one of the shares is greater.
    """
    units = word_units(text)
    size = 2 if 2 * len(UNSPACED.findall(text)) > len(units) else 1
    if len(units) < size * SHORTEST:
        return False
    total = sum(map(len, units))
    for n, bound in enumerate(top, start=2):
        ngram, count = Counter(_ngrams(units, n * size)).most_common(1)[0]
        if count <= 2:
            # No longer one comes oftener.
            break
        # Those that overlap can hold more characters than there are.
        if min(total, count * sum(map(len, ngram))) > bound * total:
            return True
    for n, bound in enumerate(duplicate, start=5):
        repeated = _repeated_characters(units, n * size)
        if not repeated:
            break
        if repeated > bound * total:
            return True
    return False


def has_repeated_lines(text: str, lines: float, characters: float) -> bool:
    """Whether lines repeat beyond what may be.

    text (str): The text.
    lines (float): Greatest share of its lines that repeat another.
    characters (float): Greatest share of the characters in them.
    RETURNS (bool): Whether one of the shares is greater.
    """
    every = text.split("\n")
    once = set(every)
    total = sum(map(len, every))
    return len(every) - len(once) > lines * len(every) or total - sum(map(len, once)) > characters * total


def _ngrams(units: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(units[i:] for i in range(n)))


def _repeated_characters(units: list[str], n: int) -> int:
    """Characters in n-grams that were met before; none counts twice."""
    met: set[tuple[str, ...]] = set()
    place = repeated = 0
    while place + n <= len(units):
        ngram = tuple(units[place : place + n])
        if ngram in met:
            repeated += sum(map(len, ngram))
            place += n
        else:
            met.add(ngram)
            place += 1
    return repeated
