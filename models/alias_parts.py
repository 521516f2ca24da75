"""Keys of aliases that share words with a name: "Neruda" and "Pablo Neruda", "Muscatine, Iowa" and "Muscatine".

The index holds, for each word, the numbers of the keys whose aliases have it. An alias that is one word is found by its
key and is not in it, unless it is written with accents. Acronyms are filed as words with a dot before them, and heads,
what stands before a comma or a bracket, with a comma.

How like a key is that shares words is the harmonic mean of what it has of the name and of what the name has of it. Of
the name words count by rarity, so that "Sony Corporation" is "Sony" rather than "Ford Motor Corporation".
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from itertools import chain, groupby

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
# How like an acronym, or a word that is cut short, is to what it stands for, and a head to all of its name.
ACRONYM, HEAD = 0.8, 0.9
# Letters of a word that is cut short.
LEAST_CUT = 3
# What is left of the likeness of a word to one with another ending.
OTHER_ENDING = 0.9
# Letters of an acronym.
SHORTEST_ACRONYM, LONGEST_ACRONYM = 2, 8
# Words of a name that are looked for, and words of a key that is part of it.
MAX_WORDS, MAX_RUN = 12, 6
# Letters at the end of a word that may be others: of German, Germany and Germans. As many stay, at least.
ENDING, LEAST_STEM = 3, 4
# A word of more keys is looked at when the name has no other.
COMMON = 20_000
_NUMBERS = np.dtype("<u4")
WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_CAMEL = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})")
_QUALIFIED = regex.compile(r"[,،，(（]")
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
    firsts = [word[0] for word in WORD.findall(text) if word[0].isalpha()]
    if not any(map(str.isupper, firsts)):
        return set()
    made = {_folded("".join(firsts)), _folded("".join(filter(str.isupper, firsts)))}
    return {each for each in made if SHORTEST_ACRONYM <= len(each) <= LONGEST_ACRONYM}


def head_key(text: str) -> str:
    """Key of what a name is called without what tells it from its namesakes: Paris of "Paris, Texas".

    text (str): The name.
    RETURNS (str): Key of what stands before the first comma or bracket; "" when there is none, or too little.
    """
    found = _QUALIFIED.search(text)
    head = alias_key(text[: found.start()]) if found else ""
    return head if len(head) >= LEAST_LENGTH and head != alias_key(text) else ""


def rarity(word: str, keys: int) -> int:
    """What a word of a name tells beside others.

    word (str): The word.
    keys (int): Keys that have it.
    RETURNS (int): From 1 for words of `COMMON` keys and more, one more for each time that there are half as many. A
        single character tells no more than the most common word.
    """
    return max(1, COMMON.bit_length() - keys.bit_length()) if len(word) > 1 else 1


def filed_under(key: str, aliases: Iterable[str]) -> set[str]:
    """What the index has a key under.

    key (str): The key.
    aliases (Iterable[str]): The names that have it.
    RETURNS (set[str]): Words, acronyms with their dot, and heads with their comma.
    """
    found: set[str] = set()
    for alias in aliases:
        if head := head_key(alias):
            found.add(f",{head}")
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
    RETURNS (dict[int, float]): Numbers of keys and how like they are, from 0 to `MOST_SIMILAR`. The `PARTS` most
        similar, of equal ones the lower numbers.
    """
    key, words = alias_key(text), name_words(text)[:MAX_WORDS]
    sizes = dict(select(db, "SELECT word, length(numbers) FROM words WHERE word IN ({})", set(words)))
    weights = {word: rarity(word, sizes.get(word, 0) // _NUMBERS.itemsize) for word in words}
    found = _sharing(db, sizes, weights)
    named = (_runs(db, text, key, weights), _heads(db, text, key), _initials(db, words, list(found)))
    short = (_acronyms(db, text, key), _cut_short(db, text, key, words), _other_endings(db, key, words))
    for number, like in chain(*named, *short):
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
    return [part for word in WORD.findall(text) for part in (_CAMEL.split(word) if not word.islower() else (word,))]


@lru_cache(maxsize=1 << 16)
def _folded(word: str) -> str:
    key = alias_key(word)
    if not key.isascii():
        decomposed = unicodedata.normalize("NFD", key)
        key = unicodedata.normalize("NFC", "".join(char for char in decomposed if not "\u0300" <= char <= "\u036f"))
    if key.startswith(_ARTICLE) and len(key) > len(_ARTICLE) + 1:
        key = key[len(_ARTICLE) :]
    return key


def _mean(of_name: np.ndarray | float, of_key: np.ndarray | float) -> np.ndarray:
    """Harmonic mean of two shares above 0."""
    return np.minimum(2 * of_name * of_key / (of_name + of_key), MOST_SIMILAR)


def _sharing(db: sqlite3.Connection, sizes: Mapping[str, int], weights: Mapping[str, int]) -> dict[int, float]:
    """Keys under words of a name, as far as they share enough."""
    rare = [word for word in sizes if sizes[word] <= COMMON * _NUMBERS.itemsize]
    chosen = rare or sorted(sizes, key=lambda word: (sizes[word], word))[:1]
    lists = {word: _unpacked(packed) for word, packed in select(db, _OF_WORDS, chosen)}
    if not lists:
        return {}
    numbers, places = np.unique(np.concatenate(list(lists.values())), return_inverse=True)
    counts = [len(of_word) for of_word in lists.values()]
    weight = np.bincount(places, weights=np.repeat([weights[word] for word in lists], counts))
    shared = np.bincount(places, weights=np.repeat([len(word) for word in lists], counts))
    of_name = weight / sum(weights.values())
    of_key = np.minimum(shared / (numbers.astype(np.int64) >> LENGTH_BITS), 1.0)
    enough = (of_name >= LEAST_SHARED / 100) | (of_key >= 1)
    numbers, likes = numbers[enough], _mean(of_name[enough], of_key[enough])
    best = np.argsort(-likes, kind="stable")[: 2 * PARTS]
    return dict(zip(numbers[best].tolist(), likes[best].tolist()))


def _runs(db: sqlite3.Connection, text: str, key: str, weights: Mapping[str, int]) -> Iterator[tuple[int, float]]:
    """Keys that are some words of the name, one after the other."""
    edges = [match.span() for match in WORD.finditer(text)][:MAX_WORDS]
    runs = {}
    for first in range(len(edges)):
        for last in range(first, min(first + MAX_RUN, len(edges))):
            part = text[edges[first][0] : edges[last][1]]
            own = name_words(part)
            weight = sum(weights.get(word, 0) for word in set(own))
            # As it is written, and without accents.
            runs |= {alias_key(part): weight, "".join(own): weight}
    wanted = {run for run in runs if len(run) >= LEAST_LENGTH and run != key and runs[run]}
    total = sum(weights.values())
    for number, run in select(db, "SELECT number, key FROM keys WHERE key IN ({})", wanted):
        yield number, float(_mean(runs[run] / total, 1.0))


def _heads(db: sqlite3.Connection, text: str, key: str) -> Iterator[tuple[int, float]]:
    """The key of the head of a name, and keys of names that it is the head of."""
    for _, packed in select(db, _OF_WORDS, [f",{key}"]):
        yield from ((number, HEAD) for number in _unpacked(packed)[:PARTS].tolist())
    for (number,) in db.execute("SELECT number FROM keys WHERE key = ?", (head_key(text),)):
        yield number, HEAD


def _acronyms(db: sqlite3.Connection, text: str, key: str) -> Iterator[tuple[int, float]]:
    """Keys of names that a name in capitals may stand for."""
    if SHORTEST_ACRONYM <= len(key) <= LONGEST_ACRONYM and text.isupper():
        for _, packed in select(db, _OF_WORDS, [f".{_folded(key)}"]):
            yield from ((number, ACRONYM) for number in _unpacked(packed)[:PARTS].tolist())


def _initials(db: sqlite3.Connection, words: list[str], numbers: list[int]) -> Iterator[tuple[int, float]]:
    """Keys among those that share words, whose other words begin with the initials of the name, in their order."""
    letters, spelt = [word for word in words if len(word) == 1], {word for word in words if len(word) > 1}
    if not letters or not spelt:
        return
    for number, alias in select(db, "SELECT key, alias FROM aliases WHERE key IN ({})", numbers):
        own = name_words(alias)
        rest = iter([word for word in own if word not in spelt])
        matched = [next((word for word in rest if word.startswith(letter)), "") for letter in letters]
        if spelt <= set(own) and all(matched):
            shared = sum(map(len, (*spelt, *matched)))
            yield number, float(_mean(1.0, min(shared / (number >> LENGTH_BITS), 1.0)))


def _cut_short(db: sqlite3.Connection, text: str, key: str, words: list[str]) -> Iterator[tuple[int, float]]:
    """Keys that a word with a full stop is the beginning of."""
    if len(words) == 1 and len(key) >= LEAST_CUT and text.rstrip().endswith("."):
        query = "SELECT number FROM keys WHERE key > ? AND key < ? ORDER BY number LIMIT ?"
        yield from ((number, ACRONYM) for (number,) in db.execute(query, (key, key + _LAST, PARTS)))


def _other_endings(db: sqlite3.Connection, key: str, words: list[str]) -> Iterator[tuple[int, float]]:
    """Keys that begin as a name of one word does, and keys with such a word."""
    if len(words) != 1 or not LEAST_STEM <= len(key) <= MAX_LENGTH - ENDING or has_han(key):
        return
    stem = key[: max(LEAST_STEM, len(key) - ENDING)]
    longest = len(key) + ENDING
    query = "SELECT number, key FROM keys WHERE key >= ? AND key < ? AND number < ?"
    for number, other in db.execute(query, (stem, stem + _LAST, first_number(longest + 1))):
        yield number, OTHER_ENDING * 2 * _beginning(key, other) / (len(key) + len(other))
    query = "SELECT word, numbers FROM words WHERE word >= ? AND word < ? AND length(word) <= ?"
    for word, packed in db.execute(query, (stem, stem + _LAST, longest)):
        shared = _beginning(key, word)
        for number in _unpacked(packed)[:PARTS].tolist():
            yield number, OTHER_ENDING * 2 * shared / (len(key) + (number >> LENGTH_BITS))


def _beginning(one: str, other: str) -> int:
    """Characters at the beginning that two words share."""
    return next((at for at, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def _unpacked(numbers: bytes) -> np.ndarray:
    try:
        return np.frombuffer(numbers, dtype=_NUMBERS)
    except (TypeError, ValueError) as error:
        raise Damaged("the index of its words cannot be read") from error


_OF_WORDS = "SELECT word, numbers FROM words WHERE word IN ({})"
