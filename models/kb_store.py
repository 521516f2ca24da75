"""The file of a knowledge base in SQLite: its tables, how it is opened, and its troubles in our words."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import Errors
from .sqlite_tools import LOCK_SECONDS, MAPPED_BYTES, is_locked, is_unwritable

# Raised with every change of the tables, of `alias_key`, of `alias_search.grams` and of `alias_parts.filed_under`.
FORMAT = 3
# "SmKb": tells our files from other SQLite files.
APPLICATION = 0x536D4B62
_MAGIC = b"SQLite format 3\0"
# What is read to find candidates is apart from what is read to show them. Numbers of keys: see `alias_search`.
_TABLES = (
    "CREATE TABLE entities (row INTEGER PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, weight REAL NOT NULL)",
    "CREATE UNIQUE INDEX by_id ON entities (id)",
    "CREATE TABLE contents (entity INTEGER PRIMARY KEY, data BLOB NOT NULL, keys BLOB NOT NULL)",
    "CREATE TABLE keys (number INTEGER PRIMARY KEY, key TEXT NOT NULL)",
    "CREATE UNIQUE INDEX by_key ON keys (key)",
    "CREATE TABLE aliases (key INTEGER, entity INTEGER, alias TEXT, lang TEXT, count REAL NOT NULL, "
    "PRIMARY KEY (key, entity, alias, lang)) WITHOUT ROWID",
    "CREATE TABLE grams (gram TEXT, block INTEGER, numbers BLOB NOT NULL, PRIMARY KEY (gram, block)) WITHOUT ROWID",
    "CREATE TABLE words (word TEXT PRIMARY KEY, numbers BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE state (only INTEGER PRIMARY KEY CHECK (only = 0), value TEXT NOT NULL)",
)


@dataclass(frozen=True)
class KnowledgeState:
    """What is known of a knowledge base without reading it.

    entities (int): How many there are.
    checksum (str): Of all of them: the sum of their digests modulo 2**256, in hexadecimal digits.
    languages (Mapping[str, int]): How many entities have names in a language, by its code.
    meta (Mapping[str, Any]): What its maker says of it.
    """

    entities: int = 0
    checksum: str = "0" * 64
    languages: Mapping[str, int] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


class Damaged(Exception):
    """What is in the file cannot be so; `told` says it."""


@dataclass(frozen=True)
class _Opened:
    db: sqlite3.Connection
    lock: Lock


class KnowledgeFile:
    """The file, open in each process that uses it: a process must not touch what it has inherited.

    path (Path): The file.
    RAISES (ValueError): S900 when it is none of ours, S901 when it is of another format, S902 when it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._opened: dict[int, _Opened] = {}
        self._here()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": {}}

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read, alone among the threads, and all from the same state of the file.

        YIELDS (sqlite3.Connection): The database.
        RAISES (ValueError): S902 when the file is damaged.
        RAISES (RuntimeError): S907 when another process is writing.
        """
        here = self._here()
        with here.lock, told(self.path):
            here.db.execute("BEGIN")
            try:
                yield here.db
            finally:
                with suppress(sqlite3.Error):
                    here.db.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A change of the file: it takes place as a whole at the end of the block, or not at all.

        YIELDS (sqlite3.Connection): The database.
        RAISES (ValueError): S902 when the file is damaged.
        RAISES (OSError): S906 when the disk is full, or the file or its folder cannot be written to.
        RAISES (RuntimeError): S907 when another process is writing.
        """
        here = self._here()
        with here.lock, told(self.path):
            try:
                here.db.execute("BEGIN IMMEDIATE")
                yield here.db
                here.db.execute("COMMIT")
            except BaseException:
                # The first error is the one to report.
                with suppress(sqlite3.Error):
                    here.db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the file, in this process; whoever reads it next opens it again."""
        here = self._opened.pop(os.getpid(), None)
        if here is not None:
            with here.lock:
                here.db.close()

    def _here(self) -> _Opened:
        process = os.getpid()
        if process not in self._opened:
            self._opened.setdefault(process, _Opened(_connect(self.path), Lock()))
        return self._opened[process]


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say what SQLite cannot do in the words of the knowledge base.

    path (Path): Its file.
    YIELDS (None): Nothing.
    RAISES (ValueError, OSError, RuntimeError): S902, S906, S907.
    """
    try:
        yield
    except (sqlite3.DatabaseError, Damaged) as error:
        if isinstance(error, sqlite3.Error) and is_locked(error):
            raise RuntimeError(Errors.S907.format(path=path, seconds=LOCK_SECONDS)) from error
        if isinstance(error, sqlite3.Error) and is_unwritable(error):
            raise OSError(Errors.S906.format(path=path, reason=error)) from error
        raise ValueError(Errors.S902.format(path=path, reason=error)) from error


def create_tables(db: sqlite3.Connection) -> None:
    """Make an empty knowledge base of an empty database.

    db (sqlite3.Connection): The database.
    """
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    for table in _TABLES:
        db.execute(table)
    db.execute("INSERT INTO state VALUES (0, '{}')")


def read_state(db: sqlite3.Connection) -> KnowledgeState:
    """What is known of the knowledge base by now.

    db (sqlite3.Connection): The database.
    RETURNS (KnowledgeState): The state.
    RAISES (Damaged): When there is none.
    """
    found = db.execute("SELECT value FROM state").fetchone()
    try:
        return KnowledgeState(**json.loads(found[0]))
    except (TypeError, ValueError) as error:
        raise Damaged("it holds no state") from error


def write_state(db: sqlite3.Connection, state: KnowledgeState) -> None:
    """Note what is known of the knowledge base.

    db (sqlite3.Connection): The database.
    state (KnowledgeState): The state.
    """
    db.execute("UPDATE state SET value = ?", (json.dumps(asdict(state), sort_keys=True),))


def _connect(path: Path) -> sqlite3.Connection:
    with told(path):
        db = _open(path)
    try:
        with told(path):
            db.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
            # Nothing that a file brings along is run.
            db.execute("PRAGMA trusted_schema = OFF")
            read_state(db)
    except BaseException:
        db.close()
        raise
    return db


def _open(path: Path) -> sqlite3.Connection:
    db = None
    try:
        # A file that cannot be written to is opened for reading alone.
        db = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        _check_format(db, path)
    except BaseException as error:
        if db is not None:
            db.close()
        # Only now: a process that closes a file by other means than SQLite lets go of all its locks on it.
        if isinstance(error, sqlite3.Error) and not is_locked(error):
            _check_file(path)
        raise
    return db


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            reason = "" if file.read(len(_MAGIC)) == _MAGIC else "it is of something else"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ValueError(Errors.S900.format(path=path, reason=reason))


def _check_format(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise ValueError(Errors.S900.format(path=path, reason="it is of something else"))
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found != FORMAT:
        raise ValueError(Errors.S901.format(path=path, found=found, known=FORMAT))
