"""Exact nearest neighbours by inner product, over blocks of vectors, and their merging."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .vector_file import BLOCK_ROWS, VectorFile

# (queries, vectors, k) to scores and places, both of the shape (queries, k).
Knn = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
# Vectors that are gathered at once to rank candidates again.
_GATHERED = 2**17


def _use_one_thread() -> None:
    """Of FAISS, where it has been imported: before that it has started none."""
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(1)


# The threads of OpenMP do not survive a fork, see `torch_shim`.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of queries, the nearest first; of equal ones the earlier row.

    scores (np.ndarray): Shape (queries, k), float32; minus infinity where there are fewer.
    rows (np.ndarray): Shape (queries, k), int64; -1 where there are fewer.
    """

    scores: np.ndarray
    rows: np.ndarray

    def merged(self, other: Neighbours) -> Neighbours:
        """The best of both, as many as there are here.

        other (Neighbours): Neighbours of the same queries; no row is in both.
        RETURNS (Neighbours): The best.
        """
        scores = np.concatenate([self.scores, other.scores], axis=1)
        rows = np.concatenate([self.rows, other.rows], axis=1)
        return Neighbours(scores, rows).best(self.rows.shape[1])

    def best(self, k: int) -> Neighbours:
        """The best in order.

        k (int): How many.
        RETURNS (Neighbours): They.
        """
        order = np.lexsort((self.rows, -self.scores), axis=1)[:, :k]
        return Neighbours(*(np.take_along_axis(array, order, axis=1) for array in (self.scores, self.rows)))


def no_neighbours(queries: int, k: int) -> Neighbours:
    """Places that nothing has taken yet.

    queries (int): Queries.
    k (int): Places of each.
    RETURNS (Neighbours): They.
    """
    return Neighbours(np.full((queries, k), -np.inf, dtype=np.float32), np.full((queries, k), -1, dtype=np.int64))


def cpu_knn(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest vectors by inner product, on the threads of FAISS.

    queries (np.ndarray): Shape (n, width), float32.
    vectors (np.ndarray): Shape (m, width), float32; m >= k.
    k (int): How many.
    RETURNS (tuple[np.ndarray, np.ndarray]): Scores and places, shape (n, k).
    """
    import faiss

    return faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)


def scan(queries: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]], k: int, knn: Knn) -> Neighbours:
    """Compare queries with every vector of some blocks.

    queries (np.ndarray): Shape (n, width), float32.
    blocks (Iterable[tuple[np.ndarray, np.ndarray]]): Row numbers and vectors, see `blocks_between`, `blocks_of`.
    k (int): Neighbours of each.
    knn (Knn): Compares.
    RETURNS (Neighbours): The nearest.
    """
    found = no_neighbours(len(queries), k)
    for rows, vectors in blocks:
        scores, places = knn(queries, vectors, min(k, len(rows)))
        found = found.merged(Neighbours(scores, rows[places]))
    return found


def blocks_between(
    vectors: VectorFile, start: int, stop: int, visible: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows from one to another, some at a time.

    vectors (VectorFile): The vectors.
    start (int): First row.
    stop (int): Row after the last.
    visible (Optional[np.ndarray]): Which of all rows to take, bool; None for every one.
    YIELDS (tuple[np.ndarray, np.ndarray]): Row numbers and vectors.
    """
    for first in range(start, stop, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, stop)
        rows = np.arange(first, last)
        if visible is None or visible[first:last].all():
            yield rows, vectors[first:last]
        elif visible[first:last].any():
            rows = rows[visible[first:last]]
            yield rows, vectors[rows]


def blocks_of(vectors: VectorFile, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some rows, a block at a time.

    vectors (VectorFile): The vectors.
    rows (np.ndarray): The rows, int64, in order.
    YIELDS (tuple[np.ndarray, np.ndarray]): Row numbers and vectors.
    """
    for first in range(0, len(rows), BLOCK_ROWS):
        part = rows[first : first + BLOCK_ROWS]
        yield part, vectors[part]


def rank_again(queries: np.ndarray, vectors: VectorFile, found: Neighbours, k: int) -> Neighbours:
    """Give candidates their exact scores.

    queries (np.ndarray): Shape (n, width), float32.
    vectors (VectorFile): The vectors.
    found (Neighbours): Candidates of the queries.
    k (int): How many of them to keep.
    RETURNS (Neighbours): The best.
    """
    scores = np.full(found.rows.shape, -np.inf, dtype=np.float32)
    step = max(1, _GATHERED // found.rows.shape[1])
    for first in range(0, len(queries), step):
        rows = found.rows[first : first + step]
        exact = np.einsum("qd,qkd->qk", queries[first : first + step], vectors[np.maximum(rows, 0)])
        scores[first : first + step] = np.where(rows >= 0, exact, -np.inf)
    return Neighbours(scores, found.rows).best(k)
