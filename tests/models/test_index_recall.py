"""Recall of every kind of index, with filters, as it grows."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from index_oracle import files, filled, make_vectors, names, recall
from samarkand.models import index_snapshot, index_writer
from samarkand.models.search_index import SearchIndex

WIDTH = 16


FACTORIES = [
    ("HNSW16", 0.98),
    ("HNSW12,SQ8", 0.97),
    ("IVF32,Flat", 0.95),
    ("IVF32,SQ8", 0.95),
    ("RR16,IVF32,PQ8x4np", 0.9),
    pytest.param("OPQ2_16,IVF32,PQ8x4np", 0.9, marks=pytest.mark.slow),
    ("PCA12,Flat", 0.9),
    ("IVF32,PQ8x4fs", 0.8),
]


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray]:
    return make_vectors(10_200, WIDTH, spread=0.8), make_vectors(40, WIDTH, seed=5, spread=0.8)


@pytest.mark.parametrize(("factory", "least"), FACTORIES)
def test_recall_of_every_kind_of_index(tmp_path, many, factory, least):
    vectors, queries = many
    with filled(tmp_path / "i", vectors, factory=factory) as index:
        assert index.factory == factory
        assert index.state.indexed == len(vectors)
        scores, rows = index.search_rows(queries, 10)
        assert recall(rows, queries, vectors) >= least
        units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, vectors)]
        assert scores == pytest.approx(np.einsum("qd,qkd->qk", units[0], units[1][rows]), abs=1e-4)
        index.remove(names(2000))
        allowed = np.arange(2000, len(vectors))
        assert recall(index.search_rows(queries, 10)[1], queries, vectors, allowed) >= least - 0.03


@pytest.mark.parametrize(("factory", "least"), FACTORIES)
def test_an_index_that_is_mapped_gives_the_same_and_grows(tmp_path, many, factory, least, monkeypatch):
    vectors, queries = many
    monkeypatch.setattr(index_snapshot, "FLAT_ROWS", 10)
    kinds = {"kind": {"<": 8}}
    with filled(tmp_path / "i", vectors[:10_000], factory=factory) as built:
        assert not built._loaded.is_mapped
        expected = [built.search_rows(queries, 10, filter=filter) for filter in (None, kinds)]
    with SearchIndex.open(tmp_path / "i", gpu=False) as index:
        assert index._loaded.is_mapped is hasattr(faiss, "IO_FLAG_MMAP_IFC")
        for filter, (scores, rows) in zip((None, kinds), expected):
            found = index.search_rows(queries, 10, filter=filter)
            np.testing.assert_array_equal(found[1], rows)
            np.testing.assert_array_equal(found[0], scores)
        index.add(names(200, 10_000), vectors[10_000:])
        index.optimize()
        assert index.state.indexed == len(vectors)
        assert recall(index.search_rows(queries, 10)[1], queries, vectors) >= least


@pytest.mark.skipif(not hasattr(faiss, "IO_FLAG_MMAP_IFC"), reason="this FAISS maps no files")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not say what is mapped")
@pytest.mark.parametrize("factory", ["HNSW16", "IVF32,Flat"])
def test_the_file_of_an_index_is_mapped_where_nothing_is_added(tmp_path, many, factory):
    with filled(tmp_path / "i", many[0][:3000], factory=factory) as built:
        built.optimize()
        path = str(tmp_path / "i" / built.state.file)
        assert path not in Path("/proc/self/maps").read_text()
    with SearchIndex.open(tmp_path / "i", gpu=False):
        assert path in Path("/proc/self/maps").read_text()


def test_approximate_scores_are_left_alone_when_asked(tmp_path, many):
    vectors, queries = many
    with filled(tmp_path / "i", vectors, factory="IVF32,PQ8x4np") as index:
        ranked, plain = (recall(index.search_rows(queries, 10, rerank=n)[1], queries, vectors) for n in (None, 0))
        assert plain < ranked - 0.1


@pytest.mark.parametrize("factory", ["HNSW32", "IVF32,Flat", "Flat"])
@pytest.mark.parametrize("wanted", [{"kind": 3}, {"kind": {"<": 5}}, {"lang": ["ar", "zh"], "kind": {"!=": 0}}])
def test_filters_narrow_and_broad(tmp_path, many, factory, wanted, monkeypatch):
    vectors, queries = many
    with filled(tmp_path / "i", vectors[:6000], factory=factory) as index:
        kind, lang = np.arange(6000) % 10, np.arange(6000) % 3
        allowed = {
            "3": kind == 3,
            "{'<': 5}": kind < 5,
            "{'!=': 0}": (kind != 0) & (lang < 2),
        }[str(wanted["kind"])]
        exact = index.search_rows(queries, 10, filter=wanted)[1]
        assert recall(exact, queries, vectors[:6000], np.flatnonzero(allowed)) >= 0.999
        monkeypatch.setattr(index_snapshot, "FLAT_ROWS", 10)
        selected = index.search_rows(queries, 10, filter=wanted)[1]
        assert allowed[selected].all()
        assert recall(selected, queries, vectors[:6000], np.flatnonzero(allowed)) >= 0.95
        assert index.search(queries[:1], 3, filter={"kind": "3"}) == [[]]


def test_a_filter_always_fills_the_answer(tmp_path, many, monkeypatch):
    vectors = make_vectors(6000, WIDTH, clusters=2, spread=0.05)
    monkeypatch.setattr(index_snapshot, "FLAT_ROWS", 10)
    with SearchIndex.create(tmp_path / "i", WIDTH, factory="IVF32,Flat") as index:
        far = vectors @ vectors[0] < np.median(vectors @ vectors[0])
        index.add(names(6000), vectors, metadata=[{"far": bool(one)} for one in far])
        rows = index.search_rows(vectors[:3], 500, filter={"far": True})[1]
        assert far[rows].all()


def test_rows_wait_outside_until_they_are_many(tmp_path, many, monkeypatch):
    vectors, queries = many
    monkeypatch.setattr(index_writer, "TAIL_ROWS", 1000)
    with SearchIndex.create(tmp_path / "i", WIDTH, factory="HNSW16") as index:
        for start, indexed in ((0, 0), (900, 1800), (1800, 1800), (2700, 3600)):
            index.add(names(900, start), vectors[start : start + 900])
            assert index.state.indexed == indexed
            assert recall(index.search_rows(queries, 10)[1], queries, vectors[: start + 900]) >= 0.98
        assert files(tmp_path / "i") == ["index-2.faiss", "vectors-0.f32"]
        assert index.state.trained == 1800
        index.add(names(10, 5000), vectors[5000:5010])
        index.optimize()
        assert index.state.indexed == index.state.rows == 3610
        index.optimize()
        assert index.state.generation == 3


def test_a_trained_index_is_trained_anew_when_outgrown(tmp_path, many, monkeypatch):
    vectors, _ = many
    monkeypatch.setattr(index_writer, "TAIL_ROWS", 500)
    with SearchIndex.create(tmp_path / "i", WIDTH, factory="IVF16,Flat") as index:
        index.add(names(600), vectors[:600])
        assert index.factory == "Flat"
        index.add(names(400, 600), vectors[600:1000])
        assert index.state.trained == 1000
        index.add(names(1000, 1000), vectors[1000:2000])
        assert index.state.trained == 1000
        index.add(names(2000, 2000), vectors[2000:4000])
        assert (index.state.trained, index.state.indexed) == (4000, 4000)


def test_auto_follows_the_rule(tmp_path, many, monkeypatch):
    vectors, queries = many
    chosen = []

    def rule(size: int, width: int, memory: int | None) -> str:
        chosen.append((width, memory))
        return "Flat" if size <= 2000 else "HNSW16" if size <= 9000 else "IVF16,PQ8x4np"

    monkeypatch.setattr(index_writer, "choose_factory", rule)
    with SearchIndex.create(tmp_path / "i", WIDTH, memory=12345) as index:
        for start, factory in ((0, "Flat"), (6000, "IVF16,PQ8x4np")):
            for first, last in ((start, start + 2000), (start + 2000, min(start + 6000, len(vectors)))):
                index.add(names(last - first, first), vectors[first:last])
            index.optimize()
            assert index.factory == (factory if start else "HNSW16")
        assert set(chosen) == {(WIDTH, 12345)}
        assert recall(index.search_rows(queries, 10)[1], queries, vectors) >= 0.9
