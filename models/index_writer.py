"""Changes of an index folder, each in one transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import Errors
from .exact_search import blocks_of
from .index_changes import is_blank
from .index_choice import choose_factory, training_rows
from .index_generation import LoadedIndex, build_index, extend_index, write_index
from .index_snapshot import load_index
from .record_store import IndexState, RecordStore, StoredRecord
from .vector_file import BLOCK_ROWS, VectorFile, append_rows

# Rows that may wait outside the FAISS index: this many, or this share of those that are in it.
TAIL_ROWS, TAIL_SHARE = 5_000, 0.1
# Rows without a record that are left lying: this many, and this share of all.
DEAD_ROWS, DEAD_SHARE = 1_000, 0.25
# An index that was trained is trained anew when the rows are so many times those that it was trained on.
OUTGROWN = 4
_SHOWN = 3


class IndexWriter:
    """Changes an index. Vectors are on disk before the transaction that makes them count.

    store (RecordStore): The records.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._folder = store.folder

    def add(self, records: list[StoredRecord], vectors: np.ndarray) -> None:
        """Add records.

        records (list[StoredRecord]): The records.
        vectors (np.ndarray): Shape (n, width), as `checked_vectors` gives them.
        RAISES (ValueError): S827 when ids are there already.
        """
        with self._store.writing():
            known = self._store.rows_of(record.id for record in records)
            if known:
                raise ValueError(Errors.S827.format(path=self._folder, ids=_some(known), n=len(known), there="are"))
            self._append(records, vectors)

    def update(self, records: list[StoredRecord], vectors: np.ndarray, kept: tuple[str, ...]) -> None:
        """Put records in the place of those with the same ids.

        records (list[StoredRecord]): The records.
        vectors (np.ndarray): Shape (n, width), as `checked_vectors` gives them.
        kept (tuple[str, ...]): Fields that stay as they were.
        RAISES (ValueError): S827 when ids are not there.
        """
        with self._store.writing():
            rows = self._rows(record.id for record in records)
            if kept:
                old = self._store.records(rows.values())
                records = [replace(r, **{name: getattr(old[rows[r.id]], name) for name in kept}) for r in records]
            self._store.delete(rows.values())
            self._append(records, vectors)

    def remove(self, ids: Iterable[str]) -> None:
        """Take records out.

        ids (Iterable[str]): Their ids.
        RAISES (ValueError): S827 when ids are not there.
        """
        with self._store.writing():
            self._store.delete(self._rows(ids).values())

    def is_sparse(self) -> bool:
        """RETURNS (bool): Whether so many rows have no record that compaction pays."""
        rows = self._store.state.rows
        dead = rows - len(self._store)
        return dead > max(DEAD_ROWS, DEAD_SHARE * rows)

    def compact(self) -> None:
        """Write the vectors that have a record to a new file, and drop the FAISS index, whose rows are others now.

        RAISES (ValueError): S823 when vectors are damaged.
        """
        with self._store.writing():
            state = self._store.state
            self._clean(state)
            old = VectorFile(self._folder / state.vectors, state.width, state.rows)
            old.check(self._store.checksums())
            name = f"vectors-{state.generation + 1}.f32"
            rows, checksums, hidden = 0, {}, []
            for _, block in blocks_of(old, self._store.live_rows()):
                # Blocks of the new file are full but for the last, so no checksum is continued.
                checksums |= append_rows(self._folder / name, state.width, rows, block, 0)
                hidden += (rows + np.flatnonzero(is_blank(block))).tolist()
                rows += len(block)
            if not rows:
                append_rows(self._folder / name, state.width, 0, np.empty((0, state.width), dtype=np.float32), 0)
            self._store.renumber(hidden)
            self._store.set_checksums(checksums)
            new = {"vectors": name, "rows": rows, "generation": state.generation + 1}
            self._store.state = replace(state, **new, built="", file="", sha256="", indexed=0, trained=0)
        self._drop(state.vectors, state.file)

    def build(self, known: LoadedIndex | None, *, force: bool) -> LoadedIndex | None:
        """Bring the rows that wait into a FAISS index, when they are many.

        known (Optional[LoadedIndex]): A FAISS index that is at hand; it is extended in place where it can be.
        force (bool): Bring them in even when they are few.
        RETURNS (Optional[LoadedIndex]): The new index; None when there was nothing to do.
        """
        if not self._is_due(self._store.state, force):
            return None
        with self._store.writing():
            state = self._store.state
            self._clean(state)
            factory, anew = _target(state), _is_outgrown(state)
            vectors = VectorFile(self._folder / state.vectors, state.width, state.rows)
            vectors.check(self._store.checksums(), 0 if anew else state.indexed)
            if anew:
                index = build_index(factory, vectors)
            else:
                if known is None or known.is_mapped or known.file != state.file:
                    known = load_index(self._store, state, mapped=False)
                index = known.index
                extend_index(index, vectors)
            name = f"index-{state.generation + 1}.faiss"
            sha256 = write_index(index, self._folder / name)
            new = {"file": name, "sha256": sha256, "indexed": state.rows, "generation": state.generation + 1}
            new |= {"built": factory, "trained": state.rows} if anew else {}
            self._store.state = replace(state, **new)
        self._drop(state.file)
        return LoadedIndex(name, index)

    def _is_due(self, state: IndexState, force: bool) -> bool:
        if not _target(state):
            return False
        tail = state.rows - state.indexed
        if force:
            return tail > 0 or _is_outgrown(state)
        return tail > max(TAIL_ROWS, TAIL_SHARE * state.indexed)

    def _append(self, records: list[StoredRecord], vectors: np.ndarray) -> None:
        state = self._store.state
        path = self._folder / state.vectors
        last = self._store.checksums().get(state.rows // BLOCK_ROWS, 0)
        self._store.set_checksums(append_rows(path, state.width, state.rows, vectors, last))
        self._store.insert(state.rows, records, state.rows + np.flatnonzero(is_blank(vectors)))
        self._store.state = replace(state, rows=state.rows + len(records))

    def _rows(self, ids: Iterable[str]) -> dict[str, int]:
        ids = list(ids)
        rows = self._store.rows_of(ids)
        missing = [id for id in ids if id not in rows]
        if missing:
            raise ValueError(Errors.S827.format(path=self._folder, ids=_some(missing), n=len(missing), there="are not"))
        return rows

    def _clean(self, state: IndexState) -> None:
        """Remove what writers that were killed have left; nobody else writes now."""
        for path in self._folder.iterdir():
            ours = re.fullmatch(r"(\.\d+\.)?(vectors-\d+\.f32|index-\d+\.faiss)", path.name)
            if ours and path.name not in (state.vectors, state.file):
                self._drop(path.name)

    def _drop(self, *names: str) -> None:
        for name in filter(None, names):
            # Where readers that have a file open keep it from going, the next writer tries again.
            with suppress(OSError):
                Path(self._folder / name).unlink()


def _target(state: IndexState) -> str:
    """The FAISS index that the rows of a state should have; "" for none."""
    automatic = state.factory == "auto"
    factory = choose_factory(state.rows, state.width, state.memory) if automatic else state.factory
    return "" if factory == "Flat" or state.rows < training_rows(factory)[0] else factory


def _is_outgrown(state: IndexState) -> bool:
    """Whether the FAISS index has to be made anew: there is none, the rule says another kind, or the rows are many."""
    target = _target(state)
    kinds = {re.sub(r"IVF\d+", "IVF", factory) for factory in (state.built, target)}
    return len(kinds) > 1 or (training_rows(target)[1] > 0 and state.rows >= OUTGROWN * state.trained)


def _some(ids: Iterable[str]) -> str:
    ids = sorted(ids)
    return ", ".join(map(repr, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
