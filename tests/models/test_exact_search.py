"""Exact search in blocks is exact search."""

from __future__ import annotations

import numpy as np
import pytest
from forked import ends_in_a_fork, needs_fork
from index_oracle import make_vectors
from samarkand.models import exact_search
from samarkand.models.exact_search import (
    Neighbours,
    blocks_between,
    blocks_of,
    cpu_knn,
    no_neighbours,
    rank_again,
    scan,
)
from samarkand.models.vector_file import VectorFile, append_rows

ROWS, WIDTH = 50, 16


@pytest.fixture
def vectors(tmp_path, monkeypatch) -> VectorFile:
    monkeypatch.setattr(exact_search, "BLOCK_ROWS", 7)
    append_rows(tmp_path / "v.f32", WIDTH, 0, make_vectors(ROWS, WIDTH), 0)
    return VectorFile(tmp_path / "v.f32", WIDTH, ROWS)


def plain(queries: np.ndarray, vectors: VectorFile, rows: np.ndarray, k: int) -> np.ndarray:
    return rows[np.argsort(-(queries @ vectors[rows].T), axis=1, kind="stable")[:, :k]]


@pytest.mark.parametrize("k", [1, 5, 60])
def test_scan_between_rows(vectors, k):
    queries = make_vectors(4, WIDTH, seed=1)
    visible = np.arange(ROWS) % 3 > 0
    visible[14:21] = False
    found = scan(queries, blocks_between(vectors, 3, 45, visible), k, cpu_knn)
    rows = np.flatnonzero(visible)
    expected = plain(queries, vectors, rows[(rows >= 3) & (rows < 45)], k)
    assert np.array_equal(found.rows[:, : expected.shape[1]], expected)
    assert found.rows.shape == (4, k)
    assert (found.rows[:, expected.shape[1] :] == -1).all()
    assert np.isneginf(found.scores[:, expected.shape[1] :]).all()


def test_scan_of_some_rows(vectors):
    queries, rows = make_vectors(4, WIDTH, seed=1), np.array([1, 8, 9, 30, 31, 32, 49])
    assert np.array_equal(scan(queries, blocks_of(vectors, rows), 3, cpu_knn).rows, plain(queries, vectors, rows, 3))
    assert (scan(queries, blocks_of(vectors, rows[:0]), 3, cpu_knn).rows == -1).all()


def test_ties_go_to_the_earlier_row():
    here = Neighbours(np.array([[1.0, 0.5]], dtype=np.float32), np.array([[7, 3]]))
    there = Neighbours(np.array([[1.0, 0.5]], dtype=np.float32), np.array([[2, 9]]))
    assert here.merged(there).rows.tolist() == [[2, 7]]
    assert no_neighbours(1, 3).merged(there).rows.tolist() == [[2, 9, -1]]


def test_candidates_are_ranked_by_their_vectors(vectors, monkeypatch):
    monkeypatch.setattr(exact_search, "_GATHERED", 9)
    queries = make_vectors(5, WIDTH, seed=1)
    rows = np.stack([np.random.default_rng(i).permutation(ROWS)[:6] for i in range(5)])
    rows[0, 4:] = -1
    wrong = Neighbours(np.zeros(rows.shape, dtype=np.float32), rows)
    found = rank_again(queries, vectors, wrong, 3)
    for i, candidates in enumerate(rows):
        expected = plain(queries[i : i + 1], vectors, candidates[candidates >= 0], 3)[0]
        assert found.rows[i].tolist() == expected.tolist()
        assert found.scores[i] == pytest.approx(vectors[expected] @ queries[i], rel=1e-5)


FAISS_WORK = """
import faiss
import numpy as np
from samarkand.models.exact_search import cpu_knn

vectors = np.random.default_rng(0).standard_normal((20000, 32)).astype(np.float32)
faiss.omp_set_num_threads(2)

def run():
    cpu_knn(vectors[:300], vectors, 5)
"""


@needs_fork
def test_forked_workers_do_not_wait_for_threads_that_are_gone():
    assert ends_in_a_fork(FAISS_WORK)
