"""An index of vectors on disk: added to, updated, filtered and searched, one whole change at a time.

A folder holds `records.sqlite` (ids, texts, metadata, state), a file of vectors that only grows, and a FAISS index of
the first rows of it. Rows that are not in the FAISS index yet are compared one by one, so a change costs what it adds.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import Errors, SamarkandWarning, Warnings, spoken
from .index_changes import METRICS, checked_count, checked_ids, checked_records, checked_vectors, is_blank
from .index_choice import Effort, default_effort
from .index_devices import GpuSearch, find_gpu
from .index_generation import LoadedIndex, empty_index
from .index_snapshot import IndexSnapshot
from .index_writer import IndexWriter
from .record_filter import Filter
from .record_store import IndexState, RecordStore, StoredRecord, create_store

# Openings of a reader while writers replace the files that it goes for.
_ATTEMPTS = 5


@dataclass(frozen=True)
class Hit:
    """A neighbour.

    id (str): The user's name for it.
    score (float): Cosine or inner product.
    text (Optional[str]): Its text.
    metadata (dict): What else is known of it.
    """

    id: str
    score: float
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class SearchIndex:
    """Vectors with ids, texts and metadata in a folder. Make one with `create` or `open`.

    Many processes may read while one writes. A reader sees the index as it was when it was opened, until `refresh`.
    Vectors of zeros, as empty texts have them, are kept and never found.

    store (RecordStore): The records.
    gpu (Optional[GpuSearch]): The GPU to search on.
    """

    def __init__(self, store: RecordStore, gpu: GpuSearch | None = None) -> None:
        self._store = store
        self._writer = IndexWriter(store)
        self._gpu = gpu
        self._loaded: LoadedIndex | None = None
        self._open_snapshot()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        width: int,
        *,
        metric: str = "cosine",
        factory: str = "auto",
        memory: int | None = None,
        fingerprint: str = "",
        encoder: str = "",
        gpu: bool | None = None,
    ) -> SearchIndex:
        """Make an empty index.

        folder (str | Path): Its folder; it is made.
        width (int): Numbers in a vector.
        metric (str): "cosine" or "ip", the inner product.
        factory (str): A string for `faiss.index_factory` (Flat, IVF or HNSW, of vectors or codes, below any
            transforms), or "auto" for the rule of `index_choice`.
        memory (Optional[int]): Bytes that "auto" may take; None for half of what the machine has.
        fingerprint (str): Tells the encoder of the vectors; "" when not known.
        encoder (str): Its name or folder.
        gpu (Optional[bool]): As in `open`.
        RETURNS (SearchIndex): The index.
        RAISES (ValueError): S829 for an unknown factory, S835 for an unknown metric, width or memory.
        RAISES (FileExistsError): S821 when there is an index.
        RAISES (RuntimeError): S830 when there is no GPU that was insisted on.
        """
        if metric not in METRICS:
            raise ValueError(Errors.S835.format(name="metric", value=metric, expected=" or ".join(METRICS)))
        width = checked_count("width", width)
        memory = None if memory is None else checked_count("memory", memory)
        if factory != "auto":
            empty_index(factory, width)
        # Nothing is made that could not be opened.
        find_gpu(gpu)
        state = IndexState(width, metric, factory, memory, fingerprint, encoder)
        create_store(Path(folder), state)
        return cls.open(folder, gpu=gpu)

    @classmethod
    def open(
        cls, folder: str | Path, fingerprint: str | None = None, gpu: bool | None = None, verify: bool = False
    ) -> SearchIndex:
        """Open an index.

        folder (str | Path): Its folder.
        fingerprint (Optional[str]): Of the encoder that vectors will come from.
        gpu (Optional[bool]): True to insist on a GPU, False for the CPU, None for a GPU where FAISS has one.
        verify (bool): Read all files and compare them with their checksums; else the FAISS file only.
        RETURNS (SearchIndex): The index.
        RAISES (ValueError): S820 without an index, S822 for another format, S823 for damage, S831 for another encoder.
        RAISES (RuntimeError): S830 when there is no GPU that was insisted on.
        """
        device = find_gpu(gpu)
        store = RecordStore(Path(folder))
        try:
            index = cls(store, device)
            index.check_fingerprint(fingerprint)
            if verify:
                store.check()
                index._snapshot.vectors.check(store.checksums())
            return index
        except BaseException:
            store.close()
            raise

    def __len__(self) -> int:
        return len(self._store)

    def __enter__(self) -> SearchIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    @property
    def state(self) -> IndexState:
        """RETURNS (IndexState): What the index is and what it is made of."""
        return self._store.state

    @property
    def factory(self) -> str:
        """RETURNS (str): The FAISS index that was built; "Flat" when all rows are compared."""
        return self._snapshot.factory

    def check_fingerprint(self, fingerprint: str | None) -> None:
        """Refuse vectors that cannot be compared with those of the index.

        fingerprint (Optional[str]): Of their encoder; None or "" when it is not known.
        RAISES (ValueError): S831 when it is another than that of the index.
        """
        known = self.state.fingerprint
        if fingerprint and known and fingerprint != known:
            about = {"path": self._store.folder, "encoder": self.state.encoder or "another encoder"}
            raise ValueError(Errors.S831.format(**about, known=known, found=fingerprint))

    def add(
        self,
        ids: Iterable[str],
        vectors: np.ndarray,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Add records: all of them, or none when that fails.

        ids (Iterable[str]): Their names, new ones.
        vectors (np.ndarray): Shape (n, width).
        texts (Optional[Sequence[Optional[str]]]): Their texts.
        metadata (Optional[Sequence[Optional[Mapping]]]): What else is known of them, as JSON has it.
        RAISES (ValueError): S824, S825, S827 when they cannot be added.
        RAISES (RuntimeError): S828 when another process is writing.
        RAISES (OSError): S826 when the disk is full.
        WARNS: SW821 when they are in, but the FAISS index could not be brought up to them.
        """
        checked = checked_vectors(vectors, self.state.width, self.state.metric)
        records = checked_records(ids, len(checked), texts, metadata)
        self._change(lambda: self._writer.add(records, checked))

    def update(
        self,
        ids: Iterable[str],
        vectors: np.ndarray,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Replace records: all of them, or none when that fails.

        ids (Iterable[str]): Their names, known ones.
        vectors (np.ndarray): Shape (n, width).
        texts (Optional[Sequence[Optional[str]]]): Their texts; None keeps those that they have.
        metadata (Optional[Sequence[Optional[Mapping]]]): What else is known of them; None keeps that.
        RAISES (ValueError | RuntimeError | OSError): As `add`.
        """
        checked = checked_vectors(vectors, self.state.width, self.state.metric)
        kept = tuple(name for name, given in (("text", texts), ("metadata", metadata)) if given is None)
        records = checked_records(ids, len(checked), texts, metadata)
        self._change(lambda: self._writer.update(records, checked, kept))

    def remove(self, ids: Iterable[str]) -> None:
        """Take records out: all of them, or none when that fails.

        ids (Iterable[str]): Their names.
        RAISES (ValueError | RuntimeError | OSError): As `add`.
        """
        names = checked_ids(ids)
        self._change(lambda: self._writer.remove(names))

    def known(self, ids: Iterable[str]) -> set[str]:
        """Which records are there.

        ids (Iterable[str]): Names.
        RETURNS (set[str]): Those of them that are there.
        """
        return set(self._store.rows_of(ids))

    def compact(self) -> None:
        """Give back the room of what was removed. This happens by itself when it is a quarter of the rows."""
        self._change(self._writer.compact, force=True)

    def optimize(self) -> None:
        """Bring all rows into the FAISS index. This happens by itself as they grow, for all but the last ones."""
        self._change(lambda: None, force=True)

    def refresh(self) -> None:
        """Go on to what was committed last."""
        self._store.refresh()
        self._open_snapshot()

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()

    def search(
        self, vectors: np.ndarray, k: int = 10, *, filter: Filter | None = None, rerank: int | None = None
    ) -> list[list[Hit]]:
        """Find the nearest records.

        vectors (np.ndarray): Queries, shape (n, width).
        k (int): Neighbours of each.
        filter (Optional[Filter]): Conditions on metadata, see `record_filter.filter_sql`.
        rerank (Optional[int]): As in `search_rows`.
        RETURNS (list[list[Hit]]): For each query its neighbours, the nearest first; none for a query of zeros.
        RAISES (ValueError): S824 for vectors of another width, S832 for a bad filter, S835 for a bad k.
        """
        scores, rows = self.search_rows(vectors, k, filter=filter, rerank=rerank)
        records = self._store.records(np.unique(rows[rows >= 0]).tolist())
        return [
            [_hit(records[row], score) for score, row in zip(scores_of, rows_of) if row >= 0]
            for scores_of, rows_of in zip(scores.tolist(), rows.tolist())
        ]

    def search_rows(
        self,
        vectors: np.ndarray,
        k: int = 10,
        *,
        filter: Filter | None = None,
        rerank: int | None = None,
        effort: Effort | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest rows.

        vectors (np.ndarray): Queries, shape (n, width).
        k (int): Neighbours of each.
        filter (Optional[Filter]): Conditions on metadata, see `record_filter.filter_sql`.
        rerank (Optional[int]): Candidates a neighbour that are ranked again by their vectors; 0 for none. None for 10
            where the index holds codes, and for 0 where its scores are exact.
        effort (Optional[Effort]): How far to look; None for `index_choice.default_effort`.
        RETURNS (tuple[np.ndarray, np.ndarray]): Scores, float32, and rows, int64, of the shape (n, k); minus infinity
            and -1 where there are fewer neighbours.
        RAISES (ValueError): As `search`.
        """
        k = checked_count("k", k)
        queries = checked_vectors(vectors, self.state.width, self.state.metric)
        found = self._snapshot.nearest(queries, k, filter, rerank, effort or default_effort(self.factory, k))
        blank = is_blank(queries)
        found.scores[blank], found.rows[blank] = -np.inf, -1
        return found.scores, found.rows

    def _change(self, change: Callable[[], None], *, force: bool = False) -> None:
        """Carry out a change and what follows from it."""
        try:
            change()
            if force:
                self._build(force=True)
            else:
                self._tidy()
        finally:
            self._open_snapshot()

    def _tidy(self) -> None:
        """Compact and extend as the rows ask for. The change that led to it has taken place, whatever comes of this."""
        try:
            if self._writer.is_sparse():
                self._writer.compact()
            self._build(force=False)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            message = Warnings.SW821.format(path=self._store.folder, reason=spoken(error))
            warnings.warn(message, SamarkandWarning, stacklevel=5)

    def _build(self, *, force: bool) -> None:
        # An index that fails while it is extended is not what is on disk any more.
        known, self._loaded = self._loaded, None
        self._loaded = self._writer.build(known, force=force) or known

    def _open_snapshot(self) -> None:
        """Open the files of the newest state; writers may replace them meanwhile."""
        for attempt in range(_ATTEMPTS):
            generation = self.state.generation
            try:
                self._snapshot = IndexSnapshot(self._store, self._gpu, self._loaded)
                self._loaded = self._snapshot.loaded
                return
            except ValueError:
                if self._store.refresh().generation == generation or attempt == _ATTEMPTS - 1:
                    raise


def _hit(record: StoredRecord, score: float) -> Hit:
    return Hit(record.id, score, record.text, json.loads(record.metadata or "{}"))
