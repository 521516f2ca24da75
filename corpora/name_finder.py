"""Finding the names of entities in text: whole words, or characters of Chinese, the longest name first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import regex

from ..models.alias_keys import alias_key, has_han

__all__ = ["FoundName", "NameFinder"]

_WORD = regex.compile(r"[\w\p{M}ـ]+")
# What may stand between two words of a name, or between two names of one entity in Chinese script.
_BETWEEN = regex.compile(r"[\s\-–'’.·‧・]{0,2}|, ")
_PARTICLES = ("و", "ف", "ب", "ل", "ك", "وب", "ول", "وك", "فب", "فل")
_ARTICLE, _FOR = "ال", "ل"
# Letters that a word without its particles has at least, and characters of a name in Chinese script.
_LEAST_LETTERS, _LEAST_CHARACTERS = 3, 2

_key = lru_cache(maxsize=1 << 18)(alias_key)
Unit = tuple[int, int, str]


@dataclass(frozen=True)
class FoundName:
    """A name in a text.

    start (int), end (int): Characters of whole words, with the particles that are written as one with them.
    ids (frozenset[str]): Entities that it can mean.
    """

    start: int
    end: int
    ids: frozenset[str]


class NameFinder:
    """Names to look for, by the keys of their words or characters.

    names (Iterable[tuple[str, str]]): Name and id; one name may have several ids.
    han (bool): Whether the texts are in Chinese script, where any two characters can begin a name.
    clitics (bool): Whether Arabic particles before a word are looked through.
    """

    def __init__(self, names: Iterable[tuple[str, str]], *, han: bool = False, clitics: bool = False) -> None:
        self._han = han
        self._clitics = clitics
        self._longest: dict[str, int] = {}
        ids: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for name, id in names:
            keys = tuple(key for _, _, key in self._units(name))
            if self._is_findable(keys):
                ids[keys].add(id)
                self._longest[keys[0]] = max(self._longest.get(keys[0], 0), len(keys))
        self._ids = {keys: frozenset(found) for keys, found in ids.items()}

    def __len__(self) -> int:
        """Number of different names."""
        return len(self._ids)

    def find(self, text: str) -> Iterator[FoundName]:
        """The names in a text; none overlaps another.

        text (str): The text.
        YIELDS (FoundName): The names, from left to right.
        """
        units = self._units(text)
        position = 0
        while position < len(units):
            length, ids = self._longest_at(text, units, position)
            if ids:
                yield FoundName(units[position][0], units[position + length - 1][1], ids)
            position += max(length, 1)

    def _longest_at(self, text: str, units: list[Unit], position: int) -> tuple[int, frozenset[str]]:
        """How many units the longest name from here on has, and what it can mean."""
        best: tuple[int, frozenset[str]] = (0, frozenset())
        for first in self._beginnings(units[position][2]):
            most = min(self._longest.get(first, 0), len(units) - position)
            for length in range(most, best[0], -1):
                keys = (first, *(key for _, _, key in units[position + 1 : position + length]))
                if keys in self._ids and self._is_joined(text, units[position : position + length]):
                    best = length, self._ids[keys]
                    break
        return best

    def _beginnings(self, key: str) -> Iterator[str]:
        """A word, and what is left of it without particles."""
        yield key
        for particles in _PARTICLES if self._clitics else ():
            rest = key.removeprefix(particles)
            if rest == key or len(rest) < _LEAST_LETTERS:
                continue
            yield rest
            # After "for", the article has lost its first letter, and before a word in l all of it.
            if particles.endswith(_FOR) and rest.startswith(_FOR):
                yield _ARTICLE + rest[1:]
                yield _ARTICLE + rest

    def _is_joined(self, text: str, units: list[Unit]) -> bool:
        return all(_BETWEEN.fullmatch(text, left[1], right[0]) for left, right in pairwise(units))

    def _is_findable(self, keys: tuple[str, ...]) -> bool:
        if self._han:
            return len(keys) >= _LEAST_CHARACTERS and has_han("".join(keys))
        return sum(map(len, keys)) >= _LEAST_LETTERS

    def _units(self, text: str) -> list[Unit]:
        if self._han:
            return [(at, at + 1, _key(char)) for at, char in enumerate(text) if char.isalnum()]
        return [(word.start(), word.end(), _key(word.group())) for word in _WORD.finditer(text)]
