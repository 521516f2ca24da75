"""Keys of aliases that are like another, by the pairs of characters that they share, from an index on disk.

Keys of one length have numbers in a row, so that a search leaves keys alone that are too long or too short. For each
pair of characters the index holds the numbers of the keys that have it, in blocks of 65,536 numbers.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise

import numpy as np
from rapidfuzz.distance import OSA

from .alias_keys import has_han
from .kb_store import Damaged
from .sqlite_tools import select

# Keys of one length, at most: as many as can be told apart by 32 bits.
LENGTH_BITS = 26
# Similarity, in percent: 1 less the edits for each character of the longer key. An edit is a character put in, taken
# out or replaced, or two neighbours exchanged. An ideograph says more than a letter, so one of three may be wrong.
LEAST_SIMILARITY, LEAST_SIMILARITY_HAN = 75, 65
# Keys with fewer or more characters have nothing like them.
LEAST_LENGTH, MAX_LENGTH = 2, 60
# Keys that share the most pairs, and are compared.
COMPARED = 1000
# Pairs that two keys must share, edges included.
_LEAST_SHARED = 2
# An exchange takes three pairs apart, and a character put in only one.
_PAIRS_OF_EDIT = 3
_EDGE = "\n"
_BLOCK_BITS = 16
_IN_BLOCK = (1 << _BLOCK_BITS) - 1
_NUMBERS = np.dtype("<u2")


def first_number(length: int) -> int:
    """Where the numbers of the keys of a length begin.

    length (int): The length; those over `MAX_LENGTH` are as one.
    RETURNS (int): The first number.
    """
    return min(length, MAX_LENGTH + 1) << LENGTH_BITS


def similarity(key: str, other: str) -> float:
    """How like two keys are.

    key (str): A key.
    other (str): Another.
    RETURNS (float): From 0 to 1, and 1 for equal keys alone.
    """
    return OSA.normalized_similarity(key, other)


def similar_keys(db: sqlite3.Connection, key: str) -> list[tuple[str, float]]:
    """Keys that are like another and not the same, as `LEAST_SIMILARITY` tells.

    db (sqlite3.Connection): The knowledge base.
    key (str): The key; it need not be there.
    RETURNS (list[tuple[str, float]]): Keys and their similarity, the most similar first, equal ones in order.
    """
    length = len(key)
    if not LEAST_LENGTH <= length <= MAX_LENGTH:
        return []
    least = LEAST_SIMILARITY_HAN if has_han(key) else LEAST_SIMILARITY
    shortest, longest = max(-(-length * least // 100), LEAST_LENGTH), min(length * 100 // least, MAX_LENGTH)
    shared = {other: _least_shared(length, other, least) for other in range(shortest, longest + 1)}
    numbers = _sharing(db, key, shared)
    found = (other for (other,) in select(db, "SELECT key FROM keys WHERE number IN ({})", numbers))
    compared = ((other, OSA.distance(key, other), max(length, len(other))) for other in found if other != key)
    # Whole numbers: a similarity at the limit is no matter of rounding.
    alike = [(other, 1 - edits / total) for other, edits, total in compared if 100 * edits <= (100 - least) * total]
    return sorted(alike, key=lambda pair: (-pair[1], pair[0]))


def build_grams(db: sqlite3.Connection) -> None:
    """Make the index of all keys.

    db (sqlite3.Connection): The knowledge base; its index is empty.
    """
    for block, numbers in gram_blocks(db):
        rows = ((gram, block, numbers[gram].tobytes()) for gram in sorted(numbers))
        db.executemany("INSERT INTO grams VALUES (?, ?, ?)", rows)


def gram_blocks(db: sqlite3.Connection) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """What the index of all keys has to hold.

    db (sqlite3.Connection): The knowledge base.
    YIELDS (tuple[int, dict[str, np.ndarray]]): A block, and for each pair of characters the numbers in it.
    """
    keys = db.execute(
        "SELECT number, key FROM keys WHERE number >= ? AND number < ? ORDER BY number",
        (first_number(LEAST_LENGTH), first_number(MAX_LENGTH + 1)),
    )
    for block, of_block in groupby(keys, key=lambda row: row[0] >> _BLOCK_BITS):
        found: defaultdict[str, list[int]] = defaultdict(list)
        for number, key in of_block:
            for gram in grams(key):
                found[gram].append(number & _IN_BLOCK)
        yield block, {gram: np.array(numbers, dtype=_NUMBERS) for gram, numbers in found.items()}


def change_grams(db: sqlite3.Connection, added: Mapping[int, str], removed: Mapping[int, str]) -> None:
    """Bring the index up to date.

    db (sqlite3.Connection): The knowledge base.
    added (Mapping[int, str]): Keys that came, by their numbers.
    removed (Mapping[int, str]): Keys that went.
    """
    coming, going = _by_gram(added), _by_gram(removed)
    for place in sorted({*coming, *going}):
        found = db.execute("SELECT numbers FROM grams WHERE gram = ? AND block = ?", place).fetchone()
        numbers = _unpacked(found[0] if found else b"")
        numbers = np.union1d(np.setdiff1d(numbers, going.get(place, ())), coming.get(place, ())).astype(_NUMBERS)
        if numbers.size:
            db.execute("INSERT OR REPLACE INTO grams VALUES (?, ?, ?)", (*place, numbers.tobytes()))
        else:
            db.execute("DELETE FROM grams WHERE gram = ? AND block = ?", place)


def grams(key: str) -> list[str]:
    """Pairs of characters of a key, its edges counting as characters; one that comes again bears its count.

    key (str): The key.
    RETURNS (list[str]): The pairs, none of them twice.
    """
    edged = f"{_EDGE}{key}{_EDGE}"
    pairs = list(map("".join, pairwise(edged)))
    if len(set(pairs)) == len(pairs):
        return pairs
    counts: Counter[str] = Counter()
    numbered = []
    for pair in pairs:
        numbered.append(f"{pair}{counts[pair]}" if counts[pair] else pair)
        counts[pair] += 1
    return numbered


def _least_shared(length: int, other: int, least: int) -> int:
    """Pairs that keys of these lengths share when they are similar enough."""
    edits = (100 - least) * max(length, other) // 100
    lengthening = abs(length - other)
    return max(_LEAST_SHARED, min(length, other) + 1 - lengthening - _PAIRS_OF_EDIT * (edits - lengthening))


def _sharing(db: sqlite3.Connection, key: str, least: Mapping[int, int]) -> list[int]:
    """Numbers of the keys that share the most pairs with a key: by their length, at least so many."""
    pairs = grams(key)
    blocks = (first_number(min(least)) >> _BLOCK_BITS, (first_number(max(least) + 1) >> _BLOCK_BITS) - 1)
    rows = db.execute(
        f"SELECT block, numbers FROM grams WHERE gram IN ({', '.join('?' * len(pairs))}) AND block BETWEEN ? AND ?",
        (*pairs, *blocks),
    )
    lists: defaultdict[int, list[np.ndarray]] = defaultdict(list)
    for block, numbers in rows:
        lists[block].append(_unpacked(numbers))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for block, of_block in sorted(lists.items()):
        enough = least[block >> (LENGTH_BITS - _BLOCK_BITS)]
        if len(of_block) >= enough:
            shared = np.bincount(np.concatenate(of_block))
            hits = np.flatnonzero(shared >= enough)
            found.append((shared[hits], hits + (block << _BLOCK_BITS)))
    if not found:
        return []
    shared, numbers = (np.concatenate(parts) for parts in zip(*found))
    return numbers[np.argsort(-shared, kind="stable")[:COMPARED]].tolist()


def _by_gram(keys: Mapping[int, str]) -> dict[tuple[str, int], list[int]]:
    """Numbers in each list of the index."""
    found: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for number, key in keys.items():
        if LEAST_LENGTH <= len(key) <= MAX_LENGTH:
            for gram in grams(key):
                found[gram, number >> _BLOCK_BITS].append(number & _IN_BLOCK)
    return found


def _unpacked(numbers: bytes) -> np.ndarray:
    try:
        return np.frombuffer(numbers, dtype=_NUMBERS)
    except (TypeError, ValueError) as error:
        raise Damaged("the index of its keys cannot be read") from error
