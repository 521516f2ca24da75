"""Exact search in the plainest way, vectors in clusters as those of sentences are, and indexes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from samarkand.models.search_index import SearchIndex

# Threads that wait for one another are slow on a machine with other work.
faiss.omp_set_num_threads(1)


def make_vectors(rows: int, width: int = 16, *, seed: int = 0, clusters: int = 20, spread: float = 0.4) -> np.ndarray:
    """Vectors around some centres.

    rows (int): How many.
    width (int): Numbers in each.
    seed (int): Of the random numbers; centres are the same for all.
    clusters (int): Centres.
    spread (float): How far from them.
    RETURNS (np.ndarray): Shape (rows, width), float32.
    """
    centres = np.random.default_rng(1234).standard_normal((clusters, width))
    draw = np.random.default_rng(seed)
    noise = spread * draw.standard_normal((rows, width))
    return (centres[draw.integers(clusters, size=rows)] + noise).astype(np.float32)


def exact_scores(queries: np.ndarray, vectors: np.ndarray, metric: str = "cosine") -> np.ndarray:
    """Every score, one by one.

    queries (np.ndarray): Shape (n, width).
    vectors (np.ndarray): Shape (m, width).
    metric (str): "cosine" or "ip".
    RETURNS (np.ndarray): Shape (n, m); NaN where a vector is zero.
    """
    scores = np.full((len(queries), len(vectors)), np.nan)
    for i, query in enumerate(queries.astype(np.float64)):
        for j, vector in enumerate(vectors.astype(np.float64)):
            lengths = np.sqrt(query @ query) * np.sqrt(vector @ vector)
            if lengths:
                scores[i, j] = query @ vector / (lengths if metric == "cosine" else 1)
    return scores


def recall(found: np.ndarray, queries: np.ndarray, vectors: np.ndarray, allowed: np.ndarray | None = None) -> float:
    """Share of the true neighbours by cosine that were found.

    found (np.ndarray): Rows, shape (n, k).
    queries (np.ndarray): Shape (n, width).
    vectors (np.ndarray): Shape (m, width).
    allowed (Optional[np.ndarray]): Rows that count.
    RETURNS (float): The share, 0 to 1.
    """
    rows = np.arange(len(vectors)) if allowed is None else allowed
    units = vectors[rows] / np.linalg.norm(vectors[rows], axis=1, keepdims=True)
    true = rows[np.argsort(-(queries @ units.T), axis=1, kind="stable")[:, : found.shape[1]]]
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), true.tolist())]))


def names(rows: int, start: int = 0) -> list[str]:
    """RETURNS (list[str]): Ids of rows."""
    return [f"r{i}" for i in range(start, start + rows)]


def filled(folder: Path, vectors: np.ndarray, **options: Any) -> SearchIndex:
    """Make an index.

    folder (Path): Its folder.
    vectors (np.ndarray): What is in it, with texts, a "kind" of ten and a "lang" of three.
    options: As `SearchIndex.create` takes them.
    RETURNS (SearchIndex): The index.
    """
    index = SearchIndex.create(folder, vectors.shape[1], **options)
    metadata = [{"kind": i % 10, "lang": ["ar", "zh", "en"][i % 3]} for i in range(len(vectors))]
    index.add(names(len(vectors)), vectors, [f"text {i}" for i in range(len(vectors))], metadata)
    return index


def files(folder: Path) -> list[str]:
    """RETURNS (list[str]): Files of an index but for its database."""
    return sorted(path.name for path in folder.iterdir() if "sqlite" not in path.name)
