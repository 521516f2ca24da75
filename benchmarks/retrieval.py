"""Retrieval: recall, speed, build time and memory of every kind of index, with hnswlib and usearch in the same run.

    python benchmarks/retrieval.py --encoder NAME=FOLDER --vectors /tmp/vectors.npy --threads 2

Vectors are those of real sentences by an encoder, all-MiniLM-L6-v2 unless another is named: from the file, or encoded
from the corpora in SAMARKAND_DATA and written there. Some are held out as queries. Each index is built over the vectors
as they are and whitened to fewer dimensions; recall is against exact search over the same vectors. Memory is that of
the index in its file, which is what it takes in memory; vectors that are ranked again stay on disk. Peers have the
links of HNSW32 and construct as they do by default.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
from index_kills import kill_often
from minilm import PACKAGE
from options import benchmark_parser, named_folder
from results_file import row, show, write_rows
from samarkand.models.index_choice import FLAT_ROWS, LINK_BYTES, choose_factory
from samarkand.models.search_index import SearchIndex
from samarkand.models.sentence_model import InferencePrecision, load_sentence_model
from samarkand.models.whitening import VectorStatistics

COMMAND = "python benchmarks/retrieval.py"
K, LINKS, CANDIDATES = 10, 32, 128
BATCH = 10_000
MEBIBYTE = 2**20
# Characters of a sentence that is taken.
LENGTHS = range(20, 80)
KINDS = ("Flat", "HNSW", "IVF", "PQ")
PEERS = ("hnswlib", "usearch")

Search = Callable[[np.ndarray], np.ndarray]


@dataclass
class Built:
    """An index to be measured.

    search (Callable): Takes queries, and gives the rows of their neighbours.
    seconds (float): Of building.
    memory (float): Bytes of the index.
    factory (str): What it is.
    threads (Callable): Sets the threads of a search.
    """

    search: Search
    seconds: float
    memory: float
    factory: str
    threads: Callable[[int], None]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__, threads=2)
    parser.add_argument("--size", type=int, default=1_000_000, help="vectors in the index")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--encoder", type=named_folder, default=("MiniLM", PACKAGE), metavar="NAME=FOLDER")
    parser.add_argument("--precision", choices=get_args(InferencePrecision), default="fp32", help="of the encoder")
    parser.add_argument("--vectors", type=Path, help="NumPy file of float32 vectors; written when it is not there")
    parser.add_argument("--dim", type=int, default=256, help="dimensions after whitening")
    parser.add_argument("--index", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--peer", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args(arguments)
    if options.quick:
        options.size, options.queries, options.dim, options.kills = 3000, 50, 16, 1
        everything = random_vectors(options.size + options.queries, 32)
    else:
        everything = real_vectors(
            options.encoder[1], options.precision, options.vectors, options.size + options.queries
        )
    rows: list[dict[str, Any]] = []
    peers = installed(options.peer)
    queries, vectors = everything[: options.queries], everything[options.queries :]
    for label, change in (
        (f"{vectors.shape[1]}", None),
        (f"whitened to {options.dim}", whitener(vectors, options.dim)),
    ):
        name = f"{'random' if options.quick else options.encoder[0]} {label}, {len(vectors):,}"
        sides = (vectors, queries) if change is None else (change(vectors), change(queries))
        rows += measure(name, *map(normalized, sides), options.index, peers, options.threads)
        write_rows("retrieval", rows, options.results)
    if options.kills:
        rows += measure_kills(options.kills)
        write_rows("retrieval", rows, options.results)
    show(rows, f"Retrieval, {options.threads} threads")


def installed(peers: list[str]) -> list[str]:
    """Peers that are there; a line on standard error tells of each that is not.

    peers (list[str]): Of `PEERS`.
    RETURNS (list[str]): Those that can be imported.
    """
    there = [peer for peer in peers if find_spec(peer)]
    for peer in peers:
        if peer not in there:
            print(f"{peer} is left out: it is not installed (pip install {peer})", file=sys.stderr)
    return there


def measure(
    dataset: str, vectors: np.ndarray, queries: np.ndarray, kinds: list[str], peers: list[str], threads: int
) -> list[dict[str, Any]]:
    """Measure all kinds of index over some vectors.

    dataset (str): Their name in the rows.
    vectors (np.ndarray): Shape (n, width), of length one.
    queries (np.ndarray): Shape (m, width), of length one.
    kinds (list[str]): Keys of `KINDS`.
    peers (list[str]): Of `PEERS`, installed.
    threads (int): Of the CPU.
    RETURNS (list[dict]): Rows.
    """
    faiss.omp_set_num_threads(threads)
    true = faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    rows = []
    chosen = factories(*vectors.shape)
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            built = build_ours(vectors, Path(folder, "index"), chosen[kind])
            rows += _rows(f"samarkand/{kind}", dataset, built, queries, true, threads)
    for peer in peers:
        rows += _rows(f"{peer}/HNSW", dataset, BUILDERS[peer](vectors, threads), queries, true, threads)
    return rows


def _rows(
    system: str, dataset: str, built: Built, queries: np.ndarray, true: np.ndarray, threads: int
) -> Iterator[dict[str, Any]]:
    found = built.search(queries)
    share = np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), true.tolist())])
    about = {"split": "", "command": COMMAND, "note": built.factory}
    yield row(system, dataset, f"recall@{K}", 100 * share, **about)
    began = time.perf_counter()
    built.search(queries)
    yield row(system, dataset, "batch", len(queries) / (time.perf_counter() - began), unit="queries/s", **about)
    built.threads(1)
    some = queries[: max(1, len(queries) // 5)]
    began = time.perf_counter()
    for query in some:
        built.search(query[None])
    yield row(system, dataset, "one by one", len(some) / (time.perf_counter() - began), unit="queries/s", **about)
    built.threads(threads)
    yield row(system, dataset, "build", built.seconds, unit="s", **about)
    yield row(system, dataset, "memory", built.memory / MEBIBYTE, unit="MiB", **about)


def build_ours(vectors: np.ndarray, folder: Path, factory: str) -> Built:
    """Build our index.

    vectors (np.ndarray): Shape (n, width).
    folder (Path): Of the index.
    factory (str): String for `faiss.index_factory`.
    RETURNS (Built): The index.
    """
    index = SearchIndex.create(folder, vectors.shape[1], factory=factory, gpu=False)
    began = time.perf_counter()
    for start in range(0, len(vectors), BATCH):
        block = vectors[start : start + BATCH]
        index.add([str(start + i) for i in range(len(block))], block)
    index.optimize()
    seconds = time.perf_counter() - began
    state = index.state
    memory = (folder / state.file).stat().st_size if state.file else vectors.nbytes
    return Built(lambda q: index.search_rows(q, K)[1], seconds, memory, index.factory, faiss.omp_set_num_threads)


def build_hnswlib(vectors: np.ndarray, threads: int) -> Built:
    """Build an index of hnswlib."""
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    began = time.perf_counter()
    index.init_index(max_elements=len(vectors), M=LINKS, random_seed=0)
    index.set_num_threads(threads)
    index.add_items(vectors, np.arange(len(vectors)))
    seconds = time.perf_counter() - began
    index.set_ef(CANDIDATES)
    note = f"M={LINKS}, ef_construction={index.ef_construction}, ef={CANDIDATES}"

    def search(queries: np.ndarray) -> np.ndarray:
        return index.knn_query(queries, k=K)[0].astype(np.int64)

    return Built(search, seconds, index.index_file_size(), note, index.set_num_threads)


def build_usearch(vectors: np.ndarray, threads: int) -> Built:
    """Build an index of usearch."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=LINKS, expansion_search=CANDIDATES)
    began = time.perf_counter()
    index.add(np.arange(len(vectors)), vectors, threads=threads)
    seconds = time.perf_counter() - began
    note = f"connectivity={LINKS}, expansion_add={index.expansion_add}, expansion_search={CANDIDATES}"
    used = [threads]

    def search(queries: np.ndarray) -> np.ndarray:
        keys = index.search(queries, K, threads=used[0]).keys
        return np.atleast_2d(keys).astype(np.int64)

    return Built(search, seconds, index.serialized_length, note, lambda count: used.__setitem__(0, count))


BUILDERS = {"hnswlib": build_hnswlib, "usearch": build_usearch}


def factories(size: int, width: int) -> dict[str, str]:
    """What the rule chooses for ever less memory.

    size (int): Vectors.
    width (int): Numbers in each.
    RETURNS (dict[str, str]): Factory by name.
    """
    if size <= FLAT_ROWS:
        return {"Flat": "Flat", "HNSW": "HNSW32", "IVF": "IVF16,Flat", "PQ": "IVF16,PQ8x4np"}
    graph = 4 * width + LINK_BYTES
    memory = {"HNSW": graph, "IVF": graph - 1, "PQ": width + LINK_BYTES}
    return {"Flat": "Flat"} | {name: choose_factory(size, width, size * each) for name, each in memory.items()}


def measure_kills(kills: int) -> list[dict[str, Any]]:
    """Kill a process while it adds.

    kills (int): How often.
    RETURNS (list[dict]): Rows: kills, and the records that were lost or doubled.
    """
    folder = Path(tempfile.mkdtemp())
    try:
        counts = kill_often(folder / "index", kills)
    finally:
        shutil.rmtree(folder)
    about = {"split": "", "unit": "", "command": COMMAND, "note": f"{counts['batches']} batches committed"}
    return [
        row("samarkand", "kill -9 while adding", name, counts[name], **about) for name in ("kills", "lost", "doubled")
    ]


def whitener(vectors: np.ndarray, dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """Fit whitening on vectors.

    vectors (np.ndarray): Shape (n, width).
    dim (int): Dimensions to keep.
    RETURNS (Callable): Whitens vectors.
    """
    statistics = VectorStatistics()
    for start in range(0, len(vectors), BATCH):
        statistics.update(vectors[start : start + BATCH])
    return statistics.whitening(dim=dim).transform


def normalized(vectors: np.ndarray) -> np.ndarray:
    """RETURNS (np.ndarray): The vectors, of length one, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(count: int, width: int) -> np.ndarray:
    """Vectors in clusters, for the quick mode.

    count (int): How many.
    width (int): Numbers in each.
    RETURNS (np.ndarray): Shape (count, width), float32.
    """
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((50, width))
    return (centres[draw.integers(50, size=count)] + 0.5 * draw.standard_normal((count, width))).astype(np.float32)


def real_vectors(encoder: str, precision: InferencePrecision, path: Path | None, count: int) -> np.ndarray:
    """Vectors of sentences, in random order.

    encoder (str): Name or folder of what encodes them.
    precision (str): As `load_sentence_model` takes it.
    path (Optional[Path]): File that they are read from, or written to.
    count (int): How many.
    RETURNS (np.ndarray): Shape (count, width), float32, without zeros.
    RAISES (SystemExit): When there are too few, or nothing to encode them by.
    """
    if path is not None and path.exists():
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    else:
        model = load_sentence_model(encoder, precision=precision)
        vectors = model.encode(distinct_sentences(count), batch_size=16, progress=True)
        if path is not None:
            np.save(path, vectors)
    vectors = np.asarray(vectors[:count], dtype=np.float32)
    vectors = vectors[vectors.any(axis=1)]
    if len(vectors) < count:
        raise SystemExit(f"{len(vectors):,} vectors for {count:,}: lower --size or give another file")
    return vectors[np.random.default_rng(0).permutation(len(vectors))]


def distinct_sentences(count: int) -> list[str]:
    """Sentences of the parallel and the raw text, in the order of the files.

    count (int): How many.
    RETURNS (list[str]): They, each once.
    RAISES (SystemExit): When there are fewer.
    """
    from samarkand.corpora.files import numbered_lines
    from samarkand.corpora.training_pairs import training_pairs

    folder = Path(os.environ.get("SAMARKAND_DATA", ""))
    pairs = (side for pair in training_pairs(folder) for side in (pair.english, pair.other))
    lines = (line for path in sorted((folder / "raw").glob("*.txt.xz")) for _, line in numbered_lines(path))
    seen = dict.fromkeys(text for text in itertools.chain(pairs, lines) if len(text) in LENGTHS)
    if len(seen) < count:
        raise SystemExit(f"{len(seen):,} sentences for {count:,}: lower --size")
    order = np.random.default_rng(0).permutation(len(seen))[:count]
    sentences = list(seen)
    return [sentences[i] for i in order]


if __name__ == "__main__":
    main()
