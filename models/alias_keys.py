"""Keys of aliases: what is left of a name when the ways to write it are folded into one.

A key is NFKC, case-folded, with one letter for the variants of Arabic letters, ASCII digits and simplified ideographs,
without invisible characters, blanks and punctuation: "U.S.A." and "USA", "Jean-Paul" and "Jean Paul", "عبد الله" and
"عبدالله", "臺灣" and "台湾" have the same. Between two digits one blank is left: "2.0" is not "20". Symbols count, and
so do "#", "%" and "&": "C++", "C#" and "C" differ.

What a knowledge base holds was found by these keys: whoever changes them raises its format.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

import regex

from ..normalization import normalize

# Stands for what is dropped, until its neighbours are known.
_GAP = "\n"
_BETWEEN_DIGITS = re.compile(f"(?<=[0-9]){_GAP}+(?=[0-9])")
_KEPT = frozenset("#%&")
# Beside punctuation: letters and signs that stand for an apostrophe, and marks of a trade.
_DROPPED = frozenset("®©ˈ" + "".join(map(chr, range(0x2B9, 0x2C0))))
_INVISIBLE = regex.compile(r"[\p{Z}\p{Cc}\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}]")
_HAN = regex.compile(r"\p{Han}")
# What case folding leaves of the Turkish capital I; marks below the letter come before its dot when they are ordered.
_DOTTED = regex.compile(r"i((?:(?!\p{ccc=230})\p{Mn})*)\u0307")
# And, then; by, for, like. One of each may come before a word, in this order, and the article after them.
_CONJUNCTIONS = ("", "و", "ف")
_PREPOSITIONS = ("", "ب", "ل", "ك")
_ARTICLE = "ال"
# After "for", the article loses its first letter.
_FOR = "ل"
_LEAST_LETTERS = 2


def alias_key(text: str) -> str:
    """What a name is looked up by; `alias_key(alias_key(x)) == alias_key(x)`.

    text (str): The name.
    RETURNS (str): Its key: "" when nothing of the name can be seen, and only then.
    """
    key = _fold(text)
    # Without what stood between them, two characters can compose.
    while not key.isascii() and (again := _fold(key)) != key:
        key = again
    return key


def clitic_keys(text: str) -> list[str]:
    """Keys of an Arabic name without the words that are written as one with it: و ف ب ل ك and the article ال.

    text (str): The name as it stands in a text; of several words, the first is stripped.
    RETURNS (list[str]): Keys of two letters and more, the longest first; none when there is nothing to strip.
    """
    key = alias_key(text)
    found = set()
    for particles in (conjunction + preposition for conjunction in _CONJUNCTIONS for preposition in _PREPOSITIONS):
        if not key.startswith(particles):
            continue
        rest = key[len(particles) :]
        found.add(rest)
        if rest.startswith(_ARTICLE):
            found.add(rest[len(_ARTICLE) :])
        elif particles.endswith(_FOR) and rest.startswith(_FOR) and _has_letters(rest[1:]):
            found.update((rest[1:], _ARTICLE + rest[1:]))
    found.discard(key)
    return sorted(filter(_has_letters, found), key=lambda rest: (-len(rest), rest))


def has_han(text: str) -> bool:
    """Whether there is an ideograph in a text.

    text (str): The text.
    RETURNS (bool): Whether there is.
    """
    return not text.isascii() and _HAN.search(text) is not None


def _has_letters(text: str) -> bool:
    return sum(char.isalpha() for char in text) >= _LEAST_LETTERS


class _Accents(dict):
    """Table for `str.translate` that drops accents that stand alone, filled as characters are met.

    NFKC makes a blank and a mark of one, and the mark would go to the letter before.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = "" if unicodedata.category(char) == "Sk" else char
        return self[code]


class _Edits(dict):
    """Table for `str.translate` that leaves gaps and simple letters, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = self._edited(char)
        return self[code]

    def _edited(self, char: str) -> str:
        category = unicodedata.category(char)
        if char in _DROPPED or category == "Sk" or _INVISIBLE.match(char):
            return _GAP
        if category.startswith("P") and char not in _KEPT:
            return _GAP
        # Case folding keeps the dotless i of Turkish apart from others.
        return "i" if char == "ı" else _simplified(char) if _HAN.match(char) else char


_ACCENTS, _EDITS = _Accents(), _Edits()


def _fold(text: str) -> str:
    folded = text.lower() if text.isascii() else normalize(text.translate(_ACCENTS), "full").casefold()
    edited = (_DOTTED.sub(r"i\1", folded) if "\u0307" in folded else folded).translate(_EDITS)
    if _GAP in edited:
        edited = _BETWEEN_DIGITS.sub(" ", edited).replace(_GAP, "")
    # Names such as "!!!" are nothing else.
    return edited or _visible(folded) or _visible(text)


def _visible(text: str) -> str:
    return "".join(char for char in text if not _INVISIBLE.match(char))


def _simplified(char: str) -> str:
    """The simplified form of an ideograph, whatever stands beside it: both spellings of a name need one key."""
    of_taiwan, of_hong_kong = _converters()
    while (simpler := of_hong_kong(of_taiwan(char))) != char:
        char = simpler
    return char


@cache
def _converters() -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Together these know more variants than the conversion without a region."""
    from opencc import OpenCC

    return OpenCC("tw2s").convert, OpenCC("hk2s").convert
