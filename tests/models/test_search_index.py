"""The search index: against exact search, under changes in any order, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_oracle import exact_scores, files, filled, make_vectors, names
from samarkand.models import index_writer
from samarkand.models.index_generation import build_index
from samarkand.models.record_store import FILE
from samarkand.models.search_index import SearchIndex
from samarkand.models.vector_file import VectorFile, append_rows

WIDTH = 16


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray]:
    return make_vectors(12_000, WIDTH, spread=0.8), make_vectors(40, WIDTH, seed=5, spread=0.8)


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_exact_search_agrees_with_the_plain_one(tmp_path, metric):
    vectors, queries = make_vectors(40, 5), make_vectors(6, 5, seed=1)
    vectors[7] = queries[2] = 0
    scores = exact_scores(queries, vectors, metric)
    with filled(tmp_path / "i", vectors, metric=metric) as index:
        for row, hits in enumerate(index.search(queries, 4)):
            if row == 2:
                assert hits == []
                continue
            best = np.argsort(-np.nan_to_num(scores[row], nan=-np.inf), kind="stable")[:4]
            assert [hit.id for hit in hits] == [f"r{i}" for i in best]
            assert [hit.score for hit in hits] == pytest.approx(scores[row][best], rel=1e-4)
            assert hits[0].text == f"text {best[0]}"
            assert hits[0].metadata == {"kind": best[0] % 10, "lang": ["ar", "zh", "en"][best[0] % 3]}
        everything = index.search(queries[:1], 100)[0]
        assert len(everything) == 39
        assert "r7" not in {hit.id for hit in everything}
        assert len(index) == 40


def test_update_replaces_and_keeps_what_is_not_given(tmp_path):
    vectors = make_vectors(6, WIDTH)
    with filled(tmp_path / "i", vectors[:4]) as index:
        index.update(["r1", "r2"], vectors[4:6])
        assert len(index) == 4
        best = index.search(vectors[4:6], 1)
        assert [hits[0].id for hits in best] == ["r1", "r2"]
        assert best[0][0].text == "text 1"
        assert best[0][0].metadata == {"kind": 1, "lang": "zh"}
        index.update(["r1"], vectors[4:5], ["new"], [None])
        assert index.search(vectors[4:5], 1)[0][0].text == "new"
        assert index.search(vectors[4:5], 1)[0][0].metadata == {}
        assert index.known(["r1", "r9"]) == {"r1"}


def test_compaction_gives_room_back_and_changes_no_answer(tmp_path, many):
    vectors, queries = many
    vectors = vectors.copy()
    vectors[5000] = 0
    with filled(tmp_path / "i", vectors, factory="IVF16,Flat") as index:
        index.remove(names(2000))
        before = index.search(queries, 5)
        size = (tmp_path / "i" / index.state.vectors).stat().st_size
        index.remove(names(1500, 2000))
        assert index.state.rows == len(index) == 8500
        assert (tmp_path / "i" / index.state.vectors).stat().st_size < size
        assert files(tmp_path / "i") == [index.state.file, index.state.vectors]
        kept = [[hit.id for hit in hits if int(hit.id[1:]) >= 3500] for hits in before]
        after = [{hit.id for hit in hits} for hits in index.search(queries, 10)]
        assert all(set(a) <= b for a, b in zip(kept, after))
        assert not any("r5000" in ids for ids in after)
    with SearchIndex.open(tmp_path / "i", verify=True) as index:
        assert [{hit.id for hit in hits} for hits in index.search(queries, 10)] == after
        index.remove(names(8500, 3500))
        assert len(index) == index.state.rows == 0
        assert index.search(queries[:1], 3) == [[]]
        index.add(["again"], vectors[:1])
        assert index.search(vectors[:1], 3)[0][0].id == "again"


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "update", "remove", "reopen", "optimize", "compact"]),
        st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True),
        st.integers(0, 10**6),
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None)
@given(CHANGES)
def test_changes_in_any_order_are_those_of_a_dict(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("index") / "i"
    model: dict[str, tuple[np.ndarray, int]] = {}
    patch = pytest.MonkeyPatch()
    patch.setattr(index_writer, "TAIL_ROWS", 10)
    patch.setattr(index_writer, "DEAD_ROWS", 8)
    index = SearchIndex.create(folder, WIDTH, factory="HNSW8")
    try:
        for kind, numbers, seed in changes:
            index = _change(index, folder, model, kind, [f"r{n}" for n in numbers], seed)
            assert len(index) == len(model)
            assert index.known(f"r{n}" for n in range(31)) == set(model)
        _check(index, model)
    finally:
        index.close()
        patch.undo()
    with SearchIndex.open(folder, verify=True) as index:
        _check(index, model)


def _change(
    index: SearchIndex, folder: Path, model: dict[str, tuple[np.ndarray, int]], kind: str, ids: list[str], seed: int
) -> SearchIndex:
    ids = [one for one in ids if (one in model) != (kind == "add")]
    vectors = make_vectors(len(ids), WIDTH, seed=seed)
    if kind in ("add", "update") and ids:
        (index.add if kind == "add" else index.update)(ids, vectors, None, [{"seed": seed}] * len(ids))
        model |= {one: (vector, seed) for one, vector in zip(ids, vectors)}
    elif kind == "remove":
        index.remove(ids)
        for one in ids:
            del model[one]
    elif kind == "reopen":
        index.close()
        return SearchIndex.open(folder)
    elif kind in ("optimize", "compact"):
        getattr(index, kind)()
    return index


def _check(index: SearchIndex, model: dict[str, tuple[np.ndarray, int]]) -> None:
    queries = make_vectors(3, WIDTH, seed=77)
    ids = list(model)
    scores = exact_scores(queries, np.array([vector for vector, _ in model.values()]).reshape(-1, WIDTH))
    for query, hits in enumerate(index.search(queries, 50)):
        assert sorted(hit.id for hit in hits) == sorted(ids)
        for hit in hits:
            assert hit.score == pytest.approx(scores[query, ids.index(hit.id)], abs=1e-5)
            assert hit.metadata == {"seed": model[hit.id][1]}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda index, v: index.add(["r1", "x"], v[:2]), r"S827.*'r1'"),
        (lambda index, v: index.update(["r1", "x", "y"], v[:3]), r"S827.*2 ids are not.*'x', 'y'"),
        (lambda index, v: index.remove(["r1", "x"]), r"S827"),
        (lambda index, v: index.add(["x"], v[:2]), r"S825.*1 ids and 2 vectors"),
        (lambda index, v: index.add(["x"], v[:1], []), r"S825.*0 texts"),
        (lambda index, v: index.add(["x"], v[:1], None, []), r"S825.*0 metadata"),
        (lambda index, v: index.add(["x", "x"], v[:2]), r"S825.*'x' comes twice"),
        (lambda index, v: index.add([""], v[:1]), r"S825.*not empty"),
        (lambda index, v: index.add([3], v[:1]), r"S825.*not 3"),
        (lambda index, v: index.add(["\ud800"], v[:1]), r"S825"),
        (lambda index, v: index.add(["x"], v[:1], ["\ud800"]), r"S825.*surrogate"),
        (lambda index, v: index.add(["x"], v[:1], [3]), r"S825.*int"),
        (lambda index, v: index.add(["x"], v[:1], None, ["a"]), r"S825.*not a mapping"),
        (lambda index, v: index.add(["x"], v[:1], None, [{"a": {1, 2}}]), r"S825.*not JSON"),
        (lambda index, v: index.add(["x"], v[:1], None, [{"a": float("nan")}]), r"S825.*not JSON"),
        (lambda index, v: index.add(["x"], v[:1, :5]), r"S824.*\(1, 5\)"),
        (lambda index, v: index.add(["x"], v[:1] * np.inf), r"S824.*infinite"),
        (lambda index, v: index.add(["x"], np.full((1, WIDTH), 1e300)), r"S824.*infinite"),
        (lambda index, v: index.search(v[:1, :5], 3), r"S824"),
        (lambda index, v: index.search(v[:1], 0), r"S835.*k"),
        (lambda index, v: index.search(v[:1], True), r"S835.*k"),
        (lambda index, v: index.search(v[:1], 2.0), r"S835.*k"),
        (lambda index, v: index.search(v[:1], 3, filter={"a": {"?": 1}}), r"S832"),
    ],
)
def test_bad_requests_change_nothing(tmp_path, change, code):
    vectors = make_vectors(5, WIDTH)
    with filled(tmp_path / "i", vectors) as index:
        state, before = index.state, index.search(vectors, 3)
        with pytest.raises(ValueError, match=code):
            change(index, vectors)
        assert index.state == state
        assert index.search(vectors, 3) == before


def test_numbers_of_numpy_are_numbers(tmp_path):
    vectors = make_vectors(5, WIDTH)
    with SearchIndex.create(tmp_path / "i", np.int64(WIDTH), memory=np.int32(2**20)) as index:
        index.add([f"r{i}" for i in range(5)], vectors)
        assert index.search(vectors, np.int64(3)) == index.search(vectors, 3)
        assert index.state.memory == 2**20


def test_S829_an_index_that_faiss_cannot_build_is_told(tmp_path):
    append_rows(tmp_path / "v", WIDTH, 0, make_vectors(5, WIDTH).astype(np.float32), 0)
    with pytest.raises(ValueError, match=r"S829.*IVF16,Flat"):
        build_index("IVF16,Flat", VectorFile(tmp_path / "v", WIDTH, 5))


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"factory": "nonsense"}, ValueError, "S829"),
        ({"factory": "NSG16"}, ValueError, r"S829.*cannot leave out rows"),
        ({"factory": "IVF16,LSQ4x4"}, ValueError, r"S829.*cannot leave out rows"),
        ({"factory": "HNSW16_2+PQ4"}, ValueError, r"S829.*cannot leave out rows"),
        ({"factory": "IVF0,Flat"}, ValueError, r"S829.*no lists"),
        ({"factory": "HNSW0"}, ValueError, r"S829.*2 links"),
        ({"factory": "IVF16_HNSW1,Flat"}, ValueError, r"S829.*2 links"),
        ({"memory": "4GB"}, ValueError, r"S835.*memory.*4GB"),
        ({"memory": 0}, ValueError, r"S835.*memory"),
        ({"metric": "l2"}, ValueError, "S835"),
        ({"width": 0}, ValueError, "S835"),
        ({"gpu": True}, RuntimeError, "S830"),
    ],
)
def test_bad_settings_are_refused(tmp_path, options, error, code):
    import faiss

    if "gpu" in options and hasattr(faiss, "StandardGpuResources"):
        pytest.skip("FAISS has GPUs here")
    with pytest.raises(error, match=code):
        SearchIndex.create(tmp_path / "i", **{"width": WIDTH, **options})
    assert not (tmp_path / "i" / FILE).exists() or "gpu" in options


def test_an_index_is_made_once(tmp_path):
    filled(tmp_path / "i", make_vectors(3, WIDTH)).close()
    with pytest.raises(FileExistsError, match="S821"):
        SearchIndex.create(tmp_path / "i", WIDTH)
    assert len(SearchIndex.open(tmp_path / "i")) == 3


def test_vectors_of_another_encoder_are_refused(tmp_path):
    SearchIndex.create(tmp_path / "i", WIDTH, fingerprint="abc", encoder="some/model").close()
    SearchIndex.open(tmp_path / "i", fingerprint="abc").close()
    with pytest.raises(ValueError, match=r"S831.*some/model.*abc.*xyz"):
        SearchIndex.open(tmp_path / "i", fingerprint="xyz")


def test_metadata_and_texts_of_every_script_come_back(tmp_path):
    metadata = {"الموضوع": "سلام", "n": [1, {"a": None}], "zh": "你好\n\"'", "big": 2**70}
    with SearchIndex.create(tmp_path / "i", WIDTH) as index:
        index.add(["ن\u0000'"], make_vectors(1), ["قال: «نعم»\u0000\n"], [metadata])
        hit = index.search(make_vectors(1), 1)[0][0]
        assert (hit.id, hit.text, hit.metadata) == ("ن\u0000'", "قال: «نعم»\u0000\n", metadata)
        assert json.loads(json.dumps(metadata)) == metadata
        index.remove(["ن\u0000'"])
        assert len(index) == 0


def test_many_ids_at_once(tmp_path):
    with SearchIndex.create(tmp_path / "i", 2) as index:
        index.add(names(2000), np.ones((2000, 2)))
        assert len(index.known(names(3000))) == 2000
        assert {hit.id for hit in index.search(np.ones((1, 2)), 1500)[0]} <= set(names(2000))
