"""Searching an index over HTTP: the neighbours of `samarkand search`, and a query that fails alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from annotation_pipelines import make_nlp
from samarkand.models.search_index import SearchIndex
from samarkand.pipeline import serve_work
from samarkand.pipeline.search_corpus import search_corpus
from samarkand.pipeline.serve_app import make_app
from samarkand.pipeline.serve_options import ServeOptions
from samarkand.pipeline.serve_requests import MAX_FIELDS, MAX_K
from samarkand.pipeline.service import Service
from samarkand.pipeline.sources import UsageError
from starlette.testclient import TestClient

WIDTH = 8
TEXTS = ["the cat sat", "قط على الحصير", "猫坐在垫子上", "a dog ran"]


class Letters:
    """An encoder that counts letters, and fails at the word "break"."""

    width, fingerprint = WIDTH, "letters"

    def encode(self, texts: list[str], *, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for row, text in enumerate(texts):
            if "break" in text:
                raise RuntimeError("out of order")
            for letter in text.strip():
                vectors[row, ord(letter) % WIDTH] += 1
        return vectors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "index"
    with SearchIndex.create(path, WIDTH, fingerprint="letters") as index:
        metadata = [{"lang": lang, "n": n} for n, lang in enumerate(["en", "ar", "zh", "en"])]
        index.add([f"k{n}" for n in range(4)], Letters().encode(TEXTS), TEXTS, metadata)
    return path


@pytest.fixture(scope="module")
def client(folder):
    service = Service(make_nlp(), ServeOptions(max_characters=100), index=folder, encoder=Letters())
    with service, TestClient(make_app(service)) as client:
        yield client


def search(client: TestClient, **query: Any) -> Any:
    return client.post("/search", json=query)


def test_neighbours_are_those_of_the_command(client, folder):
    for text in (*TEXTS, "", "a cat"):
        (expected,) = search_corpus(folder, [text], k=3, model=Letters())
        assert search(client, query=text, k=3).json() == expected
    found = search(client, query="a", filter={"lang": ["en", "ar"], "n": {">=": 1}}).json()["neighbours"]
    assert {hit["id"] for hit in found} == {"k1", "k3"}


def test_a_query_that_cannot_be_encoded_fails_alone(client):
    queries = ["cat", "break", "dog", "a break", "ran"] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda query: search(client, query=query), queries))
    assert [answer.status_code for answer in answers] == [422 if "break" in query else 200 for query in queries]
    for query, answer in zip(queries, answers):
        body = answer.json()
        assert body["code"] == "S837" if "break" in query else body["text"] == query


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "S1145"),
        ({"k": 3}, "S1145"),
        ({"query": "a", "index": "other"}, "S1145"),
        ({"query": "a", "k": 0}, "S1145"),
        ({"query": "a", "k": MAX_K + 1}, "S1145"),
        ({"query": "a", "k": True}, "S1145"),
        ({"query": "a", "k": "3"}, "S1145"),
        ({"query": "a", "k": None}, "S1145"),
        ({"query": "a" * 101}, "S1145"),
        ({"query": ["a"]}, "S523"),
        ({"query": None}, "S523"),
        ({"query": "a", "filter": {str(n): n for n in range(MAX_FIELDS + 1)}}, "S1145"),
        ({"query": "a", "filter": "lang=ar"}, "S832"),
        ({"query": "a", "filter": {"lang": {"LIKE": "%"}}}, "S832"),
        ({"query": "a", "filter": {'x"; DROP TABLE records': 1}}, "S832"),
        ({"query": "a", "filter": {"a\x00": 1}}, "S832"),
        ({"query": "a", "filter": {"a": {"<": [1]}}}, "S832"),
        ({"query": "a", "filter": {"a": 2**70}}, "S832"),
    ],
)
def test_queries_that_cannot_be_used_are_refused(client, query, code):
    answer = search(client, **query)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert len(search(client, query="a").json()["neighbours"]) == 4


def test_a_filter_may_have_as_many_fields_as_are_allowed(client):
    comparisons = {"<": 1, "<=": 1, ">": 1, ">=": 1, "!=": 1}
    conditions = {f"field {n}": comparisons for n in range(MAX_FIELDS)}
    assert search(client, query="a", filter=conditions).json()["neighbours"] == []


def test_search_is_described(client):
    schema = client.get("/openapi.json").json()["paths"]["/search"]["post"]["requestBody"]["content"]
    assert set(schema["application/json"]["schema"]["properties"]) == {"query", "k", "filter"}


def test_what_is_added_meanwhile_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(serve_work, "STALE", 0.0)
    folder = tmp_path / "index"
    SearchIndex.create(folder, WIDTH, fingerprint="letters").close()
    service = Service(make_nlp(), ServeOptions(), index=folder, encoder=Letters())
    with service, TestClient(make_app(service)) as client:
        assert search(client, query="cat").json()["neighbours"] == []
        with SearchIndex.open(folder) as index:
            index.add(["new"], Letters().encode(["cat"]), ["cat"])
        assert [hit["id"] for hit in search(client, query="cat").json()["neighbours"]] == ["new"]


def test_an_index_that_cannot_be_searched_is_refused_before_serving(tmp_path, folder):
    with pytest.raises(ValueError, match="S820"):
        Service(make_nlp(), ServeOptions(), index=tmp_path / "none", encoder=Letters())
    with pytest.raises(ValueError, match="S839"):
        Service(make_nlp(), ServeOptions(), index=folder)
    other = Letters()
    other.fingerprint = "others"
    with pytest.raises(ValueError, match="S831"):
        Service(make_nlp(), ServeOptions(), index=folder, encoder=other)


def test_S1150_an_encoder_without_an_index_is_refused():
    """It was not used, and nothing said so."""
    with pytest.raises(UsageError, match="S1150"):
        Service(make_nlp(), ServeOptions(), encoder=Letters())
