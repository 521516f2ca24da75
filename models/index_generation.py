"""FAISS indexes of an index folder: built from the vectors, extended, written with a checksum, read and searched."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Errors, first_line
from ..replacing import replace_file
from .exact_search import Neighbours
from .index_choice import Effort, training_rows
from .vector_file import BLOCK_ROWS, VectorFile

if TYPE_CHECKING:
    import faiss

_CHUNK = 2**22


@dataclass(frozen=True)
class LoadedIndex:
    """A FAISS index that can be searched.

    file (str): Name of its file.
    index (Index): The index.
    is_mapped (bool): Whether it is read from the file as it is searched. Nothing can be added to one that is.
    """

    file: str
    index: faiss.Index
    is_mapped: bool = False


def empty_index(factory: str, width: int) -> faiss.Index:
    """Make an index by inner product.

    factory (str): String for `faiss.index_factory`.
    width (int): Numbers in a vector.
    RETURNS (faiss.Index): The index.
    RAISES (ValueError): S829 when there is no such index, or it cannot leave out rows.
    """
    import faiss

    try:
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ValueError(Errors.S829.format(factory=factory, width=width, reason=_reason(error))) from error
    core, reason = _core(index), ""
    if not _leaves_out_rows(core):
        reason = f"{type(core).__name__} cannot leave out rows"
    # FAISS ends the whole process over these once there are vectors.
    elif re.search(r"HNSW0*[01](?!\d)", factory):
        reason = "a graph needs 2 links a vector or more"
    elif isinstance(core, faiss.IndexIVF) and core.nlist < 1:
        reason = "there are no lists"
    if reason:
        raise ValueError(Errors.S829.format(factory=factory, width=width, reason=reason))
    return index


def build_index(factory: str, vectors: VectorFile) -> faiss.Index:
    """Train an index and add all vectors.

    factory (str): String for `faiss.index_factory`.
    vectors (VectorFile): The vectors.
    RETURNS (faiss.Index): The index.
    RAISES (ValueError): S829 when FAISS cannot build it.
    """
    index = empty_index(factory, vectors.width)
    try:
        if not index.is_trained:
            enough = training_rows(factory)[1]
            rows = np.random.default_rng(0).permutation(vectors.rows)[:enough]
            index.train(vectors[np.sort(rows)])
        extend_index(index, vectors)
    except RuntimeError as error:
        raise ValueError(Errors.S829.format(factory=factory, width=vectors.width, reason=_reason(error))) from error
    return index


def extend_index(index: faiss.Index, vectors: VectorFile) -> None:
    """Add the vectors that an index does not have yet.

    index (faiss.Index): The index, of the first rows.
    vectors (VectorFile): The vectors.
    """
    for start in range(index.ntotal, vectors.rows, BLOCK_ROWS):
        index.add(vectors[start : min(start + BLOCK_ROWS, vectors.rows)])


def write_index(index: faiss.Index, path: Path) -> str:
    """Write an index aside, bring it to disk, and give it its name.

    index (faiss.Index): The index.
    path (Path): The file.
    RETURNS (str): Its SHA-256.
    """
    import faiss

    with replace_file(path) as aside:
        try:
            faiss.write_index(index, str(aside))
        except RuntimeError as error:
            raise OSError(first_line(error)) from error
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        sha256 = file_sha256(aside)
    return sha256


def read_index(path: Path, sha256: str, width: int, rows: int, *, mapped: bool) -> LoadedIndex:
    """Read an index, once it is known to be what was written.

    path (Path): The file.
    sha256 (str): What it was.
    width (int): Numbers in a vector.
    rows (int): Vectors in it.
    mapped (bool): Map the file into memory where FAISS can.
    RETURNS (LoadedIndex): The index.
    RAISES (ValueError): S823 when it is anything else.
    """
    import faiss

    if not path.is_file() or file_sha256(path) != sha256:
        reason = f"{path.name} is {'not what was written' if path.is_file() else 'missing'}"
        raise ValueError(Errors.S823.format(path=path.parent, reason=reason))
    # An older FAISS maps inverted lists alone, and reads them with threads that do not survive a fork.
    flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0) if mapped else 0
    try:
        index = faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise ValueError(Errors.S823.format(path=path.parent, reason=f"{path.name}: {first_line(error)}")) from error
    if index.d != width or index.ntotal != rows:
        reason = f"{path.name} has {index.ntotal:,} vectors of {index.d} numbers for {rows:,} of {width}"
        raise ValueError(Errors.S823.format(path=path.parent, reason=reason))
    return LoadedIndex(path.name, index, is_mapped=bool(flags))


def search_index(
    index: faiss.Index, queries: np.ndarray, k: int, effort: Effort, visible: np.ndarray | None
) -> Neighbours:
    """Search an index.

    index (faiss.Index): The index.
    queries (np.ndarray): Shape (n, width), float32.
    k (int): Neighbours of each.
    effort (Effort): How far to look when every row may be found.
    visible (Optional[np.ndarray]): Which rows may be found, bool; None for every one.
    RETURNS (Neighbours): They.
    """
    import faiss

    core, selector = _core(index), None
    if visible is not None:
        effort = effort.widened(visible.mean(), getattr(core, "nlist", 0))
        selector = faiss.IDSelectorBitmap(np.packbits(visible, bitorder="little"))
    if isinstance(core, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(nprobe=min(effort.lists, core.nlist), sel=selector)
    elif isinstance(core, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort.candidates, k), sel=selector)
    else:
        parameters = faiss.SearchParameters(sel=selector)
    if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        parameters = faiss.SearchParametersPreTransform(index_params=parameters)
    scores, rows = index.search(queries, k, params=parameters)
    return Neighbours(np.where(rows >= 0, scores, -np.inf).astype(np.float32), rows)


def file_sha256(path: Path) -> str:
    """Checksum of a file.

    path (Path): The file.
    RETURNS (str): Its SHA-256.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _reason(error: RuntimeError) -> str:
    """What FAISS says, without the place in its source."""
    return first_line(error).rsplit("Error: ", 1)[-1]


def _leaves_out_rows(core: faiss.Index) -> bool:
    import faiss

    if isinstance(core, faiss.IndexHNSW):
        return not isinstance(faiss.downcast_index(core.storage), faiss.Index2Layer)
    additive = (faiss.IndexIVFAdditiveQuantizer, faiss.IndexIVFAdditiveQuantizerFastScan)
    return isinstance(core, (faiss.IndexFlat, faiss.IndexIVF)) and not isinstance(core, additive)


def _core(index: faiss.Index) -> faiss.Index:
    """The index below transforms of the vectors."""
    import faiss

    index = faiss.downcast_index(index)
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
