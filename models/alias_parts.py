"""Keys of aliases that share words with a name: "Neruda" and "Pablo Neruda", "Muscatine, Iowa" and "Muscatine".

The index holds, for each word, the numbers of the keys whose aliases have it. An alias that is one word is found by its
key and is not in it, unless it is written with accents. Acronyms are filed as words with a dot before them.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from itertools import groupby

import numpy as np
import regex

from .alias_keys import alias_key, has_han
from .alias_search import LEAST_LENGTH, LENGTH_BITS, MAX_LENGTH, first_number
from .kb_store import Damaged
from .sqlite_tools import select

# Keys that share words, at most.
PARTS = 100
# What a key must share, in characters: so much of the name, in percent, or all of the key.
LEAST_SHARED = 40
# A name that is found by its words is never as like as the same name.
MOST_SIMILAR = 0.95
# How like an acronym is to what it stands for.
ACRONYM = 0.5
# Letters of an acronym.
_SHORTEST_ACRONYM, LONGEST_ACRONYM = 2, 8
# Words of a name that are looked for, and words of a key that is part of it.
MAX_WORDS, MAX_RUN = 12, 6
# Letters at the end of a word that may be others: of German, Germany and Germans. As many stay, at least.
ENDING, LEAST_STEM = 3, 4
# A word of more keys is looked at when the name has no other.
COMMON = 20_000
_NUMBERS = np.dtype("<u4")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_CAMEL = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})")
_ARTICLE = "ال"
_LAST = "\U0010ffff"


def name_words(text: str) -> list[str]:
    """The words of a name, each as its key without accents and without the Arabic article; CamelCase is two.

    text (str): The name.
    RETURNS (list[str]): The words.
    """
    return [word for word in map(_folded, _raw_words(text)) if word]


def acronyms(text: str) -> set[str]:
    """What a name of several words may be shortened to: the first letters of all words, or of those with a capital.

    text (str): The name.
    RETURNS (set[str]): Keys of acronyms.
    """
    firsts = [word[0] for word in _WORD.findall(text) if word[0].isalpha()]
    if not any(map(str.isupper, firsts)):
        return set()
    made = {_folded("".join(firsts)), _folded("".join(filter(str.isupper, firsts)))}
    return {each for each in made if _SHORTEST_ACRONYM <= len(each) <= LONGEST_ACRONYM}


def filed_under(key: str, aliases: Iterable[str]) -> set[str]:
    """What the index has a key under.

    key (str): The key.
    aliases (Iterable[str]): The names that have it.
    RETURNS (set[str]): Words, and acronyms with their dot.
    """
    found: set[str] = set()
    for alias in aliases:
        words = name_words(alias)
        if len(words) > 1:
            found.update(words)
            found.update(f".{acronym}" for acronym in acronyms(alias))
        elif words != [key]:
            found.update(words)
    return found


def part_keys(db: sqlite3.Connection, text: str) -> dict[int, float]:
    """Keys that share words with a name, and not the same.

    db (sqlite3.Connection): The knowledge base.
    text (str): The name.
    RETURNS (dict[int, float]): Numbers of keys and how like they are, from 0 to `MOST_SIMILAR`: twice what they share,
        over the length of both, in characters. The `PARTS` most similar, of equal ones the lower numbers.
    """
    key, words = alias_key(text), name_words(text)[:MAX_WORDS]
    found = _sharing(db, len(key), words)
    for number, like in (*_runs(db, text, key), *_acronyms(db, text, key), *_other_endings(db, key, words)):
        found[number] = max(found.get(number, 0.0), like)
    own = db.execute("SELECT number FROM keys WHERE key = ?", (key,)).fetchone()
    found.pop(own and own[0], None)
    best = sorted(found, key=lambda number: (-found[number], number))[:PARTS]
    return {number: found[number] for number in best}


def build_words(db: sqlite3.Connection) -> None:
    """Make the index of all words.

    db (sqlite3.Connection): The knowledge base; its index is empty.
    """
    db.executemany("INSERT INTO words VALUES (?, ?)", word_lists(db))


def word_lists(db: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    """What the index of all words has to hold.

    db (sqlite3.Connection): The knowledge base.
    YIELDS (tuple[str, bytes]): A word, and the numbers of its keys.
    """
    rows = db.execute("SELECT k.number, k.key, a.alias FROM aliases a JOIN keys k ON k.number = a.key ORDER BY a.key")
    found: defaultdict[str, list[int]] = defaultdict(list)
    for (number, key), of_key in groupby(rows, key=lambda row: row[:2]):
        for word in filed_under(key, {alias for _, _, alias in of_key}):
            found[word].append(number)
    for word in sorted(found):
        yield word, np.array(found[word], dtype=_NUMBERS).tobytes()


def words_of(db: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, set[str]]:
    """What the index has to have keys under.

    db (sqlite3.Connection): The knowledge base.
    numbers (Iterable[int]): Numbers of keys.
    RETURNS (dict[int, set[str]]): Words by number; keys without aliases have none.
    """
    query = "SELECT k.number, k.key, a.alias FROM keys k JOIN aliases a ON a.key = k.number WHERE k.number IN ({})"
    rows = sorted(select(db, query, numbers))
    return {
        number: filed_under(key, {alias for _, _, alias in of_key})
        for (number, key), of_key in groupby(rows, key=lambda row: row[:2])
    }


def change_words(db: sqlite3.Connection, before: Mapping[int, Set[str]], after: Mapping[int, Set[str]]) -> None:
    """Bring the index up to date.

    db (sqlite3.Connection): The knowledge base.
    before (Mapping[int, Set[str]]): What it had keys under, by number.
    after (Mapping[int, Set[str]]): What it is to have them under.
    """
    coming, going = _by_word(after, before), _by_word(before, after)
    for word in sorted({*coming, *going}):
        found = db.execute("SELECT numbers FROM words WHERE word = ?", (word,)).fetchone()
        numbers = _unpacked(found[0] if found else b"")
        numbers = np.union1d(np.setdiff1d(numbers, going.get(word, ())), coming.get(word, ())).astype(_NUMBERS)
        if numbers.size:
            db.execute("INSERT OR REPLACE INTO words VALUES (?, ?)", (word, numbers.tobytes()))
        else:
            db.execute("DELETE FROM words WHERE word = ?", (word,))


def _by_word(these: Mapping[int, Set[str]], others: Mapping[int, Set[str]]) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, words in these.items():
        for word in words - others.get(number, frozenset()):
            found[word].append(number)
    return found


def _raw_words(text: str) -> list[str]:
    return [part for word in _WORD.findall(text) for part in (_CAMEL.split(word) if not word.islower() else (word,))]


@lru_cache(maxsize=1 << 16)
def _folded(word: str) -> str:
    key = alias_key(word)
    if not key.isascii():
        decomposed = unicodedata.normalize("NFD", key)
        key = unicodedata.normalize("NFC", "".join(char for char in decomposed if not "\u0300" <= char <= "\u036f"))
    if key.startswith(_ARTICLE) and len(key) > len(_ARTICLE) + 1:
        key = key[len(_ARTICLE) :]
    return key


def _similarities(numbers: np.ndarray, shared: np.ndarray | int, length: int) -> np.ndarray:
    lengths = numbers.astype(np.int64) >> LENGTH_BITS
    return np.minimum(2 * shared / (lengths + length), MOST_SIMILAR)


def _sharing(db: sqlite3.Connection, length: int, words: list[str]) -> dict[int, float]:
    """Keys under words of a name, as far as they share enough."""
    sizes = dict(select(db, "SELECT word, length(numbers) FROM words WHERE word IN ({})", set(words)))
    rare = [word for word in sizes if sizes[word] <= COMMON * _NUMBERS.itemsize]
    chosen = rare or sorted(sizes, key=lambda word: (sizes[word], word))[:1]
    lists = {word: _unpacked(packed) for word, packed in select(db, _OF_WORDS, chosen)}
    if not lists:
        return {}
    every = np.concatenate(list(lists.values()))
    lengths = np.concatenate([np.full(len(numbers), len(word)) for word, numbers in lists.items()])
    numbers, places = np.unique(every, return_inverse=True)
    shared = np.bincount(places, weights=lengths)
    enough = (100 * shared >= LEAST_SHARED * length) | (shared >= numbers.astype(np.int64) >> LENGTH_BITS)
    numbers, likes = numbers[enough], _similarities(numbers[enough], shared[enough], length)
    best = np.argsort(-likes, kind="stable")[: 2 * PARTS]
    return dict(zip(numbers[best].tolist(), likes[best].tolist()))


def _runs(db: sqlite3.Connection, text: str, key: str) -> Iterator[tuple[int, float]]:
    """Keys that are some words of the name, one after the other."""
    edges = [match.span() for match in _WORD.finditer(text)][:MAX_WORDS]
    runs = {
        alias_key(text[edges[first][0] : edges[last][1]])
        for first in range(len(edges))
        for last in range(first, min(first + MAX_RUN, len(edges)))
    }
    wanted = {run for run in runs if len(run) >= LEAST_LENGTH and run != key}
    for number, run in select(db, "SELECT number, key FROM keys WHERE key IN ({})", wanted):
        yield number, min(2 * len(run) / (len(run) + len(key)), MOST_SIMILAR)


def _acronyms(db: sqlite3.Connection, text: str, key: str) -> Iterator[tuple[int, float]]:
    """Keys of names that a name in capitals may stand for."""
    if _SHORTEST_ACRONYM <= len(key) <= LONGEST_ACRONYM and text.isupper():
        for _, packed in select(db, _OF_WORDS, [f".{_folded(key)}"]):
            yield from ((number, ACRONYM) for number in _unpacked(packed)[:PARTS].tolist())


def _other_endings(db: sqlite3.Connection, key: str, words: list[str]) -> Iterator[tuple[int, float]]:
    """Keys that begin as a name of one word does, and keys with such a word."""
    if len(words) != 1 or not LEAST_STEM <= len(key) <= MAX_LENGTH - ENDING or has_han(key):
        return
    stem = key[: max(LEAST_STEM, len(key) - ENDING)]
    longest = len(key) + ENDING
    query = "SELECT number, key FROM keys WHERE key >= ? AND key < ? AND number < ?"
    for number, other in db.execute(query, (stem, stem + _LAST, first_number(longest + 1))):
        yield number, min(2 * _beginning(key, other) / (len(key) + len(other)), MOST_SIMILAR)
    query = "SELECT word, numbers FROM words WHERE word >= ? AND word < ? AND length(word) <= ?"
    for word, packed in db.execute(query, (stem, stem + _LAST, longest)):
        numbers = _unpacked(packed)[:PARTS]
        shared = _beginning(key, word)
        yield from zip(numbers.tolist(), _similarities(numbers, shared, len(key)).tolist())


def _beginning(one: str, other: str) -> int:
    """Characters at the beginning that two words share."""
    return next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def _unpacked(numbers: bytes) -> np.ndarray:
    try:
        return np.frombuffer(numbers, dtype=_NUMBERS)
    except (TypeError, ValueError) as error:
        raise Damaged("the index of its words cannot be read") from error


_OF_WORDS = "SELECT word, numbers FROM words WHERE word IN ({})"
