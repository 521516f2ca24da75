"""One state of an index folder, open for searching."""

from __future__ import annotations

from typing import Any

import numpy as np

from .exact_search import Neighbours, blocks_between, blocks_of, cpu_knn, no_neighbours, rank_again, scan
from .index_choice import FLAT_ROWS, Effort, list_count, stores_exactly
from .index_devices import GPU_LIMIT, GpuSearch
from .index_generation import LoadedIndex, read_index, search_index
from .record_filter import Filter
from .record_store import IndexState, RecordStore
from .vector_file import VectorFile

# A filter that lets through fewer rows than FLAT_ROWS, or than this share, is searched row by row.
NARROW_SHARE = 0.02
# Candidates a neighbour that an index of codes gives, to be ranked again by the vectors.
RERANKED = 10


class IndexSnapshot:
    """The vectors and the FAISS index of the state that a store reads.

    store (RecordStore): The records.
    gpu (Optional[GpuSearch]): The GPU to search on.
    known (Optional[LoadedIndex]): A FAISS index that is at hand.
    RAISES (ValueError): S823 when a file is missing or damaged.
    """

    def __init__(self, store: RecordStore, gpu: GpuSearch | None = None, known: LoadedIndex | None = None) -> None:
        self._store, self._gpu = store, gpu
        self.state: IndexState = store.state
        self.vectors = VectorFile(store.folder / self.state.vectors, self.state.width, self.state.rows)
        self.loaded: LoadedIndex | None = None
        if self.state.file:
            is_known = known is not None and known.file == self.state.file
            # What is copied to a GPU is read once, and the whole of it.
            self.loaded = known if is_known else load_index(store, self.state, mapped=gpu is None)
        self._visible: np.ndarray | None = None
        # The copy on the GPU; False when the index has none.
        self._copy: Any = None

    @property
    def factory(self) -> str:
        """RETURNS (str): The FAISS index that was built; "Flat" when all rows are compared."""
        return self.state.built or "Flat"

    def nearest(
        self, queries: np.ndarray, k: int, filter: Filter | None, rerank: int | None, effort: Effort
    ) -> Neighbours:
        """Find the nearest rows that may be found.

        queries (np.ndarray): Shape (n, width), as `checked_vectors` gives them.
        k (int): Neighbours of each.
        filter (Optional[Filter]): Conditions on metadata.
        rerank (Optional[int]): Candidates a neighbour to rank again; None for what the index needs.
        effort (Effort): How far to look.
        RETURNS (Neighbours): They.
        """
        visible, indexed, total = self._visible_rows(), self.state.indexed, self.state.rows
        if filter is not None:
            rows = self._store.matching_rows(filter)
            rows = rows if visible is None else rows[visible[rows]]
            if len(rows) <= max(FLAT_ROWS, NARROW_SHARE * total):
                return scan(queries, blocks_of(self.vectors, rows), k, self._knn)
            visible = np.zeros(total, dtype=bool)
            visible[rows] = True
        found = scan(queries, blocks_between(self.vectors, indexed, total, visible), k, self._knn)
        return found.merged(self._approximate(queries, k, visible, rerank, effort)) if indexed else found

    def _approximate(
        self, queries: np.ndarray, k: int, visible: np.ndarray | None, rerank: int | None, effort: Effort
    ) -> Neighbours:
        """Neighbours among the rows of the FAISS index."""
        indexed = self.state.indexed
        mask = None if visible is None or visible[:indexed].all() else visible[:indexed]
        possible = indexed if mask is None else int(mask.sum())
        if not possible:
            return no_neighbours(len(queries), k)
        if rerank is None:
            rerank = 0 if stores_exactly(self.factory) else RERANKED
        found = self._search_faiss(queries, min(k * max(1, rerank), possible), mask, effort)
        if rerank:
            found = rank_again(queries, self.vectors, found, k)
        short = np.flatnonzero((found.rows >= 0).sum(axis=1) < min(k, possible))
        if len(short):
            # A graph may end and lists may run out before k rows that may be found are met.
            blocks = blocks_between(self.vectors, 0, indexed, mask)
            found = no_neighbours(len(queries), k).merged(found)
            exact = scan(queries[short], blocks, k, self._knn)
            found.scores[short], found.rows[short] = exact.scores, exact.rows
        return found

    def _search_faiss(self, queries: np.ndarray, k: int, mask: np.ndarray | None, effort: Effort) -> Neighbours:
        if self._gpu is not None and mask is None and k <= GPU_LIMIT:
            if self._copy is None:
                self._copy = self._gpu.copy(self.loaded.index) or False
            if self._copy:
                return self._gpu.search(self._copy, queries, k, effort.lists if list_count(self.factory) else 0)
        return search_index(self.loaded.index, queries, k, effort, mask)

    def _knn(self, queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return cpu_knn(queries, vectors, k) if self._gpu is None else self._gpu.knn(queries, vectors, k)

    def _visible_rows(self) -> np.ndarray | None:
        """Which rows a search may find, bool; None for every one."""
        if self._visible is None:
            visible = np.ones(self.state.rows, dtype=bool)
            visible[self._store.hidden_rows()] = False
            self._visible = visible
        return None if self._visible.all() else self._visible


def load_index(store: RecordStore, state: IndexState, *, mapped: bool) -> LoadedIndex:
    """Read the FAISS index of a state.

    store (RecordStore): The records beside it.
    state (IndexState): The state.
    mapped (bool): As in `read_index`.
    RETURNS (LoadedIndex): The index.
    RAISES (ValueError): S823 when it is missing or damaged.
    """
    return read_index(store.folder / state.file, state.sha256, state.width, state.indexed, mapped=mapped)
