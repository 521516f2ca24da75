"""Changes of a knowledge base, entity by entity, inside a transaction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Set
from dataclasses import replace

import numpy as np

from .alias_parts import change_words, words_of
from .alias_search import LENGTH_BITS, change_grams, first_number
from .kb_entities import (
    Entity,
    entity_aliases,
    entity_digest,
    entity_from_bytes,
    entity_languages,
    entity_to_bytes,
    pack,
    unpack,
)
from .kb_store import Damaged, KnowledgeState
from .sqlite_tools import select

MODULUS = 1 << 256
# Numbers of keys, as they are kept beside an entity.
_NUMBERS = np.dtype("<u4")


class KnowledgeWriter:
    """Puts entities in and takes them out.

    db (sqlite3.Connection): The knowledge base, in a transaction.
    state (KnowledgeState): What is known of it.
    index (bool): Whether to note which keys come and go; else the caller makes their index anew.
    """

    def __init__(self, db: sqlite3.Connection, state: KnowledgeState, *, index: bool = True) -> None:
        self._db = db
        self._index = index
        self._state = state
        self._entities = state.entities
        self._checksum = int(state.checksum, 16)
        self._languages = Counter(state.languages)
        self._next: dict[int, int] = {}
        self._added: dict[int, str] = {}
        self._forsaken: set[int] = set()
        # What the index had keys under before they were touched.
        self._words: dict[int, Set[str]] = {}

    def has(self, id: str) -> bool:
        """Whether there is an entity.

        id (str): Its id.
        RETURNS (bool): Whether there is.
        """
        return self._row(id) is not None

    def put(self, entity: Entity) -> None:
        """Add an entity, or put it in the place of the one with its id.

        entity (Entity): The entity.
        """
        data = entity_to_bytes(entity)
        row = self._row(entity.id)
        if row is None:
            values = (entity.id, entity.type, entity.weight)
            row = self._db.execute("INSERT INTO entities (id, type, weight) VALUES (?, ?, ?)", values).lastrowid
        else:
            self._forget(row)
            self._db.execute(
                "UPDATE entities SET type = ?, weight = ? WHERE row = ?", (entity.type, entity.weight, row)
            )
        self._keep(row, entity, data)

    def remove(self, id: str) -> bool:
        """Take an entity out.

        id (str): Its id.
        RETURNS (bool): Whether it was there.
        """
        row = self._row(id)
        if row is None:
            return False
        self._forget(row)
        self._db.execute("DELETE FROM entities WHERE row = ?", (row,))
        return True

    def sweep(self) -> None:
        """Bring the index of keys up to date: take out those that no entity has any more, put in those that came."""
        change_words(self._db, self._words, words_of(self._db, self._words))
        used = set(select(self._db, "SELECT DISTINCT key FROM aliases WHERE key IN ({})", self._forsaken))
        gone = {number for number in self._forsaken if (number,) not in used}
        removed = dict(select(self._db, "SELECT number, key FROM keys WHERE number IN ({})", gone))
        self._db.executemany("DELETE FROM keys WHERE number = ?", ((number,) for number in removed))
        added = {number: key for number, key in self._added.items() if number not in removed}
        change_grams(self._db, added, {n: key for n, key in removed.items() if n not in self._added})

    def state(self) -> KnowledgeState:
        """RETURNS (KnowledgeState): What is known of the knowledge base by now."""
        return replace(
            self._state,
            entities=self._entities,
            checksum=f"{self._checksum:064x}",
            languages={lang: n for lang, n in sorted(self._languages.items()) if n},
        )

    def _row(self, id: str) -> int | None:
        found = self._db.execute("SELECT row FROM entities WHERE id = ?", (id,)).fetchone()
        return found and found[0]

    def _keep(self, row: int, entity: Entity, data: bytes) -> None:
        aliases = entity_aliases(entity)
        numbers = {key: self._number(key) for key in sorted({key for key, *_ in aliases})}
        packed = np.array(sorted(numbers.values()), dtype=_NUMBERS).tobytes()
        self._db.execute("INSERT INTO contents VALUES (?, ?, ?)", (row, pack(data), packed))
        self._touch(numbers.values())
        rows = ((numbers[key], row, alias, lang, count) for key, alias, lang, count in sorted(aliases))
        self._db.executemany("INSERT INTO aliases VALUES (?, ?, ?, ?, ?)", rows)
        self._entities += 1
        self._checksum = (self._checksum + entity_digest(data)) % MODULUS
        self._languages.update(entity_languages(entity))

    def _forget(self, row: int) -> None:
        """Take away what is kept of an entity, all but its row."""
        found = self._db.execute("SELECT data, keys FROM contents WHERE entity = ?", (row,)).fetchone()
        if found is None:
            raise Damaged("an entity in it has no content")
        data, keys = unpack(found[0]), unpack_numbers(found[1])
        self._touch(keys)
        self._db.executemany("DELETE FROM aliases WHERE key = ? AND entity = ?", ((key, row) for key in keys))
        self._db.execute("DELETE FROM contents WHERE entity = ?", (row,))
        self._forsaken.update(keys)
        self._entities -= 1
        self._checksum = (self._checksum - entity_digest(data)) % MODULUS
        self._languages.subtract(entity_languages(entity_from_bytes(data)))

    def _touch(self, numbers: Collection[int]) -> None:
        """Note what keys are filed under, before their aliases change."""
        if self._index:
            new = [number for number in numbers if number not in self._words]
            self._words.update(dict.fromkeys(new, frozenset()) | words_of(self._db, new))

    def _number(self, key: str) -> int:
        """Number of a key, which gets one when it has none."""
        found = self._db.execute("SELECT number FROM keys WHERE key = ?", (key,)).fetchone()
        if found:
            return found[0]
        first = first_number(len(key))
        if first not in self._next:
            found = self._db.execute(
                "SELECT max(number) FROM keys WHERE number >= ? AND number < ?", (first, first + (1 << LENGTH_BITS))
            ).fetchone()
            self._next[first] = first if found[0] is None else found[0] + 1
        number = self._next[first]
        self._next[first] += 1
        self._db.execute("INSERT INTO keys VALUES (?, ?)", (number, key))
        if self._index:
            self._added[number] = key
        return number


def unpack_numbers(packed: bytes) -> list[int]:
    """Numbers of the keys of an entity.

    packed (bytes): As they are kept beside it.
    RETURNS (list[int]): The numbers.
    RAISES (Damaged): When they are something else.
    """
    try:
        return np.frombuffer(packed, dtype=_NUMBERS).tolist()
    except (TypeError, ValueError) as error:
        raise Damaged("the keys of an entity in it cannot be read") from error
