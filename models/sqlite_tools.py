"""What the databases of this project have in common: queries of many keys, and what their troubles mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

# How long to wait for another writer.
LOCK_SECONDS = 5.0
# Bytes of a file that SQLite may map into memory: more than it maps at most.
MAPPED_BYTES = 1 << 40
_CHUNK = 500


def select(db: sqlite3.Connection, sql: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows for values, some at a time: SQLite takes only so many parameters.

    db (sqlite3.Connection): The database.
    sql (str): A query, with {} for the marks of the values.
    values (Iterable[Any]): The values.
    YIELDS (tuple): The rows.
    """
    values = iter(values)
    while chunk := list(islice(values, _CHUNK)):
        yield from db.execute(sql.format(", ".join("?" * len(chunk))), chunk)


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another process was writing.

    error (sqlite3.Error): The trouble.
    RETURNS (bool): Whether it was.
    """
    return isinstance(error, sqlite3.OperationalError) and _says(error, "locked", "busy")


def is_unwritable(error: sqlite3.Error) -> bool:
    """Whether the disk is full, or the file or its folder cannot be written to.

    error (sqlite3.Error): The trouble.
    RETURNS (bool): Whether it is so.
    """
    return isinstance(error, sqlite3.OperationalError) and _says(error, "readonly", "full", "I/O", "unable to open")


def _says(error: sqlite3.Error, *words: str) -> bool:
    return any(word in str(error) for word in words)
