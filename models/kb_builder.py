"""A knowledge base from nothing: written aside, moved into place when it is whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import Errors
from ..replacing import replace_file
from .alias_parts import build_words
from .alias_search import build_grams
from .kb_entities import Entity
from .kb_store import KnowledgeFile, KnowledgeState, create_tables, told, write_state
from .kb_writer import KnowledgeWriter

# Memory that SQLite may take, in KiB.
_CACHE = 256 * 1024


def write_knowledge_file(path: Path, entities: Iterable[Entity], state: KnowledgeState) -> None:
    """Write the file of a knowledge base, in the place of one that is there.

    path (Path): The file; its folder is made.
    entities (Iterable[Entity]): What it holds.
    state (KnowledgeState): What is known of it without them.
    RAISES (ValueError): S904 when two entities have one id.
    RAISES (OSError): S906 when the disk is full or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(Errors.S906.format(path=path, reason=error.strerror or error)) from error
    with replace_file(path) as aside:
        with told(path):
            _fill(aside, entities, state)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        _settle(path)


def _fill(path: Path, entities: Iterable[Entity], state: KnowledgeState) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        # Nobody reads the file before it is whole.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute(f"PRAGMA cache_size = -{_CACHE}")
        db.execute("BEGIN")
        create_tables(db)
        writer = KnowledgeWriter(db, state, index=False)
        for entity in entities:
            if writer.has(entity.id):
                raise ValueError(Errors.S904.format(id=entity.id))
            writer.put(entity)
        build_grams(db)
        build_words(db)
        write_state(db, writer.state())
        db.execute("COMMIT")
    finally:
        db.close()


def _settle(path: Path) -> None:
    """Leave nothing behind of a change of the old file that was cut short: it would be taken back in the new one."""
    with suppress(ValueError, OSError, RuntimeError):
        KnowledgeFile(path).close()
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
