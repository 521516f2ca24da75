"""The web application: answers are those of the pipeline alone, and whatever is sent, the refusal is one line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from annotation_pipelines import make_nlp
from hypothesis import given, settings
from hypothesis import strategies as st
from samarkand.pipeline.annotate import annotate
from samarkand.pipeline.encoders import annotations
from samarkand.pipeline.serve_app import SHOWN, make_app
from samarkand.pipeline.serve_options import ServeOptions
from samarkand.pipeline.service import Service
from samarkand.pipeline.sources import UsageError
from serving_pipelines import GATE, SECONDS, eventually, make_gated
from starlette.testclient import TestClient

TEXTS = ["Ada in Cairo", "", "القاهرة", "Bank of Cairo\n", "a\x00Ada 😀", "猫坐在垫子上 Ada"]
OPTIONS = ServeOptions(timeout=SECONDS)


@contextmanager
def client_of(options: ServeOptions = OPTIONS) -> Iterator[tuple[TestClient, Service]]:
    GATE.clear()
    with Service(make_gated(), options) as service, TestClient(make_app(service)) as client:
        try:
            yield client, service
        finally:
            GATE.set()


@pytest.fixture(scope="module")
def client():
    options = ServeOptions(timeout=SECONDS, max_bytes=50_000, max_texts=8, max_characters=100)
    with Service(make_gated(), options) as service, TestClient(make_app(service)) as client:
        yield client


def post(client: TestClient, texts: list[str]) -> Any:
    return client.post("/annotate", json={"texts": texts})


def refused(response: Any, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"code", "error"}
    assert response.json()["code"] == code
    assert "\n" not in response.text
    return response.json()["error"]


def metric(client: TestClient, name: str) -> float:
    lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines()]
    return next((float(value) for key, _, value in lines if key == name), 0.0)


def waiting(client: TestClient) -> float:
    return metric(client, 'samarkand_waiting_items{queue="annotate"}')


def is_busy(service: Service) -> bool:
    return service._queues["annotate"].busy_seconds > 0


def test_answers_are_those_of_the_pipeline_alone(client):
    alone = make_nlp()
    answer = post(client, TEXTS)
    assert answer.status_code == 200
    assert answer.json() == {"records": [annotations(alone(text)) for text in TEXTS], "errors": []}


def test_records_are_the_lines_that_annotate_writes(client, tmp_path):
    records = [{"id": 7, "text": "Ada", "entities": "kept", "deep": [{"a": None}]}, {"text": "", "title": "\ud800"}]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    annotate(source, tmp_path / "out", model=make_gated())
    lines = (tmp_path / "out" / "in.jsonl").read_text(encoding="utf-8").splitlines()
    answer = client.post("/annotate", content=json.dumps({"records": records}))
    assert answer.text == f'{{"records": [{", ".join(lines)}], "errors": []}}'


def test_one_poisoned_text_costs_only_itself(client):
    answer = post(client, ["Ada", "POISON", "Cairo"]).json()
    assert [record and record["text"] for record in answer["records"]] == ["Ada", None, "Cairo"]
    (error,) = answer["errors"]
    assert (error["index"], error["code"]) == (1, "S528")
    assert "test_picky" in error["reason"]
    assert metric(client, 'samarkand_items_total{outcome="S528",queue="annotate"}') >= 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=4), min_size=1, max_size=6))
def test_callers_at_the_same_time_get_their_own(client, requests):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda texts: post(client, texts).json(), requests))
    assert [[record["text"] for record in answer["records"]] for answer in answers] == requests


def test_texts_of_many_requests_share_a_batch():
    with client_of() as (client, service), ThreadPoolExecutor(5) as pool:
        first = pool.submit(post, client, ["WAIT"])
        eventually(lambda: is_busy(service))
        others = [pool.submit(post, client, [f"Ada {number}"]) for number in range(4)]
        eventually(lambda: waiting(client) == 4)
        GATE.set()
        assert [call.result().status_code for call in (first, *others)] == [200] * 5
        assert metric(client, 'samarkand_batch_items_count{queue="annotate"}') == 2
        assert metric(client, 'samarkand_items_total{outcome="done",queue="annotate"}') == 5


def test_more_than_the_queue_holds_is_refused():
    with client_of(ServeOptions(timeout=SECONDS, queue=2, max_texts=2, wait=0)) as (client, service):
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(post, client, ["WAIT"])
            eventually(lambda: is_busy(service))
            second = pool.submit(post, client, ["Ada", "Cairo"])
            eventually(lambda: waiting(client) == 2)
            overload = post(client, ["one more"])
            assert "2 texts wait" in refused(overload, 429, "S1140")
            assert overload.headers["retry-after"] == "1"
            GATE.set()
            assert [call.result().status_code for call in (first, second)] == [200, 200]
        assert post(client, ["one more"]).status_code == 200


def test_a_slow_text_is_answered_in_time_with_a_refusal():
    with client_of(ServeOptions(timeout=0.2)) as (client, _):
        assert "0.2 s" in refused(post(client, ["WAIT"]), 503, "S1146")
        eventually(lambda: client.get("/health").status_code == 503)
        assert client.get("/health").json()["status"] == "stuck"
        # What nobody waits for any more leaves the queue.
        refused(post(client, ["Ada"] * 5), 503, "S1146")
        assert waiting(client) == 0
        GATE.set()
        eventually(lambda: client.get("/health").status_code == 200)
        assert post(client, ["Ada"]).status_code == 200


SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "scheme": "http",
    "method": "POST",
    "path": "/annotate",
    "root_path": "",
    "query_string": b"",
    "headers": [],
}


@pytest.mark.parametrize(
    ("text", "hangs_up", "status"), [("Ada", False, 200), ("Ada", True, 499), ("WAIT", True, 499), ("WAIT", False, 503)]
)
def test_no_task_outlives_its_request(text, hangs_up, status):
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask(app: Any) -> None:
        messages: asyncio.Queue[Any] = asyncio.Queue()
        halves = json.dumps({"texts": [text]}).encode().partition(b":")
        for number, part in enumerate(halves, 1):
            messages.put_nowait({"type": "http.request", "body": part, "more_body": number < 3})
        # What comes after the body is no news.
        messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        if hangs_up:
            messages.put_nowait({"type": "http.disconnect"})
        await app(dict(SCOPE), messages.get, send)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with client_of(ServeOptions(timeout=0.5, wait=0.1)) as (client, service):
        asyncio.run(ask(client.app))
        assert sent[0]["status"] == status
        assert len(service._queues["annotate"]) == 0


def test_a_server_that_closes_answers_what_it_has_taken():
    with client_of() as (client, service), ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(post, client, ["WAIT"])]
        eventually(lambda: is_busy(service))
        taken.append(pool.submit(post, client, ["Ada", "Cairo"]))
        eventually(lambda: waiting(client) == 2)
        closing = pool.submit(service.close)
        eventually(lambda: client.get("/health").status_code == 503)
        assert client.get("/health").json()["status"] == "closing"
        refused(post(client, ["late"]), 503, "S1141")
        assert not closing.done()
        GATE.set()
        assert [len(call.result().json()["records"]) for call in taken] == [1, 2]
        closing.result(SECONDS)


def test_a_component_that_raises_what_no_component_may_fails_its_batch(client):
    failed = 'samarkand_items_total{outcome="S1142",queue="annotate"}'
    before = metric(client, failed)
    assert "KeyboardInterrupt" in refused(post(client, ["STOP", "Ada"]), 500, "S1142")
    assert metric(client, failed) == before + 2
    assert post(client, ["Ada"]).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "S1144"),
        (b"\xff\xfe{", 400, "S1144"),
        (b'{"texts": ["a\xc3"]}', 400, "S1144"),
        (b'{"texts": ["a\x00"]}', 400, "S1144"),
        (b"\x00" * 100, 400, "S1144"),
        (b'{"texts": [NaN]}', 400, "S1144"),
        (b'{"texts": ["a"]', 400, "S1144"),
        (b"[" * 40_000, 400, "S1144"),
        (b'{"records": ' + b'{"a":' * 8000, 400, "S1144"),
        (b'{"records": [{"text": "a", "n": ' + b"9" * 5000 + b"}]}", 400, "S1144"),
        (b"x" * 50_001, 413, "S1143"),
        (b'{"texts": ["' + b"a" * 50_000 + b'"]}', 413, "S1143"),
        (b"[]", 422, "S1145"),
        (b"null", 422, "S1145"),
        (b'"texts"', 422, "S1145"),
        (b"{}", 422, "S1145"),
        (b'{"texts": [], "records": []}', 422, "S1145"),
        (b'{"texts": [], "code": "import os"}', 422, "S1145"),
        (b'{"texts": "Ada"}', 422, "S1145"),
        (b'{"texts": {"0": "Ada"}}', 422, "S1145"),
        (b'{"texts": ["a", "a", "a", "a", "a", "a", "a", "a", "a"]}', 422, "S1145"),
        (b'{"texts": ["' + b"a" * 101 + b'"]}', 422, "S1145"),
        (b'{"texts": ["a", 3]}', 422, "S523"),
        (b'{"texts": [null]}', 422, "S523"),
        (b'{"texts": [["a"]]}', 422, "S523"),
        (b'{"texts": ["\\ud800"]}', 422, "S526"),
        (b'{"records": ["a"]}', 422, "S1145"),
        (b'{"records": [{"id": 3}]}', 422, "S522"),
        (b'{"records": [{"text": {"$ref": "a"}}]}', 422, "S523"),
    ],
)
def test_hostile_bodies_are_refused_in_one_line(client, body, status, code):
    refused(client.post("/annotate", content=body), status, code)


def test_a_body_without_a_length_is_counted_as_it_comes(client):
    sent = []

    def endless() -> Iterator[bytes]:
        while True:
            sent.append(1000)
            yield b" " * 1000
            if sum(sent) > 200_000:
                return

    refused(client.post("/annotate", content=endless()), 413, "S1143")


def test_deep_fields_of_a_record_cost_at_most_the_record(client):
    for depth in range(100, 1200, 50):
        body = b'{"records": [{"text": "Ada", "deep": %s}, {"text": "Cairo"}]}' % (b"[" * depth + b"]" * depth)
        answer = client.post("/annotate", content=body)
        assert answer.status_code in (200, 400)
        if answer.status_code == 200:
            # What the server could write may be too deep for the reader of this test.
            assert b'"text": "Cairo"' in answer.content


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
RECORDS = st.lists(JSON | st.fixed_dictionaries({"text": st.text(max_size=9)}, optional={"x": JSON}), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40) | (JSON | st.fixed_dictionaries({"records": RECORDS})).map(lambda v: json.dumps(v)))
def test_no_body_breaks_the_server(client, body):
    answer = client.post("/annotate", content=body.encode() if isinstance(body, str) else body)
    assert answer.status_code in (200, 400, 422)
    assert set(answer.json()) in ({"code", "error"}, {"records", "errors"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/annotate", 405),
        ("GET", "/a?b", 404),
        ("POST", "/annotate/", 404),
        ("POST", "/search", 404),
        ("GET", "/docs", 404),
    ],
)
def test_other_paths_are_refused_in_one_line(client, method, path, status):
    assert f"{method} {path} is" in refused(client.request(method, path.replace("?", "%3F")), status, "S1147")


def test_messages_do_not_repeat_all_that_was_sent(client):
    assert len(refused(client.get("/" + "a" * 5000), 404, "S1147")) <= SHOWN
    assert metric(client, 'samarkand_requests_total{path="other",status="404"}') >= 1


def test_the_description_names_what_is_served(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/annotate", "/health", "/metrics"}
    body = described["paths"]["/annotate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert [list(kind["properties"]) for kind in body["oneOf"]] == [["texts"], ["records"]]
    assert client.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    "bad",
    [
        {"batch_size": 0},
        {"max_bytes": 0},
        {"max_texts": 0},
        {"max_characters": 0},
        {"queue": 5, "max_texts": 6},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": 1e11},
        {"wait": -1},
        {"wait": 30},
    ],
)
def test_limits_that_no_server_can_have_are_refused(bad):
    with pytest.raises(UsageError, match="S507"):
        Service(make_nlp(), ServeOptions(**bad))
