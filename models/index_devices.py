"""Searching on a GPU, where FAISS was built for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import Errors
from .exact_search import Neighbours, cpu_knn

if TYPE_CHECKING:
    import faiss

# The GPU kernels of FAISS select no more neighbours and scan no more lists than this.
GPU_LIMIT = 2048


class GpuSearch:
    """The first GPU: exact comparison, and copies of inverted lists. Graphs stay on the CPU."""

    def __init__(self) -> None:
        import faiss

        self._resources = faiss.StandardGpuResources()

    def knn(self, queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `exact_search.cpu_knn`, on the GPU."""
        import faiss

        if k > GPU_LIMIT:
            return cpu_knn(queries, vectors, k)
        return faiss.knn_gpu(self._resources, queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)

    def copy(self, index: faiss.Index) -> faiss.Index | None:
        """Copy an index.

        index (faiss.Index): The index.
        RETURNS (Optional[faiss.Index]): The copy; None for an index that has no GPU version.
        """
        import faiss

        try:
            return faiss.index_cpu_to_gpu(self._resources, 0, index)
        except RuntimeError:
            return None

    def search(self, copy: faiss.Index, queries: np.ndarray, k: int, lists: int) -> Neighbours:
        """Search a copy.

        copy (faiss.Index): What `copy` made.
        queries (np.ndarray): Shape (n, width), float32.
        k (int): Neighbours of each, up to `GPU_LIMIT`.
        lists (int): Inverted lists to scan; 0 when it has none.
        RETURNS (Neighbours): They.
        """
        import faiss

        if lists:
            faiss.GpuParameterSpace().set_index_parameter(copy, "nprobe", min(lists, GPU_LIMIT))
        scores, rows = copy.search(queries, k)
        return Neighbours(np.where(rows >= 0, scores, -np.inf).astype(np.float32), rows)


def find_gpu(wanted: bool | None) -> GpuSearch | None:
    """The GPU, if there is one and FAISS can use it.

    wanted (Optional[bool]): True to insist, False for the CPU, None for a GPU where there is one.
    RETURNS (Optional[GpuSearch]): It; None for the CPU.
    RAISES (RuntimeError): S830 when one was insisted on and there is none.
    """
    import faiss

    if wanted is False:
        return None
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        return GpuSearch()
    if wanted:
        built = "it sees no GPU" if hasattr(faiss, "StandardGpuResources") else "it was built without GPUs"
        raise RuntimeError(Errors.S830.format(reason=built))
    return None
