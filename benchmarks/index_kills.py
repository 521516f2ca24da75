"""Killing a process while it adds to a search index, again and again, and counting what was lost or doubled.

Run by `retrieval.py` and by the tests; `python benchmarks/index_kills.py FOLDER START` is the process that is killed.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from samarkand.models import index_writer
from samarkand.models.search_index import SearchIndex

WIDTH, BATCH = 16, 50
_HALF = BATCH // 2


def kill_often(folder: Path, kills: int, *, seed: int = 0, longest: float = 0.5) -> Counter[str]:
    """Kill a process that adds batches and removes half of each, and look at the index each time.

    folder (Path): Where the index is made.
    kills (int): How often.
    seed (int): Of the times.
    longest (float): Seconds that a process may add before it is killed.
    RETURNS (Counter[str]): "kills", "batches" that were said to be committed, records "lost", and records "doubled" or
        half there.
    """
    draw = random.Random(seed)
    SearchIndex.create(folder, WIDTH, factory="HNSW8").close()
    done: dict[int, str] = {}
    unknown: set[int] = set()
    counts: Counter[str] = Counter(kills=0, lost=0, doubled=0)
    for _ in range(kills):
        start = max(done, default=-2) + 2
        done |= _killed_after(folder, start, draw.uniform(0, longest))
        counts["kills"] += 1
        # Of the batch after the last one nobody knows whether it was committed.
        unknown.add(max(done) + 1)
        counts += _damage(folder, done, unknown)
        counts["batches"] = len(done)
    return Counter({name: counts[name] for name in ("kills", "batches", "lost", "doubled")})


def names_of(batch: int) -> list[str]:
    """RETURNS (list[str]): Ids of a batch."""
    return [f"{batch}-{i}" for i in range(BATCH)]


def vectors_of(batch: int) -> np.ndarray:
    """RETURNS (np.ndarray): Vectors of a batch, shape (BATCH, WIDTH)."""
    return np.random.default_rng(batch).standard_normal((BATCH, WIDTH)).astype(np.float32)


def add_for_ever(folder: Path, start: int) -> None:
    """Add batches, remove the first half of each, and print what is committed.

    folder (Path): The index.
    start (int): First batch.
    """
    # Often enough, FAISS files are written and rows compacted when the end comes.
    index_writer.TAIL_ROWS, index_writer.DEAD_ROWS = 200, 100
    index = SearchIndex.open(folder)
    for batch in range(start, sys.maxsize):
        index.add(names_of(batch), vectors_of(batch))
        print(batch, "added", flush=True)
        index.remove(names_of(batch)[:_HALF])
        print(batch, "removed", flush=True)


def _killed_after(folder: Path, start: int, seconds: float) -> dict[int, str]:
    """What a process has said about its batches by the time it is killed; the last word on each."""
    command = [sys.executable, __file__, str(folder), str(start)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        first = process.stdout.readline()
        time.sleep(seconds)
    finally:
        process.kill()
    rest, _ = process.communicate(timeout=60)
    lines = [line.split() for line in [first, *rest.splitlines(keepends=True)] if line.endswith("\n")]
    if not lines:
        raise RuntimeError(f"the process that adds ended with {process.returncode}")
    return {int(batch): word for batch, word in lines}


def _damage(folder: Path, done: dict[int, str], unknown: set[int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    expected = 0
    with SearchIndex.open(folder, verify=True) as index:
        for batch in done.keys() | unknown:
            ids = names_of(batch)
            there = index.known(ids)
            expected += len(there)
            halves = [sum(name in there for name in half) for half in (ids[:_HALF], ids[_HALF:])]
            if batch in done:
                counts["lost"] += _HALF - halves[1]
                counts["doubled"] += halves[0] if done[batch] == "removed" else 0
            counts["doubled"] += sum(half not in (0, _HALF) for half in halves)
            for name, hits in zip(ids, index.search(vectors_of(batch), 3)):
                found = [hit.score for hit in hits if hit.id == name and hit.score > 0.9999]
                counts["lost"] += len(found) < (name in there)
                counts["doubled"] += len(found) > (name in there)
        counts["doubled"] += abs(len(index) - expected)
    return counts


if __name__ == "__main__":
    add_for_ever(Path(sys.argv[1]), int(sys.argv[2]))
