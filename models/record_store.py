"""The records of a search index in SQLite: ids, texts, metadata, and what the index is made of.

A transaction here is the point at which a change of the whole index, vectors and FAISS file included, takes place.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Errors, is_coded
from ..replacing import replace_file
from .record_filter import Filter, filter_sql
from .sqlite_tools import LOCK_SECONDS, MAPPED_BYTES, is_locked, is_unwritable, select

FILE = "records.sqlite"
FORMAT = 2
# "SmKd": tells our files from other SQLite files.
APPLICATION = 0x536D4B64
_RECORDS = "CREATE TABLE {} (row INTEGER PRIMARY KEY, id TEXT NOT NULL, text TEXT, metadata TEXT, crc INTEGER NOT NULL)"
_FIELDS = "row, id, text, metadata, crc"
_BY_ID = "CREATE UNIQUE INDEX by_id ON records (id)"
_TABLES = (
    _RECORDS.format("records"),
    _BY_ID,
    "CREATE TABLE hidden (row INTEGER PRIMARY KEY)",
    "CREATE TABLE checksums (block INTEGER PRIMARY KEY, crc INTEGER NOT NULL)",
    "CREATE TABLE state (only INTEGER PRIMARY KEY CHECK (only = 0), value TEXT NOT NULL)",
)


@dataclass(frozen=True)
class IndexState:
    """What an index is and what it is made of.

    width (int): Numbers in a vector.
    metric (str): "cosine" or "ip".
    factory (str): The index asked for: "auto" or a string for `faiss.index_factory`.
    memory (Optional[int]): Bytes that the index may take, for "auto".
    fingerprint (str): Of the encoder of the vectors; "" when not known.
    encoder (str): Its name; "" when not known.
    vectors (str): Name of the file of vectors.
    rows (int): Rows of it that were committed.
    built (str): The FAISS index that was built; "" before.
    file (str): Name of its file; "" before.
    sha256 (str): Of that file.
    indexed (int): Rows that are in it, from the first.
    trained (int): Rows there were when it was trained.
    generation (int): Files made so far; the next bears the next number.
    """

    width: int
    metric: str
    factory: str
    memory: int | None = None
    fingerprint: str = ""
    encoder: str = ""
    vectors: str = "vectors-0.f32"
    rows: int = 0
    built: str = ""
    file: str = ""
    sha256: str = ""
    indexed: int = 0
    trained: int = 0
    generation: int = 0


@dataclass(frozen=True)
class StoredRecord:
    """A record beside its vector.

    id (str): The user's name for it.
    text (Optional[str]): Its text.
    metadata (Optional[str]): What else is known of it: an object in JSON; None for nothing.
    """

    id: str
    text: str | None = None
    metadata: str | None = None

    @property
    def checksum(self) -> int:
        """RETURNS (int): CRC-32 of all of it."""
        crc = 0
        for part in (self.id, self.text, self.metadata):
            crc = zlib.crc32(b"\0" if part is None else b"\1" + part.encode(), crc)
        return crc


class RecordStore:
    """The records of one index. What is read is as it was when the store was opened or refreshed, or last written.

    folder (Path): The folder of the index.
    RAISES (ValueError): S820 when there is none, S822 when it is of another format, S823 when it is damaged.
    RAISES (OSError): S846 when it has changes that only a process with write permission can read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / FILE).is_file():
            raise ValueError(Errors.S820.format(path=folder, reason=f"it has no {FILE}"))
        with self._damage():
            self._db, self._is_frozen = self._connect()
        # The same filter often comes with every batch of queries.
        self._matched: tuple[tuple[Any, ...], np.ndarray] | None = None
        try:
            self._check_format()
            self.state = self.refresh()
        except BaseException:
            self._db.close()
            raise

    def __len__(self) -> int:
        return self._one("SELECT count(*) FROM records")

    def refresh(self) -> IndexState:
        """Go on to what was committed last, and stay there.

        RETURNS (IndexState): The state.
        """
        with self._damage():
            if self._is_frozen:
                self._db.close()
                self._db, self._is_frozen = self._connect()
            if self._db.in_transaction:
                self._db.execute("COMMIT")
            self._db.execute("BEGIN")
            self.state = self._read_state()
        self._matched = None
        return self.state

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A change of the index, alone: it takes place as a whole at the end of the block, or not at all.

        YIELDS (None): `state` is the newest one by then.
        RAISES (RuntimeError): S828 when another process is writing.
        RAISES (OSError): S826 when the disk is full or the folder cannot be written to.
        """
        with self._damage():
            try:
                self._db.execute("COMMIT")
                self._db.execute("BEGIN IMMEDIATE")
                self.state = self._read_state()
                yield
                self._db.execute("UPDATE state SET value = ?", (json.dumps(asdict(self.state)),))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                # The first error is the one to report.
                with suppress(sqlite3.Error, ValueError):
                    self.refresh()
                raise
            self.refresh()

    def insert(self, first: int, records: Sequence[StoredRecord], hidden: Iterable[int] = ()) -> None:
        """Add records.

        first (int): Row of the first; the others follow.
        records (Sequence[StoredRecord]): The records; none of their ids may be there.
        hidden (Iterable[int]): Rows among them that no search finds.
        """
        rows = ((first + i, r.id, r.text, r.metadata, r.checksum) for i, r in enumerate(records))
        self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
        self._db.executemany("INSERT INTO hidden VALUES (?)", ((int(row),) for row in hidden))

    def delete(self, rows: Iterable[int]) -> None:
        """Take records out; their rows stay behind, hidden.

        rows (Iterable[int]): Their rows.
        """
        keys = [(row,) for row in rows]
        self._db.executemany("DELETE FROM records WHERE row = ?", keys)
        self._db.executemany("INSERT OR IGNORE INTO hidden VALUES (?)", keys)

    def renumber(self, hidden: Iterable[int]) -> None:
        """Give the records the rows from 0 on, in their order.

        hidden (Iterable[int]): The new rows that no search finds.
        """
        self._db.execute(_RECORDS.format("renumbered"))
        self._db.execute(
            "INSERT INTO renumbered SELECT row_number() OVER (ORDER BY row) - 1, id, text, metadata, crc FROM records"
        )
        self._db.execute("DROP TABLE records")
        self._db.execute("ALTER TABLE renumbered RENAME TO records")
        self._db.execute(_BY_ID)
        self._db.execute("DELETE FROM hidden")
        self._db.execute("DELETE FROM checksums")
        self._db.executemany("INSERT INTO hidden VALUES (?)", ((int(row),) for row in hidden))

    def set_checksums(self, checksums: dict[int, int]) -> None:
        """Note checksums of vectors.

        checksums (dict[int, int]): CRC-32 by block.
        """
        self._db.executemany("INSERT OR REPLACE INTO checksums VALUES (?, ?)", checksums.items())

    def checksums(self) -> dict[int, int]:
        """RETURNS (dict[int, int]): CRC-32 of the vectors by block."""
        return dict(self._all("SELECT block, crc FROM checksums"))

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """Rows of those ids that are there.

        ids (Iterable[str]): The ids.
        RETURNS (dict[str, int]): Row by id.
        """
        return dict(self._chunked("SELECT id, row FROM records WHERE id IN ({})", ids))

    def records(self, rows: Iterable[int]) -> dict[int, StoredRecord]:
        """Records by their rows.

        rows (Iterable[int]): The rows; those without a record are passed over.
        RETURNS (dict[int, StoredRecord]): Record by row.
        RAISES (ValueError): S823 when one has changed.
        """
        return dict(map(self._checked, self._chunked(f"SELECT {_FIELDS} FROM records WHERE row IN ({{}})", rows)))

    def hidden_rows(self) -> np.ndarray:
        """RETURNS (np.ndarray): Rows that no search finds, int64: without a record, or with a vector of zeros."""
        return self._numbers("SELECT row FROM hidden")

    def live_rows(self) -> np.ndarray:
        """RETURNS (np.ndarray): Rows that have a record, int64, in order."""
        return self._numbers("SELECT row FROM records ORDER BY row")

    def matching_rows(self, conditions: Filter) -> np.ndarray:
        """Rows of the records that a filter lets through.

        conditions (Filter): See `record_filter.filter_sql`.
        RETURNS (np.ndarray): The rows, int64, in order.
        RAISES (ValueError): S832 for a filter that makes no sense.
        """
        clause, parameters = filter_sql(conditions)
        key = (clause, *parameters)
        if self._matched is None or self._matched[0] != key:
            rows = self._numbers(f"SELECT row FROM records WHERE {clause} ORDER BY row", parameters)
            self._matched = key, rows
        return self._matched[1]

    def check(self) -> None:
        """Read all of the database, and compare each record with its checksum.

        RAISES (ValueError): S823 when it is damaged.
        """
        found = self._one("PRAGMA integrity_check(1)")
        if found != "ok":
            raise ValueError(Errors.S823.format(path=self.folder, reason=f"{FILE}: {found}"))
        with self._damage():
            for fields in self._db.execute(f"SELECT {_FIELDS} FROM records"):
                self._checked(fields)

    def close(self) -> None:
        """Let go of the files."""
        self._db.close()

    def _connect(self) -> tuple[sqlite3.Connection, bool]:
        """Open the database: the connection, and whether it sees nothing of what others write from now on."""
        path = self.folder / FILE
        is_writable = os.access(self.folder, os.W_OK) and os.access(path, os.W_OK)
        # A folder that cannot be written to has no place for the files that readers share with a writer. Where there
        # are some, they have to be read: the database alone lacks what was committed last.
        is_frozen = not is_writable and not _has_changes(path)
        mode = "rw" if is_writable else "ro&immutable=1" if is_frozen else "ro"
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=LOCK_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        # Bytes that are no text any more are for the checksum of their record to tell.
        db.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            db.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
            if mode == "ro":
                db.execute("PRAGMA application_id")
        except sqlite3.DatabaseError as error:
            db.close()
            if mode == "ro" and is_unwritable(error):
                raise OSError(Errors.S846.format(path=self.folder, wal=f"{FILE}-wal")) from error
            raise
        return db, is_frozen

    def _check_format(self) -> None:
        if self._one("PRAGMA application_id") != APPLICATION:
            raise ValueError(Errors.S820.format(path=self.folder, reason=f"its {FILE} is of something else"))
        found = self._one("PRAGMA user_version")
        if found != FORMAT:
            raise ValueError(Errors.S822.format(path=self.folder, found=found, known=FORMAT))

    def _read_state(self) -> IndexState:
        found = self._db.execute("SELECT value FROM state").fetchone()
        try:
            return _checked_state(IndexState(**json.loads(found[0])))
        except (TypeError, ValueError) as error:
            raise ValueError(Errors.S823.format(path=self.folder, reason=f"{FILE} holds no state")) from error

    def _checked(self, fields: tuple[Any, ...]) -> tuple[int, StoredRecord]:
        """The row and the record of `_FIELDS`, when it is what was written."""
        row, *texts, crc = fields
        record = StoredRecord(*texts)
        if not all(isinstance(part, (str, type(None))) for part in texts) or record.checksum != crc:
            reason = f"{FILE}: the record in row {row:,} has changed"
            raise ValueError(Errors.S823.format(path=self.folder, reason=reason))
        return row, record

    def _one(self, sql: str) -> Any:
        return self._all(sql)[0][0]

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._damage():
            return self._db.execute(sql, parameters).fetchall()

    def _numbers(self, sql: str, parameters: Sequence[Any] = ()) -> np.ndarray:
        with self._damage():
            return np.fromiter((row for (row,) in self._db.execute(sql, parameters)), dtype=np.int64)

    def _chunked(self, sql: str, keys: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        with self._damage():
            yield from select(self._db, sql, keys)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Say what SQLite cannot do in the words of the index."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if is_locked(error):
                raise RuntimeError(Errors.S828.format(path=self.folder, seconds=LOCK_SECONDS)) from error
            if is_unwritable(error):
                raise OSError(Errors.S826.format(path=self.folder, reason=error)) from error
            raise ValueError(Errors.S823.format(path=self.folder, reason=f"{FILE}: {error}")) from error
        except OSError as error:
            if is_coded(error):
                raise
            raise OSError(Errors.S826.format(path=self.folder, reason=error.strerror or error)) from error


def _checked_state(state: IndexState) -> IndexState:
    """The state, when its fields have their types, its rows add up, and its files are in its folder."""
    for field in fields(state):
        kind = {"int": int, "str": str}.get(str(field.type))
        if kind and not isinstance(getattr(state, field.name), kind):
            raise ValueError(f"{field.name} is no {field.type}")
    if state.width < 1 or not 0 <= state.indexed <= state.rows or (state.indexed and not state.file):
        raise ValueError("numbers do not fit one another")
    # Files are written and removed by these names.
    for pattern, name in ((r"vectors-\d+\.f32", state.vectors), (r"(index-\d+\.faiss)?", state.file)):
        if not re.fullmatch(pattern, name):
            raise ValueError(f"{name!r} is no file of an index")
    return state


def _has_changes(path: Path) -> bool:
    """Whether a writer has the database open, or was killed before it could bring its changes into it."""
    wal, shared = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    return shared.exists() or (wal.exists() and wal.stat().st_size > 0)


def create_store(folder: Path, state: IndexState) -> None:
    """Make the database of a new index.

    folder (Path): The folder of the index; it is made.
    state (IndexState): What the index is.
    RAISES (FileExistsError): S821 when there is an index.
    """
    path = folder / FILE
    if path.exists():
        raise FileExistsError(Errors.S821.format(path=folder))
    with replace_file(path) as aside:
        db = sqlite3.connect(aside, isolation_level=None)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {FORMAT}")
        for table in _TABLES:
            db.execute(table)
        db.execute("INSERT INTO state VALUES (0, ?)", (json.dumps(asdict(state)),))
        # Readers go on while a writer writes.
        db.execute("PRAGMA journal_mode = WAL")
        db.close()
