"""The GPU, played by the CPU where there is none."""

from __future__ import annotations

from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from index_oracle import make_vectors
from samarkand.models import index_devices, index_snapshot
from samarkand.models.index_devices import find_gpu
from samarkand.models.search_index import SearchIndex

WIDTH = 16


class PlayedGpu(SimpleNamespace):
    """What FAISS with GPUs has, on the CPU; `calls` counts."""

    def knn(self, resources, queries, vectors, k, metric):
        self.calls.append("knn")
        return faiss.knn(queries, vectors, k, metric=metric)

    def copy(self, resources, device, index):
        if isinstance(faiss.downcast_index(index), faiss.IndexHNSW):
            raise RuntimeError("This index type is not implemented on GPU.")
        self.calls.append("copy")
        return faiss.clone_index(index)

    def set_lists(self, index, name, value):
        self.calls.append(f"{name} {value}")
        faiss.ParameterSpace().set_index_parameter(index, name, value)


@pytest.fixture
def played(monkeypatch) -> PlayedGpu:
    gpu = PlayedGpu(calls=[])
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", gpu.knn, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", gpu.copy, raising=False)
    space = SimpleNamespace(set_index_parameter=gpu.set_lists)
    monkeypatch.setattr(faiss, "GpuParameterSpace", lambda: space, raising=False)
    return gpu


def fill(folder, factory: str) -> np.ndarray:
    vectors = make_vectors(900, WIDTH)
    with SearchIndex.create(folder, WIDTH, factory=factory, gpu=False) as index:
        index.add([str(i) for i in range(800)], vectors[:800], metadata=[{"even": i % 2 == 0} for i in range(800)])
        index.optimize()
        index.add([str(i) for i in range(800, 900)], vectors[800:])
    return vectors


@pytest.mark.parametrize(
    ("factory", "calls"),
    [
        ("Flat", {"knn"}),
        ("IVF16,Flat", {"knn", "copy", "nprobe 16"}),
        ("HNSW16", {"knn"}),
    ],
)
def test_the_gpu_gives_the_same_results(tmp_path, played, factory, calls):
    queries = fill(tmp_path / "i", factory)[::90]
    with SearchIndex.open(tmp_path / "i", gpu=False) as cpu, SearchIndex.open(tmp_path / "i") as gpu:
        for wanted in (None, {"even": True}):
            assert gpu.search(queries, 5, filter=wanted) == cpu.search(queries, 5, filter=wanted)
        assert set(played.calls) == calls
        played.calls.clear()
        index_snapshot_rows = gpu.search_rows(queries, 900)[1]
        assert np.array_equal(index_snapshot_rows, cpu.search_rows(queries, 900)[1])


def test_removed_rows_are_left_out_on_the_cpu(tmp_path, played):
    queries = fill(tmp_path / "i", "IVF16,Flat")[:3]
    with SearchIndex.open(tmp_path / "i", gpu=True) as index:
        index.remove(["0", "1"])
        assert "0" not in {hit.id for hits in index.search(queries, 5) for hit in hits}
        assert "copy" not in played.calls


def test_what_a_gpu_cannot_do_is_done_by_the_cpu(tmp_path, played, monkeypatch):
    queries = fill(tmp_path / "i", "IVF16,Flat")[:3]
    for module in (index_devices, index_snapshot):
        monkeypatch.setattr(module, "GPU_LIMIT", 4)
    with SearchIndex.open(tmp_path / "i", gpu=True) as index:
        assert [hits[0].id for hits in index.search(queries, 5)] == ["0", "1", "2"]
        assert played.calls == []


def test_S830_an_index_that_cannot_be_opened_is_not_made(tmp_path, monkeypatch, played):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    with pytest.raises(RuntimeError, match="S830"):
        SearchIndex.create(tmp_path / "i", WIDTH, gpu=True)
    SearchIndex.create(tmp_path / "i", WIDTH).close()


def test_no_gpu_is_an_error_only_when_one_was_asked_for(monkeypatch, played):
    assert find_gpu(False) is None
    assert find_gpu(None) is not None
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    assert find_gpu(None) is None
    with pytest.raises(RuntimeError, match=r"S830.*sees no GPU"):
        find_gpu(True)
    monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
    assert find_gpu(None) is None
    with pytest.raises(RuntimeError, match=r"S830.*without GPUs"):
        find_gpu(True)


@pytest.mark.gpu
@pytest.mark.skipif(not hasattr(faiss, "StandardGpuResources"), reason="FAISS was built without GPUs")
@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat", "HNSW16"])
def test_a_real_gpu_gives_the_same_results(tmp_path, factory):
    queries = fill(tmp_path / "i", factory)[::90]
    with SearchIndex.open(tmp_path / "i", gpu=False) as cpu, SearchIndex.open(tmp_path / "i", gpu=True) as gpu:
        assert np.array_equal(gpu.search_rows(queries, 5)[1], cpu.search_rows(queries, 5)[1])
