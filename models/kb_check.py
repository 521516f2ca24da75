"""Whether all that a knowledge base holds is as it was written."""

from __future__ import annotations

import sqlite3
from collections import Counter
from itertools import groupby, zip_longest

from .alias_parts import word_lists
from .alias_search import gram_blocks
from .kb_entities import entity_aliases, entity_digest, entity_from_bytes, entity_languages, unpack
from .kb_store import Damaged, read_state
from .kb_writer import MODULUS, unpack_numbers

_ENTITIES = (
    "SELECT e.row, e.id, e.type, e.weight, c.data, c.keys FROM entities e LEFT JOIN contents c ON c.entity = e.row "
    "ORDER BY e.row"
)
_ALIASES = "SELECT entity, alias, lang, count FROM aliases WHERE key = ? AND entity = ?"
_KEYS_WITHOUT_ALIAS = "SELECT 1 FROM keys k WHERE NOT EXISTS (SELECT 1 FROM aliases a WHERE a.key = k.number)"
_ALIASES_WITHOUT_KEY = "SELECT 1 FROM aliases a WHERE NOT EXISTS (SELECT 1 FROM keys k WHERE k.number = a.key)"


def check_all(db: sqlite3.Connection) -> None:
    """Read all of a knowledge base and compare what is in it.

    db (sqlite3.Connection): The knowledge base.
    RAISES (Damaged): When it is damaged.
    """
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise Damaged(" ".join(found.split()))
    _check_entities(db)
    _check_keys(db)


def _check_entities(db: sqlite3.Connection) -> None:
    state = read_state(db)
    entities = checksum = aliases = 0
    languages: Counter[str] = Counter()
    for row, id, type, weight, packed, keys in db.execute(_ENTITIES):
        data = unpack(packed)
        entity = entity_from_bytes(data)
        numbers = unpack_numbers(keys)
        kept = {found for number in numbers for found in db.execute(_ALIASES, (number, row))}
        expected = {(row, alias, lang, count) for _, alias, lang, count in entity_aliases(entity)}
        if (id, type, weight) != (entity.id, entity.type, entity.weight) or kept != expected:
            raise Damaged(f"its tables do not agree on the entity {entity.id!r}")
        entities += 1
        aliases += len(expected)
        checksum = (checksum + entity_digest(data)) % MODULUS
        languages.update(entity_languages(entity))
    (contents,) = db.execute("SELECT count(*) FROM contents").fetchone()
    (rows,) = db.execute("SELECT count(*) FROM aliases").fetchone()
    if (entities, contents) != (state.entities, entities) or rows != aliases or dict(languages) != state.languages:
        raise Damaged("its tables do not agree on how much there is")
    if f"{checksum:064x}" != state.checksum:
        raise Damaged("its checksum is of something else")


def _check_keys(db: sqlite3.Connection) -> None:
    for query in (_KEYS_WITHOUT_ALIAS, _ALIASES_WITHOUT_KEY):
        if db.execute(query).fetchone():
            raise Damaged("its tables do not agree on the keys of its aliases")
    lists = db.execute("SELECT block, gram, numbers FROM grams ORDER BY block, gram")
    kept = ((block, {gram: numbers for _, gram, numbers in rows}) for block, rows in groupby(lists, lambda row: row[0]))
    expected = ((block, {gram: list.tobytes() for gram, list in lists.items()}) for block, lists in gram_blocks(db))
    while (found := next(kept, None)) == (due := next(expected, None)):
        if found is None and due is None:
            return _check_words(db)
    raise Damaged("the index of its keys is of something else")


def _check_words(db: sqlite3.Connection) -> None:
    kept = db.execute("SELECT word, numbers FROM words ORDER BY word")
    if not all(found == due for found, due in zip_longest(kept, word_lists(db))):
        raise Damaged("the index of its words is of something else")
