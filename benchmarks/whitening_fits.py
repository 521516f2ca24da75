"""Fits of whitening maps by several systems, each in a process of its own; `whitening.py` runs it.

Seconds are those of the fit alone, and memory is the greatest above what was in use after the imports and a small fit,
with the vectors that a system needs in memory at once.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_file import row
from samarkand.models.whitening import VectorStatistics

BLOCK = 16384
OURS, PEER = "samarkand/VectorStatistics", "scikit-learn/PCA(whiten=True)"
DOUBLE = ", float64"
MEBIBYTE = 2**20


def measure_fits(count: int, width: int, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Fit on random vectors with a common direction and unequal variances.

    count, width (int): Vectors.
    rounds (int): Fits of each system.
    threads (int): Of the CPU.
    RETURNS (list[dict]): Rows: seconds, speed against scikit-learn's on the same kind of number, memory, and the error
        of the variances.
    """
    # A process takes them from here when it starts, before BLAS is loaded.
    os.environ.update({name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})
    seconds: dict[str, list[float]] = {name: [] for name in FITS}
    memory, variances = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vectors")
        with path.open("wb") as file:
            for block in random_vectors(count, width):
                block.tofile(file)
        exact = _exact_variances(path, width)
        for _ in range(rounds):
            for name in FITS:
                # A new process for each fit, so that the greatest memory is its own.
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    spent, memory[name], variances[name] = pool.submit(_fit_alone, name, path, width, threads).result()
                seconds[name].append(spent)
    dataset = f"random, {count:,} x {width}"
    about = {
        "split": "",
        "command": "python benchmarks/whitening.py --part fit",
        "note": f"median of {rounds}, {threads} threads; float32 vectors but where float64 is named",
    }
    rows = []
    for name in FITS:
        spent = statistics.median(seconds[name])
        error = np.abs(variances[name] / exact - 1).max()
        rows.append(row(name, dataset, "fit", spent, unit="s", **about))
        peer = statistics.median(seconds[f"{PEER}{DOUBLE}" if name.endswith(DOUBLE) else PEER])
        rows.append(row(name, dataset, "fit speed", peer / spent, unit="x", **about))
        rows.append(row(name, dataset, "fit memory", memory[name] / MEBIBYTE, unit="MiB", **about))
        rows.append(row(name, dataset, "error", np.log10(max(error, 1e-17)), unit="log10", **about))
    return rows


def random_vectors(count: int, width: int, seed: int = 0) -> Iterator[np.ndarray]:
    """YIELDS (np.ndarray): Blocks of float32 vectors in a narrow cone."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0] * np.geomspace(1, 0.1, width)[:, None]
    rotation = rotation.astype(np.float32)
    for start in range(0, count, BLOCK):
        draws = rng.standard_normal((min(BLOCK, count - start), width), dtype=np.float32)
        yield draws @ rotation + np.float32(0.1)


def _blocks(path: Path, width: int) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while len(block := np.fromfile(file, np.float32, BLOCK * width)):
            yield block.reshape(-1, width)


def _exact_variances(path: Path, width: int) -> np.ndarray:
    """Two passes in float64."""
    total, count, outer = np.zeros(width), 0, np.zeros((width, width))
    for block in _blocks(path, width):
        total += block.sum(axis=0, dtype=np.float64)
        count += len(block)
    for block in _blocks(path, width):
        centred = block - total / count
        outer += centred.T @ centred
    return np.linalg.eigvalsh(outer / count)[::-1]


def _fit_alone(name: str, path: Path, width: int, threads: int) -> tuple[float, int, np.ndarray]:
    """Seconds of the fit, bytes above those after the imports, and the variances, greatest first."""
    import sklearn.decomposition  # noqa: F401

    torch.set_num_threads(threads)
    FITS[name](iter([np.random.default_rng(0).standard_normal((4 * width, width), dtype=np.float32)]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent, variances = FITS[name](_blocks(path, width))
    return spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, variances


def _fit_ours(blocks: Iterator[np.ndarray], dtype: type[np.floating] = np.float32) -> tuple[float, np.ndarray]:
    fitted, spent = VectorStatistics(), 0.0
    for block in blocks:
        block = block.astype(dtype, copy=False)
        began = time.perf_counter()
        fitted.update(block)
        spent += time.perf_counter() - began
    began = time.perf_counter()
    whitening = fitted.whitening()
    return spent + time.perf_counter() - began, whitening.variance


def _fit_pca(blocks: Iterator[np.ndarray], dtype: type[np.floating] = np.float32) -> tuple[float, np.ndarray]:
    from sklearn.decomposition import PCA

    vectors = np.concatenate([block.astype(dtype, copy=False) for block in blocks])
    began = time.perf_counter()
    fitted = PCA(whiten=True).fit(vectors)
    return time.perf_counter() - began, fitted.explained_variance_ * (1 - 1 / len(vectors))


def _fit_incremental(blocks: Iterator[np.ndarray]) -> tuple[float, np.ndarray]:
    from sklearn.decomposition import IncrementalPCA

    fitted, spent = IncrementalPCA(whiten=True), 0.0
    for block in blocks:
        if len(block) >= block.shape[1]:
            began = time.perf_counter()
            fitted.partial_fit(block)
            spent += time.perf_counter() - began
    return spent, fitted.explained_variance_ * (1 - 1 / fitted.n_samples_seen_)


FITS: dict[str, Callable[[Iterator[np.ndarray]], tuple[float, np.ndarray]]] = {
    OURS: _fit_ours,
    f"{OURS}{DOUBLE}": partial(_fit_ours, dtype=np.float64),
    PEER: _fit_pca,
    f"{PEER}{DOUBLE}": partial(_fit_pca, dtype=np.float64),
    "scikit-learn/IncrementalPCA(whiten=True)": _fit_incremental,
}
