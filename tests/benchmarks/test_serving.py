"""The load test of serving asks for every text once, measures both systems, and takes no refusal for an answer."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("serving")


def load_stub(serving, head: bytes, clients: int, requests: int) -> tuple[list[float], list[str]]:
    """Load a server that gives every request the same answer; what took how long, and which texts came."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"records": [{"entities": []}]}'
        while line := await reader.readline():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
                await reader.readline()
                asked.extend(json.loads(await reader.readexactly(size))["texts"])
                writer.write(head + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async def run() -> list[float]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await serving.load(port, "/annotate", ["a", "b", "ج"], clients, requests)

    return asyncio.run(run()), asked


@pytest.mark.parametrize("clients", [1, 3, 9])
def test_clients_share_the_requests(serving, clients):
    seconds, asked = load_stub(serving, b"HTTP/1.1 200 OK", clients, 7)
    assert sorted(asked) == sorted("abجabجa")
    assert len(seconds) == 7
    assert min(seconds) > 0


def test_a_refusal_is_no_answer(serving):
    with pytest.raises(RuntimeError, match="429"):
        load_stub(serving, b"HTTP/1.1 429 Too Many Requests", 1, 1)


def test_a_crowd_is_counted(serving):
    """A server that gives answers in turn, and now and then none."""
    heads = [b"200 OK", b"429 Too Many Requests", b"503 Service Unavailable", b"500 Internal Server Error", b""]
    turn = itertools.cycle(heads)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if head := next(turn):
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % head)
        writer.close()

    async def run() -> Counter[str]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            return await serving.flood(server.sockets[0].getsockname()[1], ["a"], 100)

    assert asyncio.run(run()) == {"answered": 20, "refused: 429": 20, "refused: 503": 20, "failed": 40}


@pytest.mark.slow
def test_quick_mode_measures_both_systems(serving, tmp_path):
    assert serving.main(["--quick", "--results", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "serving.json").read_text(encoding="utf-8"))
    values = {(row["system"], row["dataset"], row["metric"]): row["value"] for row in rows}
    assert len(rows) == len(values) == 2 * 2 * 3 + 5
    for system in serving.SYSTEMS:
        for clients, load in ((1, "1 client"), (4, "4 clients")):
            assert 0 < values[system, load, "median"] <= values[system, load, "99th percentile"]
            # Each client has one request under way at most.
            assert values[system, load, "throughput"] * values[system, load, "median"] / 1000 < 2 * clients
    crowd = {metric: value for (_, load, metric), value in values.items() if load.startswith("overload")}
    assert crowd["failed"] == 0 < min(crowd["answered"], crowd["refused: 429"], crowd["answers afterwards"])
    assert sum(crowd.values()) - crowd["answers afterwards"] == 256
