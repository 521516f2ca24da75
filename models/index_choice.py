"""Which FAISS index suits how many vectors, and how far it looks.

The rule, for n vectors of d numbers and a limit on memory:

1. n <= 20,000: `Flat`. Every vector is compared, straight from the file.
2. `HNSW32` when its vectors and links (4 d + 276 bytes a vector) fit the memory.
3. `IVF{4 sqrt(n)},Flat` when its vectors alone (4 d + 8 bytes) do.
4. `OPQ{m}_{4m},IVF{4 sqrt(n)},PQ{m}np` otherwise: codes of m bytes for the largest m of 64, 32, 16, 8, 4, 2, 1 with
   4 m <= d that fits, or the least one; the best candidates are ranked again by the vectors on disk.

There are fewer lists where each would have under 39 vectors, which FAISS asks for. "np" leaves out the polysemous
training of the codes, which is slow and has no use here.

Graphs: Malkov and Yashunin, arXiv 1603.09320. Inverted lists and product codes: Jegou et al. 2011. Rotation before
the codes: Ge et al. 2013.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

# Below this many rows a scan takes a few milliseconds, and no other index is worth its building.
FLAT_ROWS = 20_000
CODE_BYTES = (64, 32, 16, 8, 4, 2, 1)
# Links of HNSW32: 64 of 4 bytes on the lowest level, about 2 above it, and the bookkeeping of levels.
LINK_BYTES = 276
# FAISS asks for this many vectors a centroid at least, and more than the second number hardly help.
LEAST_POINTS, MOST_POINTS = 39, 64
_EXACT = re.compile(r"Flat|HNSW\d+(,Flat)?|IVF\d+(_HNSW\d+)?,Flat")


@dataclass(frozen=True)
class Effort:
    """How far an approximate index looks for the neighbours of a query.

    lists (int): Inverted lists that IVF scans (nprobe).
    candidates (int): Candidates that HNSW keeps (efSearch).
    """

    lists: int
    candidates: int

    def widened(self, share: float, lists: int) -> Effort:
        """The effort that meets as many rows when only some of them may be found.

        share (float): Share of the rows that may be found, over 0.
        lists (int): Inverted lists that there are.
        RETURNS (Effort): The effort.
        """
        return Effort(min(lists, math.ceil(self.lists / share)), math.ceil(self.candidates / share))


def choose_factory(size: int, width: int, memory: int | None = None) -> str:
    """The index that suits, by the rule above.

    size (int): Vectors.
    width (int): Numbers in a vector.
    memory (Optional[int]): Bytes that the index may take; None for half of what the machine has.
    RETURNS (str): A string for `faiss.index_factory`.
    """
    if size <= FLAT_ROWS:
        return "Flat"
    memory = machine_memory() // 2 if memory is None else memory
    if size * (4 * width + LINK_BYTES) <= memory:
        return "HNSW32"
    lists = min(round(4 * math.sqrt(size)), size // LEAST_POINTS)
    if size * (4 * width + 8) + 4 * lists * width <= memory:
        return f"IVF{lists},Flat"
    possible = [m for m in CODE_BYTES if 4 * m <= width] or [1]
    fitting = [m for m in possible if size * (m + 8) + 4 * lists * 4 * m <= memory]
    code = (fitting or possible[-1:])[0]
    return f"OPQ{code}_{min(4 * code, width)},IVF{lists},PQ{code}np"


def default_effort(factory: str, k: int) -> Effort:
    """How far to look for k neighbours.

    factory (str): The index.
    k (int): Neighbours asked for.
    RETURNS (Effort): At least 16 lists and 1/32 of them; at least 128 candidates and 4 a neighbour.
    """
    return Effort(max(16, list_count(factory) // 32), max(128, 4 * k))


def stores_exactly(factory: str) -> bool:
    """Whether an index keeps the vectors as they are, so that its scores are exact.

    factory (str): The index.
    RETURNS (bool): Whether it does.
    """
    return _EXACT.fullmatch(factory) is not None


def list_count(factory: str) -> int:
    """Inverted lists of an index.

    factory (str): The index.
    RETURNS (int): How many; 0 without any.
    """
    match = re.search(r"IVF(\d+)", factory)
    return int(match[1]) if match else 0


def training_rows(factory: str) -> tuple[int, int]:
    """Rows that an index needs for its training.

    factory (str): The index.
    RETURNS (tuple[int, int]): The least, and how many are enough; (0, 0) when it is not trained.
    """
    codes = re.search(r"PQ\d+(?:x(\d+))?", factory)
    centroids = max(list_count(factory), 2 ** int(codes[1] or 8) if codes else 0)
    if "OPQ" in factory or (not centroids and not stores_exactly(factory)):
        centroids = max(256, centroids)
    return LEAST_POINTS * centroids, MOST_POINTS * centroids


def machine_memory() -> int:
    """RETURNS (int): Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * 2**30
