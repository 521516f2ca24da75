"""What a text says of the names in it: "Clinton" is "Hillary Clinton" where that is written out, "EIB" what it is
explained as in "European Investment Bank (EIB)".
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice

import regex

from .alias_keys import alias_key
from .alias_parts import LONGEST_ACRONYM, MAX_RUN, MOST_SIMILAR, SHORTEST_ACRONYM, WORD, name_words

# Places of a name in a text that are looked at.
MOST_PLACES = 64
# How much nearer to `MOST_SIMILAR` an alias comes whose other words are all in the text, or that is written out.
IN_TEXT, WRITTEN = 0.7, 0.85
# Letters of a short form. What it stands for has so many more words at most, and no more than so many times as many.
SHORT_FORM = range(2, 11)
_MORE_WORDS, _TIMES_WORDS = 5, 2
# What may be between two words of one name. A full stop is, after an initial or such as "Mr." and "St."
_GAP = regex.compile(r"[-'’·/]|[.,]?[^\S\n]?")
_CUT_SHORT = 3
_BRACKETED = regex.compile(r"[(（]\s*([^()（）\s][^()（）\n]{0,30}?)\s*[)）]")


class NameContext:
    """The words of a text that names stand in.

    text (str): The text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._edges = [match.span() for match in WORD.finditer(text)]
        folded = [name_words(text[start:end]) for start, end in self._edges]
        self._words = list(map("".join, folded))
        self._known = set(chain.from_iterable(folded))
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        self._initials: defaultdict[str, list[int]] = defaultdict(list)
        self._small = self._small_words()
        for place, word in enumerate(self._words):
            if word:
                self._places[word].append(place)
            if word and not self._small[place]:
                self._initials[word[0]].append(place)
        # The first explanation of a short form counts.
        self._explained = {match[1]: match.start() for match in reversed(list(_BRACKETED.finditer(text)))}

    def written_keys(self, name: str) -> set[str]:
        """Keys of what the text has around a name, where that may be all of a name, or spells out for one in capitals.

        name (str): The name.
        RETURNS (set[str]): Keys of up to `MAX_RUN` words that are not the name itself.
        """
        own = ["".join(name_words(word)) for word in WORD.findall(name)]
        places = (place for place in self._places_of(own) if self._is_at(place, own, name))
        around = (self._around(place, place + len(own)) for place in islice(places, MOST_PLACES))
        runs = set(chain(chain.from_iterable(around), islice(self._spelt_out(name), MOST_PLACES)))
        return {alias_key(self._written(first, last)) for first, last in runs} - {alias_key(name)}

    def long_form(self, name: str) -> str:
        """What a short form stands for where the text explains it: before the first brackets that it is alone in.

        As of Schwartz and Hearst (2003): the long form begins with the first letter, and has the others in their order.

        name (str): The short form.
        RETURNS (str): The shortest long form; "" where there is none.
        """
        letters = [char for char in name.casefold() if char.isalnum()]
        end = self._explained.get(name, 0)
        if not end or len(letters) not in SHORT_FORM:
            return ""
        last = bisect_right(self._edges, (end, end))
        most = min(len(letters) + _MORE_WORDS, len(letters) * _TIMES_WORDS)
        for first in range(last - 1, max(last - most, 0) - 1, -1):
            form = self._text[self._edges[first][0] : end].strip()
            if form[0].casefold() == letters[0] and _has_in_order(form.casefold(), letters):
                return form
        return ""

    def likeness(self, like: float, name: Collection[str], alias: str) -> float:
        """How like an alias is to a name, when words of the alias that the text has elsewhere count.

        like (float): How like they are without the text.
        name (Collection[str]): Words of the name.
        alias (str): The alias.
        RETURNS (float): So much or more, `MOST_SIMILAR` at most.
        """
        others = [word for word in _words_of(alias) if word not in name]
        there = sum(len(word) for word in others if word in self._known)
        return like + (MOST_SIMILAR - like) * IN_TEXT * there / sum(map(len, others)) if there else like

    def _places_of(self, words: Sequence[str]) -> Iterator[int]:
        """Where words may begin, by the one of them that the text has least often."""
        if words and words[0]:
            seen = {offset: self._places.get(word, ()) for offset, word in enumerate(words) if word}
            offset = min(seen, key=lambda offset: len(seen[offset]))
            yield from (place - offset for place in seen[offset] if place >= offset)

    def _around(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Runs of words, first and end, that hold a run and more. No word in small letters is their first or last."""
        firsts, lasts = [first], [last]
        while firsts[-1] > 0 and last - firsts[-1] < MAX_RUN and self._is_joined(firsts[-1]):
            firsts.append(firsts[-1] - 1)
        while lasts[-1] < len(self._words) and lasts[-1] - first < MAX_RUN and self._is_joined(lasts[-1]):
            lasts.append(lasts[-1] + 1)
        firsts = [each for each in firsts if each == first or not self._small[each]]
        lasts = [each for each in lasts if each == last or not self._small[each - 1]]
        return ((a, b) for a in firsts for b in lasts if last - first < b - a <= MAX_RUN)

    def _spelt_out(self, name: str) -> Iterator[tuple[int, int]]:
        """Runs of words whose first letters are a name in capitals. Words in small letters may be left out."""
        key = alias_key(name)
        if not (name.isupper() and key.isalpha() and SHORTEST_ACRONYM <= len(key) <= LONGEST_ACRONYM):
            return
        for first in self._initials.get(key[0], ()):
            letters, last = 0, first
            end = min(first + len(key) * _TIMES_WORDS, len(self._words))
            while last < end and letters < len(key) and (last == first or self._is_joined(last)):
                if self._words[last].startswith(key[letters]):
                    letters += 1
                elif not self._small[last]:
                    break
                last += 1
            if letters == len(key):
                yield first, last

    def _small_words(self) -> list[bool]:
        """Of each word, whether it is in small letters, or would be if it did not begin a sentence."""
        plain = [self._written(place, place + 1).islower() for place in range(len(self._words))]
        seen = {word for word, is_small in zip(self._words, plain) if is_small}
        return [
            is_small or (word in seen and not (place and self._is_joined(place)))
            for place, (word, is_small) in enumerate(zip(self._words, plain))
        ]

    def _is_at(self, place: int, words: Sequence[str], name: str) -> bool:
        """Whether words stand at a place; "swimming" is not the beginning of "Swimming Championships"."""
        end = place + len(words)
        return self._words[place:end] == words and (not name.islower() or self._written(place, end).islower())

    def _is_joined(self, place: int) -> bool:
        """Whether a word and the one before it may be of one name."""
        (start, end), (following, _) = self._edges[place - 1 : place + 1]
        gap = self._text[end:following]
        return _GAP.fullmatch(gap) is not None and ("." not in gap or end - start <= _CUT_SHORT)

    def _written(self, first: int, last: int) -> str:
        return self._text[self._edges[first][0] : self._edges[last - 1][1]]


def written_likeness(name: str, alias: str) -> float:
    """How like an alias is to a name that stands for it where it is written out.

    name (str): Key of the name.
    alias (str): Key of the alias.
    RETURNS (float): The less, the smaller a part of the alias the name is.
    """
    share = min(len(name) / len(alias), 1.0)
    like = min(2 * share / (1 + share), MOST_SIMILAR)
    return like + (MOST_SIMILAR - like) * WRITTEN


@lru_cache(maxsize=1 << 14)
def _words_of(alias: str) -> list[str]:
    return name_words(alias)


def _has_in_order(form: str, letters: Sequence[str]) -> bool:
    rest = iter(form)
    return all(letter in rest for letter in letters)
